use super::*;
use samara_types::digest::hex;
use std::fs;
use tempfile::TempDir;

fn fixed() -> Keyring {
    let mut vote = [0; 32];
    vote[31] = 42;
    Keyring {
        vote: VoteSecret::from_bytes(&vote).unwrap(),
        identity: IdentitySecret::from_bytes(&[2; 32]),
        session: SessionSecret::from_bytes(&[3; 32]),
    }
}

fn same(one: &Keyring, other: &Keyring) -> bool {
    one.encode() == other.encode()
}

fn saved() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("validator.key");
    fixed().save(&path).unwrap();
    (directory, path)
}

fn load_error(path: &Path) -> KeyFileError {
    Keyring::load(path).expect_err("it must be refused")
}

/// Writes `bytes` over a key file and keeps its mode.
fn rewrite(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_saved_keyring_loads_again() {
    let (directory, path) = saved();
    assert!(same(&Keyring::load(&path).unwrap(), &fixed()));
    let (one, other) = (Keyring::generate(), Keyring::generate());
    assert!(!same(&one, &other));
    let fresh = directory.path().join("fresh.key");
    one.save(&fresh).unwrap();
    assert!(same(&Keyring::load(&fresh).unwrap(), &one));
}

/// A committed key file: later versions must go on reading it.
#[test]
fn key_file_vector() {
    let secrets = "00".repeat(31) + "2a" + &"02".repeat(32) + &"03".repeat(32);
    let expected = hex(b"samara key file\n") + "0100000000000000" + &secrets + CHECKSUM;
    assert_eq!(hex(&*fixed().encode()), expected);
}

const CHECKSUM: &str = "78ae63cf829599cc82773873135bd2ff59f2f93ecccc8263b328a946ab5ff947";

#[test]
fn key_files_are_private_to_their_owner() {
    let (_directory, path) = saved();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn a_file_that_others_can_touch_is_refused_in_one_line_with_path_and_mode() {
    let (_directory, path) = saved();
    for mode in 0..0o1000 {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode | 0o400)).unwrap();
        match Keyring::load(&path) {
            Ok(_) => assert_eq!(mode & 0o077, 0, "mode {mode:o}"),
            Err(error @ KeyFileError::Exposed { .. }) => {
                assert_ne!(mode & 0o077, 0);
                let line = error.to_string();
                assert!(line.contains(path.to_str().unwrap()) && line.contains(&format!("{:04o}", mode | 0o400)), "{line}");
                assert!(line.contains("allowed is 0600") && !line.contains('\n'), "{line}");
            }
            Err(other) => panic!("mode {mode:o}: {other}"),
        }
    }
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let (_directory, path) = saved();
    let error = Keyring::generate().save(&path).unwrap_err();
    assert!(matches!(&error, KeyFileError::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists));
    assert!(error.to_string().contains(path.to_str().unwrap()));
    assert!(same(&Keyring::load(&path).unwrap(), &fixed()));
}

#[test]
fn missing_files_and_directories_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.key");
    assert!(matches!(load_error(&missing), KeyFileError::Io { .. }));
    assert!(load_error(&missing).to_string().contains("missing.key"));
    assert!(matches!(load_error(directory.path()), KeyFileError::NotAFile { .. }));
    assert!(fixed().save(&directory.path().join("no/such/directory.key")).is_err());
}

#[test]
fn every_damaged_byte_is_noticed() {
    let (_directory, path) = saved();
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut damaged = good.clone();
        damaged[at] ^= 0x10;
        rewrite(&path, &damaged);
        let error = load_error(&path);
        let expected = match at {
            0..16 => matches!(error, KeyFileError::Format { .. }),
            16 => matches!(error, KeyFileError::Version { found: 0x11, .. }),
            _ => matches!(error, KeyFileError::Checksum { .. }),
        };
        assert!(expected, "byte {at}: {error}");
    }
}

#[test]
fn files_of_another_length_are_refused() {
    let (_directory, path) = saved();
    let good = fs::read(&path).unwrap();
    for bytes in [&[][..], &good[..1], &good[..good.len() - 1], &[good.clone(), vec![0]].concat(), &vec![0; 1 << 20]] {
        rewrite(&path, bytes);
        assert!(matches!(load_error(&path), KeyFileError::Format { .. }));
    }
}

#[test]
fn a_key_that_is_none_is_refused_even_with_a_good_checksum() {
    let mut bytes = fixed().encode();
    bytes[HEADER_BYTES..][..32].fill(0);
    let sum = checksum(&bytes);
    bytes[CHECKED_BYTES..].copy_from_slice(&sum);
    assert!(matches!(Keyring::decode(&bytes, Path::new("x")), Err(KeyFileError::Format { .. })));
    let mut bytes = fixed().encode();
    bytes[20] = 1;
    let sum = checksum(&bytes);
    bytes[CHECKED_BYTES..].copy_from_slice(&sum);
    assert!(matches!(Keyring::decode(&bytes, Path::new("x")), Err(KeyFileError::Format { .. })), "reserved bytes are zero");
}

#[test]
fn secrets_are_not_printed() {
    let shown = format!("{:?}", fixed());
    assert_eq!(shown, "Keyring { vote: VoteSecret(..), identity: IdentitySecret(..), session: SessionSecret(..) }");
}
