//! What the core tells the service reactor: in order and without loss, until it has told it to stop.

use crate::bridge::ToService;
use samara_dataplane::ring::{PushError, Sender};
use std::collections::VecDeque;

/// The service reactor is gone and was not told to.
#[derive(Debug, PartialEq, Eq)]
pub struct Gone;

/// The ring to the service reactor. What it has no room for waits here: answers are bounded by the door, blocks by the core.
pub struct Errands {
    ring: Sender<ToService>,
    backlog: VecDeque<ToService>,
    /// `Stop` is the last that is read. The service reactor then ends in its own time, and that its ring closes is no failure any more.
    stopped: bool,
}

impl Errands {
    pub fn new(ring: Sender<ToService>) -> Errands {
        Errands { ring, backlog: VecDeque::new(), stopped: false }
    }

    /// After a `Stop` nobody reads: what is told then is lost with the ring, as it would be had the process ended at the `Stop`.
    pub fn tell(&mut self, item: ToService) -> Result<(), Gone> {
        if self.stopped {
            return Ok(());
        }
        self.stopped = matches!(item, ToService::Stop);
        self.backlog.push_back(item);
        self.push()
    }

    /// Once more what had no room.
    pub fn push(&mut self) -> Result<(), Gone> {
        while let Some(item) = self.backlog.pop_front() {
            match self.ring.push(item) {
                Ok(()) => {}
                Err(PushError::Full(item)) => {
                    self.backlog.push_front(item);
                    break;
                }
                Err(PushError::Closed(_)) => {
                    self.backlog.clear();
                    return if self.stopped { Ok(()) } else { Err(Gone) };
                }
            }
        }
        Ok(())
    }

    /// Slots for what may be shed; none while anything waits.
    pub fn room(&self) -> usize {
        if self.backlog.is_empty() { self.ring.free() } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use samara_dataplane::ring::{Receiver, ring};
    use samara_types::Height;

    fn sync(height: u64) -> ToService {
        ToService::Sync { from_height: Height(height), peers: Vec::new() }
    }

    fn heights(receiver: &mut Receiver<ToService>) -> Vec<u64> {
        let item = |item| if let ToService::Sync { from_height, .. } = item { from_height.0 } else { u64::MAX };
        std::iter::from_fn(|| receiver.pop().map(item)).collect()
    }

    #[test]
    fn what_has_no_room_waits_in_order() {
        let (sender, mut receiver) = ring(2).unwrap();
        let mut errands = Errands::new(sender);
        (0..5).for_each(|height| errands.tell(sync(height)).unwrap());
        assert_eq!((heights(&mut receiver), errands.room()), (vec![0, 1], 0));
        errands.push().unwrap();
        errands.tell(ToService::Stop).unwrap();
        assert_eq!(heights(&mut receiver), [2, 3]);
        errands.push().unwrap();
        assert_eq!(heights(&mut receiver), [4, u64::MAX]);
    }

    #[test]
    fn a_service_reactor_that_ended_when_it_was_told_to_is_no_failure() {
        let (sender, mut receiver) = ring(2).unwrap();
        let mut errands = Errands::new(sender);
        errands.tell(ToService::Stop).unwrap();
        errands.tell(sync(1)).unwrap();
        assert_eq!(heights(&mut receiver), [u64::MAX], "nobody reads what comes after a stop");
        drop(receiver);
        assert_eq!((errands.tell(sync(2)), errands.push()), (Ok(()), Ok(())));
    }

    #[test]
    fn a_service_reactor_that_is_gone_unasked_is_a_failure() {
        let (sender, receiver) = ring(2).unwrap();
        let mut errands = Errands::new(sender);
        drop(receiver);
        assert_eq!(errands.tell(sync(1)), Err(Gone));
    }

    #[test]
    fn one_that_dies_before_the_stop_had_room_is_not_mourned_for_ever() {
        let (sender, receiver) = ring(1).unwrap();
        let mut errands = Errands::new(sender);
        errands.tell(sync(1)).unwrap();
        errands.tell(ToService::Stop).unwrap();
        drop(receiver);
        assert_eq!((errands.push(), errands.push()), (Ok(()), Ok(())));
        assert!(errands.backlog.is_empty());
    }
}
