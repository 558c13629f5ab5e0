//! One replica: its state, the dispatch of inputs, and the end of each wake-up.
//!
//! Within a wake-up inputs only change the state. What the change asks for (appends to followers, rounds
//! of reads, the write to disk, entries to apply) is gathered once at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use crate::durability::Durability;
use crate::effects::{Effects, Persist};
use crate::input::{Config, HardState, Input, Recovered};
use crate::leader_election::priority::Precedence;
use crate::leader_election::timer::{ElectionTimer, Pace};
use crate::linearizable_reads::forwarded::ForwardedReads;
use crate::log::Log;
use crate::membership::Membership;
use crate::membership::history::MembershipHistory;
use crate::messages::{Envelope, Message};
use crate::position::{EntryKind, LogIndex, LogPosition, NodeId, Term};
use crate::random::Random;
use crate::roles::{Follower, Role, RoleName};

/// Terms and indexes above this are nobody's: a message that names one is dropped, so that no arithmetic on what
/// peers say can overflow.
pub(crate) const NUMBER_MAX: u64 = 1 << 62;

/// What a leader knows of a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerProgress {
    /// The highest index known to be durable there and equal to the leader's; `None`: not known yet.
    pub match_index: Option<LogIndex>,
    /// The next index to send.
    pub next_index: LogIndex,
    /// Heard from within a longest election timeout.
    pub recently_active: bool,
    /// Ticks since it was heard from; `None`: never by this leader.
    pub heard_ticks_ago: Option<u32>,
    /// It said last that its disk is full.
    pub disk_full: bool,
}

/// One replica of the log: a pure function of its inputs.
#[derive(Clone, Debug)]
pub struct Replica {
    pub(crate) config: Config,
    pub(crate) random: Random,
    pub(crate) term: Term,
    pub(crate) vote: Option<NodeId>,
    /// The hard state as last handed to the disk.
    written: HardState,
    pub(crate) log: Log,
    pub(crate) memberships: MembershipHistory,
    pub(crate) durability: Durability,
    pub(crate) commit: LogIndex,
    /// Handed out to be applied.
    pub(crate) released: LogIndex,
    pub(crate) applied: LogIndex,
    pub(crate) role: Role,
    pub(crate) precedence: Precedence,
    /// As the host says.
    pub(crate) disk_full: bool,
    /// With leases on, while this replica does not lead: ticks since it heard a leader, or since it started, whatever its
    /// role was.
    pub(crate) leader_heard_ticks: u32,
    /// The next number of a read round or of a forwarded read; never used twice.
    pub(crate) next_read_number: u64,
    pub(crate) out: Effects,
}

/// Of all that decides what a replica does next, but for the random numbers it has yet to draw and its configuration: for
/// searches that must tell states apart.
impl Hash for Replica {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.term, self.vote, self.written, self.commit).hash(state);
        (self.released, self.applied, self.next_read_number).hash(state);
        (&self.log, &self.memberships, &self.durability).hash(state);
        (&self.role, &self.precedence, self.leader_heard_ticks).hash(state);
        self.disk_full.hash(state);
    }
}

/// What `Effects::status_changed` watches.
#[derive(PartialEq, Eq)]
struct Status {
    role: RoleName,
    term: Term,
    leader: Option<NodeId>,
    membership_version: u64,
    committed_membership_index: LogIndex,
}

impl Replica {
    /// A replica as it finds itself on its disk.
    ///
    /// # Panics
    /// If the configuration or what was recovered makes no sense.
    pub fn new(config: Config, recovered: Recovered) -> (Replica, Effects) {
        config.check();
        let Recovered {
            hard_state,
            membership,
            log_start,
            applied,
            terms,
            entries,
        } = recovered;
        let mut memberships = MembershipHistory::new(log_start.index, membership);
        for entry in &entries {
            if let EntryKind::Membership(membership) = &entry.kind {
                memberships.append(entry.index, membership.clone());
            }
        }
        let on_disk = (terms, applied);
        let log = Log::new(log_start, on_disk, entries, config.cache_bytes_max);
        let last = log.last();
        assert!(
            log_start.index <= applied && applied <= last.index,
            "{} recovered a log from {log_start} to {last}, but has applied up to {applied}",
            config.id
        );
        // A crash may keep a snapshot and lose the term it arrived in. No promise was made in that term.
        let (term, vote) = if last.term > hard_state.term {
            (last.term, None)
        } else {
            (hard_state.term, hard_state.vote)
        };
        let mut random = Random::new(config.seed);
        let alone = memberships.latest().has_quorum(|id| id == config.id);
        // It may have kept the lease of a leader whose cluster it was then to become alone.
        let timer = if alone && config.lease_ticks.is_none() {
            ElectionTimer::at_once()
        } else {
            ElectionTimer::ordinary(&mut random, Pace::new(&config, 0))
        };
        // The upper half is drawn, so that no answer to an earlier life of this replica is taken for a new one.
        let next_read_number = (random.next() >> 2) | 1;
        let mut replica = Replica {
            term,
            vote,
            written: hard_state,
            memberships,
            durability: Durability::new(last.index),
            commit: hard_state.commit.min(last.index).max(applied),
            released: applied,
            applied,
            role: Role::Follower(Follower {
                leader: None,
                timer,
                reads: ForwardedReads::default(),
            }),
            precedence: Precedence::default(),
            disk_full: false,
            leader_heard_ticks: 0,
            next_read_number,
            out: Effects::default(),
            log,
            random,
            config,
        };
        replica.log.evict(applied);
        replica.review_precedence();
        let effects = replica.finish(None);
        (replica, effects)
    }

    /// One input.
    pub fn step(&mut self, input: Input) -> Effects {
        self.step_all([input])
    }

    /// All inputs of one wake-up, with one answer to them all.
    pub fn step_all(&mut self, inputs: impl IntoIterator<Item = Input>) -> Effects {
        let before = self.observe();
        let status = self.status();
        for input in inputs {
            self.handle(input);
        }
        self.advance_leader_commit();
        self.follow_committed_membership();
        self.advance_read_rounds();
        self.advance_transfer();
        self.send_appends();
        self.forward_reads();
        self.review_precedence();
        let effects = self.finish(Some(status));
        self.check_transition(&before);
        effects
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Tick => self.tick(),
            Input::Receive(envelope) => self.receive(envelope),
            Input::Propose(proposals) => self.propose(proposals),
            Input::ProposeMembership { id, change } => self.propose_membership(id, &change),
            Input::Read(tickets) => self.read(tickets),
            Input::Durable(position) => {
                self.durability.durable(position);
                self.own_vote_may_be_durable();
            }
            Input::Applied(index) => {
                assert!(
                    index <= self.released,
                    "{} is told that {index} is applied, but released only {}",
                    self.config.id,
                    self.released
                );
                self.applied = self.applied.max(index);
                self.log.evict(self.applied);
            }
            Input::PeerHeard(peer) => self.peer_heard(peer),
            Input::PeerDisconnected(peer) => self.peer_disconnected(peer),
            Input::EntriesFetched { to, entries } => self.entries_fetched(to, entries),
            Input::SnapshotSent {
                to,
                position,
                delivered,
            } => {
                if let Role::Leader(leader) = &mut self.role
                    && let Some(progress) = leader.progress.get_mut(&to)
                {
                    progress.snapshot_sent(position, delivered);
                }
            }
            Input::SnapshotStaged(meta) => self.snapshot_staged(meta),
            Input::LogCompacted(position) => self.log_compacted(position),
            Input::TransferLeadership { to } => self.transfer_requested(to),
            Input::TicksSkipped => self.ticks_skipped(),
            Input::DiskFull(full) => self.disk_full = full,
        }
    }

    fn tick(&mut self) {
        self.durability.tick();
        self.tick_forwarded_reads();
        self.tick_precedence();
        if matches!(self.role, Role::Leader(_)) {
            self.tick_transfer();
            self.tick_room();
            self.tick_heartbeat();
            self.tick_leadership();
        } else {
            self.tick_election();
        }
    }

    // ---- messages -----------------------------------------------------------------------------------------

    fn receive(&mut self, envelope: Envelope) {
        let Envelope {
            from,
            to,
            term,
            message,
        } = envelope;
        if to != self.config.id || from == to || !is_plausible(term, &message) {
            return;
        }
        match message {
            Message::PreVoteRequest { last } => return self.pre_vote_requested(from, term, last),
            Message::PreVoteReply { granted: true } => return self.pre_vote_granted(from, term),
            Message::VoteRequest {
                transfer: false, ..
            } if (term > self.term || self.config.lease_ticks.is_some()) && self.hears_leader() => {
                return;
            }
            _ => {}
        }
        if term < self.term {
            return self.receive_outdated(from, &message);
        }
        if term > self.term {
            let leads = matches!(
                message,
                Message::AppendRequest { .. } | Message::Heartbeat { .. }
            );
            self.become_follower(term, leads.then_some(from));
        }
        self.receive_current(from, message);
    }

    /// Somebody is behind: it learns the term. Answers to former terms are ignored.
    fn receive_outdated(&mut self, from: NodeId, message: &Message) {
        match message {
            Message::AppendRequest { .. } | Message::Heartbeat { .. } => {
                let disk_full = self.disk_full;
                let reply = Message::HeartbeatReply {
                    read_round: 0,
                    disk_full,
                };
                self.send_now(from, reply);
            }
            Message::VoteRequest { .. } => {
                self.send_now(from, Message::VoteReply { granted: false });
            }
            Message::ReadIndexRequest { request } => {
                let request = *request;
                self.send_now(
                    from,
                    Message::ReadIndexReply {
                        request,
                        index: None,
                    },
                );
            }
            Message::PreVoteRequest { .. }
            | Message::PreVoteReply { .. }
            | Message::VoteReply { .. }
            | Message::AppendReply { .. }
            | Message::HeartbeatReply { .. }
            | Message::ReadIndexReply { .. }
            | Message::TimeoutNow => {}
        }
    }

    /// A message of the present term.
    fn receive_current(&mut self, from: NodeId, message: Message) {
        match message {
            Message::PreVoteRequest { .. } => {}
            Message::PreVoteReply { granted } => {
                if !granted {
                    self.pre_vote_refused(from);
                }
            }
            Message::VoteRequest { last, .. } => self.vote_requested(from, last),
            Message::VoteReply { granted } => self.vote_replied(from, granted),
            Message::AppendRequest {
                previous,
                entries,
                commit,
            } => {
                self.append_requested(from, previous, entries, commit);
            }
            Message::AppendReply { outcome } => self.append_replied(from, outcome),
            Message::Heartbeat { commit, read_round } => {
                self.heartbeat_received(from, commit, read_round);
            }
            Message::HeartbeatReply {
                read_round,
                disk_full,
            } => {
                self.told_of_room(from, disk_full);
                self.heartbeat_replied(from, read_round);
            }
            Message::ReadIndexRequest { request } => self.read_index_requested(from, request),
            Message::ReadIndexReply { request, index } => self.read_index_replied(request, index),
            Message::TimeoutNow => self.timeout_now(from),
        }
    }

    pub(crate) fn send_now(&mut self, to: NodeId, message: Message) {
        self.send_now_in(self.term, to, message);
    }

    /// Sends with a term that is not the own one: only pre-votes do.
    pub(crate) fn send_now_in(&mut self, term: Term, to: NodeId, message: Message) {
        self.out.send_now.push(Envelope {
            from: self.config.id,
            to,
            term,
            message,
        });
    }

    pub(crate) fn send_after_sync(&mut self, to: NodeId, message: Message) {
        let envelope = Envelope {
            from: self.config.id,
            to,
            term: self.term,
            message,
        };
        self.out.send_after_sync.push(envelope);
    }

    // ---- the end of a wake-up -------------------------------------------------------------------------------

    fn finish(&mut self, before: Option<Status>) -> Effects {
        self.hand_to_disk();
        self.release();
        self.out.status_changed = before.is_none_or(|before| before != self.status());
        self.out.sync_position = self.durability.issued_position();
        std::mem::take(&mut self.out)
    }

    fn hand_to_disk(&mut self) {
        // Only what is on disk already may be called committed there: a torn write could otherwise keep the
        // claim and lose the entries.
        let commit = self
            .commit
            .min(self.durability.last())
            .max(self.written.commit);
        let hard_state = HardState {
            term: self.term,
            vote: self.vote,
            commit,
        };
        let binding = (hard_state.term, hard_state.vote) != (self.written.term, self.written.vote);
        let (reset_to, from) = self.durability.pending();
        if !binding && reset_to.is_none() && from.is_none() {
            return;
        }
        let last = self.log.last_index();
        let entries = from.map_or_else(Vec::new, |from| {
            self.log.cached(from, last).cloned().collect()
        });
        self.out.persist = Some(Persist {
            hard_state: (hard_state != self.written).then_some(hard_state),
            reset_to,
            entries,
            position: self.durability.issue(last),
        });
        self.written = hard_state;
    }

    /// Hands out what is committed and durable here.
    fn release(&mut self) {
        let through = self.commit.min(self.durability.last());
        if through > self.released {
            let entries = self.log.cached(self.released.next(), through).cloned();
            self.out.apply.extend(entries);
            self.released = through;
        }
    }

    fn status(&self) -> Status {
        Status {
            role: self.role(),
            term: self.term,
            leader: self.leader(),
            membership_version: self.memberships.version(),
            committed_membership_index: self.memberships.as_of(self.commit).0,
        }
    }

    // ---- what others may know -------------------------------------------------------------------------------

    /// Whether this leader is handing leadership over: it takes no proposals meanwhile.
    #[must_use]
    pub fn transferring(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if leader.transfer.is_some())
    }

    /// Members that have left and that this leader still sends the entry which says so.
    #[must_use]
    pub fn departing(&self) -> BTreeSet<NodeId> {
        let Role::Leader(leader) = &self.role else {
            return BTreeSet::new();
        };
        let followed = leader.progress.iter();
        let departing = followed.filter(|(_, progress)| progress.departs_at.is_some());
        departing.map(|(id, _)| *id).collect()
    }

    /// Whether the committed membership is of a cluster that this replica does not belong to any more.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        let members = &self.committed_membership().members;
        !members.is_empty() && !members.contains_key(&self.config.id)
    }

    /// The part this replica plays.
    #[must_use]
    pub fn role(&self) -> RoleName {
        match &self.role {
            Role::Follower(_) if !self.memberships.latest().is_voter(self.config.id) => {
                RoleName::Learner
            }
            Role::Follower(_) => RoleName::Follower,
            Role::PreCandidate(_) => RoleName::PreCandidate,
            Role::Candidate(_) => RoleName::Candidate,
            Role::Leader(_) => RoleName::Leader,
        }
    }

    /// This replica.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.config.id
    }

    /// Its term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// Whom it voted for in this term.
    pub fn vote(&self) -> Option<NodeId> {
        self.vote
    }

    /// The leader, if known.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Follower(follower) => follower.leader,
            Role::Leader(_) => Some(self.config.id),
            Role::PreCandidate(_) | Role::Candidate(_) => None,
        }
    }

    /// How far is committed.
    #[must_use]
    pub fn commit(&self) -> LogIndex {
        self.commit
    }

    /// How far the state machine reported to have applied.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// How far the log is on disk.
    #[must_use]
    pub fn durable(&self) -> LogIndex {
        self.durability.last()
    }

    /// Where the log ends.
    #[must_use]
    pub fn last(&self) -> LogPosition {
        self.log.last()
    }

    /// Bytes of the entries that are kept in memory.
    #[must_use]
    pub fn cached_bytes(&self) -> usize {
        self.log.cached_bytes()
    }

    /// The first index still in the log.
    #[must_use]
    pub fn first_index(&self) -> LogIndex {
        self.log.first_index()
    }

    /// The latest membership in the log: the one in force.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        self.memberships.latest()
    }

    /// The membership as of the commit index.
    #[must_use]
    pub fn committed_membership(&self) -> &Membership {
        self.memberships.as_of(self.commit).1
    }

    /// On a leader: what it knows of the other members.
    #[must_use]
    pub fn progress(&self) -> BTreeMap<NodeId, PeerProgress> {
        let Role::Leader(leader) = &self.role else {
            return BTreeMap::new();
        };
        let members = leader.progress.iter();
        let members = members.filter(|(_, progress)| progress.departs_at.is_none());
        let peers = members.map(|(id, progress)| {
            let peer = PeerProgress {
                match_index: progress.match_index(),
                next_index: progress.next_index(),
                recently_active: progress.is_recently_active(&self.config),
                heard_ticks_ago: progress.heard_ticks_ago(),
                disk_full: progress.disk_full == Some(true),
            };
            (*id, peer)
        });
        peers.collect()
    }

    /// The term of the entry at `index`, if the log knows it.
    #[must_use]
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        self.log.term_at(index)
    }
}

/// Whether the numbers in a message can be anybody's.
fn is_plausible(term: Term, message: &Message) -> bool {
    let index = match message {
        Message::AppendRequest { previous, .. } => previous.index,
        Message::PreVoteRequest { last } | Message::VoteRequest { last, .. } => last.index,
        _ => LogIndex(0),
    };
    // In term 0 there is nobody to speak of: its only message is a refusal.
    let refusal = matches!(message, Message::PreVoteReply { granted: false });
    (term > Term(0) || refusal) && term.0 <= NUMBER_MAX && index.0 <= NUMBER_MAX
}
