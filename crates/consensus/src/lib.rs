//! Raft as a pure function of its inputs.
//!
//! A [`Replica`] is told what happened ([`Input`]) and answers with what is to be done ([`Effects`]). It has no clock (time
//! comes as ticks), no randomness but its seed, no files, sockets or threads, and no error to return: what
//! the host gets wrong is a panic with a clear message, what a peer gets wrong is ignored.
//!
//! # What the host owes
//! 1. Persists take effect on disk in the order of their positions, and within one in the order of its fields.
//!    `send_after_sync` is held until `sync_position` is durable; `send_now` is sent at once.
//! 2. Messages may be lost, repeated, delayed and reordered, but not altered, and reach only this group of this cluster.
//! 3. `apply` is applied in order; [`Input::Applied`] tells how far. [`Input::LogCompacted`] never passes what is
//!    durably applied.
//! 4. After a failed write or sync the process stops; it does not report [`Input::Durable`], nor try again.
//! 5. Every [`Fetch`] and every `send_snapshot` is answered, be it with nothing.
//! 6. Each start has a seed of its own: numbers of forwarded reads are drawn from it.
//! 7. With leases on, time as [`Config::lease_ticks`] demands it; ticks that are let go are told with [`Input::TicksSkipped`].
//! 8. A member that leaves stays reachable until its removal is committed and a little longer: it is told so.
//!
//! # The protocol
//! **Elections.** A follower that hears no leader for a random time asks for pre-votes (would you vote for me?), which
//! bind nobody. With a quorum of them it starts a term, writes its vote, and, once that is durable, asks for votes. A
//! replica that hears a leader refuses: one that was cut off, or removed, cannot disturb the rest. A leader that hears no
//! quorum for a longest election timeout steps down, and so does one whose disk owes an answer for four of them.
//! When the connection of the leader is reset, its followers no longer count themselves as hearing it, and
//! campaign within two ticks, with quick retries. If the leader lives after all, it and whoever still hears
//! it refuse, and the next heartbeat ends the matter. Two that campaign at once do not split the vote: the one with the
//! longer log, or else the higher priority or id, refuses the other its pre-vote.
//! Voters of a lower priority wait longer, and hand over once a voter of a higher one has been ready for a while.
//!
//! **Replication.** The leader appends proposals to its own log and sends them on at the end of the wake-up; its own
//! disk write overlaps the followers'. A follower is probed until the logs are known to agree, then entries
//! are pipelined. A rejection names the last position that may agree, so that whole terms are skipped.
//! An entry is committed when a quorum holds it durably and it is of the leader's own term, and all
//! before it with it. A replica applies what is committed and durable on its own disk.
//!
//! **Membership.** One change at a time, in force once appended, rolled back when truncated. A leader changes nothing before
//! it has committed an entry of its term. When more than one voter changes, a joint membership comes first, in which every
//! quorum is a majority of both halves; whoever leads once it is committed leaves it (Raft §6). A change is refused if a
//! majority of the voters it leads to was not heard of lately, or a learner it promotes lags. A leader whose
//! removal is committed hands over and steps down. A voter whose removal is not known to be committed still campaigns.
//!
//! **Reads.** The leader confirms its leadership by one round of heartbeats for all reads that gathered, and answers with
//! the index that was committed when the round began. Followers ask the leader for that index. With leases, off by default,
//! a leader that a quorum answered lately needs no round; what that rests on is said at [`Config::lease_ticks`].
//!
//! **Snapshots.** A follower that needs entries no longer in the log gets a snapshot, streamed and staged by the hosts. What
//! it holds is committed, so the follower may take it whoever sent it, unless it has as much itself.
//!
//! Every known pitfall of Raft and the tests that name it: `tests/pitfalls.md`. Dialogues: `tests/golden/`. Every interleaving
//! of small clusters: `tests/exploration.rs`. Many random ones of larger clusters: `tests/random_schedules.rs`.
//!
//! # Caveats
//! - Without leases every linearizable read costs a round of messages, shared by all that wait.
//! - After a transfer that failed a leader has no lease any more in its term: the request may still be under way.
//! - A voter that lost its disk must not come back under its old id.
//! - A removed member is told once, if it is there; after that it is answered like any stranger.
//! - The first membership of a cluster is not in its log but in [`Recovered`]; one that joins is sent a membership
//!   that includes it.
#![forbid(unsafe_code)]

mod durability;
mod effects;
mod input;
mod invariants;
mod leader_election;
mod linearizable_reads;
mod log;
mod log_replication;
mod membership;
mod messages;
mod position;
mod random;
mod replica;
mod roles;

pub use effects::{Effects, Fetch, Persist, ProposalResult};
pub use input::{Config, HardState, Input, Proposal, Recovered, SnapshotMeta};
pub use membership::{
    DEFAULT_PRIORITY, Member, Membership, MembershipChange, MembershipRefusal, VOTERS_MAX,
    bootstrap,
};
pub use messages::{AppendOutcome, Envelope, Message};
pub use position::{
    Entry, EntryKind, GroupId, LogIndex, LogPosition, NodeId, Payload, PersistPosition, ProposalId,
    ReadTicket, Term,
};
pub use replica::{PeerProgress, Replica};
pub use roles::RoleName;
