//! A message as it came out of its datagram: what a reactor hands to a machine, many at a time.

use crate::message::MessageKind;
use crate::numbers::ValidatorIndex;

/// A message of an authenticated peer, admitted by its class. Its bytes lie in packet memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// Whose session it came over.
    pub from: ValidatorIndex,
    /// What it claims to be.
    pub kind: MessageKind,
    /// The message.
    pub bytes: &'a [u8],
}
