//! The node's threads, and the order in which one round's outputs are carried out.
//!
//! The only place that knows threads exist. A storage fault on any of them ends all of them.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use platform::{Clock, Disk};

use crate::applied_waiters::AppliedWaiters;
use crate::apply_worker::ApplyWorker;
use crate::background::BackgroundWorker;
use crate::core::{Core, Outputs};
use crate::error::ExitReason;
use crate::events::{ApplyWork, BackgroundWork, Event, LogWork};
use crate::housekeeping::Housekeeping;
use crate::log_worker::LogWorker;
use crate::mailbox::Mailbox;
use crate::peers::Peers;
use crate::status::{Gauges, NodeStatus, StatusBoard};

/// Ticks made up for at most after the thread was held up; the rest of the lost time is let go.
const TICKS_PER_WAKE_MAX: u32 = 2;
/// Ticks between looks at what the leader should propose on its own.
const HOUSEKEEPING_TICKS: u32 = 10;

/// Inboxes of the worker threads.
#[derive(Clone)]
pub(crate) struct Inboxes {
    pub core: Arc<Mailbox<Event>>,
    pub log: Arc<Mailbox<LogWork>>,
    pub apply: Arc<Mailbox<ApplyWork>>,
    pub background: Arc<Mailbox<BackgroundWork>>,
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

/// The core thread's belongings.
pub(crate) struct CoreThread<C: Clock> {
    pub core: Core,
    pub inboxes: Inboxes,
    pub peers: Arc<dyn Peers>,
    pub waiters: Arc<AppliedWaiters>,
    pub board: Arc<StatusBoard>,
    pub gauges: Arc<Gauges>,
    pub housekeeping: Housekeeping<C>,
    pub clock: C,
    pub tick: Duration,
    pub exit: Arc<Exit>,
    pub ticks_to_housekeeping: u32,
}

impl<C: Clock> CoreThread<C> {
    /// Runs until told to stop or a fault ends the node; begins with what consensus asked for at its start.
    pub fn run(mut self, first: consensus::Effects) {
        let mut events = Vec::new();
        let mut next_tick = self.clock.monotonic() + self.tick;
        self.publish();
        let out = self.core.begin(first);
        self.carry_out(out);
        loop {
            let wait = next_tick.saturating_sub(self.clock.monotonic());
            self.inboxes.core.drain(&mut events, Some(wait));
            let ticks = self.due_ticks(&mut next_tick);
            if let Some(reason) = ending(&events) {
                self.end(reason, &mut events);
                return;
            }
            self.keep_house(ticks, &mut events);
            self.round(&mut events, ticks);
        }
    }

    fn due_ticks(&self, next_tick: &mut Duration) -> u32 {
        let now = self.clock.monotonic();
        let mut ticks = 0;
        while now >= *next_tick && ticks < TICKS_PER_WAKE_MAX {
            *next_tick += self.tick;
            ticks += 1;
        }
        if now >= *next_tick {
            *next_tick = now + self.tick;
        }
        ticks
    }

    fn keep_house(&mut self, ticks: u32, events: &mut Vec<Event>) {
        self.ticks_to_housekeeping = self.ticks_to_housekeeping.saturating_sub(ticks);
        if self.ticks_to_housekeeping == 0 {
            self.ticks_to_housekeeping = HOUSEKEEPING_TICKS;
            if self.core.writable() {
                events.extend(self.housekeeping.next());
            }
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
            let before = self.core.process(events, 0);
            self.carry_out(before);
            let installed = self.core.process(&mut vec![staged], 0);
            self.carry_out(installed);
            *events = rest;
        }
        let out = self.core.process(events, ticks);
        self.carry_out(out);
    }

    fn carry_out(&mut self, out: Outputs) {
        if let Some(staged) = out.install {
            let (done, installed) = crossbeam_channel::bounded(1);
            self.inboxes.apply.push(ApplyWork::Install { staged, done });
            // The log may be reset only after the new state is in place. An error means that the apply thread ended
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
        for to in out.send_snapshot {
            let term = self.core.replica().term();
            self.inboxes
                .background
                .push(BackgroundWork::SendSnapshot { to, term });
        }
    }

    fn publish(&self) {
        let replica = self.core.replica();
        let old = self.board.latest();
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
            removed: self.core.removed(),
            revision: old.revision,
        });
    }

    /// Everybody who waits is answered, those too whose request was not looked at yet.
    fn end(&mut self, reason: ExitReason, events: &mut Vec<Event>) {
        self.core.set_stopping();
        self.inboxes.core.close();
        self.inboxes.core.drain(events, Some(Duration::ZERO));
        for answer in self.core.turn_away(events) {
            answer();
        }
        self.inboxes.log.close();
        self.inboxes.apply.close();
        self.inboxes.background.close();
        for answer in self.core.abandon() {
            answer();
        }
        self.waiters.abandon();
        if matches!(reason, ExitReason::StorageFault(_)) {
            self.exit.set(reason);
        }
    }
}

/// A fault outranks a wish to stop.
fn ending(events: &[Event]) -> Option<ExitReason> {
    let fault = events.iter().find_map(|event| match event {
        Event::Fault(what) => Some(ExitReason::StorageFault(what.clone())),
        _ => None,
    });
    fault.or_else(|| {
        events
            .iter()
            .any(|event| matches!(event, Event::Stop))
            .then_some(ExitReason::Stopped)
    })
}

/// Starts a thread that feeds `work` what its inbox holds until it is closed; a fault is told to the core.
pub(crate) fn spawn_worker<T: Send + 'static>(
    name: &str,
    inbox: Arc<Mailbox<T>>,
    core: Arc<Mailbox<Event>>,
    mut work: impl FnMut(&mut Vec<T>) -> Result<(), String> + Send + 'static,
    finish: impl FnOnce() + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let mut items = Vec::new();
            while inbox.drain(&mut items, None) {
                if let Err(fault) = work(&mut items) {
                    core.push(Event::Fault(fault));
                    inbox.close();
                    return;
                }
            }
            finish();
        })
}

/// The log thread's loop body. Segments are made ready and freed a step after each round, and on while nothing waits, so
/// that a full segment never holds up a sync.
pub(crate) fn log_work<D: Disk>(
    mut worker: LogWorker<D>,
    inbox: Arc<Mailbox<LogWork>>,
) -> impl FnMut(&mut Vec<LogWork>) -> Result<(), String> {
    move |work| {
        worker.process(work).map_err(|fault| fault.to_string())?;
        while worker.log.housekeep().map_err(|fault| fault.to_string())? && inbox.is_empty() {}
        Ok(())
    }
}

/// The apply thread: works its inbox off, then flushes, so that the next start has nothing to replay.
pub(crate) fn spawn_apply<D: Disk>(
    mut worker: ApplyWorker<D>,
    inbox: Arc<Mailbox<ApplyWork>>,
    core: Arc<Mailbox<Event>>,
    exit: Arc<Exit>,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("apply".to_owned())
        .spawn(move || {
            let mut items = Vec::new();
            let mut outcome = Ok(());
            while outcome.is_ok() && inbox.drain(&mut items, None) {
                outcome = worker.process(&mut items);
            }
            match outcome.and_then(|()| worker.finish()) {
                Ok(()) => exit.set(ExitReason::Stopped),
                Err(fault) => {
                    core.push(Event::Fault(fault.clone()));
                    inbox.close();
                    // Should the core thread have ended already, this is how the fault becomes known.
                    exit.set(ExitReason::StorageFault(fault));
                }
            }
        })
}

/// The background thread's loop body.
pub(crate) fn background_work(
    mut worker: BackgroundWorker,
) -> impl FnMut(&mut Vec<BackgroundWork>) -> Result<(), String> {
    move |work| work.drain(..).try_for_each(|item| worker.process(item))
}

/// Directory of the log inside a data directory.
pub(crate) fn log_dir(data_dir: &Path) -> std::path::PathBuf {
    data_dir.join("wal")
}
