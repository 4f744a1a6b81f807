//! Relay seats, shredding plan, admission, reassembly, repair
