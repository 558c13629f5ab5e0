//! One peer as dialled from here: two connections, so that what is small never waits behind what is large.
//!
//! Requests to append go over the bulk lane, all of them, so that they keep their order; everything else (votes,
//! heartbeats, acknowledgements, reads) goes over the message lane. Between the lanes there is no order, which Raft needs
//! none of: a heartbeat names only what its receiver has acknowledged. The end of either lane is the peer's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use consensus::{Envelope, GroupId, Message, NodeId};
use parking_lot::Mutex;

use crate::lane::{Lane, LanePhase};
use crate::transport::{Shared, spawn};
use crate::wire::Purpose;
use crate::{Limits, PeerAddress, PeerHealth, PeerState};

/// A connected peer that says nothing for this long, pings unanswered, is cut off or stands still.
const SILENT_AFTER: Duration = Duration::from_secs(3);

/// One peer.
pub struct Peer {
    pub id: NodeId,
    pub address: PeerAddress,
    messages: Arc<Lane>,
    bulk: Arc<Lane>,
    /// Milliseconds since the transport's start, plus one; 0 = never.
    heard_ms: AtomicU64,
    snapshot_error: Mutex<Option<String>>,
    /// One snapshot at a time.
    pub snapshot_in_flight: AtomicBool,
}

impl Peer {
    pub fn new(id: NodeId, address: PeerAddress, limits: &Limits) -> Arc<Peer> {
        let lane = |purpose| Lane::new(id, address.clone(), purpose, limits.clone());
        Arc::new(Peer {
            id,
            messages: lane(Purpose::Messages),
            bulk: lane(Purpose::Bulk),
            address,
            heard_ms: AtomicU64::new(0),
            snapshot_error: Mutex::new(None),
            snapshot_in_flight: AtomicBool::new(false),
        })
    }

    /// Starts dialling. On an error nothing runs.
    pub fn start(&self, shared: &Arc<Shared>) -> std::io::Result<()> {
        for (lane, name) in [(&self.messages, "write"), (&self.bulk, "bulk")] {
            let (lane, shared) = (Arc::clone(lane), Arc::clone(shared));
            let started = spawn(format!("peer-{}-{name}", self.id.0), move || {
                lane.run(shared)
            });
            if let Err(error) = started {
                self.remove();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes messages for this peer. Never blocks: writes them at once, queues them, or drops and counts them.
    pub fn send(&self, group: GroupId, envelopes: Vec<Envelope>) {
        let all_bulk = envelopes.iter().all(is_bulk);
        if all_bulk || !envelopes.iter().any(is_bulk) {
            let lane = if all_bulk { &self.bulk } else { &self.messages };
            return lane.send(group, envelopes);
        }
        let (bulk, messages) = envelopes.into_iter().partition(is_bulk);
        self.messages.send(group, messages);
        self.bulk.send(group, bulk);
    }

    /// The peer was heard from: a dialler that pauses need not pause longer.
    pub fn heard(&self, since_start: Duration) {
        let ms = u64::try_from(since_start.as_millis()).unwrap_or(u64::MAX - 1) + 1;
        self.heard_ms.store(ms, Ordering::Relaxed);
        self.messages.heard();
        self.bulk.heard();
    }

    /// Ends the connections and the threads of this peer.
    pub fn remove(&self) {
        self.messages.remove();
        self.bulk.remove();
    }

    /// Notes how the last snapshot's stream to this peer failed; `None` for one that did not.
    pub fn note_snapshot(&self, error: Option<String>) {
        *self.snapshot_error.lock() = error;
    }

    /// `started` is when the transport did.
    pub fn health(&self, started: Instant) -> PeerHealth {
        let (messages, bulk) = (self.messages.health(), self.bulk.health());
        let heard_ms = self.heard_ms.load(Ordering::Relaxed);
        let last_heard = heard_ms
            .checked_sub(1)
            .map(|ms| started + Duration::from_millis(ms));
        let connected =
            messages.phase == LanePhase::Connected && bulk.phase == LanePhase::Connected;
        let silent_since = last_heard.unwrap_or(messages.since).max(messages.since);
        let last_error = messages.last_error.or(bulk.last_error);
        let state = match connected {
            true if silent_since.elapsed() >= SILENT_AFTER => PeerState::Silent,
            true => PeerState::Connected,
            false if last_error.is_none() => PeerState::Connecting,
            false => PeerState::Unreachable,
        };
        PeerHealth {
            address: self.address.clone(),
            state,
            connected,
            since: messages.since.max(bulk.since),
            last_error: last_error.or_else(|| self.snapshot_error.lock().clone()),
            feature_level: messages.feature_level,
            bytes_sent: messages.bytes_sent + bulk.bytes_sent,
            messages_sent: messages.messages_sent + bulk.messages_sent,
            messages_dropped: messages.messages_dropped + bulk.messages_dropped,
            last_heard,
            round_trip: messages.round_trip,
        }
    }
}

fn is_bulk(envelope: &Envelope) -> bool {
    matches!(envelope.message, Message::AppendRequest { .. })
}
