//! What is known of each peer's connection, for status pages and metrics. Decides nothing.

use std::time::Instant;

use crate::PeerAddress;

/// The state of the connection to one peer, and counts since the transport started.
#[derive(Clone, Debug)]
pub struct PeerHealth {
    /// Where it is dialled.
    pub address: PeerAddress,
    /// Whether the connection to it stands (its handshake has succeeded).
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
    /// When its last message arrived.
    pub last_heard: Option<Instant>,
}
