//! One replica with its disk, as a value: every input leads to a new value, and to a few when it is left open how much of
//! what was written reaches the disk at once.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use consensus::{
    Config, Effects, Entry, EntryKind, Envelope, HardState, Input, LogIndex, Membership, Message,
    NodeId, Persist, PersistPosition, Recovered, Replica, RoleName, Term,
};

pub const ELECTION_TICKS_MIN: u32 = 2;
pub const ELECTION_TICKS_MAX: u32 = 6;

pub fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A message with its hash.
#[derive(Clone, Debug)]
pub struct Letter {
    pub envelope: Envelope,
    pub hash: u64,
}

/// What happens to one node.
#[derive(Clone, Debug)]
pub enum Event {
    Deliver(Arc<Letter>),
    Propose(u64),
    Change(consensus::MembershipChange),
    /// Ticks until it campaigns, or gives up a campaign.
    Timeout,
    /// Ticks until it no longer counts as hearing its leader, but does not campaign.
    Quiet,
    /// One tick of a leader: heartbeats go out.
    Heartbeat,
    /// Ticks of a leader until it steps down; what it sends meanwhile is lost.
    LoseTouch,
    /// The connection to its leader is reset.
    Reset,
    /// It stops, and starts again with what is on its disk and the first writes of those under way.
    Crash {
        kept: usize,
    },
}

#[derive(Clone)]
pub struct Node {
    pub replica: Replica,
    membership: Membership,
    hard_state: HardState,
    entries: Vec<Entry>,
    writes: VecDeque<Persist>,
    synced: PersistPosition,
    held: VecDeque<(PersistPosition, Vec<Envelope>)>,
    starts: u64,
    pub hash: u64,
}

/// A node after an event, and what it sent.
pub struct Outcome {
    pub node: Arc<Node>,
    pub sent: Vec<Arc<Letter>>,
}

fn config(id: NodeId, starts: u64) -> Config {
    Config {
        election_ticks_min: ELECTION_TICKS_MIN,
        election_ticks_max: ELECTION_TICKS_MAX,
        heartbeat_ticks: 1,
        // One entry to a message: none hides behind another.
        append_bytes_max: 1,
        ..Config::new(id, id.0 * 1_000 + starts)
    }
}

impl Node {
    pub fn new(id: NodeId, membership: Membership) -> Node {
        Node::with_log(id, membership, Term(0), &[])
    }

    /// A node that starts in `term` with entries of these terms on its disk.
    pub fn with_log(id: NodeId, membership: Membership, term: Term, log: &[u64]) -> Node {
        let entries = (1..).zip(log).map(|(index, term)| Entry {
            index: LogIndex(index),
            term: Term(*term),
            kind: EntryKind::Noop,
        });
        let entries: Vec<Entry> = entries.collect();
        let hard_state = HardState {
            term,
            ..HardState::default()
        };
        let recovered = Recovered {
            hard_state,
            membership: membership.clone(),
            entries: entries.clone(),
            ..Recovered::default()
        };
        let (replica, effects) = Replica::new(config(id, 1), recovered);
        let mut node = Node {
            replica,
            membership,
            hard_state,
            entries,
            writes: VecDeque::new(),
            synced: PersistPosition(0),
            held: VecDeque::new(),
            starts: 1,
            hash: 0,
        };
        let sent = node.take(effects);
        assert!(sent.is_empty(), "a replica that starts says nothing");
        node.rehash();
        node
    }

    fn rehash(&mut self) {
        let disk = (&self.hard_state, &self.entries, &self.writes, &self.held);
        self.hash = hash_of(&(&self.replica, disk, self.starts));
    }

    pub fn term_on_disk(&self) -> Term {
        self.hard_state.term
    }

    /// Whether a message may still have an effect here, now or after a crash: answers of a former term have none.
    pub fn may_heed(&self, envelope: &Envelope) -> bool {
        let own = self.hard_state.term;
        match envelope.message {
            Message::VoteReply { .. }
            | Message::AppendReply { .. }
            | Message::HeartbeatReply { .. }
            | Message::PreVoteReply { granted: false }
            | Message::TimeoutNow => envelope.term >= own,
            Message::PreVoteReply { granted: true } => envelope.term > own,
            _ => true,
        }
    }

    pub fn writes(&self) -> usize {
        self.writes.len()
    }

    /// All that may become of this node by `event`: nothing of what it has written since reaches the disk, or some, or all.
    pub fn after(&self, event: &Event) -> Vec<Outcome> {
        let mut node = self.clone();
        let mut sent = node.happen(event);
        let mut outcomes = Vec::new();
        loop {
            node.rehash();
            outcomes.push(outcome(&node, &sent));
            match node.sync() {
                Some(released) => sent.extend(released),
                None => return outcomes,
            }
        }
    }

    fn happen(&mut self, event: &Event) -> Vec<Envelope> {
        match event {
            Event::Deliver(letter) => self.step(Input::Receive(letter.envelope.clone())),
            Event::Propose(number) => {
                let payload = Arc::from(number.to_le_bytes().to_vec());
                let id = consensus::ProposalId(*number);
                self.step(Input::Propose(vec![consensus::Proposal { id, payload }]))
            }
            Event::Change(change) => self.step(Input::ProposeMembership {
                id: consensus::ProposalId(0),
                change: change.clone(),
            }),
            Event::Timeout => self.time_out(),
            Event::Quiet => {
                let ticks = 0..ELECTION_TICKS_MIN;
                ticks.flat_map(|_| self.step(Input::Tick)).collect()
            }
            Event::Heartbeat => self.step(Input::Tick),
            Event::LoseTouch => {
                while self.replica.role() == RoleName::Leader {
                    self.step(Input::Tick);
                }
                Vec::new()
            }
            Event::Reset => {
                let leader = self.replica.leader().expect("somebody to lose");
                self.step(Input::PeerDisconnected(leader))
            }
            Event::Crash { kept } => {
                self.crash(*kept);
                Vec::new()
            }
        }
    }

    /// Until it asks for pre-votes or, alone, campaigns.
    fn time_out(&mut self) -> Vec<Envelope> {
        let mut sent = Vec::new();
        for _ in 0..2 * ELECTION_TICKS_MAX {
            let term = self.replica.term();
            sent.extend(self.step(Input::Tick));
            let asks =
                |envelope: &Envelope| matches!(envelope.message, Message::PreVoteRequest { .. });
            if sent.iter().any(asks) || self.replica.term() > term {
                break;
            }
        }
        sent
    }

    fn step(&mut self, input: Input) -> Vec<Envelope> {
        let effects = self.replica.step(input);
        let mut sent = self.take(effects);
        let released = self.replica.commit().min(self.replica.durable());
        if released > self.replica.applied() {
            let effects = self.replica.step(Input::Applied(released));
            sent.extend(self.take(effects));
        }
        sent
    }

    fn take(&mut self, effects: Effects) -> Vec<Envelope> {
        let mut sent = effects.send_now;
        self.writes.extend(effects.persist);
        if effects.sync_position <= self.synced {
            sent.extend(effects.send_after_sync);
        } else if !effects.send_after_sync.is_empty() {
            let held = (effects.sync_position, effects.send_after_sync);
            self.held.push_back(held);
        }
        sent
    }

    /// The oldest write reaches the disk; returns what may be sent then.
    fn sync(&mut self) -> Option<Vec<Envelope>> {
        let persist = self.writes.pop_front()?;
        let position = persist.position;
        self.write(persist);
        self.synced = position;
        let mut sent = Vec::new();
        while let Some((_, held)) = self.held.pop_front_if(|(needs, _)| *needs <= position) {
            sent.extend(held);
        }
        sent.extend(self.step(Input::Durable(position)));
        Some(sent)
    }

    fn write(&mut self, persist: Persist) {
        if let Some(hard_state) = persist.hard_state {
            self.hard_state = hard_state;
        }
        assert_eq!(persist.reset_to, None, "there are no snapshots here");
        if let Some(first) = persist.entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
        }
        self.entries.extend(persist.entries);
    }

    fn crash(&mut self, kept: usize) {
        let writes: Vec<Persist> = self.writes.drain(..).take(kept).collect();
        for persist in writes {
            self.write(persist);
        }
        self.held.clear();
        self.synced = PersistPosition(0);
        self.starts += 1;
        let recovered = Recovered {
            hard_state: self.hard_state,
            membership: self.membership.clone(),
            entries: self.entries.clone(),
            ..Recovered::default()
        };
        let (replica, effects) = Replica::new(config(self.replica.id(), self.starts), recovered);
        self.replica = replica;
        let sent = self.take(effects);
        assert!(sent.is_empty(), "a replica that starts says nothing");
        let released = self.replica.commit().min(self.replica.durable());
        if released > self.replica.applied() {
            let effects = self.replica.step(Input::Applied(released));
            let sent = self.take(effects);
            assert!(sent.is_empty(), "applying says nothing");
        }
    }
}

fn outcome(node: &Node, sent: &[Envelope]) -> Outcome {
    let letters = sent.iter().map(|envelope| {
        let hash = hash_of(envelope);
        let envelope = envelope.clone();
        Arc::new(Letter { envelope, hash })
    });
    Outcome {
        node: Arc::new(node.clone()),
        sent: letters.collect(),
    }
}
