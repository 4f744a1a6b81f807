//! Bytes as a certificate: what is taken names a subject and signers who all signed it, with the weight that its kind demands.

use crate::reader::Reader;
use samara_crypto::{Certificate, IdentitySecret, KeySum, Roster, ViewBook, VoteSecret};
use samara_types::message::{self, ArchivedCertificate, CertificateKind};
use samara_types::{ChainId, Digest, Epoch, SigningDomain, Stake, Subject, ValidatorEntry, ValidatorIndex, ValidatorSet, View};
use std::sync::OnceLock;

const STAKES: [u64; 6] = [3, 3, 3, 4, 4, 4];
const DOMAIN: SigningDomain = SigningDomain { chain: ChainId([5; 32]), epoch: Epoch(0) };

struct World {
    roster: Roster,
    /// Certificates that exist: what was said, by whom.
    certificates: Vec<Certificate>,
}

/// S = 21, f = 4, M = 9, L = 17.
fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let keys: Vec<VoteSecret> = (0..6).map(secret).collect();
        let entry = |(at, key): (usize, &VoteSecret)| ValidatorEntry {
            stake: Stake(STAKES[at]),
            vote_key: key.public_key(),
            possession: key.possession(),
            identity_key: IdentitySecret::from_bytes(&[at as u8 + 1; 32]).public_key(),
            session_key: [at as u8 + 1; 32],
        };
        let set = ValidatorSet::new(keys.iter().enumerate().map(entry).collect(), None).expect("a valid set");
        let roster = Roster::new(set, DOMAIN).expect("good keys");
        let vote = Subject::Vote(View(7), Digest([1; 32]));
        let other = Subject::Vote(View(7), Digest([2; 32]));
        let certificates = vec![
            certificate(&roster, &keys, vote, CertificateKind::M, 0..4),
            certificate(&roster, &keys, vote, CertificateKind::L, 0..6),
            certificate(&roster, &keys, other, CertificateKind::M, 2..6),
            certificate(&roster, &keys, Subject::Nullify(View(7)), CertificateKind::Nullification, 1..5),
        ];
        World { roster, certificates }
    })
}

fn secret(index: u16) -> VoteSecret {
    let mut bytes = Digest::of("samara 2026 fuzzing keys", &[b"certificate", &index.to_le_bytes()]).0;
    bytes[0] = 0; // below the group order
    VoteSecret::from_bytes(&bytes).expect("a scalar")
}

fn certificate(
    roster: &Roster,
    keys: &[VoteSecret],
    subject: Subject,
    kind: CertificateKind,
    signers: std::ops::Range<u16>,
) -> Certificate {
    let mut book = ViewBook::new(subject.view(), keys.len());
    for signer in signers {
        book.add(subject, ValidatorIndex(signer), keys[usize::from(signer)].sign(&DOMAIN, &subject));
    }
    book.settle(roster, &subject);
    book.certificate(roster, &subject, kind).expect("enough weight")
}

/// First byte odd: the rest is the message. Even: a true certificate, patched.
pub fn run(input: &[u8]) {
    let world = world();
    let mut reader = Reader::new(input);
    let mut bytes = if reader.byte() & 1 == 1 {
        reader.rest().to_vec()
    } else {
        let mut bytes = message::encode(&reader.one_of(&world.certificates).to_message()).to_vec();
        reader.patch(&mut bytes);
        bytes
    };
    bytes.truncate(message::MessageKind::Certificate.bytes_max());
    let Some(archived) = message::access::<ArchivedCertificate>(&bytes) else { return };
    let alone = world.roster.verify_certificate(archived);
    let in_a_run = world.roster.verify_certificates(&mut KeySum::default(), &[archived, archived]);
    assert_eq!(in_a_run, alone.clone().ok().map(|taken| vec![taken.clone(), taken]), "a run judges like one by one");
    let Ok(taken) = alone else { return };
    // Every signature in this world stands in one of the certificates; nobody else signed anything.
    let signed = |signer: ValidatorIndex| {
        world.certificates.iter().any(|known| known.subject() == taken.subject() && known.signers().contains(signer))
    };
    assert!(taken.signers().iter().all(signed), "a signer who did not sign");
    let weight: u64 = taken.signers().iter().map(|signer| STAKES[signer.at()]).sum();
    let demanded = if taken.kind() == CertificateKind::L { 17 } else { 9 };
    assert!(weight >= demanded, "{weight} of {demanded}");
}
