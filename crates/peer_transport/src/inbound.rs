//! Connections that others opened: one thread accepts, one thread per connection reads. The opening frame decides what
//! the connection is for.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use consensus::{Envelope, GroupId, NodeId};

use crate::connection::{self, ConnectionError, FrameReader};
use crate::frame::{
    self, BATCH_BYTES_TARGET, BODY_BYTES_MAX, Frame, FrameError, GREETING_BYTES_MAX, Kind,
};
use crate::transport::{Shared, spawn};
use crate::wire::Purpose;
use crate::{codec, handshake, request, snapshot_stream};

/// Largest body on a connection for small messages: a batch of them.
const MESSAGES_BODY_BYTES_MAX: usize = 2 * BATCH_BYTES_TARGET;
/// Bytes of an unfinished message above which it counts as large.
const HEARD_BYTES_MIN: usize = 256 << 10;
/// How often the host is told that a large message is still arriving.
const HEARD_INTERVAL: Duration = Duration::from_millis(20);
/// Pause when the system cannot give a connection (no file descriptors left), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Accepts until the transport stops.
pub fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let accepted = listener.accept();
        if shared.stopping() {
            return;
        }
        match accepted {
            Ok((stream, _)) => {
                if shared.open_connections() < shared.limits.inbound_connections_max {
                    let shared = Arc::clone(shared);
                    // Without a thread the connection is closed; the peer dials again.
                    let _ = spawn("peer-inbound".to_owned(), move || serve(stream, &shared));
                }
            }
            Err(_) => std::thread::sleep(ACCEPT_PAUSE),
        }
    }
}

fn serve(stream: TcpStream, shared: &Arc<Shared>) {
    let Some(registered) = shared.register(&stream) else {
        return;
    };
    // Whoever connects gets its reason as a frame where it can read one; here the error has no further use.
    let _ = converse(&stream, shared, registered.id);
    let _ = stream.shutdown(Shutdown::Both);
}

fn converse(
    stream: &TcpStream,
    shared: &Arc<Shared>,
    connection_id: u64,
) -> Result<(), ConnectionError> {
    connection::set_options(stream, shared.limits.unacknowledged_timeout)?;
    let mut reader = FrameReader::new(stream.try_clone()?, GREETING_BYTES_MAX);
    let opening = reader.next_before(Instant::now() + shared.limits.connect_timeout)?;
    match opening.kind {
        Kind::Join | Kind::Request => request::answer(stream, opening, &*shared.handler),
        Kind::Hello => {
            let introduced = handshake::acceptor(stream, opening, &shared.identity)?;
            shared.heard(introduced.node_id);
            match introduced.purpose {
                Purpose::Snapshot => {
                    let from = introduced.node_id;
                    shared.supersede(from, Purpose::Snapshot, connection_id);
                    let ended = snapshot_stream::receive(stream, reader, shared, from);
                    shared.forget(from, Purpose::Snapshot, connection_id);
                    ended
                }
                purpose @ (Purpose::Messages | Purpose::Bulk | Purpose::Unknown) => {
                    reader.allow(match purpose {
                        Purpose::Bulk => BODY_BYTES_MAX,
                        _ => MESSAGES_BODY_BYTES_MAX,
                    });
                    let from = introduced.node_id;
                    shared.supersede(from, purpose, connection_id);
                    if purpose == Purpose::Messages {
                        shared.handler.introduced(from, introduced.address);
                    }
                    let ended = read_messages(stream, &mut reader, shared, from);
                    if shared.forget(from, purpose, connection_id) && !shared.stopping() {
                        shared.handler.disconnected(from);
                    }
                    ended
                }
            }
        }
        found => Err(FrameError::Unexpected {
            found,
            expected: "hello or a request",
        }
        .into()),
    }
}

/// Hands over messages until the connection ends; what one read brought goes up in one call.
fn read_messages(
    stream: &TcpStream,
    reader: &mut FrameReader,
    shared: &Shared,
    peer: NodeId,
) -> Result<(), ConnectionError> {
    let mut batch: Vec<Envelope> = Vec::new();
    let mut last_heard = Instant::now();
    loop {
        reader.wait()?;
        // Said before what came is decoded, which takes its time too.
        if reader.waiting_bytes() > HEARD_BYTES_MIN && last_heard.elapsed() >= HEARD_INTERVAL {
            last_heard = Instant::now();
            shared.handler.heard(peer);
        }
        let mut batch_group = GroupId(0);
        while let Some(frame) = reader.arrived()? {
            if frame.kind == Kind::Ping {
                answer_ping(stream, &frame)?;
                continue;
            }
            if frame.kind != Kind::Messages {
                return Err(FrameError::Unexpected {
                    found: frame.kind,
                    expected: "messages",
                }
                .into());
            }
            let envelopes = codec::decode_messages(frame.body).inspect_err(|error| {
                if matches!(error, FrameError::NewerEntry { .. }) {
                    shared.handler.unreadable(error.to_string());
                }
            })?;
            check_ends(&envelopes, peer, shared.identity.node_id)?;
            if frame.group != batch_group && !batch.is_empty() {
                shared
                    .handler
                    .received(batch_group, std::mem::take(&mut batch));
            }
            batch_group = frame.group;
            batch.extend(envelopes);
        }
        if !batch.is_empty() {
            last_heard = Instant::now();
            shared.heard(peer);
            if shared.stopping() {
                return Ok(());
            }
            shared
                .handler
                .received(batch_group, std::mem::take(&mut batch));
        }
    }
}

fn answer_ping(stream: &TcpStream, ping: &Frame) -> Result<(), ConnectionError> {
    let mut buffer = Vec::new();
    frame::encode(&mut buffer, Kind::Pong, ping.group, |body| {
        body.extend_from_slice(&ping.body)
    });
    // The other side always reads, and the bound on unacknowledged bytes ends a connection on which it does not.
    connection::write_all(stream, &buffer)?;
    Ok(())
}

fn check_ends(envelopes: &[Envelope], peer: NodeId, here: NodeId) -> Result<(), FrameError> {
    match envelopes
        .iter()
        .find(|envelope| envelope.from != peer || envelope.to != here)
    {
        None => Ok(()),
        Some(stray) => Err(codec::malformed(
            Kind::Messages,
            format!(
                "a message from {} to {} on the connection from {} to {}",
                stray.from.0, stray.to.0, peer.0, here.0
            ),
        )),
    }
}
