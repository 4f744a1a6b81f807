//! Sessions by index: an index is random, its low bits are the slot, so a look-up is one compare and guesses hit nothing.

use samara_types::ValidatorIndex;
use snow::HandshakeState;

use super::rng::Rng;
use super::transport::Transport;

/// What an index stands for.
pub enum State {
    /// A handshake we initiated.
    Dialing(Box<HandshakeState>),
    /// An established session.
    Live(Box<Transport>),
}

/// One slot in use.
pub struct Entry {
    index: u32,
    /// Whose session it is.
    pub peer: ValidatorIndex,
    /// What stands here.
    pub state: State,
}

/// A fixed number of slots.
pub struct Table {
    slots: Vec<Option<Entry>>,
    mask: u32,
}

impl Table {
    /// Room for `entries` at a load of one half at most.
    pub fn new(entries: usize) -> Table {
        let slots = (entries * 2).next_power_of_two();
        let mask = u32::try_from(slots - 1).expect("a set has at most 65,536 validators");
        Table { slots: (0..slots).map(|_| None).collect(), mask }
    }

    /// A random index whose slot is free. Half of the slots are free, since each peer holds a bounded number.
    pub fn free_index(&self, rng: &mut Rng) -> u32 {
        loop {
            let index = rng.next_u32();
            if index != 0 && self.slots[self.slot(index)].is_none() {
                return index;
            }
        }
    }

    /// Fills the free slot of `index`.
    pub fn insert(&mut self, index: u32, peer: ValidatorIndex, state: State) {
        let slot = self.slot(index);
        assert!(self.slots[slot].is_none(), "the index came from free_index");
        self.slots[slot] = Some(Entry { index, peer, state });
    }

    /// The entry of `index`.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut Entry> {
        let slot = self.slot(index);
        self.slots[slot].as_mut().filter(|entry| entry.index == index)
    }

    /// The established session of `index`.
    pub fn live(&self, index: u32) -> Option<&Transport> {
        match &self.slots[self.slot(index)] {
            Some(Entry { index: found, state: State::Live(transport), .. }) if *found == index => Some(transport),
            _ => None,
        }
    }

    /// The established session of `index`.
    pub fn live_mut(&mut self, index: u32) -> Option<&mut Transport> {
        match self.get_mut(index) {
            Some(Entry { state: State::Live(transport), .. }) => Some(transport),
            _ => None,
        }
    }

    /// Frees a slot.
    pub fn remove(&mut self, index: u32) {
        let slot = self.slot(index);
        if self.slots[slot].as_ref().is_some_and(|entry| entry.index == index) {
            self.slots[slot] = None;
        }
    }

    /// Slots in use.
    #[cfg(test)]
    pub fn used(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    fn slot(&self, index: u32) -> usize {
        (index & self.mask) as usize
    }
}
