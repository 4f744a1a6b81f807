//! Vote log and block store
