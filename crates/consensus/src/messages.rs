//! What replicas say to each other.
//!
//! Any message may be lost, repeated, delayed or overtaken by a later one; none may be altered. A message
//! that makes no sense to its receiver is dropped, never answered with a panic.

use crate::position::{Entry, LogIndex, LogPosition, NodeId, Term};

/// A message with its way and the term of its sender.
///
/// Two exceptions to "the term of its sender": a [`Message::PreVoteRequest`] carries the term in which the
/// sender would campaign, and a [`Message::PreVoteReply`] that grants echoes that term. Neither makes its
/// receiver adopt the term.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Envelope {
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// The sender's term (see above for pre-votes).
    pub term: Term,
    /// What is said.
    pub message: Message,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// "Would you vote for me?" Binds nobody and changes nothing at the receiver.
    PreVoteRequest {
        /// Where the sender's log ends.
        last: LogPosition,
    },
    /// The answer to a pre-vote request.
    PreVoteReply {
        /// Whether the sender would vote for the receiver.
        granted: bool,
    },
    /// "Vote for me in this term."
    VoteRequest {
        /// Where the sender's log ends.
        last: LogPosition,
        /// The present leader asked for this campaign: it is no disturbance.
        transfer: bool,
    },
    /// The answer to a vote request; a granted one is durable.
    VoteReply {
        /// Whether the sender voted for the receiver.
        granted: bool,
    },
    /// Entries of the leader's log, or an empty probe.
    AppendRequest {
        /// The position just before the first of `entries`.
        previous: LogPosition,
        /// Consecutive entries after `previous`.
        entries: Vec<Entry>,
        /// How far the leader has committed.
        commit: LogIndex,
    },
    /// The answer to an append request.
    AppendReply {
        /// What became of it.
        outcome: AppendOutcome,
    },
    /// "I lead, and you may commit up to here." Never waits for a disk.
    Heartbeat {
        /// Committed, and known to match the receiver's log.
        commit: LogIndex,
        /// The newest round of read confirmation; 0 when there was none yet.
        read_round: u64,
    },
    /// The answer to a heartbeat.
    HeartbeatReply {
        /// The round of the heartbeat that is answered.
        read_round: u64,
        /// The sender's disk is full: it takes hardly any entries, and should not lead.
        disk_full: bool,
    },
    /// A follower asks the leader up to where it must have applied to serve reads.
    ReadIndexRequest {
        /// The follower's number for this question; never reused.
        request: u64,
    },
    /// The answer to a read-index request.
    ReadIndexReply {
        /// Which question.
        request: u64,
        /// Serve once this is applied; `None`: refused, ask again.
        index: Option<LogIndex>,
    },
    /// The leader asks the receiver to campaign at once: it hands over leadership.
    TimeoutNow,
}

/// What became of an append request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppendOutcome {
    /// The receiver's log equals the leader's up to here, durably.
    Accepted {
        /// The highest index known to be equal.
        match_index: LogIndex,
    },
    /// The receiver has no entry at `previous`, or one of another term.
    Rejected {
        /// The index of the request's `previous`: tells which request is answered.
        previous: LogIndex,
        /// The last position of the receiver's log that may match the leader's.
        conflict: LogPosition,
    },
}
