//! The core's side of one round: due ticks, housekeeping, and carrying out what the core asked for, in its order.
//!
//! Knows no threads: whoever runs it calls [`CoreWorker::wake`] when something waits or a tick is due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use consensus::RoleName;
use parking_lot::{Condvar, Mutex};
use platform::Clock;

use crate::applied_waiters::AppliedWaiters;
use crate::config::Notices;
use crate::core::{Core, Outputs};
use crate::error::ExitReason;
use crate::events::{ApplyWork, BackgroundWork, Event, LogWork, SegmentWork};
use crate::housekeeping::Housekeeping;
use crate::mailbox::Mailbox;
use crate::metrics::ReplicationClock;
use crate::peers::Peers;
use crate::peers_file::KnownPeers;
use crate::rounds::Hold;
use crate::status::{Gauges, NodeStatus, StatusBoard};

/// Ticks made up for at most after the worker was held up; the rest of the lost time is let go.
const TICKS_PER_WAKE_MAX: u32 = 2;
/// Ticks between looks at what the leader should propose on its own.
const HOUSEKEEPING_TICKS: u32 = 10;
/// Looks without a newly applied entry after which a node counts as idle: half a minute.
const IDLE_LOOKS: u32 = 300;

/// Inboxes of the workers.
#[derive(Clone)]
pub(crate) struct Inboxes {
    pub core: Arc<Mailbox<Event>>,
    pub log: Arc<Mailbox<LogWork>>,
    pub apply: Arc<Mailbox<ApplyWork>>,
    pub background: Arc<Mailbox<BackgroundWork>>,
    pub segments: Arc<Mailbox<SegmentWork>>,
}

/// How the node ended, once it has.
#[derive(Default)]
pub(crate) struct Exit {
    reason: Mutex<Option<ExitReason>>,
    known: Condvar,
}

impl Exit {
    /// The first reason stays.
    pub fn set(&self, reason: ExitReason) {
        self.reason.lock().get_or_insert(reason);
        self.known.notify_all();
    }

    /// The reason, once the node has ended.
    pub fn known(&self) -> Option<ExitReason> {
        self.reason.lock().clone()
    }

    /// Waits for the end, at most this long; whether it has come.
    pub fn wait_at_most(&self, time: Duration) -> bool {
        let mut reason = self.reason.lock();
        if reason.is_none() {
            self.known.wait_for(&mut reason, time);
        }
        reason.is_some()
    }

    pub fn wait(&self) -> ExitReason {
        let mut reason = self.reason.lock();
        loop {
            match &*reason {
                Some(reason) => return reason.clone(),
                None => self.known.wait(&mut reason),
            }
        }
    }
}

/// The core and everything it hands work to.
pub(crate) struct CoreWorker<C: Clock> {
    pub core: Core,
    /// What consensus asked for when it was made.
    pub first: Option<consensus::Effects>,
    pub inboxes: Inboxes,
    pub peers: Arc<dyn Peers>,
    pub waiters: Arc<AppliedWaiters>,
    pub board: Arc<StatusBoard>,
    pub gauges: Arc<Gauges>,
    pub housekeeping: Housekeeping<C>,
    pub clock: C,
    pub tick: Duration,
    pub exit: Arc<Exit>,
    pub next_tick: Duration,
    pub ticks_to_housekeeping: u32,
    /// Set while the background worker has something to tidy up.
    pub upkeep: Arc<AtomicBool>,
    /// Called when the core is about to wait for the apply worker: does nothing where that one has a thread of its own,
    /// runs it where it has not.
    pub let_apply_work: Box<dyn FnMut() + Send>,
    /// Says in the directory that what is in it is damaged, and what.
    pub record_damage: Box<dyn Fn(&str) + Send>,
    /// The last entry applied when it was last looked, and how often it has been the same since.
    pub idle_at: (u64, u32),
    pub replication: ReplicationClock,
    /// Hears when the disk fills up, and when there is room again.
    pub notices: Notices,
    /// The members as last handed on to be written down.
    pub recorded_peers: String,
}

impl<C: Clock> CoreWorker<C> {
    /// Carries out what consensus asked for at its start.
    pub fn begin(&mut self) {
        self.next_tick = self.clock.monotonic() + self.tick;
        self.publish();
        if let Some(first) = self.first.take() {
            let out = self.core.begin(first);
            self.carry_out(out);
        }
    }

    /// How long it may sleep if nothing comes in, and how many proposals may come in meanwhile.
    pub fn rest(&self) -> Hold {
        let now = self.clock.monotonic();
        self.core.rest(now, self.next_tick.saturating_sub(now))
    }

    /// Works off `events` and the ticks that are due. Returns false when the node has ended: nothing more is to be done.
    pub fn wake(&mut self, events: &mut Vec<Event>) -> bool {
        let (ticks, skipped) = self.due_ticks();
        if skipped {
            // Before the reads that came in meanwhile: a lease may have ended.
            events.insert(0, Event::TicksSkipped);
        }
        if let Some(reason) = ending(events) {
            self.end(reason, events);
            return false;
        }
        self.keep_house(ticks, events);
        self.round(events, ticks);
        true
    }

    /// The ticks to make up for, and whether more time than theirs has passed.
    fn due_ticks(&mut self) -> (u32, bool) {
        let now = self.clock.monotonic();
        let mut ticks = 0;
        while now >= self.next_tick && ticks < TICKS_PER_WAKE_MAX {
            self.next_tick += self.tick;
            ticks += 1;
        }
        let skipped = now >= self.next_tick;
        if skipped {
            self.next_tick = now + self.tick;
        }
        (ticks, skipped)
    }

    fn keep_house(&mut self, ticks: u32, events: &mut Vec<Event>) {
        self.ticks_to_housekeeping = self.ticks_to_housekeeping.saturating_sub(ticks);
        if self.ticks_to_housekeeping == 0 {
            self.ticks_to_housekeeping = HOUSEKEEPING_TICKS;
            self.release_versions_when_idle();
            if self.core.writable() {
                events.extend(self.housekeeping.next());
            }
            if self.upkeep.load(Ordering::Acquire) && self.inboxes.background.is_empty() {
                let now = self.clock.monotonic();
                self.inboxes.background.push(BackgroundWork::Tidy { now });
            }
        }
    }

    fn release_versions_when_idle(&mut self) {
        let applied = self.gauges.read().applied;
        let (before, looks) = self.idle_at;
        let looks = if applied == before {
            looks.saturating_add(1)
        } else {
            0
        };
        self.idle_at = (applied, looks);
        if looks == IDLE_LOOKS {
            self.inboxes
                .background
                .push(BackgroundWork::ReleaseVersions);
        }
    }

    /// A staged snapshot is stepped by itself, so that what is applied before and after it stays apart.
    fn round(&mut self, events: &mut Vec<Event>, ticks: u32) {
        while let Some(at) = events
            .iter()
            .position(|event| matches!(event, Event::SnapshotStaged(_)))
        {
            let rest = events.split_off(at + 1);
            let staged = events.pop().expect("a staged snapshot was just found");
            let now = self.clock.monotonic();
            let before = self.core.process(events, 0, now);
            self.carry_out(before);
            let installed = self.core.process(&mut vec![staged], 0, now);
            self.carry_out(installed);
            *events = rest;
        }
        let now = self.clock.monotonic();
        let out = self.core.process(events, ticks, now);
        self.carry_out(out);
    }

    fn carry_out(&mut self, out: Outputs) {
        if let Some(staged) = out.install {
            let (done, installed) = crossbeam_channel::bounded(1);
            self.inboxes.apply.push(ApplyWork::Install { staged, done });
            (self.let_apply_work)();
            // The log may be reset only after the new state is in place. An error means that the apply worker ended
            // with a fault, whose event is on its way.
            if installed.recv().is_err() {
                return;
            }
        }
        for work in out.log {
            self.inboxes.log.push(work);
        }
        if !out.send_now.is_empty() {
            self.peers.send(out.send_now);
        }
        for work in out.apply {
            self.inboxes.apply.push(work);
        }
        let replica = self.core.replica();
        Gauges::set(&self.gauges.commit, replica.commit());
        Gauges::set(&self.gauges.last, replica.last().index);
        self.gauges.queues.set(self.core.queue_bytes());
        let leads = replica.role() == RoleName::Leader;
        let ends = leads.then(|| (replica.last().index.0, replica.commit().0));
        let (now, counters) = (self.clock.monotonic(), &self.gauges.replication);
        self.replication.round(ends, now, counters);
        if out.status_changed {
            self.publish();
        }
        for (index, done) in out.reads {
            self.waiters.wait(index.0, done);
        }
        for answer in out.answers {
            answer();
        }
        for fetch in out.fetch {
            self.inboxes.background.push(BackgroundWork::Fetch {
                to: fetch.to,
                from: fetch.from,
                bytes_max: fetch.bytes_max,
            });
        }
        for to in out.unpin {
            self.inboxes.background.push(BackgroundWork::Unpin { to });
        }
        for to in out.send_snapshot {
            let term = self.core.replica().term();
            self.inboxes
                .background
                .push(BackgroundWork::SendSnapshot { to, term });
        }
    }

    /// Has the members written down when they are others than before.
    fn record_peers(&mut self) {
        let status = self.board.latest();
        let membership = self.core.replica().membership();
        let known = KnownPeers::of(status.cluster_id, status.id, membership).render();
        // A member that joins knows nobody yet, and was told whom to ask.
        if known != self.recorded_peers && !membership.members.is_empty() {
            self.recorded_peers.clone_from(&known);
            let work = BackgroundWork::RecordPeers(known);
            self.inboxes.background.push(work);
        }
    }

    fn tell_of_room(&self, before: Option<&str>) {
        match (before, self.core.disk_full()) {
            (None, Some(what)) => self.notices.say(&format!(
                "the disk is full ({what}): this member takes no writes until there is room, and looks for it"
            )),
            (Some(_), None) => self.notices.say("there is room on the disk again"),
            _ => {}
        }
    }

    fn publish(&mut self) {
        self.record_peers();
        let replica = self.core.replica();
        let old = self.board.latest();
        self.tell_of_room(old.disk_full.as_deref());
        let membership = replica.membership().clone();
        self.peers.set_peers(self.core.peer_addresses());
        self.board.publish(NodeStatus {
            cluster_id: old.cluster_id,
            id: old.id,
            role: replica.role(),
            term: replica.term(),
            leader: replica.leader(),
            writable: self.core.writable(),
            membership,
            settled: self.core.settled(),
            removed: self.core.removed(),
            disk_full: self.core.disk_full().map(str::to_owned),
            revision: old.revision,
        });
    }

    /// Everybody who waits is answered, those too whose request was not looked at yet.
    fn end(&mut self, reason: ExitReason, events: &mut Vec<Event>) {
        self.core.set_stopping();
        // Before anybody is turned away: drivers that still find a primary here would come straight back.
        self.publish();
        self.inboxes.core.close();
        self.inboxes.core.take(events);
        for answer in self.core.turn_away(events) {
            answer();
        }
        if let ExitReason::Damaged(what) = &reason {
            (self.record_damage)(what);
        }
        // Before the apply worker comes to its clean end and gives that as the reason.
        if reason != ExitReason::Stopped {
            self.exit.set(reason);
        }
        self.inboxes.log.close();
        self.inboxes.apply.close();
        self.inboxes.background.close();
        self.inboxes.segments.close();
        for answer in self.core.abandon() {
            answer();
        }
        self.waiters.abandon();
    }
}

/// A fault outranks a wish to stop.
fn ending(events: &[Event]) -> Option<ExitReason> {
    let fault = events.iter().find_map(|event| match event {
        Event::Fault(fault) => Some(fault.clone().into()),
        Event::NewerFormat(what) => Some(ExitReason::NewerFormat(what.clone())),
        _ => None,
    });
    fault.or_else(|| {
        events
            .iter()
            .any(|event| matches!(event, Event::Stop))
            .then_some(ExitReason::Stopped)
    })
}
