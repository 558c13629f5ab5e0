//! Many random schedules over whole clusters: messages lost, repeated, delayed and overtaken; crashes that lose what
//! was not synced; membership changes, transfers, snapshots. Safety is checked at every step; then faults
//! end, and the cluster must make progress.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod cluster;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use cluster::Cluster;
use cluster::host::Host;
use consensus::{
    Config, Input, LogIndex, Membership, MembershipChange, NodeId, Proposal, ProposalId,
    ReadTicket, Replica, RoleName,
};

/// Messages under way; when there are more the oldest are lost.
const NETWORK_MAX: usize = 60;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % (sides as u64)).unwrap()
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() {
            None
        } else {
            Some(from[self.roll(from.len())])
        }
    }
}

/// More elections in fewer steps.
fn short_timeouts(config: &mut Config) {
    config.election_ticks_min = 5;
    config.election_ticks_max = 10;
    config.heartbeat_ticks = 2;
}

/// Windows fill, caches evict, entries are fetched.
fn small_limits(config: &mut Config) {
    short_timeouts(config);
    config.append_bytes_max = 100;
    config.inflight_messages_max = 2;
    config.uncommitted_bytes_max = 1_000;
    config.cache_bytes_max = 120;
}

/// Leases rest on the clocks: in these schedules all replicas tick together. A leader that is cut off may be followed long
/// before it steps down.
fn leases(config: &mut Config) {
    short_timeouts(config);
    config.election_ticks_max = 25;
    config.lease_ticks = Some(3);
}

fn leases_and_small_limits(config: &mut Config) {
    small_limits(config);
    leases(config);
}

struct Schedule {
    cluster: Cluster,
    dice: Dice,
    next_number: u64,
    faults: bool,
    leases: bool,
    /// Chances of a fault per hundred steps.
    fault_rate: usize,
}

impl Schedule {
    fn new(seed: u64) -> Schedule {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let count = [1, 2, 3, 3, 3, 5, 5][dice.roll(7)];
        let fault_rate = [1, 3, 6][dice.roll(3)];
        let mut cluster = Cluster::new(seed, count);
        cluster.tells = false;
        let small = dice.roll(2) == 0;
        let leased = dice.roll(4) == 0;
        cluster.tune = match (leased, small) {
            (false, false) => short_timeouts,
            (false, true) => small_limits,
            (true, false) => leases,
            (true, true) => leases_and_small_limits,
        };
        for id in (1..=count).map(NodeId) {
            cluster.crash(id, 0);
            cluster.start(id);
        }
        Schedule {
            cluster,
            dice,
            next_number: 1,
            faults: true,
            leases: leased,
            fault_rate,
        }
    }

    fn ids(&self) -> Vec<NodeId> {
        self.cluster.hosts.keys().copied().collect()
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn step(&mut self) {
        let ids = self.ids();
        let id = self.dice.pick(&ids).unwrap();
        if self.faults && self.dice.roll(100) < self.fault_rate {
            self.fault(id);
        }
        match self.dice.roll(102) {
            0..55 => self.deliver(),
            55..67 => self.tick(id, ids),
            67..80 => self.cluster.sync(id),
            80..85 => self.cluster.report_applied(id),
            85..89 => self.propose(id),
            89..92 => self.read(id),
            92..94 => {
                if !self.cluster.hosts[&id].fetches.is_empty() && self.cluster.is_up(id) {
                    self.cluster.answer_fetch(id);
                }
            }
            94..96 => {
                let count = self.cluster.shipments.len();
                if count > 0 {
                    let place = self.dice.roll(count);
                    let delivered = !self.faults || self.dice.roll(4) > 0;
                    self.cluster.deliver_shipment(place, delivered);
                }
            }
            96..97 => self.compact(id),
            97..101 => self.membership(id),
            _ => {
                if self.dice.roll(4) == 0 {
                    self.cluster
                        .step(id, Input::TransferLeadership { to: None });
                }
            }
        }
    }

    fn tick(&mut self, id: NodeId, mut ids: Vec<NodeId>) {
        if !self.leases {
            return self.cluster.step(id, Input::Tick);
        }
        if self.dice.roll(ids.len()) == 0 {
            while !ids.is_empty() {
                let next = ids.swap_remove(self.dice.roll(ids.len()));
                self.cluster.step(next, Input::Tick);
            }
        }
    }

    fn deliver(&mut self) {
        let count = self.cluster.network.len();
        if count == 0 {
            return;
        }
        if self.faults && count > NETWORK_MAX {
            self.cluster.network.drain(..count - NETWORK_MAX);
            return;
        }
        let recent = self.dice.roll(3) > 0;
        let place = if recent {
            self.dice.roll(count.min(4))
        } else {
            self.dice.roll(count)
        };
        if self.faults {
            match self.dice.roll(40) {
                0 => {
                    self.cluster.network.remove(place);
                    return;
                }
                1 => {
                    let again = self.cluster.network[place].clone();
                    self.cluster.network.push(again);
                }
                _ => {}
            }
        }
        if self.dice.roll(3) == 0 {
            // One wake-up takes everything that waits for the same replica.
            let to = self.cluster.network[place].to;
            let cut = self.cluster.cut.clone();
            let (mine, rest) = std::mem::take(&mut self.cluster.network)
                .into_iter()
                .partition(|e| e.to == to);
            self.cluster.network = rest;
            let mine: Vec<consensus::Envelope> = mine;
            let inputs = mine.into_iter().filter(|e| !cut.contains(&(e.from, e.to)));
            self.cluster
                .step_all(to, inputs.map(Input::Receive).collect());
        } else {
            self.cluster.deliver(place);
        }
    }

    fn propose(&mut self, id: NodeId) {
        let target = if self.dice.roll(3) > 0 {
            self.cluster.leader().unwrap_or(id)
        } else {
            id
        };
        let count = self.dice.roll(4) + 1;
        let proposals = (0..count)
            .map(|_| {
                let number = self.number();
                let payload = Arc::from(format!("command {number}").into_bytes());
                Proposal {
                    id: ProposalId(number),
                    payload,
                }
            })
            .collect();
        self.cluster.step(target, Input::Propose(proposals));
    }

    /// Most often of somebody who believes to lead, rightly or not.
    fn read(&mut self, id: NodeId) {
        let leaders = self.cluster.running();
        let leaders = leaders.filter(|replica| replica.role() == RoleName::Leader);
        let leaders: Vec<NodeId> = leaders.map(Replica::id).collect();
        let asked = match self.dice.pick(&leaders) {
            Some(leader) if self.dice.roll(3) > 0 => leader,
            _ => id,
        };
        let ticket = ReadTicket(self.number());
        self.cluster.step(asked, Input::Read(vec![ticket]));
    }

    fn compact(&mut self, id: NodeId) {
        let host = &self.cluster.hosts[&id];
        let low = host.log_start.index.0;
        if let Some(replica) = &host.replica
            && replica.applied().0 > low
        {
            let span = usize::try_from(replica.applied().0 - low).unwrap();
            let through = LogIndex(low + 1 + self.dice.roll(span) as u64);
            self.cluster.compact(id, through);
        }
    }

    fn membership(&mut self, id: NodeId) {
        let target = self.cluster.leader().unwrap_or(id);
        let Some(replica) = self.cluster.hosts[&target].replica.as_ref() else {
            return;
        };
        let membership = replica.membership().clone();
        let members: Vec<NodeId> = membership.members.keys().copied().collect();
        let any = self.dice.pick(&members);
        let number = self.number();
        let priority = [0, 1, 1, 1, 2, 3][self.dice.roll(6)];
        let context = Arc::from(&b"new"[..]);
        let id = NodeId(membership.next_node_id);
        let change = match (self.dice.roll(8), any) {
            (0 | 1, Some(removes)) if membership.next_node_id < 11 => {
                if !self.cluster.hosts.contains_key(&id) {
                    self.cluster.add_host(Host::new(id, Membership::default()));
                }
                if self.dice.roll(3) == 0 {
                    MembershipChange::Replace {
                        id,
                        context,
                        priority,
                        removes,
                    }
                } else {
                    MembershipChange::AddLearner {
                        id,
                        context,
                        priority,
                    }
                }
            }
            (2, Some(any)) => MembershipChange::Promote(any),
            (3, Some(any)) if membership.voters.len() > 2 => MembershipChange::Remove(any),
            (4..7, _) => {
                let mut some = |chance: usize, of: bool| -> BTreeSet<NodeId> {
                    let those = members.iter().filter(|id| membership.is_voter(**id) == of);
                    let chosen = those.filter(|_| self.dice.roll(chance) == 0);
                    chosen.copied().collect()
                };
                let remove = some(4, true);
                let promote = some(1, false);
                MembershipChange::Reconfigure { promote, remove }
            }
            (_, Some(any)) => MembershipChange::UpdateContext {
                id: any,
                context: Arc::from(&b"moved"[..]),
                priority,
            },
            _ => return,
        };
        let id = ProposalId(number);
        self.cluster
            .step(target, Input::ProposeMembership { id, change });
    }

    fn fault(&mut self, id: NodeId) {
        let ids = self.ids();
        match self.dice.roll(8) {
            0..3 => {
                if self.cluster.is_up(id) {
                    let kept = self.dice.roll(3);
                    self.cluster.crash(id, kept);
                    if self.dice.roll(2) == 0 {
                        self.cluster.reset_connections_of(id);
                    }
                }
            }
            3..5 => {
                for id in ids {
                    if !self.cluster.is_up(id) && self.dice.roll(2) == 0 {
                        self.cluster.start(id);
                    }
                }
            }
            5 => self.cluster.cut.clear(),
            6 if self.dice.roll(2) == 0 => {
                // A leader that is cut off from all others.
                let alone = self.cluster.leader().unwrap_or(id);
                for other in ids.into_iter().filter(|other| *other != alone) {
                    self.cluster.cut.insert((alone, other));
                    self.cluster.cut.insert((other, alone));
                }
            }
            6 => {
                let other = self.dice.pick(&ids).unwrap();
                self.cluster.cut.insert((id, other));
                if self.dice.roll(2) == 0 {
                    self.cluster.cut.insert((other, id));
                }
            }
            _ => {
                let other = self.dice.pick(&ids).unwrap();
                self.cluster.step(id, Input::PeerDisconnected(other));
            }
        }
    }

    fn check_matching(&self) {
        let running: Vec<&Replica> = self.cluster.running().collect();
        for (place, one) in running.iter().enumerate() {
            for other in &running[place + 1..] {
                self.cluster.checker.check_matching(one, other);
            }
        }
    }

    /// Faults end: there must be one leader that commits, and every member must apply it all.
    fn heal(&mut self) {
        self.faults = false;
        self.cluster.cut.clear();
        for id in self.ids() {
            if !self.cluster.is_up(id) {
                self.cluster.start(id);
            }
        }
        for _ in 0..400 {
            for id in self.ids() {
                self.cluster.step(id, Input::Tick);
            }
            self.cluster.settle();
            if self.is_healthy() {
                break;
            }
        }
        assert!(
            self.is_healthy(),
            "no healthy leader 400 ticks after the last fault:\n{}",
            self.picture()
        );
        // A leader may just be handing over to one of a higher priority.
        let served = (0..3).any(|_| self.serves());
        assert!(
            served,
            "the last read was not answered:\n{}",
            self.picture()
        );
        let leader = self
            .cluster
            .replica(self.cluster.leader().expect("a leader stays").0);
        assert_eq!(
            leader.commit(),
            leader.last().index,
            "the last proposal is not committed"
        );
        for id in leader.membership().members.keys() {
            let member = self.cluster.replica(id.0);
            assert_eq!(
                member.applied(),
                leader.applied(),
                "{id} has not caught up:\n{}",
                self.picture()
            );
        }
    }

    /// Whether a proposal and a read are served now.
    fn serves(&mut self) -> bool {
        let leader = self.cluster.leader().unwrap();
        let number = self.number();
        let payload = Arc::from(&b"last"[..]);
        let proposal = Proposal {
            id: ProposalId(number),
            payload,
        };
        self.cluster.step(leader, Input::Propose(vec![proposal]));
        let ticket = ReadTicket(self.number());
        let ready = self.cluster.checker.reads_ready;
        self.cluster.step(leader, Input::Read(vec![ticket]));
        for _ in 0..60 {
            self.cluster.settle();
            for id in self.ids() {
                self.cluster.step(id, Input::Tick);
            }
        }
        self.cluster.settle();
        self.cluster.checker.reads_ready > ready
    }

    fn is_healthy(&self) -> bool {
        self.cluster.leader().is_some_and(|leader| {
            let leader = self.cluster.replica(leader.0);
            let start =
                leader.last().term == leader.term() && leader.commit() == leader.last().index;
            let followers = leader.membership().members.keys().all(|id| {
                let member = self.cluster.replica(id.0);
                member.leader() == Some(leader.id()) && member.applied() == leader.applied()
            });
            start && followers
        })
    }

    fn picture(&self) -> String {
        let lines = self.cluster.running().map(|replica| {
            format!(
                "{} {:?} {} leader={:?} last={} commit={} applied={} first={} voters={:?} members={:?} {:?}",
                replica.id(),
                replica.role(),
                replica.term(),
                replica.leader(),
                replica.last(),
                replica.commit(),
                replica.applied(),
                replica.first_index(),
                replica.membership().voters,
                replica.membership().members.keys().collect::<BTreeSet<_>>(),
                replica.progress(),
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// What the schedules did, so that a test which no longer does much is noticed.
#[derive(Debug, Default)]
struct Totals {
    leaders: usize,
    committed: usize,
    reads: usize,
    membership_changes: usize,
    joint_memberships: usize,
    fetches: usize,
    snapshots: usize,
}

fn run(seed: u64, steps: usize, totals: &mut Totals) {
    let mut schedule = Schedule::new(seed);
    for number in 0..steps {
        schedule.step();
        if number % 64 == 0 {
            schedule.check_matching();
        }
    }
    schedule.heal();
    schedule.check_matching();
    let checker = &schedule.cluster.checker;
    totals.leaders += checker.leaders();
    totals.committed += usize::try_from(checker.committed_through().0).unwrap();
    totals.reads += checker.reads_ready;
    totals.membership_changes += checker.membership_changes();
    totals.joint_memberships += checker.joint_memberships();
    totals.fetches += checker.fetches;
    totals.snapshots += checker.snapshots;
}

fn number_from_environment(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// `CONSENSUS_SEED=n` runs one seed, with `CONSENSUS_SEEDS=m` that many from there on.
#[test]
fn random_schedules_are_safe_and_live() {
    let first = number_from_environment("CONSENSUS_SEED", 0);
    let one = std::env::var("CONSENSUS_SEED").is_ok();
    let count = number_from_environment("CONSENSUS_SEEDS", if one { 1 } else { 300 });
    let mut totals = Totals::default();
    for seed in first..first + count {
        let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, 4_000, &mut totals)));
        if let Err(panic) = outcome {
            eprintln!("failed with CONSENSUS_SEED={seed}");
            resume_unwind(panic);
        }
    }
    println!("{count} schedules: {totals:?}");
    if !one {
        let count = usize::try_from(count).unwrap();
        let enough = totals.leaders > 3 * count
            && totals.committed > 15 * count
            && totals.reads > 2 * count
            && totals.membership_changes > count
            && totals.joint_memberships > count / 8
            && totals.fetches > count
            && totals.snapshots > count / 4;
        assert!(
            enough,
            "the schedules do too little to mean anything: {totals:?}"
        );
    }
}

/// A leader is cut off while somebody keeps asking it for reads; voters restart; the others elect and commit.
#[test]
fn a_leader_with_a_lease_serves_no_stale_read() {
    let mut served = 0;
    for seed in 0..30 {
        let mut schedule = Schedule::new(seed);
        schedule.cluster = Cluster::new(seed, 3);
        schedule.cluster.tells = false;
        schedule.cluster.tune = leases;
        schedule.leases = true;
        for id in schedule.ids() {
            schedule.cluster.crash(id, 0);
            schedule.cluster.start(id);
        }
        for tick in 0..200 {
            let ids = schedule.ids();
            if tick % 40 == 20
                && let Some(alone) = schedule.cluster.leader()
            {
                for other in ids.iter().copied().filter(|other| *other != alone) {
                    schedule.cluster.cut.insert((alone, other));
                    schedule.cluster.cut.insert((other, alone));
                }
            }
            if tick % 40 == 0 {
                schedule.cluster.cut.clear();
            }
            let id = schedule.dice.pick(&ids).unwrap();
            match schedule.dice.roll(12) {
                0 => {
                    schedule.cluster.crash(id, 2);
                    schedule.cluster.start(id);
                }
                1 => schedule.cluster.reset_connections_of(id),
                _ => {}
            }
            let mut waiting = ids;
            while !waiting.is_empty() {
                let next = waiting.swap_remove(schedule.dice.roll(waiting.len()));
                schedule.cluster.step(next, Input::Tick);
                schedule.propose(next);
                schedule.cluster.settle();
                for id in schedule.ids() {
                    let ticket = ReadTicket(schedule.number());
                    let ready = schedule.cluster.checker.reads_ready;
                    schedule.cluster.step(id, Input::Read(vec![ticket]));
                    served += schedule.cluster.checker.reads_ready - ready;
                }
            }
        }
    }
    assert!(served > 2_000, "few reads were served by a lease: {served}");
}
