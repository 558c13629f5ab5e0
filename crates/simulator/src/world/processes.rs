//! Processes: how they start, stand still, die and come back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use consensus::NodeId;
use node::{Addresses, NodeConfig, Notices, SteppedNode, SteppedPlatform};
use parking_lot::Mutex;
use peer_transport::{JoinReply, JoinRequest, TransportError};
use platform::{Entropy, SimulatedDisk};

use super::clients::{Attempt, Waiting};
use super::joins::PendingJoin;
use super::{Found, Happening, Process, World};
use crate::Random;
use crate::client::End;
use crate::clock::{Micros, SimulatedClock};
use crate::engine::SimulatedEngines;
use crate::machine::Machine;
use crate::network::{SimulatedPeers, address_of};
use crate::view::WorldView;

/// Every machine's data directory.
pub const DATA_DIR: &str = "/data";
/// Between two attempts to be let in.
const JOIN_PAUSE: Micros = 300_000;
/// Between two attempts to start on a disk that is full.
const FULL_DISK_PAUSE: Micros = 500_000;

/// What the world knows of a machine.
pub struct Host {
    /// The way of its node to the others.
    pub peers: SimulatedPeers,
    /// Founds the cluster when its disk is empty.
    pub founder: bool,
    /// Does not start again.
    pub off: bool,
    /// Its disk is full.
    pub disk_full: bool,
    /// A sync was made to fail, or will be.
    pub sync_may_fail: bool,
    /// No sync ends before this time.
    pub stalled_until: Micros,
    /// The newest formats of the program that is installed.
    pub feature_level: u32,
    /// Who leads if it can.
    pub priority: u32,
    /// Its directory was emptied since the last start.
    pub wiped: bool,
    /// Something on its disk was changed; the member that was there then.
    pub damaged: Option<NodeId>,
    /// Its process ends after a clean stop and comes back after this time.
    pub restart_after: Option<Micros>,
    pub(super) disk_crashes: u64,
    pub(super) due: [Option<Micros>; 4],
    pub(super) busy_until: [Micros; 4],
    pub(super) requests: Vec<(Attempt, Waiting)>,
    pub(super) held: Vec<Attempt>,
    pub(super) joins: Vec<PendingJoin>,
    pub(super) admission: Arc<Mutex<Admission>>,
    pub(super) heard_from: BTreeMap<NodeId, Process>,
    flush_planned: Option<PathBuf>,
    start_planned: Option<Micros>,
}

/// What a directory that joins asks, and the answer.
#[derive(Default)]
pub(super) struct Admission {
    /// What the last start asked.
    pub request: Option<JoinRequest>,
    /// The answer, and to what.
    pub reply: Option<(JoinRequest, JoinReply)>,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// By a signal: what it wrote is in the machine's memory and will reach the disk.
    Killed,
    /// With its machine: what it did not sync is lost, or not.
    PowerLost,
    /// With its machine, in the middle of a sync; the disk knows already.
    PowerFailed,
    /// By itself.
    Ended,
}

struct SeededEntropy(Mutex<Random>);

impl Entropy for SeededEntropy {
    fn next_u64(&self) -> u64 {
        self.0.lock().next()
    }

    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().fill(bytes);
    }
}

impl World {
    /// A new machine, switched off.
    pub fn add_machine(&mut self, founder: bool, feature_level: u32) -> usize {
        let index = self.machines.len();
        let disk = SimulatedDisk::new(self.births.next());
        let engines = SimulatedEngines::new(disk.clone(), self.settings.memtable_bytes);
        let clock = SimulatedClock::new(self.time.clone(), self.births.below(1 << 40));
        self.hosts.push(Host {
            peers: SimulatedPeers::default(),
            founder,
            off: false,
            disk_full: false,
            sync_may_fail: false,
            stalled_until: 0,
            feature_level,
            priority: 1,
            wiped: false,
            damaged: None,
            restart_after: None,
            disk_crashes: disk.crashes(),
            due: [None; 4],
            busy_until: [0; 4],
            requests: Vec::new(),
            held: Vec::new(),
            joins: Vec::new(),
            admission: Arc::default(),
            heard_from: BTreeMap::new(),
            flush_planned: None,
            start_planned: None,
        });
        self.machines.push(Machine {
            index,
            disk,
            engines,
            clock,
            node: None,
            incarnation: 0,
            paused: false,
        });
        index
    }

    fn node_config(&self, at: usize) -> NodeConfig {
        let addresses = Addresses {
            client: format!("client:{at}"),
            peer: address_of(at),
            admin: format!("admin:{at}"),
        };
        let mut config = NodeConfig::new(PathBuf::from(DATA_DIR), String::new(), addresses);
        let host = &self.hosts[at];
        if !host.founder {
            let others = (0..self.machines.len()).filter(|other| *other != at);
            config.join = others.map(address_of).collect();
        }
        config.memtable_bytes = self.settings.memtable_bytes;
        config.log_retained_entries = self.settings.log_retained_entries;
        config.log_segment_bytes = self.settings.log_segment_bytes;
        config.leases = self.settings.leases;
        config.feature_level = host.feature_level;
        config.priority = host.priority;
        if self.trace.prints() {
            config.notices = Notices::new(move |text| println!("           machine {at}: {text}"));
        }
        config
    }

    /// A machine's process starts, if none runs by then.
    pub fn plan_start(&mut self, after: Micros, at: usize) {
        let when = self.now + after;
        let host = &mut self.hosts[at];
        if host.start_planned.is_none_or(|planned| planned > when) {
            host.start_planned = Some(when);
            self.plan(after, Happening::Start(at));
        }
    }

    pub(super) fn start(&mut self, at: usize) -> Found {
        if self.hosts[at].start_planned != Some(self.now) {
            return Ok(());
        }
        self.hosts[at].start_planned = None;
        if self.machines[at].node.is_some() || self.hosts[at].off {
            return Ok(());
        }
        let config = self.node_config(at);
        let peers = SimulatedPeers::default();
        let admission = self.hosts[at].admission.clone();
        let asks = admission.clone();
        let machine = &self.machines[at];
        let platform = SteppedPlatform {
            disk: machine.disk.clone(),
            clock: machine.clock.clone(),
            entropy: Arc::new(SeededEntropy(Mutex::new(self.births.split("entropy")))),
            peers: Arc::new(peers.clone()),
            engines: Arc::new(machine.engines.clone()),
            joiner: Box::new(move |_, request, _| {
                let mut asks = asks.lock();
                asks.request = Some(request.clone());
                let reply = asks.reply.take().filter(|(asked, _)| asked == request);
                reply
                    .map(|(_, reply)| reply)
                    .ok_or_else(|| TransportError::JoinTimedOut {
                        seconds: 0,
                        last: "the answer is still to come".to_owned(),
                    })
            }),
        };
        let started = SteppedNode::start(&config, platform);
        let asked = admission.lock().request.take();
        match started {
            Ok(node) => {
                let wiped = std::mem::take(&mut self.hosts[at].wiped);
                let machine = &mut self.machines[at];
                machine.incarnation += 1;
                machine.node = Some(node);
                self.started(at, peers, wiped)
            }
            Err(_) if asked.is_some() => {
                let others: Vec<usize> = (0..self.machines.len()).filter(|it| *it != at).collect();
                let to = self.pace.choose(&others).copied();
                if let Some((to, request)) = to.zip(asked) {
                    self.send_join(self.process(at), to, request);
                }
                let after = JOIN_PAUSE + self.pace.within(0..JOIN_PAUSE);
                self.plan_start(after, at);
                Ok(())
            }
            Err(error) if self.hosts[at].damaged.is_some() => {
                // As the message says: the operator begins anew with an empty directory.
                self.trace
                    .say(self.now, || format!("machine {at} does not start: {error}"));
                self.wipe(at);
                self.plan_start(JOIN_PAUSE, at);
                Ok(())
            }
            Err(_) if self.hosts[at].disk_full => {
                self.plan_start(FULL_DISK_PAUSE, at);
                Ok(())
            }
            Err(error) => Err(format!("machine {at} does not start: {error}")),
        }
    }

    fn started(&mut self, at: usize, peers: SimulatedPeers, wiped: bool) -> Found {
        let process = self.process(at);
        let host = &mut self.hosts[at];
        host.peers = peers;
        host.due = [None; 4];
        host.busy_until = [0; 4];
        host.heard_from.clear();
        host.flush_planned = None;
        // A start reads everything: what it did not mind was no harm, or is repaired.
        host.damaged = None;
        host.sync_may_fail = false;
        host.disk_crashes = self.machines[at].disk.crashes();
        if let Some(member) = self.machines[at].member() {
            self.places.retain(|_, place| *place != at);
            self.places.insert(member, at);
            self.trace.say(self.now, || {
                format!("machine {at} starts as member {member}")
            });
        }
        let view = WorldView {
            now: self.now,
            machines: &self.machines,
        };
        for checker in &mut self.checkers {
            checker.started(&view, at, wiped)?;
        }
        self.plan(1_000, Happening::Announce(process));
        self.settle(at)
    }

    /// A process ends; it comes back after a while, unless the machine is off.
    pub fn die(&mut self, at: usize, death: Death) -> Found {
        let Some(node) = self.machines[at].node.take() else {
            return Ok(());
        };
        self.trace
            .say(self.now, || format!("machine {at} dies: {death:?}"));
        let member = node.replica().id();
        // The end of the process is the end of the streams that it receives.
        for stream in self.streams.values_mut() {
            if stream.to.0 == at {
                stream.stage = crate::network::StreamStage::Broken;
            }
        }
        self.streams.retain(|_, stream| stream.from.0 != at);
        drop(node);
        let machine = &mut self.machines[at];
        // Answers to the dead process reach nobody.
        machine.incarnation += 1;
        machine.paused = false;
        machine.engines.kill_process();
        match death {
            Death::Killed | Death::Ended => machine.disk.kill_process(),
            Death::PowerLost => machine.disk.crash(),
            Death::PowerFailed => {}
        }
        let host = &mut self.hosts[at];
        host.stalled_until = 0;
        host.joins.clear();
        host.held.clear();
        let restart_after = host.restart_after.take();
        let requests = std::mem::take(&mut host.requests);
        for (attempt, _) in requests {
            self.respond(attempt, End::Unknown, None);
        }
        for other in 0..self.machines.len() {
            if other != at && self.machines[other].node.is_some() && !self.network.is_cut(at, other)
            {
                let peer = member;
                let at = self.process(other);
                let after = self.network.delay();
                self.plan(after, Happening::Disconnect { at, peer });
            }
        }
        let after = restart_after.unwrap_or_else(|| match self.pace.chance(1, 4) {
            true => self.pace.within(200_000..3_000_000),
            false => self.pace.within(5_000..300_000),
        });
        self.plan_start(after, at);
        Ok(())
    }

    /// Empties the disk of a machine whose process is dead.
    pub fn wipe(&mut self, at: usize) {
        self.trace
            .say(self.now, || format!("machine {at} is wiped"));
        let machine = &mut self.machines[at];
        machine.disk = SimulatedDisk::new(self.births.next());
        machine.engines = SimulatedEngines::new(machine.disk.clone(), self.settings.memtable_bytes);
        let host = &mut self.hosts[at];
        host.founder = false;
        host.admission = Arc::default();
        host.wiped = true;
        host.damaged = None;
        host.disk_full = false;
    }

    /// The process stands still until it is resumed.
    pub fn pause(&mut self, at: usize, length: Micros) {
        if self.machines[at].node.is_some() && !self.machines[at].paused {
            self.trace.say(self.now, || {
                format!("machine {at} is paused for {length} us")
            });
            self.machines[at].paused = true;
            self.plan(length, Happening::Resume(at));
        }
    }

    /// A paused process goes on.
    pub fn resume(&mut self, at: usize) -> Found {
        if !std::mem::replace(&mut self.machines[at].paused, false) {
            return Ok(());
        }
        self.trace.say(self.now, || format!("machine {at} goes on"));
        self.hosts[at].due = [None; 4];
        for attempt in std::mem::take(&mut self.hosts[at].held) {
            self.request(at, attempt)?;
        }
        self.settle(at)
    }

    pub(super) fn plan_flushes(&mut self, at: usize) {
        if self.hosts[at].flush_planned.is_some() {
            return;
        }
        if let Some(dir) = self.machines[at].engines.unflushed().into_iter().next() {
            let after = match self.pace.chance(1, 8) {
                true => self.pace.within(20_000..1_000_000),
                false => self.pace.within(500..30_000),
            };
            let process = self.process(at);
            self.hosts[at].flush_planned = Some(dir.clone());
            self.plan(after, Happening::Flush(process, dir));
        }
    }

    pub(super) fn flush(&mut self, process: Process, dir: &Path) -> Found {
        let at = process.machine;
        if !self.runs(process) {
            return Ok(());
        }
        self.hosts[at].flush_planned = None;
        self.machines[at].engines.flush(dir);
        self.settle(at)
    }
}
