//! Clusters with fixed keys for the tests of this crate.

use crate::{Certificate, IdentitySecret, Keyring, Roster, SessionSecret, ViewBook, VoteSecret};
use samara_types::message::{self, ArchivedCertificate, CertificateKind};
use samara_types::{ChainId, Digest, Epoch, SigningDomain, Stake, Subject, ValidatorEntry, ValidatorIndex, ValidatorSet, View};

pub const DOMAIN: SigningDomain = SigningDomain { chain: ChainId([0xc4; 32]), epoch: Epoch(0) };
pub const VIEW: View = View(7);
pub const NULLIFY: Subject = Subject::Nullify(VIEW);

/// A vote of [`VIEW`] for the block with digest `[byte; 32]`.
pub fn vote(byte: u8) -> Subject {
    Subject::Vote(VIEW, Digest([byte; 32]))
}

/// The keys of member `index`; `Digest::of` spreads them, the cleared top byte keeps the BLS key below r.
pub fn keyring(index: u16) -> Keyring {
    let bytes = |what: &str| Digest::of("samara 2026 test keys", &[what.as_bytes(), &index.to_le_bytes()]).0;
    let mut vote = bytes("vote");
    vote[0] = 0;
    Keyring {
        vote: VoteSecret::from_bytes(&vote).unwrap(),
        identity: IdentitySecret::from_bytes(&bytes("identity")),
        session: SessionSecret::from_bytes(&bytes("session")),
    }
}

pub fn entry(keys: &Keyring, stake: u64) -> ValidatorEntry {
    ValidatorEntry {
        stake: Stake(stake),
        vote_key: keys.vote.public_key(),
        possession: keys.vote.possession(),
        identity_key: keys.identity.public_key(),
        session_key: keys.session.public_key(),
    }
}

/// A roster and the keys behind it.
pub struct Cluster {
    pub roster: Roster,
    pub keys: Vec<Keyring>,
}

impl Cluster {
    pub fn of(stakes: &[u64]) -> Cluster {
        let keys: Vec<_> = (0..stakes.len() as u16).map(keyring).collect();
        let entries = keys.iter().zip(stakes).map(|(keys, &stake)| entry(keys, stake)).collect();
        Cluster { roster: Roster::new(ValidatorSet::new(entries, None).unwrap(), DOMAIN).unwrap(), keys }
    }

    pub fn equal(validators: usize) -> Cluster {
        Cluster::of(&vec![1; validators])
    }

    pub fn sign(&self, index: u16, subject: &Subject) -> [u8; 96] {
        self.keys[usize::from(index)].vote.sign(&DOMAIN, subject)
    }

    pub fn book(&self) -> ViewBook {
        ViewBook::new(VIEW, self.keys.len())
    }

    /// A book in which `signers` said `subject`, all with good signatures.
    pub fn signed(&self, subject: &Subject, signers: impl IntoIterator<Item = u16>) -> ViewBook {
        let mut book = self.book();
        for signer in signers {
            book.add(*subject, ValidatorIndex(signer), self.sign(signer, subject));
        }
        book
    }

    pub fn certificate(&self, subject: &Subject, kind: CertificateKind, signers: impl IntoIterator<Item = u16>) -> Certificate {
        let mut book = self.signed(subject, signers);
        book.settle(&self.roster, subject);
        book.certificate(&self.roster, subject, kind).unwrap()
    }

    /// Over the wire and through the checks of another validator.
    pub fn verify(&self, message: &message::Certificate) -> Result<Certificate, crate::CertificateReject> {
        let bytes = message::encode(message);
        self.roster.verify_certificate(message::access::<ArchivedCertificate>(&bytes).unwrap())
    }
}
