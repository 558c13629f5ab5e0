//! Raft as a pure function of its inputs.
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
    Member, Membership, MembershipChange, MembershipRefusal, VOTERS_MAX, bootstrap,
};
pub use messages::{AppendOutcome, Envelope, Message};
pub use position::{
    Entry, EntryKind, GroupId, LogIndex, LogPosition, NodeId, Payload, PersistPosition, ProposalId,
    ReadTicket, Term,
};
pub use replica::{PeerProgress, Replica};
pub use roles::RoleName;
