//! The core: one replica's consensus and everything that waits for it, as a function of events.
//!
//! Promises: `process` does no I/O and takes no time but the processor's; every waiter is answered exactly once
//! (applied, refused, or unknown when leadership is lost). Reads are answered only with an index that
//! consensus confirmed. Proposals of one round are stepped together, so a batch costs one append per follower.
//!
//! Assumes: the caller carries out [`Outputs`] in the order `install`, `log`, `send_now`, `apply`, and feeds back
//! `Durable` and `Applied`.

mod asked;
mod awaited;
mod log_retention;
mod members;
mod room;

pub use members::removed_text;

use std::collections::BTreeMap;
use std::time::Duration;

use consensus::{
    Entry, Envelope, Fetch, Input, LogIndex, LogPosition, Message, NodeId, Proposal, ProposalId,
    ProposalResult, ReadTicket, Replica, RoleName,
};
use peer_transport::{JoinReply, PeerAddress};

use awaited::Awaited;
use room::Room;

use crate::backlog::Backlog;
use crate::events::{
    ApplyWork, Event, LogWork, MembershipOutcome, ProposeOutcome, ReadDone, ReadError, Staged,
    Waiter,
};
use crate::metrics::QueueBytes;
use crate::rounds::{Hold, Rounds};

pub(crate) use log_retention::LogSizes;

/// A call to make once the effects are on their way.
pub(crate) type Answer = Box<dyn FnOnce() + Send>;

/// What one round of events asks of the other threads.
#[derive(Default)]
pub(crate) struct Outputs {
    pub install: Option<Staged>,
    pub log: Vec<LogWork>,
    pub send_now: Vec<Envelope>,
    pub apply: Vec<ApplyWork>,
    /// Reads to answer once this index is applied.
    pub reads: Vec<(LogIndex, ReadDone)>,
    pub fetch: Vec<Fetch>,
    pub send_snapshot: Vec<NodeId>,
    /// Members whose snapshot is not needed any more: they have it, or have left.
    pub unpin: Vec<NodeId>,
    pub answers: Vec<Answer>,
    pub status_changed: bool,
}

/// One replica between its inbox and its workers.
pub(crate) struct Core {
    replica: Replica,
    cluster_id: [u8; 16],
    log_retained_entries: u64,
    log_retained_bytes: u64,
    log_sizes: LogSizes,
    /// Proposed, consensus has not said where.
    proposed: BTreeMap<ProposalId, Waiter>,
    /// In the log, not applied.
    awaited: Awaited,
    reads: BTreeMap<ReadTicket, ReadDone>,
    next_id: u64,
    rounds: Rounds,
    /// Proposals that wait for the next round.
    held: Vec<Proposal>,
    durable: consensus::PersistPosition,
    /// Reported by the apply thread.
    applied: LogIndex,
    backlog: Backlog,
    room: Room,
    /// The index up to which the engine can be reopened without the log.
    flushed: LogIndex,
    removed: LogIndex,
    /// Up to where the log is archived; `None` when it is not to be.
    archived: Option<LogIndex>,
    /// Members that a snapshot is on its way to, with the index up to which it goes.
    snapshots: BTreeMap<NodeId, LogIndex>,
    /// Where members said they are reached when they connected: newer than the membership, which a joining node has
    /// not received yet when it must answer the leader.
    introduced: BTreeMap<NodeId, PeerAddress>,
    /// Members that have left and are still to be told.
    departed: BTreeMap<NodeId, members::Departed>,
    /// What this program reads.
    feature_level: u32,
    /// Changes of the voters that are not proposed yet.
    asked: Vec<asked::Asked>,
    /// Who waits for the membership that follows a joint one.
    joint: Waiter,
    told_removed: bool,
    /// Writable, settled, removed: as last shown by the status.
    shown: (bool, bool, bool),
    stopping: bool,
}

impl Core {
    pub fn new(
        replica: Replica,
        cluster_id: [u8; 16],
        feature_level: u32,
        log_retained_entries: u64,
        flushed: LogIndex,
    ) -> Self {
        let removed = LogIndex(replica.first_index().0.saturating_sub(1));
        Core {
            replica,
            cluster_id,
            log_retained_entries,
            log_retained_bytes: u64::MAX,
            log_sizes: LogSizes::default(),
            proposed: BTreeMap::new(),
            awaited: Awaited::default(),
            reads: BTreeMap::new(),
            next_id: 1,
            rounds: Rounds::default(),
            held: Vec::new(),
            durable: consensus::PersistPosition(0),
            applied: flushed,
            backlog: Backlog::default(),
            room: Room::default(),
            flushed,
            removed,
            archived: None,
            snapshots: BTreeMap::new(),
            introduced: BTreeMap::new(),
            departed: BTreeMap::new(),
            feature_level,
            asked: Vec::new(),
            joint: Waiter::Nobody,
            told_removed: false,
            shown: (false, false, false),
            stopping: false,
        }
    }

    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// What waits for the node's other threads, and what is kept for followers.
    pub fn queue_bytes(&self) -> QueueBytes {
        let (unsynced, unapplied) = self.backlog.bytes();
        QueueBytes {
            unsynced_bytes: unsynced as u64,
            unapplied_bytes: unapplied as u64,
            entry_cache_bytes: self.replica.cached_bytes() as u64,
        }
    }

    /// A leader takes writes and reads once it has committed an entry of its own term (Raft §8), and until it hands
    /// leadership over.
    pub fn writable(&self) -> bool {
        self.replica.role() == RoleName::Leader
            && !self.stopping
            && !self.replica.transferring()
            && self.replica.term_at(self.replica.commit()) == Some(self.replica.term())
    }

    /// Refuses new work from now on; what is under way still ends.
    pub fn set_stopping(&mut self) {
        self.stopping = true;
    }

    /// Carries out what consensus asked for when it was made.
    pub fn begin(&mut self, effects: consensus::Effects) -> Outputs {
        let mut out = Outputs::default();
        self.carry_out(effects, None, &mut out);
        out
    }

    /// Steps everything in `events` plus `ticks` ticks; proposals when it is time for their round, of which
    /// [`Core::rest`] tells.
    pub fn process(&mut self, events: &mut Vec<Event>, ticks: u32, now: Duration) -> Outputs {
        let mut out = Outputs::default();
        let mut inputs = Vec::with_capacity(events.len() + ticks as usize);
        let mut staged = None;
        for event in events.drain(..) {
            self.translate(event, &mut inputs, &mut staged, &mut out);
        }
        inputs.extend((0..ticks).map(|_| Input::Tick));
        if ticks > 0 {
            self.tick_asked(ticks, &mut inputs);
            self.tick_room(ticks, &mut out);
            self.promote_caught_up_learner(&mut inputs);
        }
        let effects = self.replica.step_all(inputs);
        self.carry_out(effects, staged, &mut out);
        self.propose_held(now, &mut out);
        self.drop_waiters_of_a_lost_leadership(ticks, &mut out);
        self.note_changes(ticks, &mut out);
        out
    }

    fn hold(&self, now: Duration) -> Option<Hold> {
        let leads = self.replica.role() == RoleName::Leader;
        let under_way = leads && self.replica.last().index > self.replica.commit();
        self.rounds.hold(self.held.len(), under_way, now)
    }

    /// How long to sleep until `tick`, and how many proposals may come in meanwhile: none, where one that comes goes at once.
    pub fn rest(&self, now: Duration, tick: Duration) -> Hold {
        let until = |time| Hold {
            time,
            until_more: 0,
        };
        match self.hold(now) {
            Some(hold) => Hold {
                time: hold.time.min(tick),
                ..hold
            },
            None if self.held.is_empty() => until(tick),
            None => until(Duration::ZERO),
        }
    }

    fn propose_held(&mut self, now: Duration, out: &mut Outputs) {
        if self.held.is_empty() || self.hold(now).is_some() {
            return;
        }
        self.rounds.begin(self.held.len(), now);
        let round = Input::Propose(std::mem::take(&mut self.held));
        let effects = self.replica.step_all(vec![round]);
        self.carry_out(effects, None, out);
    }

    /// Answers requests that will not be looked at; for the end of the node.
    pub fn turn_away(&mut self, events: &mut Vec<Event>) -> Vec<Answer> {
        let mut out = Outputs::default();
        for held in std::mem::take(&mut self.held) {
            if let Some(waiter) = self.proposed.remove(&held.id) {
                answer(waiter, ProposeOutcome::Stopping, &mut out);
            }
        }
        let turned_away = events.drain(..).filter_map(|event| -> Option<Answer> {
            match event {
                Event::Propose { done, .. } => {
                    Some(Box::new(move || done(ProposeOutcome::Stopping)))
                }
                Event::Read { done } => Some(Box::new(move || done(Err(ReadError::Stopping)))),
                Event::ChangeMembership { done, .. } => {
                    Some(Box::new(move || done(MembershipOutcome::Stopping)))
                }
                _ => None,
            }
        });
        out.answers.extend(turned_away);
        out.answers
    }

    /// Answers everybody who still waits; for the end of the node.
    pub fn abandon(&mut self) -> Vec<Answer> {
        let mut out = Outputs::default();
        for (_, waiter) in std::mem::take(&mut self.proposed) {
            answer(waiter, ProposeOutcome::Unknown, &mut out);
        }
        for waiter in self.awaited.give_up() {
            answer(waiter, ProposeOutcome::Unknown, &mut out);
        }
        let joint = std::mem::replace(&mut self.joint, Waiter::Nobody);
        answer(joint, ProposeOutcome::Unknown, &mut out);
        self.abandon_asked(&mut out);
        for (_, done) in std::mem::take(&mut self.reads) {
            out.answers
                .push(Box::new(move || done(Err(ReadError::Stopping))));
        }
        out.answers
    }

    fn translate(
        &mut self,
        event: Event,
        inputs: &mut Vec<Input>,
        staged: &mut Option<Staged>,
        out: &mut Outputs,
    ) {
        match event {
            Event::Propose { payload, done } => self.propose(payload, done, out),
            Event::Read { done } => self.read(done, inputs, out),
            Event::Received(envelopes) => {
                let full = self.backlog.is_full();
                let room = &mut self.room;
                let taken = envelopes
                    .into_iter()
                    .filter(|it| (!full || !is_work(it)) && room.takes(it));
                inputs.extend(taken.map(Input::Receive));
            }
            Event::Heard(peer) => inputs.push(Input::PeerHeard(peer)),
            Event::Disconnected(peer) => inputs.push(Input::PeerDisconnected(peer)),
            Event::Join { request, reply } => self.join(request, reply, inputs, out),
            Event::Durable(position) => {
                self.durable = position;
                self.backlog.durable(position);
                inputs.push(Input::Durable(position));
            }
            Event::Applied(index) => {
                self.applied = index;
                self.backlog.applied(index);
                inputs.push(Input::Applied(index));
            }
            Event::Fetched { to, entries } => inputs.push(Input::EntriesFetched { to, entries }),
            Event::SnapshotSent {
                to,
                position,
                delivered,
            } => {
                inputs.push(Input::SnapshotSent {
                    to,
                    position,
                    delivered,
                });
            }
            Event::SnapshotPinned { to, index } => {
                self.snapshots.insert(to, index);
            }
            Event::SnapshotUnpinned { to } => {
                self.snapshots.remove(&to);
            }
            Event::SnapshotStaged(snapshot) => {
                inputs.push(Input::SnapshotStaged(snapshot.meta.clone()));
                *staged = Some(snapshot);
            }
            // One that an installed snapshot replaced is never flushed.
            Event::Sealed(index) if index <= self.flushed => {}
            Event::Sealed(index) => self.backlog.sealed(index),
            Event::Flushed(index) => {
                self.flushed = self.flushed.max(index);
                self.backlog.flushed(index);
                self.remove_log_prefix(out);
            }
            Event::Archived(index) => {
                self.archived = Some(index);
                self.remove_log_prefix(out);
            }
            Event::DiskFull { part, what } => self.said_of_room(part, what, inputs, out),
            Event::LogRemoved(position) => inputs.push(Input::LogCompacted(position)),
            Event::TransferLeadership { to } => {
                if self.replica.role() == RoleName::Leader {
                    inputs.push(Input::TransferLeadership { to });
                }
            }
            Event::ChangeMembership { change, done } => {
                self.change_membership(change, done, inputs, out);
            }
            Event::TicksSkipped => inputs.push(Input::TicksSkipped),
            Event::Removed => self.told_removed(out),
            Event::Introduced { peer, address } => self.introduced(peer, address, out),
            Event::Fault(_) | Event::NewerFormat(_) | Event::Stop => {}
        }
    }

    fn propose(
        &mut self,
        payload: consensus::Payload,
        done: crate::events::ProposeDone,
        out: &mut Outputs,
    ) {
        if self.stopping {
            out.answers
                .push(Box::new(move || done(ProposeOutcome::Stopping)));
            return;
        }
        if let Some(refusal) = self.refusal_for_room() {
            out.answers.push(Box::new(move || done(refusal)));
            return;
        }
        if self.replica.role() == RoleName::Leader && self.backlog.is_full_for_a_leader() {
            out.answers
                .push(Box::new(move || done(ProposeOutcome::Overloaded)));
            return;
        }
        let id = self.next_proposal(Waiter::Client(done));
        self.held.push(Proposal { id, payload });
    }

    fn next_proposal(&mut self, waiter: Waiter) -> ProposalId {
        let id = ProposalId(self.next_id);
        self.next_id += 1;
        self.proposed.insert(id, waiter);
        id
    }

    fn read(&mut self, done: ReadDone, inputs: &mut Vec<Input>, out: &mut Outputs) {
        if self.stopping {
            out.answers
                .push(Box::new(move || done(Err(ReadError::Stopping))));
            return;
        }
        let ticket = ReadTicket(self.next_id);
        self.next_id += 1;
        self.reads.insert(ticket, done);
        match inputs.last_mut() {
            Some(Input::Read(batch)) => batch.push(ticket),
            _ => inputs.push(Input::Read(vec![ticket])),
        }
    }

    fn carry_out(
        &mut self,
        effects: consensus::Effects,
        staged: Option<Staged>,
        out: &mut Outputs,
    ) {
        for (id, result) in effects.proposals {
            let waiter = self
                .proposed
                .remove(&id)
                .expect("consensus answers each proposal once");
            match result {
                ProposalResult::Accepted(position) => self.awaited.push(position, waiter),
                ProposalResult::NotLeader { leader } => {
                    answer(waiter, ProposeOutcome::NotLeader { leader }, out)
                }
                ProposalResult::Overloaded => answer(waiter, ProposeOutcome::Overloaded, out),
                ProposalResult::Refused(refusal) => self.refuse(waiter, refusal, out),
            }
        }
        if let Some(meta) = effects.install_snapshot {
            let staged = staged.expect("consensus accepts only the snapshot it was offered");
            assert_eq!(
                staged.meta.position, meta.position,
                "the staged snapshot is the accepted one"
            );
            self.removed = meta.position.index;
            self.log_sizes = LogSizes::default();
            self.flushed = self.flushed.max(meta.position.index);
            self.applied = self.applied.max(meta.position.index);
            self.backlog.flushed(meta.position.index);
            out.install = Some(staged);
        }
        if let Some(persist) = &effects.persist {
            let bytes = persist.entries.iter().map(Entry::bytes).sum();
            self.log_sizes.append(&persist.entries);
            self.backlog.persisting(persist.position, bytes);
        }
        let must_wait = effects.sync_position > self.durable;
        if effects.persist.is_some() || (must_wait && !effects.send_after_sync.is_empty()) {
            out.log.push(LogWork::Persist {
                persist: effects.persist,
                then_send: effects.send_after_sync,
            });
        } else {
            out.send_now.extend(effects.send_after_sync);
        }
        out.send_now.extend(effects.send_now);
        for entry in effects.apply {
            let waiter = self.waiter_of(&entry, out);
            let waiter = self.hand_on(&entry, waiter, out);
            self.backlog.applying(entry.index, entry.bytes());
            out.apply.push(ApplyWork::Entry { entry, waiter });
        }
        for (ticket, index) in effects.reads_ready {
            let done = self
                .reads
                .remove(&ticket)
                .expect("consensus answers each read once");
            out.reads.push((index, done));
        }
        for ticket in effects.reads_failed {
            let done = self
                .reads
                .remove(&ticket)
                .expect("consensus answers each read once");
            out.answers
                .push(Box::new(move || done(Err(ReadError::NoLeader))));
        }
        out.fetch.extend(effects.fetch);
        for to in &effects.send_snapshot {
            self.snapshots.entry(*to).or_insert(self.applied);
        }
        out.send_snapshot.extend(effects.send_snapshot);
        out.status_changed |= effects.status_changed;
    }

    /// The one who proposed `entry` here; those whose entries it rules out learn that.
    fn waiter_of(&mut self, entry: &Entry, out: &mut Outputs) -> Waiter {
        let settled = self.awaited.settle(LogPosition {
            index: entry.index,
            term: entry.term,
        });
        let leader = self.replica.leader();
        for waiter in settled.lost {
            answer(waiter, ProposeOutcome::NotLeader { leader }, out);
        }
        for waiter in settled.unknown {
            answer(waiter, ProposeOutcome::Unknown, out);
        }
        settled.own
    }

    fn drop_waiters_of_a_lost_leadership(&mut self, ticks: u32, out: &mut Outputs) {
        let leads = self.replica.role() == RoleName::Leader;
        for waiter in self.awaited.pass(leads, ticks) {
            answer(waiter, ProposeOutcome::Unknown, out);
        }
        if !leads {
            let joint = std::mem::replace(&mut self.joint, Waiter::Nobody);
            answer(joint, ProposeOutcome::Unknown, out);
        }
    }

    /// What the status shows besides what consensus says of itself.
    fn note_changes(&mut self, ticks: u32, out: &mut Outputs) {
        let shown = (self.writable(), self.settled(), self.removed());
        out.status_changed |= shown != self.shown;
        self.shown = shown;
        if out.status_changed || !self.departed.is_empty() {
            self.note_departures(ticks, out);
        }
    }
}

/// Whether a message brings entries to keep.
fn is_work(envelope: &Envelope) -> bool {
    matches!(&envelope.message, Message::AppendRequest { entries, .. } if !entries.is_empty())
}

/// Answers a waiter whose proposal did not get applied here.
fn answer(waiter: Waiter, outcome: ProposeOutcome, out: &mut Outputs) {
    match waiter {
        Waiter::Client(done) => out.answers.push(Box::new(move || done(outcome))),
        Waiter::Join { reply, .. } => {
            let reason = "leadership moved while joining".to_owned();
            out.answers.push(Box::new(move || {
                drop(reply.try_send(JoinReply::NotNow { reason }))
            }));
        }
        Waiter::Change(done) => {
            let outcome = match outcome {
                ProposeOutcome::NotLeader { leader } => MembershipOutcome::NotLeader { leader },
                ProposeOutcome::Overloaded | ProposeOutcome::DiskFull { .. } => {
                    MembershipOutcome::NotLeader { leader: None }
                }
                ProposeOutcome::Stopping => MembershipOutcome::Stopping,
                ProposeOutcome::Unknown | ProposeOutcome::Applied { .. } => {
                    MembershipOutcome::Unknown
                }
            };
            out.answers.push(Box::new(move || done(outcome)));
        }
        Waiter::Nobody => {}
    }
}

#[cfg(test)]
mod tests;
