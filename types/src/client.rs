//! What clients and the client door say to each other over TCP.
//!
//! Frames: length u32 little-endian (of what follows), request id u64 little-endian, kind u8, body. One answer `Accepted` or
//! `Rejected` for each submission, and after an `Accepted` exactly one `Finalized` once block and L-notarization are durable, or
//! `Rejected(Dropped)` if this validator gave the transaction up. Ids are the client's own and are echoed.

use crate::transaction::TRANSACTION_BYTES_MAX;

/// Largest frame body (after the length).
pub const FRAME_BYTES_MAX: usize = 9 + TRANSACTION_BYTES_MAX;

/// Why a transaction was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RejectReason {
    /// Not a transaction.
    Malformed = 1,
    /// The signature does not verify.
    BadSignature = 2,
    /// The mempool is full: slow down and try again.
    MempoolFull = 3,
    /// Too many unanswered requests on this connection: slow down and try again.
    TooManyInFlight = 4,
    /// Accepted before but given up (shutdown, overload); submit again.
    Dropped = 5,
    /// The validator is not ready (recovering or stopping); try again.
    Unavailable = 6,
}

impl RejectReason {
    /// All reasons.
    pub const ALL: [RejectReason; 6] =
        [Self::Malformed, Self::BadSignature, Self::MempoolFull, Self::TooManyInFlight, Self::Dropped, Self::Unavailable];

    /// Label in logs, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::BadSignature => "bad_signature",
            Self::MempoolFull => "mempool_full",
            Self::TooManyInFlight => "too_many_in_flight",
            Self::Dropped => "dropped",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Take this transaction (kind 1).
    Submit(&'a [u8]),
    /// Where do you stand? (kind 2)
    Status,
}

/// What the door answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// In the mempool (kind 1).
    Accepted,
    /// Refused (kind 2, reason u8).
    Rejected(RejectReason),
    /// Final and durable at this height and position (kind 3, height u64, index u32).
    Finalized {
        /// Height of the block.
        height: u64,
        /// Position in the block.
        index: u32,
    },
    /// Standing of the validator (kind 4: view, finalized height, both u64).
    Status {
        /// Current view.
        view: u64,
        /// Height of the last durable block.
        height: u64,
    },
}

/// Appends a request frame.
pub fn write_request(out: &mut Vec<u8>, id: u64, request: &Request<'_>) {
    match request {
        Request::Submit(transaction) => frame(out, id, 1, &[transaction]),
        Request::Status => frame(out, id, 2, &[]),
    }
}

/// Appends a response frame.
pub fn write_response(out: &mut Vec<u8>, id: u64, response: &Response) {
    match response {
        Response::Accepted => frame(out, id, 1, &[]),
        Response::Rejected(reason) => frame(out, id, 2, &[&[*reason as u8]]),
        Response::Finalized { height, index } => frame(out, id, 3, &[&height.to_le_bytes(), &index.to_le_bytes()]),
        Response::Status { view, height } => frame(out, id, 4, &[&view.to_le_bytes(), &height.to_le_bytes()]),
    }
}

fn frame(out: &mut Vec<u8>, id: u64, kind: u8, body: &[&[u8]]) {
    let length = 9 + body.iter().map(|part| part.len()).sum::<usize>();
    out.extend_from_slice(&(length as u32).to_le_bytes());
    out.extend_from_slice(&id.to_le_bytes());
    out.push(kind);
    for part in body {
        out.extend_from_slice(part);
    }
}

/// A frame that breaks the format: the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed client frame")]
pub struct MalformedFrame;

/// Splits the first whole frame off `buffer`: `Ok(Some((bytes consumed, id, kind, body)))`, `Ok(None)` while it is incomplete.
#[expect(clippy::type_complexity, reason = "four plain parts of one frame")]
pub fn split_frame(buffer: &[u8]) -> Result<Option<(usize, u64, u8, &[u8])>, MalformedFrame> {
    let Some((length, rest)) = buffer.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if !(9..=FRAME_BYTES_MAX).contains(&length) {
        return Err(MalformedFrame);
    }
    let Some(frame) = rest.get(..length) else { return Ok(None) };
    let id = u64::from_le_bytes(frame[..8].try_into().expect("8 bytes"));
    Ok(Some((4 + length, id, frame[8], &frame[9..])))
}

/// Reads a request from the kind and body of a frame.
pub fn read_request(kind: u8, body: &[u8]) -> Result<Request<'_>, MalformedFrame> {
    match (kind, body) {
        (1, transaction) => Ok(Request::Submit(transaction)),
        (2, []) => Ok(Request::Status),
        _ => Err(MalformedFrame),
    }
}

/// Reads a response from the kind and body of a frame.
pub fn read_response(kind: u8, body: &[u8]) -> Result<Response, MalformedFrame> {
    let u64_at = |at: usize| body.get(at..at + 8).map(|b| u64::from_le_bytes(b.try_into().expect("8 bytes")));
    match (kind, body.len()) {
        (1, 0) => Ok(Response::Accepted),
        (2, 1) => {
            let reason = RejectReason::ALL.into_iter().find(|reason| *reason as u8 == body[0]);
            reason.map(Response::Rejected).ok_or(MalformedFrame)
        }
        (3, 12) => Ok(Response::Finalized {
            height: u64_at(0).ok_or(MalformedFrame)?,
            index: u32::from_le_bytes(body[8..].try_into().expect("4 bytes")),
        }),
        (4, 16) => Ok(Response::Status { view: u64_at(0).ok_or(MalformedFrame)?, height: u64_at(8).ok_or(MalformedFrame)? }),
        _ => Err(MalformedFrame),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_round_trip() {
        let mut buffer = Vec::new();
        let responses = [
            Response::Accepted,
            Response::Rejected(RejectReason::MempoolFull),
            Response::Finalized { height: 7, index: 3 },
            Response::Status { view: 9, height: 8 },
        ];
        for (id, response) in responses.iter().enumerate() {
            write_response(&mut buffer, id as u64, response);
        }
        let mut rest = &buffer[..];
        for (want, response) in responses.iter().enumerate() {
            let (used, id, kind, body) = split_frame(rest).unwrap().unwrap();
            assert_eq!((id, read_response(kind, body).unwrap()), (want as u64, *response));
            rest = &rest[used..];
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn oversized_and_undersized_frames_are_refused() {
        assert_eq!(split_frame(&8u32.to_le_bytes()), Err(MalformedFrame));
        assert_eq!(split_frame(&u32::MAX.to_le_bytes()), Err(MalformedFrame));
        assert_eq!(split_frame(&9u32.to_le_bytes()), Ok(None));
        assert!(read_response(3, &[0; 11]).is_err());
        assert!(read_request(9, &[]).is_err());
    }
}
