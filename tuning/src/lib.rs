//! Measures the host, plans and applies reversible settings.
#![warn(missing_docs)]
