//! Reed-Solomon over slices and the BLAKE3 slice tree
