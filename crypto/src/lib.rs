//! BLS votes and certificates, Ed25519 identities, key files
