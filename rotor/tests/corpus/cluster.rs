//! Six validators with fixed keys, so that an input means the same in every run, and the blocks their leaders make.

use samara_crypto::{IdentitySecret, Keyring, Roster, SessionSecret, VoteSecret};
use samara_erasure::CodeWord;
use samara_rotor::shredder::SignedSlice;
use samara_rotor::{Planner, Reassembly, ReassemblyConfig, RelayTable, ShreddedBlock, Shredder};
use samara_types::block::payload_digest;
use samara_types::{
    BlockHeader, ChainId, Digest, Epoch, Height, LeaderSchedule, Params, ShredIndex, SigningDomain, SliceIndex, Stake, ValidatorEntry,
    ValidatorIndex, ValidatorSet, View,
};
use std::sync::OnceLock;

/// Views with blocks: 1 to this.
pub const VIEWS: u64 = 4;
const BEACON: Digest = Digest([1; 32]);

/// A block as its leader signed it.
pub struct Signed {
    pub shredded: ShreddedBlock,
    /// Whether its code words are what their roots say.
    pub whole: bool,
}

impl Signed {
    pub fn view(&self) -> View {
        self.shredded.block.header().view
    }

    /// Shred `index` of slice `slice` as a message.
    pub fn shred(&self, slice: usize, index: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.shredded.slices[slice].write_shred(ShredIndex(index), &mut bytes);
        bytes
    }

    pub fn total(&self, slice: usize) -> u8 {
        self.shredded.slices[slice].commitment.shape.total
    }
}

pub struct Cluster {
    pub roster: Roster,
    pub schedule: LeaderSchedule,
    /// Two whole blocks and one malformed one of every view.
    pub blocks: Vec<Signed>,
}

/// The one cluster of this process.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::new)
}

impl Cluster {
    fn new() -> Cluster {
        let keys: Vec<Keyring> = (0..6).map(keyring).collect();
        let entries = keys.iter().map(|keys| ValidatorEntry {
            stake: Stake(1),
            vote_key: keys.vote.public_key(),
            possession: keys.vote.possession(),
            identity_key: keys.identity.public_key(),
            session_key: keys.session.public_key(),
        });
        let set = ValidatorSet::new(entries.collect(), None).expect("six equal members");
        let schedule = LeaderSchedule::new(&set, &Digest([9; 32]), Epoch(0));
        let domain = SigningDomain { chain: ChainId([5; 32]), epoch: Epoch(0) };
        let mut cluster = Cluster { roster: Roster::new(set, domain).expect("good keys"), schedule, blocks: Vec::new() };
        for view in (1..=VIEWS).map(View) {
            let secret = &keys[cluster.schedule.leader(view).at()].identity;
            // Direct, hybrid and relayed blocks (boundaries at 1 KiB and 64 KiB).
            let length = [600, 5_000, 70_000, 40_000][view.0 as usize % 4];
            for seed in [1, 2] {
                let shredded = cluster.shred(view, length, seed, secret);
                cluster.blocks.push(Signed { shredded, whole: true });
            }
            let malformed = cluster.malformed(view, secret);
            cluster.blocks.push(Signed { shredded: malformed, whole: false });
        }
        cluster
    }

    fn shred(&self, view: View, length: usize, seed: u8, secret: &IdentitySecret) -> ShreddedBlock {
        let payload: Vec<u8> = (0..length).map(|i| (i as u8).wrapping_mul(29) ^ (i >> 7) as u8 ^ seed).collect();
        let header = BlockHeader {
            view,
            parent_view: view.previous(),
            parent_digest: Digest([3; 32]),
            height: Height(view.0),
            timestamp_ns: seed.into(),
            payload_length: length as u32,
            leader: self.schedule.leader(view),
            payload_digest: payload_digest(&payload),
        };
        let planner = Planner::new(&Params::default(), self.roster.set());
        Shredder::new(planner, *self.roster.domain()).shred(header, payload, secret).expect("a plan for this size")
    }

    /// A block whose last parity chunk is not what the data chunks make it.
    fn malformed(&self, view: View, secret: &IdentitySecret) -> ShreddedBlock {
        let honest = self.shred(view, 3_000, 3, secret);
        let shape = honest.slices[0].commitment.shape;
        let mut bytes: Vec<u8> = (0..shape.total).flat_map(|index| *honest.slices[0].word.chunk(ShredIndex(index))).collect();
        *bytes.last_mut().expect("a chunk") ^= 1;
        let word = CodeWord::uncoded(shape, bytes);
        let slice = SignedSlice::sign(honest.block.header(), SliceIndex(0), true, word, secret, self.roster.domain());
        ShreddedBlock { slices: vec![slice], ..honest }
    }

    /// The reassembly of validator `me`, empty.
    pub fn node(&self, me: ValidatorIndex) -> Reassembly {
        let config = ReassemblyConfig::new(me, Params::default(), self.roster.set());
        Reassembly::new(config, self.roster.set(), self.schedule.clone(), BEACON)
    }

    /// Who may send shred `index` of this slice to `me`: the leader if the seat is its own, otherwise the seat's holder.
    pub fn sender(&self, table: &mut RelayTable, block: &Signed, slice: usize, index: u8, me: ValidatorIndex) -> ValidatorIndex {
        let header = block.shredded.block.header();
        let seats = table.seats(header.view, SliceIndex(slice as u16), header.leader, block.total(slice));
        let holder = seats.holder(ShredIndex(index)).expect("a seat for every shred");
        let direct = block.shredded.class == samara_rotor::Dissemination::Direct;
        if holder == me || direct { header.leader } else { holder }
    }

    pub fn table(&self) -> RelayTable {
        RelayTable::new(self.roster.set(), BEACON)
    }
}

fn keyring(index: u16) -> Keyring {
    let bytes = |what: &str| Digest::of("samara 2026 fuzzing keys", &[what.as_bytes(), &index.to_le_bytes()]).0;
    let mut vote = bytes("vote");
    vote[0] = 0; // below the group order
    Keyring {
        vote: VoteSecret::from_bytes(&vote).expect("a scalar"),
        identity: IdentitySecret::from_bytes(&bytes("identity")),
        session: SessionSecret::from_bytes(&bytes("session")),
    }
}
