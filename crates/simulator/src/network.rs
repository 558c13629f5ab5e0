//! The network between machines, at the level of messages: what each link loses, delays, repeats and holds back, and the
//! streams of snapshots.
//!
//! Harsher than the connections of production, which keep order and lose only when they break: consensus promises to
//! bear anything but altered messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use consensus::{Envelope, NodeId, SnapshotMeta};
use node::{Peers, SnapshotDone};
use parking_lot::Mutex;
use peer_transport::{PeerAddress, PeerHealth, SnapshotChunks, SnapshotSink, SnapshotSource};

use crate::Random;
use crate::clock::Micros;

/// How messages fare in general.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Shortest way.
    pub delay_min: Micros,
    /// Longest way, save for stragglers.
    pub delay_max: Micros,
    /// Lost, of 1,000 messages.
    pub lost_permille: u64,
    /// Delivered twice, of 1,000.
    pub repeated_permille: u64,
    /// Overtaken by later ones, of 1,000.
    pub reordered_permille: u64,
    /// Much later than the others, of 1,000.
    pub straggling_permille: u64,
}

impl Weather {
    /// One data centre on a good day.
    pub const FAIR: Weather = Weather {
        delay_min: 50,
        delay_max: 500,
        lost_permille: 0,
        repeated_permille: 0,
        reordered_permille: 0,
        straggling_permille: 0,
    };
}

/// The way from one machine to another.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    /// Nothing passes.
    cut: bool,
    /// Nothing arrives before this time.
    clogged_until: Micros,
    /// When the latest message arrives that keeps the order.
    last_arrival: Micros,
    /// Messages under way of an earlier connection are lost.
    connection: u64,
}

/// All links.
#[derive(Debug)]
pub struct Network {
    random: Random,
    weather: Weather,
    links: BTreeMap<(usize, usize), Link>,
}

/// When copies of a message arrive, and by which connection.
pub struct Passage {
    /// None, one or two arrivals.
    pub arrivals: Vec<Micros>,
    /// To be compared with [`Network::connection`] on arrival.
    pub connection: u64,
}

impl Network {
    /// A network in fair weather.
    pub fn new(random: Random) -> Network {
        Network {
            random,
            weather: Weather::FAIR,
            links: BTreeMap::new(),
        }
    }

    /// How messages fare from now on.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Lets nothing pass from one machine to the other, or all again.
    pub fn cut(&mut self, from: usize, to: usize, cut: bool) {
        self.links.entry((from, to)).or_default().cut = cut;
    }

    /// Holds everything back until then.
    pub fn clog(&mut self, from: usize, to: usize, until: Micros) {
        self.links.entry((from, to)).or_default().clogged_until = until;
    }

    /// The connections between the two break: what is under way is lost.
    pub fn reset(&mut self, a: usize, b: usize) {
        for way in [(a, b), (b, a)] {
            self.links.entry(way).or_default().connection += 1;
        }
    }

    /// All links are whole, none is clogged.
    pub fn mend(&mut self) {
        for link in self.links.values_mut() {
            link.cut = false;
            link.clogged_until = 0;
        }
    }

    /// Whether anything can pass.
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.links.get(&(from, to)).is_some_and(|link| link.cut)
    }

    /// The number of the present connection.
    pub fn connection(&self, from: usize, to: usize) -> u64 {
        self.links
            .get(&(from, to))
            .map_or(0, |link| link.connection)
    }

    /// A time that a way takes.
    pub fn delay(&mut self) -> Micros {
        let weather = self.weather;
        self.random.within(weather.delay_min..weather.delay_max + 1)
    }

    /// Decides what becomes of a message.
    pub fn send(&mut self, from: usize, to: usize, now: Micros) -> Passage {
        let weather = self.weather;
        let mut delay = self.delay();
        if self.random.chance(weather.straggling_permille, 1_000) {
            delay += self.random.within(1_000..400_000);
        }
        let lost = self.random.chance(weather.lost_permille, 1_000);
        let repeated = self.random.chance(weather.repeated_permille, 1_000);
        let reordered = self.random.chance(weather.reordered_permille, 1_000);
        let later = if repeated {
            self.random.within(1..50_000)
        } else {
            0
        };
        let link = self.links.entry((from, to)).or_default();
        if lost || link.cut {
            return Passage {
                arrivals: Vec::new(),
                connection: link.connection,
            };
        }
        let mut arrival = (now + delay).max(link.clogged_until);
        if !reordered {
            arrival = arrival.max(link.last_arrival);
            link.last_arrival = arrival;
        }
        let mut arrivals = vec![arrival];
        if repeated {
            arrivals.push(arrival + later);
        }
        Passage {
            arrivals,
            connection: link.connection,
        }
    }
}

/// What a node wants carried.
pub enum Outgoing {
    /// Messages to several members.
    Messages(Vec<Envelope>),
    /// A snapshot.
    Snapshot {
        /// The receiver.
        to: NodeId,
        /// What it is of.
        meta: Box<SnapshotMeta>,
        /// Its chunks.
        source: SnapshotSource,
        /// Told the end.
        done: SnapshotDone,
    },
}

/// A node's side of the network: keeps what it sends until the world takes it.
#[derive(Default)]
pub struct Outbox {
    outgoing: Mutex<Vec<Outgoing>>,
    addresses: Mutex<BTreeMap<NodeId, PeerAddress>>,
}

impl Outbox {
    /// Takes everything that was sent.
    pub fn take(&self) -> Vec<Outgoing> {
        std::mem::take(&mut *self.outgoing.lock())
    }

    /// The machine that this node takes a member to be on.
    pub fn machine_of(&self, member: NodeId) -> Option<usize> {
        let addresses = self.addresses.lock();
        machine_at(&addresses.get(&member)?.0)
    }
}

/// The peer address of a machine.
pub fn address_of(machine: usize) -> String {
    format!("machine:{machine}")
}

/// The machine of an address.
pub fn machine_at(address: &str) -> Option<usize> {
    address.strip_prefix("machine:")?.parse().ok()
}

/// Shared between a node and the world.
#[derive(Clone, Default)]
pub struct SimulatedPeers(pub Arc<Outbox>);

impl Peers for SimulatedPeers {
    fn send(&self, envelopes: Vec<Envelope>) {
        self.0.outgoing.lock().push(Outgoing::Messages(envelopes));
    }

    fn set_peers(&self, peers: BTreeMap<NodeId, PeerAddress>) {
        *self.0.addresses.lock() = peers;
    }

    fn send_snapshot(
        &self,
        to: NodeId,
        meta: SnapshotMeta,
        source: SnapshotSource,
        done: SnapshotDone,
    ) {
        let meta = Box::new(meta);
        self.0.outgoing.lock().push(Outgoing::Snapshot {
            to,
            meta,
            source,
            done,
        });
    }

    fn health(&self) -> BTreeMap<NodeId, PeerHealth> {
        BTreeMap::new()
    }

    fn stop(&self) {}
}

/// A snapshot under way.
pub struct Stream {
    /// Sending machine and its process.
    pub from: (usize, u64),
    /// Receiving machine and its process.
    pub to: (usize, u64),
    /// Who is to receive it.
    pub member: NodeId,
    /// What it is of.
    pub meta: Box<SnapshotMeta>,
    /// By which connection it goes.
    pub connection: u64,
    /// Told the end.
    pub done: SnapshotDone,
    /// How far it has come.
    pub stage: StreamStage,
}

/// How far a stream has come.
pub enum StreamStage {
    /// Not begun.
    Offered(SnapshotSource),
    /// Chunk by chunk.
    Flowing(SnapshotChunks, Box<dyn SnapshotSink>),
    /// The receiver has it: the sender is told on the way back.
    Arrived,
    /// It broke; the sender notices.
    Broken,
}
