//! What is known of each peer's connection, for status pages and metrics. Decides nothing.

use std::time::{Duration, Instant};

use crate::PeerAddress;

/// How a peer is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// Being dialled, nothing has failed yet.
    Connecting,
    /// Both connections to it stand and it was heard from lately.
    Connected,
    /// The connections to it stand, but it answers nothing: cut off by the network, paused or overwhelmed.
    Silent,
    /// It cannot be connected to at the moment.
    Unreachable,
}

impl std::fmt::Display for PeerState {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            PeerState::Connecting => "connecting",
            PeerState::Connected => "connected",
            PeerState::Silent => "silent",
            PeerState::Unreachable => "unreachable",
        })
    }
}

/// The state of the connections to one peer, and counts since the transport started.
#[derive(Clone, Debug)]
pub struct PeerHealth {
    /// Where it is dialled.
    pub address: PeerAddress,
    /// How it is reached.
    pub state: PeerState,
    /// Whether the connections to it stand (their handshakes have succeeded).
    pub connected: bool,
    /// When `connected` last changed, or when the peer was first known.
    pub since: Instant,
    /// Why the last attempt or connection failed; `None` after a success.
    pub last_error: Option<String>,
    /// The feature level it announced, once known.
    pub feature_level: Option<u32>,
    /// Bytes handed to the system for it.
    pub bytes_sent: u64,
    /// Messages handed to the system for it.
    pub messages_sent: u64,
    /// Messages dropped: the queue was full, or the connection broke with them unsent.
    pub messages_dropped: u64,
    /// When its last message, or answer to a ping, arrived.
    pub last_heard: Option<Instant>,
    /// How long it took to answer the last ping; asked once a second.
    pub round_trip: Option<Duration>,
}
