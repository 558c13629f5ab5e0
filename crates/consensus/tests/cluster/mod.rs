//! A cluster of replicas in one thread, for tests only: a network that holds messages, disks that hold writes
//! until told, and a checker that watches every step. It decides nothing: scripts and schedules do.
#![allow(dead_code, reason = "each test program uses its own part")]

pub mod checker;
pub mod host;
pub mod render;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use checker::Checker;
use consensus::{
    Config, Effects, Envelope, Input, LogPosition, Member, Membership, Message, NodeId, Replica,
    RoleName, SnapshotMeta, bootstrap,
};
use host::Host;

/// A snapshot on its way.
#[derive(Clone, Debug)]
pub struct Shipment {
    pub to: NodeId,
    pub meta: SnapshotMeta,
}

pub struct Cluster {
    pub hosts: BTreeMap<NodeId, Host>,
    pub network: Vec<Envelope>,
    pub shipments: Vec<Shipment>,
    /// Messages from the first to the second are lost.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    pub checker: Checker,
    pub events: Vec<String>,
    /// Whether to tell what happens, for scripts.
    pub tells: bool,
    pub seed: u64,
    pub tune: fn(&mut Config),
}

/// A membership of `count` voters, numbered from 1.
pub fn voters(count: u64) -> Membership {
    let ids: Vec<NodeId> = (1..=count).map(NodeId).collect();
    Membership {
        members: ids
            .iter()
            .map(|id| (*id, Member::new(Arc::from(&b"host"[..]))))
            .collect(),
        voters: ids.iter().copied().collect(),
        outgoing: None,
        next_node_id: count + 1,
    }
}

impl Cluster {
    pub fn new(seed: u64, count: u64) -> Cluster {
        let membership = if count == 1 {
            bootstrap(NodeId(1), Arc::from(&b"host"[..]))
        } else {
            voters(count)
        };
        let mut cluster = Cluster::empty(seed, membership.clone());
        for id in 1..=count {
            cluster.add_host(Host::new(NodeId(id), membership.clone()));
        }
        cluster
    }

    /// A cluster without hosts whose first membership is `membership`.
    pub fn empty(seed: u64, membership: Membership) -> Cluster {
        Cluster {
            hosts: BTreeMap::new(),
            network: Vec::new(),
            shipments: Vec::new(),
            cut: BTreeSet::new(),
            checker: Checker::new(membership),
            events: Vec::new(),
            tells: true,
            seed,
            tune: |_| {},
        }
    }

    pub fn add_host(&mut self, host: Host) {
        let id = host.id;
        self.hosts.insert(id, host);
        self.start(id);
    }

    pub fn start(&mut self, id: NodeId) {
        let host = self.hosts.get_mut(&id).expect("a known host");
        host.starts += 1;
        let mixed = self.seed ^ (id.0 << 32) ^ (host.starts << 48);
        let mut config = Config::new(id, mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        (self.tune)(&mut config);
        let (replica, effects) = Replica::new(config, host.recover());
        replica.check_invariants();
        host.replica = Some(replica);
        self.perform(id, effects);
    }

    /// Stops a replica. Of the writes under way the first `kept` turn out to be on disk.
    pub fn crash(&mut self, id: NodeId, kept: usize) {
        self.hosts.get_mut(&id).expect("a known host").crash(kept);
    }

    pub fn is_up(&self, id: NodeId) -> bool {
        self.hosts
            .get(&id)
            .is_some_and(|host| host.replica.is_some())
    }

    pub fn replica(&self, id: u64) -> &Replica {
        self.hosts[&NodeId(id)]
            .replica
            .as_ref()
            .expect("the replica is up")
    }

    pub fn running(&self) -> impl Iterator<Item = &Replica> {
        self.hosts.values().filter_map(|host| host.replica.as_ref())
    }

    /// The leader of the highest term.
    pub fn leader(&self) -> Option<NodeId> {
        self.running()
            .filter(|replica| replica.role() == RoleName::Leader)
            .max_by_key(|replica| replica.term())
            .map(Replica::id)
    }

    pub fn step(&mut self, id: NodeId, input: Input) {
        self.step_all(id, vec![input]);
    }

    pub fn step_all(&mut self, id: NodeId, inputs: Vec<Input>) {
        let Some(replica) = self
            .hosts
            .get_mut(&id)
            .and_then(|host| host.replica.as_mut())
        else {
            return;
        };
        for input in &inputs {
            if let Input::Read(tickets) = input {
                self.checker.read_asked(tickets);
            }
        }
        let before = self.tells.then(|| render::status(replica));
        let effects = replica.step_all(inputs);
        replica.check_invariants();
        let after = self.tells.then(|| render::status(replica));
        if let Some(after) = after.filter(|after| before.as_ref() != Some(after)) {
            self.events.push(format!("{id} {after}"));
        }
        self.perform(id, effects);
        let running: Vec<&Replica> = self
            .hosts
            .values()
            .filter_map(|host| host.replica.as_ref())
            .collect();
        let replica = self.hosts[&id].replica.as_ref().expect("it stepped");
        self.checker.watch(replica);
        self.checker.note_commit(replica, &running);
    }

    fn perform(&mut self, id: NodeId, effects: Effects) {
        if self.tells {
            render::effects(&mut self.events, id, &effects);
        }
        self.checker.effects(&effects);
        let host = self.hosts.get_mut(&id).expect("a known host");
        self.network.extend(host.take(effects));
        for to in std::mem::take(&mut host.snapshots_asked) {
            let applied = host.applied;
            let replica = host.replica.as_ref().expect("it stepped");
            let term = replica
                .term_at(applied)
                .expect("what is applied is in the log");
            let meta = SnapshotMeta {
                leader: id,
                leader_term: replica.term(),
                position: LogPosition {
                    index: applied,
                    term,
                },
                membership: self.checker.membership_as_of(applied),
            };
            self.shipments.push(Shipment { to, meta });
        }
    }

    /// Delivers the message at `place`, or loses it on a cut way.
    pub fn deliver(&mut self, place: usize) {
        let envelope = self.network.remove(place);
        if self.cut.contains(&(envelope.from, envelope.to)) || !self.is_up(envelope.to) {
            return;
        }
        let told = self.tells
            && !matches!(
                envelope.message,
                Message::Heartbeat { .. } | Message::HeartbeatReply { .. }
            );
        if told {
            self.events.push(render::envelope(&envelope));
        }
        self.step(envelope.to, Input::Receive(envelope));
    }

    pub fn sync(&mut self, id: NodeId) {
        let Some(host) = self.hosts.get_mut(&id) else {
            return;
        };
        if let Some(position) = host.sync() {
            let released = host.release_held(position);
            self.network.extend(released);
            self.step(id, Input::Durable(position));
        }
    }

    pub fn report_applied(&mut self, id: NodeId) {
        let host = &self.hosts[&id];
        if let Some(replica) = &host.replica
            && replica.applied() < host.applied
        {
            let applied = host.applied;
            self.step(id, Input::Applied(applied));
        }
    }

    pub fn answer_fetch(&mut self, id: NodeId) {
        let host = self.hosts.get_mut(&id).expect("a known host");
        if let Some(fetch) = host.fetches.pop_front() {
            let entries = host.read_log(fetch.from, fetch.bytes_max);
            self.step(
                id,
                Input::EntriesFetched {
                    to: fetch.to,
                    entries,
                },
            );
        }
    }

    /// Delivers a snapshot, or fails to.
    pub fn deliver_shipment(&mut self, place: usize, delivered: bool) {
        let Shipment { to, meta } = self.shipments.remove(place);
        let delivered = delivered && self.is_up(to) && !self.cut.contains(&(meta.leader, to));
        let position = meta.position;
        let from = meta.leader;
        if delivered {
            self.events
                .push(format!("{from} -> {to} snapshot up to {position}"));
            self.step(to, Input::SnapshotStaged(meta));
        }
        self.step(
            from,
            Input::SnapshotSent {
                to,
                position,
                delivered,
            },
        );
    }

    /// Tells the replica that its log is gone up to `through`, which is applied durably.
    pub fn compact(&mut self, id: NodeId, through: consensus::LogIndex) {
        let position = LogPosition {
            index: through,
            term: self.checker.term_of(through),
        };
        let membership = self.checker.membership_as_of(through);
        let host = self.hosts.get_mut(&id).expect("a known host");
        if host.replica.is_some() && host.compact(position, membership) {
            self.step(id, Input::LogCompacted(position));
        }
    }

    /// The connections of `id` to all others are reset: both ends see it.
    pub fn reset_connections_of(&mut self, id: NodeId) {
        let others: Vec<NodeId> = self
            .hosts
            .keys()
            .copied()
            .filter(|other| *other != id)
            .collect();
        for other in others {
            self.step(other, Input::PeerDisconnected(id));
        }
    }

    /// Lets everything that is under way happen, in the order it was asked for.
    pub fn settle(&mut self) {
        let ids: Vec<NodeId> = self.hosts.keys().copied().collect();
        for _ in 0..100_000 {
            let mut busy = false;
            while !self.network.is_empty() {
                self.deliver(0);
                busy = true;
            }
            for id in &ids {
                let host = &self.hosts[id];
                if host.replica.is_none() {
                    continue;
                }
                if !host.disk_stalled && !host.writes.is_empty() {
                    self.sync(*id);
                    busy = true;
                }
                self.report_applied(*id);
                if !self.hosts[id].fetches.is_empty() {
                    self.answer_fetch(*id);
                    busy = true;
                }
            }
            if !self.shipments.is_empty() {
                self.deliver_shipment(0, true);
                busy = true;
            }
            if !busy {
                return;
            }
        }
        panic!("the cluster does not come to rest");
    }
}
