//! What is going to happen, in the order of time; at the same time, in the order in which it was planned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::PathBuf;

use consensus::{Envelope, NodeId};
use peer_transport::JoinRequest;

use super::clients::Attempt;
use crate::client::{ClientId, End};
use crate::clock::Micros;

/// A worker of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Worker {
    /// Consensus.
    Core,
    /// Writes and syncs.
    Log,
    /// The state machine.
    Apply,
    /// What takes long.
    Background,
}

/// All of them, in the order of [`node::SteppedNode::has_work`].
pub const WORKERS: [Worker; 4] = [Worker::Core, Worker::Log, Worker::Apply, Worker::Background];

/// A process of a machine: one of an earlier number is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// The machine.
    pub machine: usize,
    /// Counts its processes.
    pub incarnation: u64,
}

/// Something planned.
#[derive(Debug)]
pub enum Happening {
    /// A worker's turn.
    Step(Process, Worker),
    /// Messages arrive.
    Deliver {
        /// Who sent it.
        from: Process,
        /// Where to.
        to: usize,
        /// By which connection.
        connection: u64,
        /// What.
        envelope: Box<Envelope>,
    },
    /// A process notices that its connection to this member broke.
    Disconnect {
        /// Who notices.
        at: Process,
        /// Whose connection.
        peer: NodeId,
    },
    /// A sealed part of an engine becomes durable.
    Flush(Process, PathBuf),
    /// The next step of a snapshot's stream.
    Stream(u64),
    /// A process starts, if none runs.
    Start(usize),
    /// A paused process goes on.
    Resume(usize),
    /// A directory asks this machine to be let in, or a member tells its addresses.
    Join {
        /// Who asks: the process, or the start of the process, of this number.
        asker: Process,
        /// Whom.
        to: usize,
        /// What.
        request: Box<JoinRequest>,
    },
    /// Whether a member has something to announce.
    Announce(Process),
    /// A client may begin an operation.
    Client(ClientId),
    /// A client's request arrives.
    Request(usize, Attempt),
    /// An answer arrives, maybe with a hint who leads.
    Answer(Attempt, End, Option<usize>),
    /// A client waits no longer.
    GiveUp(Attempt),
    /// The next fault.
    Fault,
    /// The next act of the operator.
    Operator,
    /// A link is whole again.
    Mend {
        /// From this machine,
        from: usize,
        /// to this one.
        to: usize,
    },
    /// A disk has room again.
    Relieve(usize),
}

struct Planned {
    at: Micros,
    number: u64,
    what: Happening,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Everything that is planned.
#[derive(Default)]
pub struct Queue {
    planned: BinaryHeap<Reverse<Planned>>,
    number: u64,
}

impl Queue {
    /// Plans something.
    pub fn plan(&mut self, at: Micros, what: Happening) {
        self.number += 1;
        let number = self.number;
        self.planned.push(Reverse(Planned { at, number, what }));
    }

    /// The next thing to happen, if it happens no later than `until`.
    pub fn next(&mut self, until: Micros) -> Option<(Micros, Happening)> {
        if self.planned.peek().is_none_or(|next| next.0.at > until) {
            return None;
        }
        self.planned.pop().map(|next| (next.0.at, next.0.what))
    }
}
