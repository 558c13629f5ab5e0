//! The transport as the host holds it: its peers, its listener, and what its threads share.

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use consensus::{Envelope, GroupId, NodeId, SnapshotMeta};
use parking_lot::{Mutex, RwLock};

use crate::handshake::Identity;
use crate::outbound::Peer;
use crate::wire::Purpose;
use crate::{
    Config, Handler, Limits, PeerAddress, PeerHealth, SnapshotSource, TransportError, inbound,
    snapshot_stream,
};

/// Stack of a transport thread; the decoding of a message nests a few levels only.
const STACK_BYTES: usize = 512 << 10;
/// How long the host is not told of a failed snapshot.
const SNAPSHOT_PAUSE: Duration = Duration::from_millis(200);
/// Wait for the wake-up call to our own listener at stop.
const WAKE_TIMEOUT: Duration = Duration::from_millis(200);

/// Connections to and from the other members of the cluster. Cheap to share; stops when dropped.
pub struct Transport {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

/// What every thread of one transport knows.
pub struct Shared {
    pub identity: Identity,
    pub limits: Limits,
    pub handler: Arc<dyn Handler>,
    pub entropy: Arc<dyn platform::Entropy + Send + Sync>,
    started: Instant,
    stopping: AtomicBool,
    peers: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
    connections: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    next_id: u64,
    /// Every connection a thread may be blocked on, save the peers' own: shut down at stop.
    open: BTreeMap<u64, TcpStream>,
    /// The newest connection of each kind from each peer.
    latest: BTreeMap<(NodeId, Purpose), u64>,
}

/// A connection's place among the open ones; given up when dropped.
pub struct Registered<'a> {
    pub id: u64,
    shared: &'a Shared,
}

impl Transport {
    /// Starts accepting peers. Nobody is dialled before [`Transport::set_peers`].
    pub fn start(config: Config, handler: Arc<dyn Handler>) -> Result<Transport, TransportError> {
        let address = config
            .listener
            .local_addr()
            .map_err(TransportError::Start)?;
        let shared = Arc::new(Shared {
            identity: Identity {
                cluster_id: config.cluster_id,
                node_id: config.node_id,
                feature_level: config.feature_level,
                address: config.advertise,
            },
            limits: config.limits,
            handler,
            entropy: config.entropy,
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            peers: RwLock::new(BTreeMap::new()),
            connections: Mutex::new(Connections::default()),
        });
        let listener = config.listener;
        let for_acceptor = Arc::clone(&shared);
        let acceptor = spawn("peer-accept".to_owned(), move || {
            inbound::accept(&listener, &for_acceptor)
        })
        .map_err(TransportError::Start)?;
        Ok(Transport {
            shared,
            address,
            acceptor: Mutex::new(Some(acceptor)),
        })
    }

    /// Where this transport accepts peers.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Says who the peers are: new ones are dialled, changed addresses dialled anew, missing ones let go. This node's own
    /// id is ignored. Does not block.
    pub fn set_peers(&self, addresses: BTreeMap<NodeId, PeerAddress>) {
        let mut peers = self.shared.peers.write();
        if self.shared.stopping() {
            return;
        }
        peers.retain(|id, peer| {
            let keep = addresses.get(id) == Some(&peer.address);
            if !keep {
                peer.remove();
            }
            keep
        });
        for (id, address) in addresses {
            if id == self.shared.identity.node_id || peers.contains_key(&id) {
                continue;
            }
            let peer = Peer::new(id, address, &self.shared.limits);
            // Without threads the peer stays unknown; the next call tries again.
            if peer.start(&self.shared).is_ok() {
                peers.insert(id, peer);
            }
        }
    }

    /// Sends messages, each to the peer it names, in order. Never blocks and promises nothing: what cannot be queued, or
    /// is for an unknown peer, is dropped.
    pub fn send(&self, group: GroupId, mut envelopes: Vec<Envelope>) {
        let peers = self.shared.peers.read();
        envelopes.sort_by_key(|envelope| envelope.to);
        let mut waiting = envelopes.into_iter().peekable();
        while let Some(first) = waiting.next() {
            let to = first.to;
            let mut run = vec![first];
            while let Some(next) = waiting.next_if(|next| next.to == to) {
                run.push(next);
            }
            if let Some(peer) = peers.get(&to) {
                peer.send(group, run);
            }
        }
    }

    /// The state of every peer's connection.
    pub fn health(&self) -> BTreeMap<NodeId, PeerHealth> {
        let peers = self.shared.peers.read();
        peers
            .iter()
            .map(|(id, peer)| (*id, peer.health(self.shared.started)))
            .collect()
    }

    /// Streams a snapshot to a peer on a connection and a thread of its own, from where the receiver's copy of it ends.
    /// `done(true)` once the receiver has it
    /// durably; `done(false)` if anything went wrong, or another snapshot is on its way to that peer. `done` is called
    /// exactly once, as a rule from that thread.
    pub fn send_snapshot(
        &self,
        group: GroupId,
        to: NodeId,
        meta: SnapshotMeta,
        source: SnapshotSource,
        done: Box<dyn FnOnce(bool) + Send>,
    ) {
        let shared = Arc::clone(&self.shared);
        let mut completion = Completion(Some(done));
        let task = move || {
            let Some(peer) = shared.peers.read().get(&to).cloned() else {
                return;
            };
            if peer.snapshot_in_flight.swap(true, Ordering::AcqRel) {
                return;
            }
            let sent = snapshot_stream::send(&shared, &peer, group, &meta, source);
            peer.snapshot_in_flight.store(false, Ordering::Release);
            match sent {
                Ok(()) => {
                    peer.note_snapshot(None);
                    completion.call(true);
                }
                Err(error) => {
                    peer.note_snapshot(Some(format!("sending a snapshot: {error}")));
                    // The host is likely to try again as soon as it is told.
                    std::thread::sleep(SNAPSHOT_PAUSE);
                }
            }
        };
        // A closure that never ran is dropped, and `Completion` then says `false`.
        let _ = spawn(format!("peer-{}-snapshot", to.0), task);
    }

    /// Closes every connection and frees the port. Threads end soon after; a handler call already under way is not
    /// waited for, so the host may call this from anywhere.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        for peer in std::mem::take(&mut *self.shared.peers.write()).into_values() {
            peer.remove();
        }
        for stream in self.shared.connections.lock().open.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(acceptor) = self.acceptor.lock().take() {
            // The acceptor waits in `accept`: a connection wakes it.
            let _ = TcpStream::connect_timeout(&reachable(self.address), WAKE_TIMEOUT);
            let _ = acceptor.join();
        }
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub fn open_connections(&self) -> usize {
        self.connections.lock().open.len()
    }

    /// Makes the connection known, so that `stop` ends it; `None` when stopping already.
    pub fn register(&self, stream: &TcpStream) -> Option<Registered<'_>> {
        let clone = stream.try_clone().ok()?;
        let mut connections = self.connections.lock();
        if self.stopping() {
            return None;
        }
        let id = connections.next_id;
        connections.next_id += 1;
        connections.open.insert(id, clone);
        Some(Registered { id, shared: self })
    }

    /// A peer has dialled anew: its older connection is dead or about to be, and its end no news.
    pub fn supersede(&self, peer: NodeId, purpose: Purpose, connection: u64) {
        let mut connections = self.connections.lock();
        if let Some(old) = connections.latest.insert((peer, purpose), connection)
            && let Some(stream) = connections.open.get(&old)
        {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// The peer's connection has ended; whether it was still its newest.
    pub fn forget(&self, peer: NodeId, purpose: Purpose, connection: u64) -> bool {
        let mut connections = self.connections.lock();
        let newest = connections.latest.get(&(peer, purpose)) == Some(&connection);
        if newest {
            connections.latest.remove(&(peer, purpose));
        }
        newest
    }

    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    pub fn heard(&self, peer: NodeId) {
        if let Some(peer) = self.peers.read().get(&peer) {
            peer.heard(self.uptime());
        }
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.shared.connections.lock().open.remove(&self.id);
    }
}

/// Calls `done` exactly once, with `false` if nothing else was said.
struct Completion(Option<Box<dyn FnOnce(bool) + Send>>);

impl Completion {
    fn call(&mut self, delivered: bool) {
        if let Some(done) = self.0.take() {
            done(delivered);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.call(false);
    }
}

/// Starts a named thread with a small stack.
pub fn spawn(name: String, task: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name)
        .stack_size(STACK_BYTES)
        .spawn(task)
}

fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        };
        address.set_ip(loopback);
    }
    address
}
