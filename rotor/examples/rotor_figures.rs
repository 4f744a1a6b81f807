//! Time of Rotor's steps on one core: six equal validators, one block of 1 MiB.

use samara_crypto::{Keyring, Roster};
use samara_rotor::{Event, Planner, Reassembly, ReassemblyConfig, RelayTable, Shredder};
use samara_types::block::payload_digest;
use samara_types::{
    BlockHeader, ChainId, Digest, Epoch, Height, LeaderSchedule, Nanos, Params, ShredIndex, SigningDomain, SliceIndex, Stake,
    ValidatorEntry, ValidatorIndex, ValidatorSet, View,
};
use std::time::Instant;

const VALIDATORS: usize = 6;
const BEACON: Digest = Digest([1; 32]);

fn entry(keys: &Keyring) -> ValidatorEntry {
    ValidatorEntry {
        stake: Stake(1),
        vote_key: keys.vote.public_key(),
        possession: keys.vote.possession(),
        identity_key: keys.identity.public_key(),
        session_key: keys.session.public_key(),
    }
}

fn report(name: &str, start: Instant, count: usize) {
    println!("{name:<52} {:>10.2} us", start.elapsed().as_secs_f64() * 1e6 / count as f64);
}

fn main() {
    let keys: Vec<Keyring> = (0..VALIDATORS).map(|_| Keyring::generate()).collect();
    let set = ValidatorSet::new(keys.iter().map(entry).collect(), None).expect("a valid set");
    let domain = SigningDomain { chain: ChainId([5; 32]), epoch: Epoch(0) };
    let roster = Roster::new(set.clone(), domain).expect("good keys");
    let schedule = LeaderSchedule::new(&set, &Digest([9; 32]), Epoch(0));
    let (view, params) = (View(4), Params::default());
    let leader = schedule.leader(view);
    let me = ValidatorIndex((leader.0 + 1) % VALIDATORS as u16);

    let mut table = RelayTable::new(&set, BEACON);
    let start = Instant::now();
    for view in 0..2_000 {
        table.seats(View(view * 1_000), SliceIndex(0), leader, 65);
    }
    report("draw the 65 seats of a slice", start, 2_000);

    let payload: Vec<u8> = (0..1 << 20).map(|i: u32| (i * 7 + i / 999) as u8).collect();
    let header = BlockHeader {
        view,
        parent_view: View(3),
        parent_digest: Digest([3; 32]),
        height: Height(4),
        timestamp_ns: 0,
        payload_length: payload.len() as u32,
        leader,
        payload_digest: payload_digest(&payload),
    };
    let mut shredder = Shredder::new(Planner::new(&params, &set), domain);
    let start = Instant::now();
    let shredded = (0..20).map(|_| shredder.shred(header, payload.clone(), &keys[leader.at()].identity)).last().flatten().expect("a plan");
    report("shred and sign a block of 1 MiB", start, 20);

    let mut messages = Vec::new();
    for slice in &shredded.slices {
        let commitment = slice.commitment;
        let seats = table.seats(view, commitment.slice, leader, commitment.shape.total);
        for index in (0..commitment.shape.total).map(ShredIndex) {
            let holder = seats.holder(index).expect("a seat for every shred");
            let mut message = Vec::new();
            slice.write_shred(index, &mut message);
            messages.push((if holder == me { leader } else { holder }, index, message));
        }
    }
    let admit = |name: &str, wanted: &dyn Fn(ShredIndex) -> bool| {
        let config = ReassemblyConfig::new(me, params, &set);
        let mut node = Reassembly::new(config, &set, schedule.clone(), BEACON);
        let chosen: Vec<_> = messages.iter().filter(|(_, index, _)| wanted(*index)).collect();
        let start = Instant::now();
        for (from, _, message) in &chosen {
            let _ = node.on_shred(Nanos(0), &roster, *from, false, message);
        }
        report(name, start, chosen.len());
        let whole = std::iter::from_fn(|| node.poll_event()).any(|event| matches!(event, Event::Block(..)));
        println!("    {} shreds, block whole: {whole}", chosen.len());
        let start = Instant::now();
        for (from, _, message) in &chosen {
            let _ = node.on_shred(Nanos(0), &roster, *from, false, message);
        }
        report("    each again", start, chosen.len());
    };
    admit("first shred of a slice (signature)", &|index| index.0 == 0);
    admit("each of 31 shreds of a slice (one signature)", &|index| (10..41).contains(&index.0));
    admit("each of 65, data complete, to the whole block", &|_| true);
    admit("each of 65, half the data lost, to the whole block", &|index| index.0 >= 16 || index.0 < 4);
}
