//! Whether a vote log is the newest this validator ever wrote. An older one (a backup, a copy) does not know what was signed since, and who
//! signs by it signs twice.
//!
//! ```text
//! DIR/metrics.json      the view of the newest durable record, as of the last second       a log that ends below it is an old one
//! DATA/votes/place      says which file it is itself: inode and birth                       a copy of it says another's
//! DATA/votes.doubted    the last record of a log that was doubted                          counts until there is a newer one
//! DATA/votes.blind      the view of the first record after a doubt                         what was signed below is not all known, for ever
//! ```
//! A log in doubt is kept, and its validator behaves as one that lost its log: it listens, and signs nothing in views it may have signed in. So a
//! doubt without reason (a validator that moved to another host with its newest log) costs seconds on a running cluster. Where more than the fault
//! bound moved at once nobody would sign: whoever knows that the logs are the newest removes `place` and `votes.doubted` before the start.
//!
//! Not seen: what leaves the file system as it was at an earlier moment (a snapshot of a disk or of a virtual machine that is rolled back).

use crate::bridge::NodeSnapshot;
use crate::config::Layout;
use crate::exit::Exit;
use samara_types::{Record, View};
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// What is known of a log besides its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Why it is not trusted, if so.
    pub doubt: Option<Doubt>,
    /// It was in doubt before, and does not know all that was signed below this view; genesis if it does.
    pub blind_below: View,
}

/// The witness beside the log's segments.
pub const PLACE: &str = "place";

/// Why a log is not trusted to be the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It was copied, perhaps from a backup.
    Copied,
    /// It ends below what this directory knows was signed.
    Older,
    /// It was doubted at an earlier start, and nothing was signed since.
    StillDoubted,
}

/// The witness of a vote log.
pub fn place_of(votes: &Path) -> PathBuf {
    votes.join(PLACE)
}

/// Where a doubt is remembered over restarts.
pub fn doubted_of(votes: &Path) -> PathBuf {
    votes.with_extension("doubted")
}

/// Where it is remembered up to which view a log does not know all.
fn blind_of(votes: &Path) -> PathBuf {
    votes.with_extension("blind")
}

/// Judges a log that was just opened, with its records, and remembers the judgement.
pub fn judge(layout: &Layout, records: &[Record]) -> Result<Judgement, Exit> {
    let failed = |error: io::Error| Exit::failed(format!("{}: {error}", layout.votes.display()));
    judge_files(layout, records).map_err(failed)
}

fn judge_files(layout: &Layout, records: &[Record]) -> io::Result<Judgement> {
    let (place, doubted, blind) = (place_of(&layout.votes), doubted_of(&layout.votes), blind_of(&layout.votes));
    let blind_below = read_view(&blind)?;
    let last = format!("{:?}", records.last());
    let fresh = if !is_itself(&place)? {
        Some(Doubt::Copied)
    } else if signed_view(layout) > records.iter().map(|record| record.view().0).max().unwrap_or(0) {
        Some(Doubt::Older)
    } else {
        None
    };
    if fresh.is_some() {
        // First the doubt, then the witness: a crash between the two doubts once more.
        write_durably(&doubted, &last)?;
    }
    if fresh == Some(Doubt::Copied) || !place.exists() {
        let _ = fs::remove_file(&place);
        File::create(&place)?;
        let itself = itself(&fs::metadata(&place)?);
        fs::write(&place, itself)?;
        File::open(&place)?.sync_all()?;
        File::open(&layout.votes)?.sync_all()?;
    }
    if fresh.is_some() {
        return Ok(Judgement { doubt: fresh, blind_below });
    }
    let text = match fs::read_to_string(&doubted) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Judgement { doubt: None, blind_below }),
        Err(error) => return Err(error),
    };
    let Some(gap_end) = first_view_after(records, &text) else { return Ok(Judgement { doubt: Some(Doubt::StillDoubted), blind_below }) };
    // First where the gap ends, then that there is no doubt: a crash between the two finds the same end once more, or a later one.
    let blind_below = blind_below.max(gap_end);
    write_durably(&blind, &format!("{}\n", blind_below.0))?;
    fs::remove_file(&doubted)?;
    Ok(Judgement { doubt: None, blind_below })
}

/// The lowest view signed since the doubted record; all that is still there if that one was forgotten. None if nothing was.
fn first_view_after(records: &[Record], doubted: &str) -> Option<View> {
    let since = records.iter().rposition(|record| format!("{:?}", Some(record)) == doubted).map_or(0, |at| at + 1);
    records[since..].iter().map(Record::view).min()
}

/// The view in a file; genesis if there is none.
fn read_view(path: &Path) -> io::Result<View> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let bad = |_| io::Error::new(io::ErrorKind::InvalidData, format!("{} holds no view", path.display()));
            text.trim().parse().map(View).map_err(bad)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(View::GENESIS),
        Err(error) => Err(error),
    }
}

/// True when a witness names itself, and when there is none.
pub fn is_itself(place: &Path) -> io::Result<bool> {
    match (fs::read_to_string(place), fs::metadata(place)) {
        // Empty: a crash came between making and filling it.
        (Ok(text), Ok(meta)) => Ok(text.is_empty() || text == itself(&meta)),
        (Err(error), _) | (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// A chain whose validators were all copied together, which only who owns all of them does: its logs are the newest there are. One copied log
/// among others stays in doubt.
pub fn trust_all_or_none<'a>(votes: impl IntoIterator<Item = &'a Path>) -> io::Result<()> {
    let places: Vec<PathBuf> = votes.into_iter().map(place_of).collect();
    for place in &places {
        if !place.exists() || is_itself(place)? {
            return Ok(());
        }
    }
    places.iter().try_for_each(fs::remove_file)
}

/// What tells a file from its copies: its number on the file system, and when it was made where that is known.
fn itself(meta: &Metadata) -> String {
    let born_ns = meta.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok()).map_or(0, |since| since.as_nanos());
    format!("inode {} born {born_ns}\n", meta.ino())
}

/// The newest view with a durable record, as the last process in this directory published it; 0 if it did not.
fn signed_view(layout: &Layout) -> u64 {
    let text = fs::read(&layout.metrics).unwrap_or_default();
    serde_json::from_slice::<NodeSnapshot>(&text).map_or(0, |node| node.signed_view)
}

fn write_durably(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use samara_types::Digest;

    struct Validator {
        dir: tempfile::TempDir,
        layout: Layout,
    }

    fn validator() -> Validator {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(&dir.path().join("data"));
        fs::create_dir_all(&layout.votes).unwrap();
        Validator { dir, layout }
    }

    impl Validator {
        fn judge(&self, views: &[u64]) -> Option<Doubt> {
            self.judgement(views).doubt
        }

        fn blind_below(&self, views: &[u64]) -> u64 {
            self.judgement(views).blind_below.0
        }

        fn judgement(&self, views: &[u64]) -> Judgement {
            let records: Vec<Record> = views.iter().map(|view| Record::Vote(View(*view), Digest::ZERO)).collect();
            judge(&self.layout, &records).unwrap()
        }

        fn publish(&self, signed_view: u64) {
            let node = NodeSnapshot { signed_view, ..NodeSnapshot::default() };
            fs::write(&self.layout.metrics, serde_json::to_vec(&node).unwrap()).unwrap();
        }

        /// As `cp -a`: other files with the same content.
        fn copy(&self) {
            let place = place_of(&self.layout.votes);
            let text = fs::read(&place).unwrap();
            fs::rename(&place, self.dir.path().join("backup")).unwrap();
            fs::write(&place, text).unwrap();
        }
    }

    #[test]
    fn a_log_where_it_was_written_is_not_doubted_however_often_it_is_opened() {
        let validator = validator();
        assert_eq!(validator.judge(&[]), None);
        validator.publish(9);
        for _ in 0..3 {
            assert_eq!(validator.judge(&[7, 8, 9]), None);
        }
        // Moved within its file system it is the same file.
        fs::rename(&validator.layout.votes, validator.dir.path().join("aside")).unwrap();
        fs::rename(validator.dir.path().join("aside"), &validator.layout.votes).unwrap();
        assert_eq!(validator.judge(&[7, 8, 9]), None);
    }

    #[test]
    fn a_copy_is_doubted_over_restarts_until_something_newer_was_signed() {
        let validator = validator();
        validator.judge(&[7]);
        validator.copy();
        assert_eq!(validator.judge(&[7]), Some(Doubt::Copied));
        assert_eq!(validator.judge(&[7]), Some(Doubt::StillDoubted));
        assert_eq!(validator.judge(&[7, 90]), None);
        assert_eq!(validator.judge(&[7, 90]), None);
        assert!(!doubted_of(&validator.layout.votes).exists());
    }

    #[test]
    fn a_copy_of_a_log_from_before_the_first_signature_is_doubted() {
        let validator = validator();
        validator.judge(&[]);
        validator.copy();
        assert_eq!((validator.judge(&[]), validator.judge(&[])), (Some(Doubt::Copied), Some(Doubt::StillDoubted)));
    }

    #[test]
    fn a_log_that_was_doubted_is_blind_below_what_was_signed_next_for_good() {
        let validator = validator();
        validator.publish(8);
        assert_eq!(validator.judgement(&[6, 7]), Judgement { doubt: Some(Doubt::Older), blind_below: View::GENESIS });
        // A vote in a view before the newest one may come later than the newest one's.
        for views in [&[6, 7, 91, 90, 92][..], &[6, 7, 91, 90, 92, 93], &[92, 93]] {
            assert_eq!(validator.judgement(views), Judgement { doubt: None, blind_below: View(90) });
        }
        validator.copy();
        assert_eq!(validator.judgement(&[92, 93]), Judgement { doubt: Some(Doubt::Copied), blind_below: View(90) });
        // What was doubted may be forgotten by the time of the next start.
        assert_eq!((validator.blind_below(&[140, 141]), validator.blind_below(&[150])), (140, 140));
    }

    #[test]
    fn a_log_that_was_doubted_and_then_lost_says_nothing() {
        let validator = validator();
        validator.judge(&[7]);
        validator.copy();
        assert_eq!(validator.judge(&[7]), Some(Doubt::Copied));
        assert_eq!(validator.judge(&[]), Some(Doubt::StillDoubted));
        assert_eq!(validator.judgement(&[30]), Judgement { doubt: None, blind_below: View(30) });
    }

    #[test]
    fn a_damaged_note_of_what_is_not_known_stops_the_start() {
        let validator = validator();
        fs::write(blind_of(&validator.layout.votes), "?").unwrap();
        assert!(judge(&validator.layout, &[]).is_err());
    }

    #[test]
    fn a_log_that_ends_below_what_was_published_is_doubted() {
        let validator = validator();
        validator.judge(&[7]);
        validator.publish(8);
        assert_eq!(validator.judge(&[6, 7]), Some(Doubt::Older));
        // What is published from here on is of the old log.
        validator.publish(7);
        assert_eq!(validator.judge(&[6, 7]), Some(Doubt::StillDoubted));
    }

    #[test]
    fn who_knows_that_it_is_the_newest_says_so_by_removing_the_witness() {
        let validator = validator();
        validator.judge(&[7]);
        validator.copy();
        fs::remove_file(place_of(&validator.layout.votes)).unwrap();
        assert_eq!(validator.judge(&[7]), None);
    }

    #[test]
    fn a_cluster_that_was_copied_as_a_whole_is_trusted_and_a_single_copy_is_not() {
        let (one, other) = (validator(), validator());
        let trust = || trust_all_or_none([one.layout.votes.as_path(), other.layout.votes.as_path()]).unwrap();
        assert_eq!((one.judge(&[7]), other.judge(&[7])), (None, None));
        one.copy();
        trust();
        assert_eq!((one.judge(&[7]), other.judge(&[7])), (Some(Doubt::Copied), None));
        assert_eq!(one.judge(&[7, 8]), None);
        one.copy();
        other.copy();
        trust();
        assert_eq!((one.judge(&[7, 8]), other.judge(&[7])), (None, None));
    }

    #[test]
    fn a_crash_between_making_and_filling_the_witness_is_no_copy() {
        let validator = validator();
        fs::write(place_of(&validator.layout.votes), "").unwrap();
        assert_eq!(validator.judge(&[7]), None);
    }
}
