//! What goes wrong in a run: drawn from the seed before it begins, then injected one by one.
//!
//! Copies of data are destroyed (wiped, damaged) only as far as the protocol promises to bear: never a voter while
//! another one of the membership is gone for good. Everything else goes as it comes.

use std::path::Path;

use consensus::{MembershipChange, NodeId};

use crate::Random;
use crate::clock::Micros;
use crate::network::Weather;
use crate::world::{DATA_DIR, Death, Found, Happening, NodeSettings, World};

/// Most machines of a run.
const MACHINES_MAX: usize = 7;
/// Most voters.
const VOTERS_MAX: usize = 7;

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// kill -9.
    Kill,
    /// Power fails between two writes.
    PowerLoss,
    /// Power fails in the middle of a sync.
    CrashInSync,
    /// A sync fails.
    FailedSync,
    /// Syncs take long.
    Stall,
    /// The disk fills up: the process stays, and goes on when there is room.
    DiskFull,
    /// SIGSTOP, then SIGCONT.
    Pause,
    /// One machine is cut off from the others.
    Isolate,
    /// The machines fall into two halves.
    Split,
    /// One link passes nothing in one direction.
    OneWay,
    /// One link holds everything back for a while.
    Clog,
    /// Connections break.
    Reset,
    /// A clock goes wrong.
    Clock,
    /// Messages fare otherwise from now on.
    Weather,
    /// A bit of the log or of a small file flips.
    FlippedBit,
    /// A table of the engine goes bad.
    BadTable,
}

const FAULTS: [Fault; 16] = [
    Fault::Kill,
    Fault::PowerLoss,
    Fault::CrashInSync,
    Fault::FailedSync,
    Fault::Stall,
    Fault::DiskFull,
    Fault::Pause,
    Fault::Isolate,
    Fault::Split,
    Fault::OneWay,
    Fault::Clog,
    Fault::Reset,
    Fault::Clock,
    Fault::Weather,
    Fault::FlippedBit,
    Fault::BadTable,
];

/// What an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A new machine joins.
    Add,
    /// A member is removed.
    Remove,
    /// One member is promoted, others removed, in one command.
    Reconfigure,
    /// A member's disk is lost; an empty machine takes its address.
    Wipe,
    /// The lead is handed on.
    Transfer,
    /// A member is stopped cleanly and started again, with a newer program perhaps.
    Restart,
}

const ACTS: [Act; 6] = [
    Act::Add,
    Act::Remove,
    Act::Reconfigure,
    Act::Wipe,
    Act::Transfer,
    Act::Restart,
];

/// What was drawn for a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Voters to begin with.
    pub members: usize,
    /// How long the faults last.
    pub chaos: Micros,
    /// The kinds that happen.
    pub faults: Vec<Fault>,
    /// Longest time between two faults.
    pub fault_pause: Micros,
    /// What the operator does.
    pub acts: Vec<Act>,
    /// Longest time between two acts.
    pub act_pause: Micros,
    /// How messages fare at first.
    pub weather: Weather,
    /// The program's feature level at first, per machine.
    pub feature_levels: Vec<u32>,
    /// Priorities, per machine.
    pub priorities: Vec<u32>,
    /// A minority stays down when everything else heals.
    pub minority_stays_down: bool,
    /// Settings of all nodes.
    pub settings: NodeSettings,
}

fn some<T: Copy>(random: &mut Random, all: &[T]) -> Vec<T> {
    let share = random.within(1..4);
    let chosen = all.iter().filter(|_| random.chance(share, 4)).copied();
    chosen.collect()
}

impl Plan {
    /// Draws what goes wrong. `members`: as many voters to begin with, or a number drawn too.
    pub fn draw(random: &mut Random, members: Option<usize>) -> Plan {
        let members = members.unwrap_or_else(|| [1, 2, 3, 3, 3, 3, 4, 5, 5, 7][random.index(10)]);
        let quiet = random.chance(1, 12);
        let mut faults = some(random, &FAULTS);
        let mut acts = some(random, &ACTS);
        if quiet {
            faults.clear();
        }
        if random.chance(1, 2) {
            acts.clear();
        }
        // Who removes members must not lose copies at the same time: too few may be left.
        if random.chance(1, 2) {
            acts.retain(|act| !matches!(act, Act::Remove | Act::Reconfigure));
        } else {
            acts.retain(|act| *act != Act::Wipe);
            faults.retain(|fault| !matches!(fault, Fault::FlippedBit | Fault::BadTable));
        }
        let keeps_all = |act: &Act| matches!(act, Act::Add | Act::Transfer | Act::Restart);
        let minority_stays_down = random.chance(1, 3)
            && acts.iter().all(keeps_all)
            && !faults.contains(&Fault::FlippedBit)
            && !faults.contains(&Fault::BadTable);
        let old = random.chance(1, 4);
        let prioritised = random.chance(1, 4);
        let mut drawn = |chance: bool, values: [u32; 2]| -> Vec<u32> {
            let each = |_| values[usize::from(!chance || random.chance(1, 2))];
            (0..MACHINES_MAX).map(each).collect()
        };
        let mut feature_levels = drawn(old, [1, node::FEATURE_LEVEL]);
        if old {
            // The oldest program founds: others let it in no more.
            feature_levels[0] = 1;
        }
        let priorities = drawn(prioritised, [3, 1]);
        Plan {
            members,
            chaos: random.within(3_000_000..10_000_000),
            faults,
            fault_pause: random.within(100_000..2_000_000),
            acts,
            act_pause: random.within(500_000..3_000_000),
            weather: weather(random),
            minority_stays_down,
            feature_levels,
            priorities,
            settings: NodeSettings {
                memtable_bytes: 1 << random.within(11..15),
                log_retained_entries: random.below(100),
                log_segment_bytes: 1 << random.within(14..17),
                leases: random.chance(1, 5),
            },
        }
    }
}

fn weather(random: &mut Random) -> Weather {
    let delay_min = random.within(20..2_000);
    let mut rarely = |most: u64| match random.chance(1, 2) {
        true => random.below(most + 1),
        false => 0,
    };
    Weather {
        delay_min,
        delay_max: delay_min + 100 + rarely(20_000),
        lost_permille: rarely(100),
        repeated_permille: rarely(100),
        reordered_permille: rarely(200),
        straggling_permille: rarely(20),
    }
}

/// Makes a run's faults happen.
pub struct Injector {
    plan: Plan,
    random: Random,
    /// Over: nothing happens any more.
    over: bool,
}

impl Injector {
    /// Injects what `plan` says.
    pub fn new(plan: Plan, random: Random) -> Injector {
        Injector {
            plan,
            random,
            over: false,
        }
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Begins.
    pub fn begin(&mut self, world: &mut World) {
        world.network.set_weather(self.plan.weather);
        world.lost_responses_permille = self.random.below(30);
        if !self.plan.faults.is_empty() {
            world.plan(
                self.random.within(1_000..self.plan.fault_pause),
                Happening::Fault,
            );
        }
        if !self.plan.acts.is_empty() {
            world.plan(
                self.random.within(1_000..self.plan.act_pause),
                Happening::Operator,
            );
        }
    }

    /// The faults are over: links are mended, clocks go right, disks work, everybody is up again, of the newest version.
    pub fn heal(&mut self, world: &mut World) -> Found {
        self.over = true;
        if self.plan.minority_stays_down {
            self.stop_minority(world)?;
        }
        world.trace.say(world.now, || "healed".to_owned());
        world.network.mend();
        world.network.set_weather(Weather::FAIR);
        world.lost_responses_permille = 0;
        for at in 0..world.machines.len() {
            let machine = &world.machines[at];
            machine.clock.drift(0);
            machine.disk.disarm();
            machine.disk.limit_capacity(None);
            world.hosts[at].disk_full = false;
            world.hosts[at].stalled_until = 0;
            world.resume(at)?;
            // Everybody gets the newest program, without which some repairs must wait.
            if std::mem::replace(&mut world.hosts[at].feature_level, node::FEATURE_LEVEL)
                != node::FEATURE_LEVEL
            {
                world.hosts[at].restart_after = Some(1_000);
                world.die(at, Death::Killed)?;
            }
            // Damage that nobody met so far is found at the start.
            if world.hosts[at].damaged.is_some() {
                world.die(at, Death::Killed)?;
            }
            world.plan_start(1_000, at);
        }
        Ok(())
    }

    /// As many voters as the others can do without are switched off.
    fn stop_minority(&mut self, world: &mut World) -> Found {
        let Some(node) = leader(world).and_then(|at| world.machines[at].node.as_ref()) else {
            return Ok(());
        };
        let membership = node.replica().committed_membership();
        if membership != node.replica().membership() || membership.outgoing.is_some() {
            return Ok(());
        }
        let mut voters: Vec<NodeId> = membership.voters.iter().copied().collect();
        self.random.shuffle(&mut voters);
        voters.truncate((voters.len() - 1) / 2);
        let places: Vec<usize> = voters.iter().filter_map(|id| world.place(*id)).collect();
        for at in places {
            world.hosts[at].off = true;
            world.die(at, Death::PowerLost)?;
        }
        Ok(())
    }

    /// A fault or an act is due.
    pub fn act(&mut self, world: &mut World, what: &Happening) -> Found {
        if self.over {
            return Ok(());
        }
        match what {
            Happening::Fault => {
                let after = self.random.within(1_000..self.plan.fault_pause);
                world.plan(after, Happening::Fault);
                match self.random.choose(&self.plan.faults).copied() {
                    Some(fault) => self.inject(world, fault),
                    None => Ok(()),
                }
            }
            _ => {
                let after = self.random.within(10_000..self.plan.act_pause);
                world.plan(after, Happening::Operator);
                match self.random.choose(&self.plan.acts).copied() {
                    Some(act) => self.operate(world, act),
                    None => Ok(()),
                }
            }
        }
    }

    /// A machine whose process runs; the leader's half the time.
    fn victim(&mut self, world: &World) -> Option<usize> {
        let up: Vec<usize> = running(world).collect();
        match leader(world).filter(|_| self.random.chance(1, 2)) {
            Some(leader) => Some(leader),
            None => self.random.choose(&up).copied(),
        }
    }

    fn inject(&mut self, world: &mut World, fault: Fault) -> Found {
        let Some(at) = self.victim(world) else {
            return Ok(());
        };
        world
            .trace
            .say(world.now, || format!("fault {fault:?} at machine {at}"));
        let length = match self.random.chance(1, 4) {
            true => self.random.within(500_000..4_000_000),
            false => self.random.within(10_000..700_000),
        };
        let machine = &world.machines[at];
        match fault {
            Fault::Kill => world.die(at, Death::Killed)?,
            Fault::PowerLoss => world.die(at, Death::PowerLost)?,
            Fault::CrashInSync => machine.disk.crash_in_sync(),
            Fault::FailedSync => {
                machine.disk.fail_sync_after(self.random.below(4));
                world.hosts[at].sync_may_fail = true;
            }
            Fault::Stall => world.hosts[at].stalled_until = world.now + length,
            Fault::DiskFull => {
                let used = machine.disk.used_bytes();
                let room = self.random.below(20_000);
                machine.disk.limit_capacity(Some(used + room));
                world.hosts[at].disk_full = true;
                world.plan(length, Happening::Relieve(at));
            }
            Fault::Pause => world.pause(at, length),
            Fault::Isolate => self.isolate(world, at, length),
            Fault::Split => self.split(world, length),
            Fault::OneWay | Fault::Clog | Fault::Reset => {
                let other = self.random.index(world.machines.len());
                if other != at {
                    match fault {
                        Fault::OneWay => cut(world, at, other, length),
                        Fault::Clog => world.network.clog(at, other, world.now + length),
                        _ => world.reset_connection(at, other),
                    }
                }
            }
            Fault::Clock => self.disturb_clock(world, at),
            Fault::Weather => {
                let weather = weather(&mut self.random);
                world.network.set_weather(weather);
            }
            Fault::FlippedBit | Fault::BadTable => return self.damage(world, at, fault),
        }
        Ok(())
    }

    /// Changes what is on a disk, and mostly has it read soon.
    fn damage(&mut self, world: &mut World, at: usize, fault: Fault) -> Found {
        if !may_lose(world) {
            return Ok(());
        }
        let machine = &world.machines[at];
        let member = machine.member();
        let mut spared_nothing = false;
        if fault == Fault::BadTable {
            machine.engines.damage(self.random.next());
        } else {
            // Damage of the last write is told from a write that never ended, as long as no power cut comes in between.
            let spare_last_sync = self.random.chance(1, 2);
            let directory = Path::new(DATA_DIR);
            let flipped = machine
                .disk
                .flip_synced_bit(directory, spare_last_sync, |_| true);
            spared_nothing = !spare_last_sync;
            world
                .trace
                .say(world.now, || format!("machine {at}: {flipped:?}"));
            if flipped.is_none() {
                return Ok(());
            }
        }
        world.hosts[at].damaged = member;
        match spared_nothing || self.random.chance(2, 3) {
            true => world.die(at, Death::Killed),
            false => Ok(()),
        }
    }

    fn isolate(&mut self, world: &mut World, at: usize, length: Micros) {
        let ways = self.random.below(3);
        for other in (0..world.machines.len()).filter(|other| *other != at) {
            if ways != 1 {
                cut(world, at, other, length);
            }
            if ways != 2 {
                cut(world, other, at, length);
            }
        }
    }

    fn split(&mut self, world: &mut World, length: Micros) {
        let side: Vec<bool> = (0..world.machines.len())
            .map(|_| self.random.chance(1, 2))
            .collect();
        for from in 0..side.len() {
            for to in 0..side.len() {
                if side[from] != side[to] {
                    cut(world, from, to, length);
                }
            }
        }
    }

    fn disturb_clock(&mut self, world: &World, at: usize) {
        let clock = &world.machines[at].clock;
        if self.random.chance(1, 2) {
            // Leases promise nothing where clocks differ by more than this.
            let most = if self.plan.settings.leases {
                20_000
            } else {
                100_000
            };
            let ppm = self.random.below(most) as i64;
            clock.drift(if self.random.chance(1, 2) { ppm } else { -ppm });
        } else {
            let hours = self.random.below(10_000_000) as i64;
            clock.jump_wall(if self.random.chance(1, 2) {
                hours
            } else {
                -hours
            });
        }
    }

    fn operate(&mut self, world: &mut World, act: Act) -> Found {
        world
            .trace
            .say(world.now, || format!("the operator: {act:?}"));
        match act {
            Act::Add => self.add(world),
            Act::Remove | Act::Reconfigure => self.change(world, act),
            Act::Wipe => return self.wipe(world),
            Act::Transfer => {
                if let Some(node) = leader(world).and_then(|at| world.machines[at].node.as_ref()) {
                    node.transfer_leadership();
                }
            }
            Act::Restart => self.restart(world),
        }
        Ok(())
    }

    fn add(&mut self, world: &mut World) {
        // A machine that was removed comes back empty, as a new member.
        let removed = (0..world.machines.len()).find(|at| world.hosts[*at].off);
        let at = match removed {
            Some(at) => {
                world.hosts[at].off = false;
                world.wipe(at);
                at
            }
            None if world.machines.len() < MACHINES_MAX => {
                let level = self.plan.feature_levels[world.machines.len()];
                world.add_machine(false, level)
            }
            None => return,
        };
        world.plan_start(1_000, at);
    }

    fn change(&mut self, world: &mut World, act: Act) {
        let Some(node) = leader(world).and_then(|at| world.machines[at].node.as_ref()) else {
            return;
        };
        let status = node.status();
        let members: Vec<NodeId> = status.membership.members.keys().copied().collect();
        let Some(member) = self.random.choose(&members).copied() else {
            return;
        };
        let learners = status.membership.members.keys();
        let learners = learners.filter(|id| !status.membership.voters.contains(id));
        let change = match act {
            Act::Remove => MembershipChange::Remove(member),
            _ => MembershipChange::Reconfigure {
                promote: learners.copied().take(VOTERS_MAX).collect(),
                remove: members
                    .iter()
                    .copied()
                    .filter(|_| self.random.chance(1, 3))
                    .collect(),
            },
        };
        world
            .trace
            .detail(world.now, || format!("asks for {change:?}"));
        node.change_membership(change, Box::new(|_| {}));
    }

    fn wipe(&mut self, world: &mut World) -> Found {
        if !may_lose(world) {
            return Ok(());
        }
        let Some(at) = self.victim(world) else {
            return Ok(());
        };
        world.die(at, Death::PowerLost)?;
        world.wipe(at);
        Ok(())
    }

    fn restart(&mut self, world: &mut World) {
        let Some(at) = self.victim(world) else {
            return;
        };
        if world.machines[at].paused {
            return;
        }
        let Some(node) = &world.machines[at].node else {
            return;
        };
        node.transfer_leadership();
        node.request_stop();
        world.hosts[at].feature_level = node::FEATURE_LEVEL;
        world.hosts[at].restart_after = Some(self.random.within(1_000..200_000));
        world.poke(at);
    }
}

fn cut(world: &mut World, from: usize, to: usize, length: Micros) {
    world.network.cut(from, to, true);
    world.plan(length, Happening::Mend { from, to });
}

/// Whether the cluster bears the loss of a copy: everybody else of its membership still has what it acknowledged.
fn may_lose(world: &World) -> bool {
    let Some(node) = leader(world).and_then(|at| world.machines[at].node.as_ref()) else {
        return false;
    };
    let membership = node.replica().committed_membership();
    let settled = node.replica().membership() == membership && membership.outgoing.is_none();
    let damaged = |id: &NodeId| world.hosts.iter().any(|host| host.damaged == Some(*id));
    let running = |id: &NodeId| world.machines.iter().any(|it| it.member() == Some(*id));
    let whole = |id: &NodeId| running(id) && !damaged(id);
    settled && membership.voters.len() >= 3 && membership.voters.iter().all(whole)
}

/// Machines whose processes run.
pub fn running(world: &World) -> impl Iterator<Item = usize> + '_ {
    let up = |at: &usize| world.machines[*at].node.is_some();
    (0..world.machines.len()).filter(up)
}

/// The machine of the leader with the highest term.
pub fn leader(world: &World) -> Option<usize> {
    let leads = |at: &usize| {
        let node = world.machines[*at].node.as_ref();
        node.is_some_and(|node| node.status().writable)
    };
    let term = |at: &usize| {
        let node = world.machines[*at].node.as_ref();
        node.map(|node| node.replica().term())
    };
    (0..world.machines.len()).filter(leads).max_by_key(term)
}
