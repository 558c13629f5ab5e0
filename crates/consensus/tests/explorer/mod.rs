//! A bounded search through every interleaving of a small cluster, with the production core as the only judge of what a
//! replica does.
//!
//! **What is explored.** Any node may at any time take any message ever sent, or crash, time out, lose its connection,
//! or be proposed to, each as often and at those places that the scenario allows. Messages stay where they are: one that is never taken was
//! lost, one that is taken twice was repeated, one that is taken late was delayed or overtaken, and a partition is what it
//! withholds. After every step of a node any number of its writes under way may reach the disk; a crash loses the others.
//!
//! **Reductions.** A write that reaches the disk between two steps of its node might as well have done so right after the
//! first: what it released stays under way as long as it likes. So syncs are not interleaved with the steps of others. A
//! crash is followed by a restart at once, as a node that is down is one that takes nothing. States are told apart by their
//! hash, without what is drawn at random: when a timer is due is decided by the search. Answers of a term below the one on their
//! receiver's disk are forgotten: they have no effect any more. What one node makes of one
//! event is worked out once, however many states of the others it occurs in.
//!
//! **What is checked** in every state: election safety, log matching, leader completeness, state machine safety, and that no
//! commit index goes back; the core's own invariants in every step.

pub mod node;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use consensus::{LogIndex, MembershipChange, NodeId, RoleName, Term};
use node::{Event, Letter, Node, Outcome, hash_of};

/// How often what may happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    pub proposals: u8,
    pub changes: u8,
    pub timeouts: u8,
    pub quiets: u8,
    pub heartbeats: u8,
    pub lost_touches: u8,
    pub resets: u8,
    pub crashes: u8,
    /// How many events leave their node with something that has not reached its disk.
    pub lags: u8,
}

/// To whom it may happen, by place; and which changes of the members may be proposed.
#[derive(Clone, Default)]
pub struct Scenario {
    pub changes: Vec<MembershipChange>,
    pub time_out: Vec<usize>,
    pub quiet: Vec<usize>,
    pub crash: Vec<usize>,
    pub lag: Vec<usize>,
    /// The partition: messages from the first to the second and back are lost.
    pub cut: Option<(usize, usize)>,
}

/// What no single state shows: who led, and what was committed in which term.
#[derive(Clone, Debug, Default, Hash)]
struct History {
    leaders: BTreeMap<Term, NodeId>,
    /// From index 1 on: the term of the entry, and the term in which it was committed.
    committed: Vec<(Term, Term)>,
}

#[derive(Clone)]
pub struct World {
    nodes: Vec<Arc<Node>>,
    /// All messages ever sent, ordered by hash.
    sent: Vec<Arc<Letter>>,
    history: Arc<History>,
    left: Budget,
}

/// How a state was reached.
#[derive(Clone)]
struct Origin {
    from: usize,
    node: usize,
    event: Event,
    synced: usize,
}

pub struct Found {
    pub states: usize,
    pub depth: usize,
    /// Whether there was nothing left to explore.
    pub exhausted: bool,
}

impl World {
    pub fn new(nodes: Vec<Node>, left: Budget) -> World {
        World {
            nodes: nodes.into_iter().map(Arc::new).collect(),
            sent: Vec::new(),
            history: Arc::new(History::default()),
            left,
        }
    }

    fn hash(&self) -> u64 {
        let nodes: Vec<u64> = self.nodes.iter().map(|node| node.hash).collect();
        let sent = self.sent.iter();
        let sent = sent.fold(0_u64, |sum, letter| sum.wrapping_add(letter.hash));
        hash_of(&(nodes, sent, self.sent.len(), &self.history, self.left))
    }

    /// Lets one event happen, everything written reach the disk, and all messages be taken in order, until nothing is left;
    /// then all are gone. Brings a scenario to its beginning.
    pub fn settle(&mut self, place: usize, event: &Event) {
        let mut events = VecDeque::from([(place, event.clone())]);
        while let Some((place, event)) = events.pop_front() {
            let mut outcomes = self.nodes[place].after(&event);
            let outcome = outcomes.pop().expect("an event has an outcome");
            self.nodes[place] = outcome.node;
            for letter in outcome.sent {
                let to = self.place_of(letter.envelope.to);
                events.push_back((to, Event::Deliver(letter)));
            }
            self.check(place);
        }
    }

    fn place_of(&self, id: NodeId) -> usize {
        let mut nodes = self.nodes.iter();
        let place = nodes.position(|node| node.replica.id() == id);
        place.expect("messages go to known nodes")
    }

    pub fn with_budget(mut self, left: Budget) -> World {
        self.left = left;
        self
    }

    pub fn replica(&self, place: usize) -> &consensus::Replica {
        &self.nodes[place].replica
    }

    /// What may happen to the node at `place`, and what is left of the budget then.
    fn events(&self, place: usize, scenario: &Scenario) -> Vec<(Event, Budget)> {
        let node = &self.nodes[place];
        let id = node.replica.id();
        let left = self.left;
        let letters = self.sent.iter().filter(|letter| letter.envelope.to == id);
        let mut events: Vec<(Event, Budget)> = letters
            .filter(|letter| {
                let from = self.place_of(letter.envelope.from);
                let cut = scenario.cut;
                cut.is_none_or(|cut| cut != (from, place) && cut != (place, from))
            })
            .map(|letter| (Event::Deliver(Arc::clone(letter)), left))
            .collect();
        let mut allow = |count: u8, event: Event, spend: fn(&mut Budget)| {
            if count > 0 {
                let mut rest = left;
                spend(&mut rest);
                events.push((event, rest));
            }
        };
        if node.replica.role() == RoleName::Leader {
            let number = u64::from(left.proposals);
            allow(left.proposals, Event::Propose(number), |b| b.proposals -= 1);
            for change in &scenario.changes {
                let change = Event::Change(change.clone());
                allow(left.changes, change, |b| b.changes -= 1);
            }
            allow(left.heartbeats, Event::Heartbeat, |b| b.heartbeats -= 1);
            allow(left.lost_touches, Event::LoseTouch, |b| b.lost_touches -= 1);
        } else {
            let timeouts = left.timeouts * u8::from(scenario.time_out.contains(&place));
            allow(timeouts, Event::Timeout, |b| b.timeouts -= 1);
            if node.replica.leader().is_some() {
                let quiets = left.quiets * u8::from(scenario.quiet.contains(&place));
                allow(quiets, Event::Quiet, |b| b.quiets -= 1);
                allow(left.resets, Event::Reset, |b| b.resets -= 1);
            }
        }
        for kept in 0..=node.writes() {
            let crashes = left.crashes * u8::from(scenario.crash.contains(&place));
            allow(crashes, Event::Crash { kept }, |b| b.crashes -= 1);
        }
        events
    }

    /// The state after an outcome; `None` if it is the same.
    fn next(&self, place: usize, outcome: &Outcome, left: Budget) -> Option<World> {
        let mut sent: Option<Vec<Arc<Letter>>> = None;
        if outcome.node.term_on_disk() > self.nodes[place].term_on_disk() {
            let id = outcome.node.replica.id();
            let live = self.sent.iter().filter(|letter| {
                letter.envelope.to != id || outcome.node.may_heed(&letter.envelope)
            });
            sent = Some(live.cloned().collect());
        }
        for letter in &outcome.sent {
            let to = &self.nodes[self.place_of(letter.envelope.to)];
            if !to.may_heed(&letter.envelope) {
                continue;
            }
            let known = sent.as_ref().unwrap_or(&self.sent);
            if let Err(at) = known.binary_search_by_key(&letter.hash, |known| known.hash) {
                let sent = sent.get_or_insert_with(|| self.sent.clone());
                sent.insert(at, Arc::clone(letter));
            }
        }
        if sent.is_none() && outcome.node.hash == self.nodes[place].hash {
            return None;
        }
        let mut nodes = self.nodes.clone();
        nodes[place] = Arc::clone(&outcome.node);
        Some(World {
            nodes,
            sent: sent.unwrap_or_else(|| self.sent.clone()),
            history: Arc::clone(&self.history),
            left,
        })
    }

    /// The safety properties of Figure 3 of the Raft paper, as far as the node at `place` is concerned.
    fn check(&mut self, place: usize) {
        let node = Arc::clone(&self.nodes[place]);
        let replica = &node.replica;
        if replica.role() == RoleName::Leader {
            let known = self.history.leaders.get(&replica.term());
            assert!(
                known.is_none_or(|leader| *leader == replica.id()),
                "election safety: two leaders in {}",
                replica.term()
            );
            if known.is_none() {
                let history = Arc::make_mut(&mut self.history);
                history.leaders.insert(replica.term(), replica.id());
            }
        }
        for (index, (term, _)) in (1..=replica.commit().0).zip(&self.history.committed) {
            assert_eq!(
                replica.term_at(LogIndex(index)),
                Some(*term),
                "state machine safety: {} committed another entry at {index}",
                replica.id()
            );
        }
        let known = self.history.committed.len() as u64;
        for index in known + 1..=replica.commit().0 {
            let term = replica.term_at(LogIndex(index)).expect("a whole log");
            let history = Arc::make_mut(&mut self.history);
            history.committed.push((term, replica.term()));
        }
        for leader in &self.nodes {
            let leader = &leader.replica;
            if leader.role() != RoleName::Leader {
                continue;
            }
            for (index, (term, committed_in)) in (1..).zip(&self.history.committed) {
                assert!(
                    *committed_in >= leader.term()
                        || leader.term_at(LogIndex(index)) == Some(*term),
                    "leader completeness: {} of {} misses {index}",
                    leader.id(),
                    leader.term()
                );
            }
        }
        for other in &self.nodes {
            check_matching(replica, &other.replica);
        }
    }
}

fn check_matching(one: &consensus::Replica, other: &consensus::Replica) {
    let mut must_match = false;
    for index in (1..=one.last().index.min(other.last().index).0).rev() {
        let index = LogIndex(index);
        let same = one.term_at(index) == other.term_at(index);
        assert!(
            same || !must_match,
            "log matching: {} and {} agree after {index} but not there",
            one.id(),
            other.id()
        );
        must_match |= same;
    }
}

/// The search itself.
pub struct Explorer {
    scenario: Scenario,
    /// What a node makes of an event, by their hashes.
    known: BTreeMap<(u64, u64), Arc<Vec<Outcome>>>,
    seen: BTreeSet<u64>,
    origins: Vec<Option<Origin>>,
}

impl Explorer {
    pub fn new(scenario: Scenario) -> Explorer {
        Explorer {
            scenario,
            known: BTreeMap::new(),
            seen: BTreeSet::new(),
            origins: Vec::new(),
        }
    }

    /// Explores breadth first, up to `states_max` states, and says how a property was broken, if one was.
    pub fn explore(&mut self, first: World, states_max: usize) -> Found {
        self.seen.insert(first.hash());
        self.origins.push(None);
        let mut level = vec![(0, first)];
        let mut depth = 0;
        while !level.is_empty() {
            let mut next = Vec::new();
            for (number, world) in level {
                for place in 0..world.nodes.len() {
                    for (event, left) in world.events(place, &self.scenario) {
                        self.branch(&world, number, place, &event, left, &mut next);
                    }
                }
                if self.seen.len() >= states_max {
                    return self.found(depth, false);
                }
            }
            level = next;
            depth += 1;
        }
        self.found(depth, true)
    }

    fn found(&self, depth: usize, exhausted: bool) -> Found {
        Found {
            states: self.seen.len(),
            depth,
            exhausted,
        }
    }

    fn branch(
        &mut self,
        world: &World,
        number: usize,
        place: usize,
        event: &Event,
        left: Budget,
        next: &mut Vec<(usize, World)>,
    ) {
        let outcomes = self.outcomes(&world.nodes[place], number, place, event);
        for (synced, outcome) in outcomes.iter().enumerate() {
            let mut left = left;
            if outcome.node.writes() > 0 {
                if left.lags == 0 || !self.scenario.lag.contains(&place) {
                    continue;
                }
                left.lags -= 1;
            }
            let Some(mut reached) = world.next(place, outcome, left) else {
                continue;
            };
            let origin = Origin {
                from: number,
                node: place,
                event: event.clone(),
                synced,
            };
            let checked = catch_unwind(AssertUnwindSafe(|| {
                let back = !matches!(event, Event::Crash { .. })
                    && reached.nodes[place].replica.commit() < world.nodes[place].replica.commit();
                assert!(!back, "a commit index went back");
                reached.check(place);
            }));
            if let Err(panic) = checked {
                self.tell(&origin);
                resume_unwind(panic);
            }
            if self.seen.insert(reached.hash()) {
                self.origins.push(Some(origin));
                next.push((self.origins.len() - 1, reached));
            }
        }
    }

    fn outcomes(
        &mut self,
        node: &Node,
        number: usize,
        place: usize,
        event: &Event,
    ) -> Arc<Vec<Outcome>> {
        let name = match event {
            Event::Deliver(letter) => letter.hash,
            other => hash_of(&format!("{other:?}")),
        };
        if let Some(known) = self.known.get(&(node.hash, name)) {
            return Arc::clone(known);
        }
        let outcomes = catch_unwind(AssertUnwindSafe(|| node.after(event)));
        match outcomes {
            Ok(outcomes) => {
                let outcomes = Arc::new(outcomes);
                self.known.insert((node.hash, name), Arc::clone(&outcomes));
                outcomes
            }
            Err(panic) => {
                let origin = Origin {
                    from: number,
                    node: place,
                    event: event.clone(),
                    synced: 0,
                };
                self.tell(&origin);
                resume_unwind(panic);
            }
        }
    }

    /// The way to a broken state.
    fn tell(&self, last: &Origin) {
        let mut way = vec![last.clone()];
        let mut at = last.from;
        while let Some(origin) = &self.origins[at] {
            way.push(origin.clone());
            at = origin.from;
        }
        for origin in way.iter().rev() {
            let what = match &origin.event {
                Event::Deliver(letter) => format!("takes {:?}", letter.envelope),
                other => format!("{other:?}"),
            };
            eprintln!("n{}: {what}; {} synced", origin.node + 1, origin.synced);
        }
    }
}
