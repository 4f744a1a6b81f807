//! Every datagram has exactly one end.

use super::{Checker, Court, Promise, Said};
use crate::trace::{Event, What};

/// See the module.
pub struct Conservation;

impl Checker for Conservation {
    fn observe(&mut self, event: &Event, _: Option<&Said>, court: &mut Court) {
        let What::Traffic(t) = &event.what else { return };
        let made = t.sent + t.duplicated;
        let ended = t.delivered + t.lost + t.cut + t.outbox_full + t.overrun + t.reset + t.nobody + t.oversize + t.in_flight;
        if made != ended {
            court.accuse(Promise::Conservation, format!("{made} datagrams were made, {ended} are accounted for: {t:?}"));
        }
    }
}
