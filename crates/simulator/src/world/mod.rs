//! The world: machines, network and clients on one simulated clock, one thing happening at a time.
//!
//! Bit for bit the same for the same seed: what happens next is decided by the queue's order and by seeded streams of
//! random numbers; no wall clock, no threads, no iteration over hashed maps. The trace's hash says so.

mod clients;
mod joins;
mod messages;
mod processes;
mod queue;
mod snapshots;
mod trace;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use consensus::{LogIndex, NodeId};
use peer_transport::Handler;

use crate::Random;
use crate::client::End;
use crate::clock::Micros;
use crate::machine::Machine;
use crate::network::{Network, Stream};
use crate::view::{Checker, WorldView};

pub use clients::{Attempt, Clients};
pub use processes::{DATA_DIR, Death, Host};
pub use queue::{Happening, Process, Worker};
pub use trace::Trace;

use queue::{Queue, WORKERS};

/// Nothing, or what was found.
pub type Found = Result<(), String>;

/// Settings of the nodes that are the same for a whole run.
#[derive(Clone, Copy, Debug)]
pub struct NodeSettings {
    /// Bytes of writes after which an engine's memtable is sealed.
    pub memtable_bytes: u64,
    /// Entries kept in logs behind what is durable in the engine.
    pub log_retained_entries: u64,
    /// Length of log segments.
    pub log_segment_bytes: u64,
    /// Reads without a round of messages.
    pub leases: bool,
}

/// The simulated world.
pub struct World {
    /// The time.
    pub now: Micros,
    /// The messages' way.
    pub network: Network,
    /// Every machine there ever was.
    pub machines: Vec<Machine>,
    /// What the world knows of each machine beside it.
    pub hosts: Vec<Host>,
    /// Who uses the cluster.
    pub clients: Clients,
    /// What happened.
    pub trace: Trace,
    settings: NodeSettings,
    time: Arc<AtomicU64>,
    /// Decides how long workers take.
    pace: Random,
    /// Seeds of new machines and processes.
    births: Random,
    queue: Queue,
    checkers: Vec<Box<dyn Checker>>,
    streams: BTreeMap<u64, Stream>,
    next_stream: u64,
    /// Where members are or were last.
    places: BTreeMap<NodeId, usize>,
    /// Up to here somebody knows the log to be committed.
    committed: LogIndex,
    /// Responses lost on their way, of 1,000.
    pub lost_responses_permille: u64,
}

impl World {
    /// An empty world.
    pub fn new(
        random: &mut Random,
        settings: NodeSettings,
        clients: Clients,
        checkers: Vec<Box<dyn Checker>>,
        trace: Trace,
    ) -> World {
        World {
            now: 0,
            network: Network::new(random.split("network")),
            machines: Vec::new(),
            hosts: Vec::new(),
            clients,
            trace,
            settings,
            time: Arc::default(),
            pace: random.split("pace"),
            births: random.split("births"),
            queue: Queue::default(),
            checkers,
            streams: BTreeMap::new(),
            next_stream: 0,
            places: BTreeMap::new(),
            committed: LogIndex(0),
            lost_responses_permille: 0,
        }
    }

    /// Plans something for later.
    pub fn plan(&mut self, after: Micros, what: Happening) {
        self.queue.plan(self.now + after, what);
    }

    /// Lets happen what is planned, up to this time, until `over`; the caller's own happenings are given to `act`. Returns
    /// whether it was over.
    pub fn run(
        &mut self,
        until: Micros,
        mut over: impl FnMut(&World) -> bool,
        mut act: impl FnMut(&mut World, Happening) -> Found,
    ) -> Result<bool, String> {
        loop {
            if over(self) {
                return Ok(true);
            }
            let Some((at, what)) = self.queue.next(until) else {
                self.set_time(until);
                return Ok(false);
            };
            self.set_time(at);
            match what {
                Happening::Fault | Happening::Operator => act(self, what)?,
                _ => self.happen(what)?,
            }
        }
    }

    fn set_time(&mut self, now: Micros) {
        self.now = now;
        self.time.store(now, Ordering::Relaxed);
    }

    /// The machine of a member, as far as known.
    pub fn place(&self, member: NodeId) -> Option<usize> {
        self.places.get(&member).copied()
    }

    fn happen(&mut self, what: Happening) -> Found {
        match what {
            Happening::Step(process, worker) => self.step(process, worker),
            Happening::Deliver {
                from,
                to,
                connection,
                envelope,
            } => self.deliver(from, to, connection, *envelope),
            Happening::Disconnect { at, peer } => self.notice_disconnect(at, peer),
            Happening::Flush(process, dir) => self.flush(process, &dir),
            Happening::Stream(number) => self.advance_stream(number),
            Happening::Start(machine) => self.start(machine),
            Happening::Resume(machine) => self.resume(machine),
            Happening::Join { asker, to, request } => self.hear_join(asker, to, *request),
            Happening::Announce(process) => self.announce(process),
            Happening::Client(client) => self.client_turn(client),
            Happening::Request(machine, attempt) => self.request(machine, attempt),
            Happening::Answer(attempt, end, leader) => self.answer(attempt, end, leader),
            Happening::GiveUp(attempt) => self.answer(attempt, End::Unknown, None),
            Happening::Mend { from, to } => {
                self.network.cut(from, to, false);
                Ok(())
            }
            Happening::Relieve(machine) => {
                self.machines[machine].disk.limit_capacity(None);
                self.hosts[machine].disk_full = false;
                Ok(())
            }
            Happening::Fault | Happening::Operator => Ok(()),
        }
    }

    /// Whether this is the process that runs there.
    fn runs(&self, process: Process) -> bool {
        let machine = &self.machines[process.machine];
        machine.node.is_some() && machine.incarnation == process.incarnation
    }

    /// The process of a machine, dead or alive.
    pub fn process(&self, machine: usize) -> Process {
        Process {
            machine,
            incarnation: self.machines[machine].incarnation,
        }
    }

    fn handler(&self, machine: usize) -> Option<Arc<dyn Handler>> {
        self.machines[machine]
            .node
            .as_ref()
            .map(|node| node.handler())
    }

    fn step(&mut self, process: Process, worker: Worker) -> Found {
        let at = process.machine;
        if !self.runs(process) || self.hosts[at].due[worker as usize] != Some(self.now) {
            return Ok(());
        }
        self.hosts[at].due[worker as usize] = None;
        if self.machines[at].paused {
            return Ok(());
        }
        let Some(node) = &mut self.machines[at].node else {
            return Ok(());
        };
        let worked = match worker {
            Worker::Core => node.step_core(),
            Worker::Log => node.step_log(),
            Worker::Apply => node.step_apply(),
            Worker::Background => node.step_background(),
        };
        if worked {
            self.trace.stepped(self.now, at, worker, node.replica());
            self.committed = self.committed.max(node.replica().commit());
        }
        let took = self.machines[at].disk.take_delay().as_micros() as Micros;
        self.hosts[at].busy_until[worker as usize] = self.now + took;
        if self.machines[at].disk.crashes() != self.hosts[at].disk_crashes {
            return self.die(at, Death::PowerFailed);
        }
        if worked && matches!(worker, Worker::Core | Worker::Apply) {
            self.check(at)?;
        }
        self.settle(at)
    }

    fn check(&mut self, at: usize) -> Found {
        let view = WorldView {
            now: self.now,
            machines: &self.machines,
        };
        for checker in &mut self.checkers {
            checker.stepped(&view, at)?;
        }
        Ok(())
    }

    /// Shows the checkers the world at rest.
    pub fn check_at_rest(&mut self) -> Found {
        let view = WorldView {
            now: self.now,
            machines: &self.machines,
        };
        for checker in &mut self.checkers {
            checker.at_rest(&view)?;
        }
        Ok(())
    }

    /// Takes what a node has put out since, and plans its workers' next turns.
    fn settle(&mut self, at: usize) -> Found {
        self.carry_outgoing(at)?;
        self.serve(at)?;
        self.answer_joins(at);
        self.plan_flushes(at);
        if let Some(reason) = self.machines[at]
            .node
            .as_ref()
            .and_then(|node| node.exited())
        {
            self.trace
                .say(self.now, || format!("machine {at} exits: {reason}"));
            // A full disk is no reason.
            let failed = matches!(reason, node::ExitReason::StorageFault(_));
            if failed && !self.hosts[at].sync_may_fail {
                return Err(format!("machine {at} ends though nothing failed: {reason}"));
            }
            return self.die(at, Death::Ended);
        }
        self.plan_workers(at);
        Ok(())
    }

    fn plan_workers(&mut self, at: usize) {
        let machine = &self.machines[at];
        let Some(node) = machine.node.as_ref().filter(|_| !machine.paused) else {
            return;
        };
        let has_work = node.has_work();
        let tick = machine.clock.world_time_of(node.next_tick());
        let process = self.process(at);
        for (index, worker) in WORKERS.into_iter().enumerate() {
            let host = &mut self.hosts[at];
            let mut due = match (has_work[index], worker) {
                (true, _) if host.due[index].is_some_and(|due| due <= self.now + 1) => continue,
                (true, Worker::Core) => self.now + self.pace.within(1..20),
                (true, Worker::Log) => {
                    (self.now + self.pace.within(50..600)).max(host.stalled_until)
                }
                (true, Worker::Apply) => self.now + self.pace.within(2..60),
                (true, Worker::Background) => self.now + self.pace.within(20..300),
                (false, Worker::Core) => tick.max(self.now + 1),
                (false, _) => continue,
            };
            due = due.max(host.busy_until[index]);
            if host.due[index].is_none_or(|planned| planned > due) {
                host.due[index] = Some(due);
                self.queue.plan(due, Happening::Step(process, worker));
            }
        }
    }
}

impl World {
    /// Plans the turns of a node that was told something.
    pub fn poke(&mut self, at: usize) {
        self.plan_workers(at);
    }
}
