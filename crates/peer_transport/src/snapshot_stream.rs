//! A snapshot on a connection of its own: begin, checksummed chunks, end, then the receiver's word that it is durable.
//! TCP's flow control paces the sender; messages are not held up.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use consensus::{GroupId, NodeId, SnapshotMeta};

use crate::connection::{self, ConnectionError, FrameReader};
use crate::frame::{self, CHUNK_BYTES_MAX, Frame, FrameError, Kind};
use crate::outbound::Peer;
use crate::transport::Shared;
use crate::wire::{self, Purpose};
use crate::{SnapshotChunks, SnapshotSink, codec, handshake};

/// A receiver may stall this long (its disk is busy) before the stream counts as broken.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for the receiver to make the snapshot durable once all chunks are sent.
const FINISH_TIMEOUT: Duration = Duration::from_secs(600);
/// Chunks are gathered into writes of about this size.
const WRITE_BYTES: usize = 256 << 10;

/// Streams one snapshot and waits until the receiver has it durably.
pub fn send(
    shared: &Shared,
    peer: &Peer,
    group: GroupId,
    meta: &SnapshotMeta,
    chunks: SnapshotChunks,
) -> Result<(), ConnectionError> {
    let timeout = shared.limits.connect_timeout;
    let stream = connection::dial(&peer.address, timeout)?;
    let registered = shared.register(&stream);
    if registered.is_none() {
        return Err(ConnectionError::Closed);
    }
    connection::set_options(&stream, UNACKNOWLEDGED_TIMEOUT)?;
    let (mut reader, _) = handshake::dialler(
        &stream,
        &peer.address,
        &shared.identity,
        peer.id,
        Purpose::Snapshot,
        timeout,
    )?;
    let sent = send_chunks(&stream, group, meta, chunks);
    if matches!(sent, Err(ConnectionError::Refused(_))) {
        return sent;
    }
    // Even when writing failed: the receiver may have said why it stopped reading.
    let answer = reader.next_before(Instant::now() + FINISH_TIMEOUT);
    match answer {
        Ok(Frame {
            kind: Kind::SnapshotDone,
            ..
        }) => sent,
        Ok(frame) if frame.kind == Kind::Refused => {
            Err(handshake::refusal(frame, &peer.address, &shared.identity))
        }
        Ok(frame) => Err(FrameError::Unexpected {
            found: frame.kind,
            expected: "the end of a snapshot",
        }
        .into()),
        Err(error) => sent.and(Err(error)),
    }
}

fn send_chunks(
    stream: &TcpStream,
    group: GroupId,
    meta: &SnapshotMeta,
    chunks: SnapshotChunks,
) -> Result<(), ConnectionError> {
    let mut buffer = Vec::with_capacity(WRITE_BYTES);
    frame::encode(&mut buffer, Kind::SnapshotBegin, group, |body| {
        codec::encode_snapshot_meta(body, meta)
    });
    let mut count = 0;
    for chunk in chunks {
        let chunk = chunk.map_err(|reason| {
            ConnectionError::Refused(format!("reading the snapshot: {reason}"))
        })?;
        for piece in chunk.chunks(CHUNK_BYTES_MAX) {
            frame::encode(&mut buffer, Kind::SnapshotChunk, group, |body| {
                body.extend_from_slice(piece)
            });
            count += 1;
            if buffer.len() >= WRITE_BYTES {
                connection::write_all(stream, &buffer)?;
                buffer.clear();
            }
        }
    }
    let end = wire::SnapshotEnd { chunks: count };
    frame::encode(&mut buffer, Kind::SnapshotEnd, group, |body| {
        codec::encode_body(body, &end)
    });
    connection::write_all(stream, &buffer)?;
    Ok(())
}

/// The receiving half, after the handshake.
pub fn receive(
    stream: &TcpStream,
    mut reader: FrameReader,
    shared: &Shared,
    from: NodeId,
) -> Result<(), ConnectionError> {
    reader.allow(CHUNK_BYTES_MAX);
    connection::set_options(stream, UNACKNOWLEDGED_TIMEOUT)?;
    let begin = reader.next()?;
    if begin.kind != Kind::SnapshotBegin {
        return Err(FrameError::Unexpected {
            found: begin.kind,
            expected: "the beginning of a snapshot",
        }
        .into());
    }
    let meta = codec::decode_snapshot_meta(begin.body)?;
    let finished = shared
        .handler
        .snapshot_begin(begin.group, from, meta)
        .map_err(ConnectionError::Refused)
        .and_then(|sink| receive_chunks(&mut reader, sink));
    match finished {
        Ok(()) => {
            let mut buffer = Vec::new();
            frame::encode(&mut buffer, Kind::SnapshotDone, begin.group, |_| {});
            connection::write_all(stream, &buffer)?;
            Ok(())
        }
        Err(ConnectionError::Refused(reason)) => {
            handshake::refuse(stream, reason.clone())?;
            connection::close_after_refusal(stream);
            Err(ConnectionError::Refused(reason))
        }
        Err(error) => Err(error),
    }
}

fn receive_chunks(
    reader: &mut FrameReader,
    mut sink: Box<dyn SnapshotSink>,
) -> Result<(), ConnectionError> {
    let mut count = 0;
    loop {
        let frame = reader.next()?;
        match frame.kind {
            Kind::SnapshotChunk => {
                count += 1;
                sink.chunk(&frame.body).map_err(ConnectionError::Refused)?;
            }
            Kind::SnapshotEnd => {
                let end: wire::SnapshotEnd = codec::decode_body(Kind::SnapshotEnd, frame.body)?;
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
