//! Records over Noise over TCP.
//!
//! Noise message: length u16 little-endian, ciphertext. Record: kind u8, length u32 little-endian, body; it starts at a Noise message and
//! spans as many as it needs. Lengths are checked before anything is allocated for them.

use super::super::link::within;
use super::{RECORD_BYTES_MAX, RecordKind, SyncFault};
use futures_lite::io::{AsyncReadExt, AsyncWriteExt};
use glommio::net::TcpStream;
use samara_types::ChainId;
use snow::{Builder, HandshakeState, TransportState};
use std::net::SocketAddr;
use std::time::Duration;

const PATTERN: &str = "Noise_IK_25519_AESGCM_BLAKE2s";
/// Largest Noise message.
const CIPHERTEXT_MAX: usize = 65_535;
/// Most plaintext of one.
const PLAINTEXT_MAX: usize = CIPHERTEXT_MAX - 16;
/// Kind and length before a body.
const RECORD_HEADER: usize = 5;

/// An authenticated stream of records.
pub(super) struct RecordStream {
    tcp: TcpStream,
    noise: TransportState,
    patience: Duration,
    cipher: Vec<u8>,
    plain: Vec<u8>,
}

/// Who we are in the handshake.
#[derive(Clone, Copy)]
pub(super) struct Identity<'a> {
    pub(super) chain: &'a ChainId,
    pub(super) secret: &'a [u8; 32],
}

impl Identity<'_> {
    fn builder<'b>(&'b self, prologue: &'b [u8]) -> Result<Builder<'b>, snow::Error> {
        let pattern = PATTERN.parse().expect("a constant pattern");
        Builder::new(pattern).prologue(prologue)?.local_private_key(self.secret)
    }

    fn prologue(&self) -> Vec<u8> {
        [&self.chain.0[..], b"sync"].concat()
    }
}

impl RecordStream {
    /// Connects to the holder of `their_key`.
    pub(super) async fn connect(
        identity: Identity<'_>,
        address: SocketAddr,
        their_key: &[u8; 32],
        patience: Duration,
    ) -> Result<RecordStream, SyncFault> {
        let tcp = TcpStream::connect_timeout(address, patience).await.map_err(|_| SyncFault::Unreachable)?;
        let prologue = identity.prologue();
        let builder = identity.builder(&prologue).and_then(|builder| builder.remote_public_key(their_key));
        let noise = builder.and_then(Builder::build_initiator).map_err(|_| SyncFault::Handshake)?;
        within(patience, initiate(tcp, noise, patience)).await.ok_or(SyncFault::TimedOut)?
    }

    /// Answers a handshake; also says which static key the other side holds.
    pub(super) async fn accept(identity: Identity<'_>, tcp: TcpStream, patience: Duration) -> Result<(RecordStream, [u8; 32]), SyncFault> {
        let prologue = identity.prologue();
        let noise = identity.builder(&prologue).and_then(Builder::build_responder).map_err(|_| SyncFault::Handshake)?;
        within(patience, respond(tcp, noise, patience)).await.ok_or(SyncFault::TimedOut)?
    }

    /// Sends one record.
    pub(super) async fn send(&mut self, kind: RecordKind, body: &[u8]) -> Result<(), SyncFault> {
        assert!(body.len() <= RECORD_BYTES_MAX, "records are blocks and smaller");
        let mut first = Vec::with_capacity(RECORD_HEADER + body.len().min(PLAINTEXT_MAX));
        first.push(kind as u8);
        first.extend_from_slice(&(body.len() as u32).to_le_bytes());
        let (head, rest) = body.split_at(body.len().min(PLAINTEXT_MAX - RECORD_HEADER));
        first.extend_from_slice(head);
        within(self.patience, async {
            self.send_message(&first).await?;
            for part in rest.chunks(PLAINTEXT_MAX) {
                self.send_message(part).await?;
            }
            Ok(())
        })
        .await
        .ok_or(SyncFault::TimedOut)?
    }

    /// Receives one record.
    pub(super) async fn receive(&mut self) -> Result<(RecordKind, Vec<u8>), SyncFault> {
        within(self.patience, self.receive_record()).await.ok_or(SyncFault::TimedOut)?
    }

    async fn receive_record(&mut self) -> Result<(RecordKind, Vec<u8>), SyncFault> {
        self.receive_message().await?;
        let (header, body) = self.plain.split_at_checked(RECORD_HEADER).ok_or(SyncFault::Malformed)?;
        let kind = RecordKind::from_byte(header[0]).ok_or(SyncFault::Malformed)?;
        let length = u32::from_le_bytes(header[1..].try_into().expect("4 bytes")) as usize;
        if length > RECORD_BYTES_MAX {
            return Err(SyncFault::Malformed);
        }
        let mut record = Vec::with_capacity(length);
        record.extend_from_slice(body);
        while record.len() < length {
            self.receive_message().await?;
            // An empty message would let a peer keep us in this loop for nothing.
            if self.plain.is_empty() {
                return Err(SyncFault::Malformed);
            }
            record.extend_from_slice(&self.plain);
        }
        if record.len() == length { Ok((kind, record)) } else { Err(SyncFault::Malformed) }
    }

    async fn send_message(&mut self, plain: &[u8]) -> Result<(), SyncFault> {
        self.cipher.resize(2 + CIPHERTEXT_MAX, 0);
        let bytes = self.noise.write_message(plain, &mut self.cipher[2..]).map_err(|_| SyncFault::Malformed)?;
        self.cipher[..2].copy_from_slice(&(bytes as u16).to_le_bytes());
        self.tcp.write_all(&self.cipher[..2 + bytes]).await.map_err(|_| SyncFault::Unreachable)
    }

    async fn receive_message(&mut self) -> Result<(), SyncFault> {
        read_message(&mut self.tcp, &mut self.cipher).await?;
        self.plain.resize(PLAINTEXT_MAX, 0);
        let bytes = self.noise.read_message(&self.cipher, &mut self.plain).map_err(|_| SyncFault::Malformed)?;
        self.plain.truncate(bytes);
        Ok(())
    }
}

async fn initiate(mut tcp: TcpStream, mut noise: HandshakeState, patience: Duration) -> Result<RecordStream, SyncFault> {
    let mut buffer = vec![0; 1_024];
    let bytes = noise.write_message(&[], &mut buffer).map_err(|_| SyncFault::Handshake)?;
    write_message(&mut tcp, &buffer[..bytes]).await?;
    // A responder that cannot open our first message just closes.
    read_message(&mut tcp, &mut buffer).await.map_err(|_| SyncFault::Handshake)?;
    noise.read_message(&buffer, &mut []).map_err(|_| SyncFault::Handshake)?;
    finish(tcp, noise, patience)
}

async fn respond(mut tcp: TcpStream, mut noise: HandshakeState, patience: Duration) -> Result<(RecordStream, [u8; 32]), SyncFault> {
    let mut buffer = Vec::new();
    read_message(&mut tcp, &mut buffer).await?;
    noise.read_message(&buffer, &mut []).map_err(|_| SyncFault::Handshake)?;
    let their_key = noise.get_remote_static().and_then(|key| key.try_into().ok()).ok_or(SyncFault::Handshake)?;
    buffer.resize(1_024, 0);
    let bytes = noise.write_message(&[], &mut buffer).map_err(|_| SyncFault::Handshake)?;
    write_message(&mut tcp, &buffer[..bytes]).await?;
    Ok((finish(tcp, noise, patience)?, their_key))
}

fn finish(tcp: TcpStream, noise: HandshakeState, patience: Duration) -> Result<RecordStream, SyncFault> {
    let noise = noise.into_transport_mode().map_err(|_| SyncFault::Handshake)?;
    let _ = tcp.set_nodelay(true);
    Ok(RecordStream { tcp, noise, patience, cipher: Vec::new(), plain: Vec::new() })
}

async fn write_message(tcp: &mut TcpStream, message: &[u8]) -> Result<(), SyncFault> {
    let framed = [&(message.len() as u16).to_le_bytes(), message].concat();
    tcp.write_all(&framed).await.map_err(|_| SyncFault::Unreachable)
}

/// The length is 16 bits, so `buffer` cannot grow beyond 64 KiB.
async fn read_message(tcp: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<(), SyncFault> {
    let mut length = [0; 2];
    tcp.read_exact(&mut length).await.map_err(|_| SyncFault::Unreachable)?;
    buffer.resize(usize::from(u16::from_le_bytes(length)), 0);
    tcp.read_exact(buffer).await.map_err(|_| SyncFault::Unreachable)
}
