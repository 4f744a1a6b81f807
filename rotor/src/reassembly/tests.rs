//! A node is driven by hand: each test says who sends what to it and looks at what comes out.

mod admission;
mod burst;
mod cluster;
mod equivocation;
mod limits;
mod malformed;
mod repair;

use super::*;
use crate::seats::Seats;
use crate::shredder::{ShreddedBlock, SignedSlice};
use crate::testing::{BEACON, Cluster};
use samara_types::{ShredIndex, SignerBitmap};

const VIEW: View = View(4);
const NOW: Nanos = Nanos(1_000_000_000);

/// Some validator that does not lead `VIEW`, by its number among those.
fn receiver(cluster: &Cluster, number: u16) -> u16 {
    (0..6).filter(|&me| ValidatorIndex(me) != cluster.schedule.leader(VIEW)).nth(number.into()).unwrap()
}

fn message(slice: &SignedSlice, index: ShredIndex) -> Vec<u8> {
    let mut bytes = Vec::new();
    slice.write_shred(index, &mut bytes);
    bytes
}

fn seats(cluster: &Cluster, slice: &SignedSlice) -> Seats {
    let commitment = slice.commitment;
    let leader = cluster.schedule.leader(commitment.view);
    RelayTable::new(cluster.roster.set(), BEACON).seats(commitment.view, commitment.slice, leader, commitment.shape.total)
}

/// Who legitimately sends shred `index` of `slice` to `me`: the leader for an own seat, else the holder.
fn sender(cluster: &Cluster, slice: &SignedSlice, index: ShredIndex, me: u16) -> ValidatorIndex {
    let leader = cluster.schedule.leader(slice.commitment.view);
    let direct = cluster.planner().admits(slice.commitment.slice, slice.commitment.last, &slice.commitment.shape) == Some(true);
    let holder = seats(cluster, slice).holder(index).unwrap();
    if direct || holder == ValidatorIndex(me) { leader } else { holder }
}

/// Gives `me` one shred as it would arrive.
fn give(cluster: &Cluster, node: &mut Reassembly, me: u16, slice: &SignedSlice, index: u8) -> Result<ShredAccepted, ShredReject> {
    let index = ShredIndex(index);
    node.on_shred(NOW, &cluster.roster, sender(cluster, slice, index, me), false, &message(slice, index))
}

/// Gives `me` shreds `indexes` of every slice.
fn give_all(cluster: &Cluster, node: &mut Reassembly, me: u16, shredded: &ShreddedBlock, indexes: impl Iterator<Item = u8> + Clone) {
    for slice in &shredded.slices {
        for index in indexes.clone().take_while(|index| *index < slice.commitment.shape.total) {
            let _ = give(cluster, node, me, slice, index);
        }
    }
}

fn events(node: &mut Reassembly) -> Vec<Event> {
    std::iter::from_fn(|| node.poll_event()).collect()
}

fn blocks(node: &mut Reassembly) -> Vec<(Digest, Origin)> {
    let of_block = |event| if let Event::Block(block, origin) = event { Some((block.digest(), origin)) } else { None };
    events(node).into_iter().filter_map(of_block).collect()
}

/// Recomputes the charge of everything from what is really there.
fn assert_charge_is_true(node: &mut Reassembly) {
    let before = node.bytes_held();
    let views: Vec<View> = node.views.keys().copied().collect();
    views.into_iter().for_each(|view| node.recharge(view));
    assert_eq!(node.bytes_held(), before);
    assert_eq!(node.views.values().map(ViewState::charged).sum::<usize>(), before);
}
