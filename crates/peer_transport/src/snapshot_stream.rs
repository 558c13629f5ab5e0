//! A snapshot on a connection of its own: begin, the receiver's word on what it has already, checksummed chunks, end,
//! then the receiver's word that it is durable.
//!
//! Flow control: the receiver grants a window and acknowledges what it has put away; the sender never has more under way,
//! and never sends faster than the pace it was given. Both ends run at a lower priority than what serves clients.
//! Messages are not held up: they have connections of their own.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use consensus::{GroupId, NodeId, SnapshotMeta};

use crate::connection::{self, ConnectionError, FrameReader};
use crate::frame::{self, CHUNK_BYTES_MAX, Frame, FrameError, Kind};
use crate::outbound::Peer;
use crate::transport::Shared;
use crate::wire::{self, Purpose};
use crate::{SnapshotSink, SnapshotSource, codec, handshake};

/// Bytes of chunks that may be under way; one larger chunk may be, alone.
const WINDOW_BYTES: u64 = 4 << 20;
/// The receiver acknowledges about this often.
const ACKNOWLEDGE_BYTES: u64 = WINDOW_BYTES / 4;
/// A receiver whose disk is busy may take this long for a window before the stream counts as broken.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for the receiver to take up what it has, and to make the snapshot durable once all chunks are sent.
const FINISH_TIMEOUT: Duration = Duration::from_secs(600);
/// How much the threads of a snapshot yield to others.
const NICENESS: i32 = 10;

/// Streams one snapshot and waits until the receiver has it durably.
pub fn send(
    shared: &Shared,
    peer: &Peer,
    group: GroupId,
    meta: &SnapshotMeta,
    source: SnapshotSource,
) -> Result<(), ConnectionError> {
    // Where the system refuses, the stream competes as an equal; its pace still bounds it.
    let _ = platform::lower_thread_priority(NICENESS);
    let timeout = shared.limits.connect_timeout;
    let stream = connection::dial(&peer.address, timeout)?;
    let registered = shared.register(&stream);
    if registered.is_none() {
        return Err(ConnectionError::Closed);
    }
    connection::set_options(&stream, STALL_TIMEOUT)?;
    let (reader, _) = handshake::dialler(
        &stream,
        &peer.address,
        &shared.identity,
        peer.id,
        Purpose::Snapshot,
        timeout,
    )?;
    let mut sender = Sender {
        stream: &stream,
        reader,
        group,
        refusal: &|frame| handshake::refusal(frame, &peer.address, &shared.identity),
        pace: Pace::new(shared.limits.snapshot_bytes_per_second),
        sent: 0,
        acknowledged: 0,
        window: WINDOW_BYTES,
    };
    match sender.stream(meta, source) {
        // Even when writing failed: the receiver may have said why it stopped reading.
        Err(ConnectionError::Io(error)) => loop {
            match sender.answer(timeout) {
                Ok(Kind::SnapshotAcknowledged) => {}
                Err(refused @ ConnectionError::Refused(_)) => break Err(refused),
                _ => break Err(error.into()),
            }
        },
        outcome => outcome,
    }
}

struct Sender<'a> {
    stream: &'a TcpStream,
    reader: FrameReader,
    group: GroupId,
    refusal: &'a dyn Fn(Frame) -> ConnectionError,
    pace: Pace,
    /// Bytes of chunks.
    sent: u64,
    acknowledged: u64,
    window: u64,
}

impl Sender<'_> {
    fn stream(
        &mut self,
        meta: &SnapshotMeta,
        source: SnapshotSource,
    ) -> Result<(), ConnectionError> {
        self.write(Kind::SnapshotBegin, |body| {
            codec::encode_snapshot_meta(body, meta)
        })?;
        // It may have to read again what it has kept.
        let answer = self.expect(Kind::SnapshotResume, FINISH_TIMEOUT)?;
        let resume: wire::SnapshotResume = codec::decode_body(answer.kind, answer.body)?;
        self.window = resume.window_bytes;
        let broken = |reason| ConnectionError::Source(format!("reading the snapshot: {reason}"));
        let chunks = source(&resume.progress).map_err(broken)?;
        let mut count = 0;
        for chunk in chunks {
            let chunk = chunk.map_err(broken)?;
            if chunk.len() > CHUNK_BYTES_MAX {
                let reason = format!("a chunk of {} bytes exceeds the bound", chunk.len());
                return Err(broken(reason));
            }
            self.wait_for_room(chunk.len() as u64)?;
            std::thread::sleep(self.pace.wait(Instant::now(), chunk.len() as u64));
            self.write(Kind::SnapshotChunk, |body| body.extend_from_slice(&chunk))?;
            self.sent += chunk.len() as u64;
            count += 1;
        }
        let end = wire::SnapshotEnd { chunks: count };
        self.write(Kind::SnapshotEnd, |body| codec::encode_body(body, &end))?;
        while self.answer(FINISH_TIMEOUT)? != Kind::SnapshotDone {}
        Ok(())
    }

    fn write(&self, kind: Kind, body: impl FnOnce(&mut Vec<u8>)) -> Result<(), ConnectionError> {
        let mut buffer = Vec::new();
        frame::encode(&mut buffer, kind, self.group, body);
        Ok(connection::write_all(self.stream, &buffer)?)
    }

    fn wait_for_room(&mut self, bytes: u64) -> Result<(), ConnectionError> {
        while self.sent > self.acknowledged
            && self.sent + bytes > self.acknowledged.saturating_add(self.window)
        {
            if self.answer(STALL_TIMEOUT)? == Kind::SnapshotDone {
                return Err(unexpected(Kind::SnapshotDone));
            }
        }
        Ok(())
    }

    /// The receiver's next word; acknowledgements are taken note of.
    fn answer(&mut self, timeout: Duration) -> Result<Kind, ConnectionError> {
        let frame = self.reader.next_before(Instant::now() + timeout)?;
        match frame.kind {
            Kind::SnapshotAcknowledged => {
                let said: wire::SnapshotAcknowledged = codec::decode_body(frame.kind, frame.body)?;
                self.acknowledged = self.acknowledged.max(said.bytes).min(self.sent);
                Ok(frame.kind)
            }
            Kind::SnapshotDone => Ok(frame.kind),
            Kind::Refused => Err((self.refusal)(frame)),
            found => Err(unexpected(found)),
        }
    }

    fn expect(&mut self, kind: Kind, timeout: Duration) -> Result<Frame, ConnectionError> {
        let frame = self.reader.next_before(Instant::now() + timeout)?;
        match frame.kind {
            Kind::Refused => Err((self.refusal)(frame)),
            found if found == kind => Ok(frame),
            found => Err(unexpected(found)),
        }
    }
}

fn unexpected(found: Kind) -> ConnectionError {
    FrameError::Unexpected {
        found,
        expected: "the receiver's word on a snapshot",
    }
    .into()
}

/// Spreads bytes evenly over time; a stretch without sending earns no credit.
struct Pace {
    bytes_per_second: u64,
    free_at: Instant,
}

impl Pace {
    fn new(bytes_per_second: u64) -> Self {
        Pace {
            bytes_per_second: bytes_per_second.max(1),
            free_at: Instant::now(),
        }
    }

    /// How long to wait before these bytes may go.
    fn wait(&mut self, now: Instant, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let goes_at = self.free_at.max(now);
        self.free_at = goes_at + cost;
        goes_at - now
    }
}

/// The receiving half, after the handshake.
pub fn receive(
    stream: &TcpStream,
    mut reader: FrameReader,
    shared: &Shared,
    from: NodeId,
) -> Result<(), ConnectionError> {
    let _ = platform::lower_thread_priority(NICENESS);
    reader.allow(CHUNK_BYTES_MAX);
    connection::set_options(stream, STALL_TIMEOUT)?;
    let begin = reader.next_before(Instant::now() + STALL_TIMEOUT)?;
    if begin.kind != Kind::SnapshotBegin {
        return Err(FrameError::Unexpected {
            found: begin.kind,
            expected: "the beginning of a snapshot",
        }
        .into());
    }
    let meta = codec::decode_snapshot_meta(begin.body)?;
    let mut receiver = Receiver {
        stream,
        reader,
        group: begin.group,
    };
    let finished = shared
        .handler
        .snapshot_begin(begin.group, from, meta)
        .map_err(ConnectionError::Refused)
        .and_then(|sink| receiver.receive(sink));
    match finished {
        Ok(()) => receiver.write(Kind::SnapshotDone, |_| {}),
        Err(ConnectionError::Refused(reason)) => {
            handshake::refuse(stream, reason.clone())?;
            connection::close_after_refusal(stream);
            Err(ConnectionError::Refused(reason))
        }
        Err(ConnectionError::Frame(error)) => {
            handshake::refuse(stream, error.to_string())?;
            connection::close_after_refusal(stream);
            Err(error.into())
        }
        Err(error) => Err(error),
    }
}

struct Receiver<'a> {
    stream: &'a TcpStream,
    reader: FrameReader,
    group: GroupId,
}

impl Receiver<'_> {
    fn write(&self, kind: Kind, body: impl FnOnce(&mut Vec<u8>)) -> Result<(), ConnectionError> {
        let mut buffer = Vec::new();
        frame::encode(&mut buffer, kind, self.group, body);
        Ok(connection::write_all(self.stream, &buffer)?)
    }

    fn receive(&mut self, mut sink: Box<dyn SnapshotSink>) -> Result<(), ConnectionError> {
        let resume = wire::SnapshotResume {
            progress: sink.progress().into(),
            window_bytes: WINDOW_BYTES,
        };
        self.write(Kind::SnapshotResume, |body| {
            codec::encode_body(body, &resume)
        })?;
        let (mut count, mut received, mut acknowledged) = (0, 0, 0);
        loop {
            let frame = self.reader.next_before(Instant::now() + STALL_TIMEOUT)?;
            match frame.kind {
                Kind::SnapshotChunk => {
                    sink.chunk(&frame.body).map_err(ConnectionError::Refused)?;
                    count += 1;
                    received += frame.body.len() as u64;
                    if received - acknowledged >= ACKNOWLEDGE_BYTES {
                        acknowledged = received;
                        let said = wire::SnapshotAcknowledged { bytes: received };
                        self.write(Kind::SnapshotAcknowledged, |body| {
                            codec::encode_body(body, &said)
                        })?;
                    }
                }
                Kind::SnapshotEnd => {
                    let end: wire::SnapshotEnd = codec::decode_body(frame.kind, frame.body)?;
                    if end.chunks != count {
                        let reason = format!("{count} chunks of {} arrived", end.chunks);
                        return Err(ConnectionError::Refused(reason));
                    }
                    return sink.finish().map_err(ConnectionError::Refused);
                }
                found => {
                    return Err(FrameError::Unexpected {
                        found,
                        expected: "a snapshot's chunk",
                    }
                    .into());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_spread_over_time_and_idleness_earns_nothing() {
        let mut pace = Pace::new(1000);
        let start = pace.free_at;
        let second = Duration::from_secs(1);
        assert_eq!(pace.wait(start, 500), Duration::ZERO);
        assert_eq!(pace.wait(start, 2000), second / 2);
        assert_eq!(pace.wait(start + second, 1), second + second / 2);
        assert_eq!(pace.wait(start + 10 * second, 1000), Duration::ZERO);
        assert_eq!(pace.wait(start + 10 * second, 1000), second);
    }
}
