//! Evidence as stored: one per (accused, offence, view), and no more than a bound per (accused, offence).

use super::{EVIDENCE_PER_OFFENCE_MAX, Offender};
use rkyv::{Archive, Deserialize, Serialize};
use samara_types::{Evidence, Offence, ValidatorIndex, View, message};
use std::collections::HashMap;

#[derive(Archive, Serialize, Deserialize)]
struct EvidenceRecord {
    accused: u16,
    offence: u8,
    view: u64,
    proof: Vec<u8>,
}

/// What it is kept under.
pub fn offender(evidence: &Evidence) -> Offender {
    (evidence.accused, evidence.offence as u8, evidence.view)
}

/// Big-endian, so that the order of keys is the order of offenders.
pub fn key((accused, offence, view): Offender) -> Vec<u8> {
    [&accused.0.to_be_bytes()[..], &[offence], &view.0.to_be_bytes()].concat()
}

/// Accused and offence of a key.
pub fn charge(key: &[u8]) -> Option<Charge> {
    Some((ValidatorIndex(u16::from_be_bytes(key.get(..2)?.try_into().ok()?)), *key.get(2)?))
}

/// Stored form.
pub fn encode(evidence: &Evidence) -> Vec<u8> {
    let (accused, offence, view) = offender(evidence);
    message::encode(&EvidenceRecord { accused: accused.0, offence, view: view.0, proof: evidence.proof.clone() }).into_vec()
}

/// From the stored form.
pub fn decode(bytes: &[u8]) -> Option<Evidence> {
    let record = message::access::<ArchivedEvidenceRecord>(bytes)?;
    Some(Evidence {
        accused: ValidatorIndex(record.accused.into()),
        offence: Offence::from_byte(record.offence)?,
        view: View(record.view.into()),
        proof: record.proof.to_vec(),
    })
}

/// Who is accused of what.
pub type Charge = (ValidatorIndex, /* offence */ u8);

/// How much is kept of each charge.
#[derive(Clone, Debug, Default)]
pub struct Ledger(HashMap<Charge, usize>);

impl Ledger {
    /// Counts one; false if the charge has reached the bound.
    pub fn admit(&mut self, charge: Charge) -> bool {
        let kept = self.0.entry(charge).or_default();
        let room = *kept < EVIDENCE_PER_OFFENCE_MAX;
        *kept += usize::from(room);
        room
    }
}
