//! What all connections share: the node, the topology, cursors, limits and counters.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bson::Timestamp;
use document::spill::MemoryPool;
use node::{Node, Notices};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};

use super::backups::Backups;
use super::budget::Budget;
use super::connection;
use super::cursors::Cursors;
use super::elections::Elections;
use super::expiry::Expiry;
use super::fail_point::FailPoints;
use super::operation::Operations;
use super::slow_log::SlowLog;
use super::spill::Spill;
use super::topology::Topology;
use crate::serve::Settings;

/// One server process's client side.
pub(crate) struct Server {
    pub node: Node,
    pub settings: Settings,
    pub topology: Topology,
    pub elections: Elections,
    pub cursors: Cursors,
    pub backups: Backups,
    pub budget: Budget,
    /// What sorts and groups hold in memory.
    pub query_memory: Arc<MemoryPool>,
    /// Room on disk for sorts and groups that do not fit in memory.
    pub spill: Arc<Spill>,
    /// Present with `--enable-test-commands`.
    pub fail_points: Option<FailPoints>,
    pub counters: Counters,
    /// Deletes what has expired; see [`super::expiry::run`].
    pub expiry: Expiry,
    pub slow_log: SlowLog,
    pub operations: Operations,
    pub started: Instant,
    connections: Mutex<BTreeMap<i64, Weak<TcpStream>>>,
    next_connection: AtomicI64,
}

/// What `serverStatus` and `/metrics` show.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub connections: AtomicUsize,
    pub connections_created: AtomicU64,
    pub connections_refused: AtomicU64,
    pub protocol_errors: AtomicU64,
    pub requests: AtomicU64,
    pub failures: AtomicU64,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    pub inserts: AtomicU64,
    pub queries: AtomicU64,
    pub updates: AtomicU64,
    pub deletes: AtomicU64,
    pub get_mores: AtomicU64,
    pub commands: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn read(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

impl Server {
    /// Lines about slow operations go to `slow_lines`.
    pub(crate) fn new(node: Node, settings: Settings, slow_lines: Notices) -> Arc<Self> {
        let server = Arc::new(Server {
            topology: Topology::new(settings.advertise.clone()),
            elections: Elections::default(),
            cursors: Cursors::new(settings.memory().cursors()),
            budget: Budget::new(settings.memory().message_bytes()),
            backups: Backups::default(),
            query_memory: MemoryPool::new(settings.memory().query_bytes()),
            spill: Arc::new(Spill::new(settings.data_dir.join("spill"))),
            fail_points: settings.enable_test_commands.then(FailPoints::new),
            counters: Counters::default(),
            expiry: Expiry::new(settings.ttl_period),
            slow_log: SlowLog::new(settings.slow_ms, slow_lines),
            operations: Operations::default(),
            started: Instant::now(),
            connections: Mutex::new(BTreeMap::new()),
            next_connection: AtomicI64::new(1),
            settings,
            node,
        });
        let observer = Arc::downgrade(&server);
        server.node.on_change(Box::new(move |status| {
            if let Some(server) = observer.upgrade() {
                server.topology.update(status);
                server.elections.update(status);
            }
        }));
        server
    }

    /// Accepts clients until the task is dropped.
    pub(crate) async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.clone().admit(stream, peer),
                // Out of descriptors or memory: let connections end before asking again.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    }

    fn admit(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        if self.counters.connections.load(Ordering::Relaxed) >= self.settings.connections_max {
            Counters::add(&self.counters.connections_refused, 1);
            return;
        }
        let id = self.next_connection.fetch_add(1, Ordering::Relaxed);
        let stream = Arc::new(stream);
        self.connections.lock().insert(id, Arc::downgrade(&stream));
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        Counters::add(&self.counters.connections_created, 1);
        tokio::spawn(async move {
            connection::serve(&self, &stream, peer, id).await;
            self.connections.lock().remove(&id);
            self.counters.connections.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// Lets every connection end after the command it is running.
    pub(crate) fn close_connections(&self) {
        let open: Vec<Arc<TcpStream>> = self
            .connections
            .lock()
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        for stream in open {
            // Already closed by the client: nothing left to do.
            let _ = socket2::SockRef::from(&*stream).shutdown(std::net::Shutdown::Read);
        }
    }

    /// Connections that are open.
    pub(crate) fn connections_open(&self) -> usize {
        self.counters.connections.load(Ordering::Relaxed)
    }
}

/// A log index as the timestamp drivers compare. `time` is never 0, which drivers read as "none".
pub(crate) fn timestamp_of(index: u64) -> Timestamp {
    Timestamp {
        time: u32::try_from(index >> 32).unwrap_or(u32::MAX - 1) + 1,
        increment: index as u32,
    }
}

/// The log index a timestamp from [`timestamp_of`] stands for.
pub(crate) fn index_of(timestamp: Timestamp) -> u64 {
    (u64::from(timestamp.time.saturating_sub(1)) << 32) | u64::from(timestamp.increment)
}

/// Milliseconds since 1970.
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_time_follows_the_log_index() {
        for index in [0, 1, u64::from(u32::MAX), 1 << 32, (7 << 32) + 5] {
            assert_eq!(index_of(timestamp_of(index)), index);
            assert!(timestamp_of(index).time > 0);
        }
        let (low, high) = (timestamp_of(u64::from(u32::MAX)), timestamp_of(1 << 32));
        assert!((low.time, low.increment) < (high.time, high.increment));
    }
}
