//! One validator as a pure machine
