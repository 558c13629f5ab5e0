//! A real one-node server behind a real socket: dialogues, and bytes that are not the protocol.

mod dialogues;
mod exhaust;
mod garbage;
mod harness;
mod hostile;
mod monitoring;
mod operations;
mod slow_operations;

use node::{Membership, NodeId, NodeStatus, RoleName, Term};

/// What a node of a cluster of one says.
pub(super) fn status(role: RoleName, term: u64, writable: bool) -> NodeStatus {
    NodeStatus {
        cluster_id: [0; 16],
        id: NodeId(1),
        role,
        term: Term(term),
        leader: None,
        writable,
        membership: Membership {
            members: [].into(),
            voters: [NodeId(1)].into(),
            outgoing: None,
            next_node_id: 2,
        },
        settled: true,
        removed: false,
        disk_full: None,
        revision: 1,
    }
}
