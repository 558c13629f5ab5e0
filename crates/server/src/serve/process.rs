//! One node's process: sockets, the node, the client and admin sides, signals, and a clean stop.
//!
//! The ports are taken before the data directory is opened, so that a taken port is reported at once. On a signal
//! leadership goes to another member first; clients are told, commands under way end, then the node flushes.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use node::{Addresses, ExitReason, Node, NodeConfig, Notices, Platform, StartError};
use platform::{Clock, OsClock, OsDisk, OsEntropy};
use state_machine::Catalog;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::{Instant, interval, sleep, timeout};

use super::Settings;
use crate::admin_http;
use crate::mongo_wire::{self, Server};

/// Length of a consensus tick.
const TICK_MS: u64 = 10;
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4_096;
/// How long a clean stop waits for another member to take over.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long clients have to learn who leads before their connections are closed.
const ANNOUNCE_TIME: Duration = Duration::from_millis(100);
/// How long commands under way have to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
const DRAIN_PERIOD: Duration = Duration::from_millis(5);
/// How often abandoned cursors and backups, and new indexes, are looked for.
const CURSOR_SWEEP_PERIOD: Duration = Duration::from_secs(4);

/// Why a node's process ends with an error.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServeError {
    #[error(
        "cannot listen for {whom} on {address}: {source}; is another process using the port? choose one with --{flag}"
    )]
    Listen {
        whom: &'static str,
        flag: &'static str,
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("cannot start threads: {0}")]
    Runtime(std::io::Error),
    #[error("cannot watch for signals: {0}")]
    Signals(std::io::Error),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the node ended: {0}")]
    Ended(ExitReason),
}

/// Runs a node until it is told to stop or fails.
pub(super) fn run(settings: Settings) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.worker_threads)
        .thread_name("client")
        .enable_all()
        .build()
        .map_err(ServeError::Runtime)?;
    let result = runtime.block_on(serve(settings));
    // Everything that matters has been stopped; what still runs only waits.
    runtime.shutdown_background();
    result
}

async fn serve(settings: Settings) -> Result<(), ServeError> {
    let clients = listen("clients", "listen", settings.listen)?;
    let admins = listen("health and metrics", "admin-listen", settings.admin_listen)?;
    let mut stop = StopSignals::new().map_err(ServeError::Signals)?;
    let config = node_config(&settings);
    let starting = tokio::task::spawn_blocking(move || Node::start(config, platform()));
    let node = tokio::select! {
        started = starting => started.expect("starting a node does not panic")?,
        // A joining node may wait long to be admitted; nothing of it needs a clean stop.
        () = stop.received() => return Ok(()),
    };
    println!(
        "cstore {} serves clients on {} (replica set {}), members on {}, health on http://{}/health/ready",
        env!("CARGO_PKG_VERSION"),
        settings.advertise,
        settings.replica_set,
        settings.peer_listen,
        settings.admin_listen,
    );
    let server = Server::new(
        node.clone(),
        settings,
        // A log that cannot be written, on a full disk maybe, ends nothing.
        Notices::new(|line| drop(writeln!(std::io::stderr().lock(), "{line}"))),
    );
    mongo_wire::answer_members(&server);
    tokio::spawn(admin_http::serve(server.clone(), admins));
    tokio::spawn(sweep_cursors(server.clone()));
    tokio::spawn(mongo_wire::expiry::run(server.clone()));
    let accepting = tokio::spawn(server.clone().accept(clients));
    let ended = wait_for_end(node.clone());
    let removed = removal(&node);
    tokio::select! {
        reason = ended => return match reason {
            Ok(ExitReason::Stopped) | Err(_) => Ok(()),
            Ok(reason) => Err(ServeError::Ended(reason)),
        },
        () = stop.received() => {}
        Ok(text) = removed => println!("{text}"),
    }
    stop_cleanly(&server, &accepting).await;
    let stopping = tokio::task::spawn_blocking(move || node.stop());
    match stopping.await.expect("stopping a node does not panic") {
        ExitReason::Stopped => Ok(()),
        reason => Err(ServeError::Ended(reason)),
    }
}

/// Told, once, that this member was removed from the cluster: all that is left to it is to stop.
fn removal(node: &Node) -> oneshot::Receiver<String> {
    let (sender, receiver) = oneshot::channel();
    let sender = parking_lot::Mutex::new(Some(sender));
    node.on_change(Box::new(move |status| {
        if status.removed
            && let Some(sender) = sender.lock().take()
        {
            // Nobody listens any more when the process is stopping by itself.
            let _ = sender.send(node::removed_text(status.id));
        }
    }));
    receiver
}

fn listen(
    whom: &'static str,
    flag: &'static str,
    address: SocketAddr,
) -> Result<TcpListener, ServeError> {
    let bind = || -> std::io::Result<TcpListener> {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        // A port whose last connections are still closing is free.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|source| ServeError::Listen {
        whom,
        flag,
        address,
        source,
    })
}

fn node_config(settings: &Settings) -> NodeConfig {
    let advertise = Addresses {
        client: settings.advertise.clone(),
        peer: settings.peer_advertise.clone(),
        admin: settings.admin_advertise.clone(),
    };
    let ticks =
        |milliseconds: u64| u32::try_from(milliseconds.div_ceil(TICK_MS)).unwrap_or(u32::MAX / 4);
    let election_ticks_min = ticks(settings.election_timeout_ms);
    let mut config = NodeConfig::new(
        settings.data_dir.clone(),
        settings.peer_listen.to_string(),
        advertise,
    );
    config.join.clone_from(&settings.join);
    config.tick = Duration::from_millis(TICK_MS);
    config.election_ticks_min = election_ticks_min;
    config.election_ticks_max = election_ticks_min.saturating_mul(2);
    config.heartbeat_ticks = ticks(settings.heartbeat_ms);
    config.leases = settings.leases;
    if let Some(priority) = settings.priority {
        config.priority = priority;
    }
    config.set_memory(settings.memory());
    if let Some(cache_mib) = settings.cache_mib {
        config.cache_bytes = cache_mib << 20;
    }
    if let Some(mib) = settings.snapshot_mib_per_second {
        config.snapshot_bytes_per_second = mib.saturating_mul(1 << 20);
    }
    config.archive_dir.clone_from(&settings.archive_dir);
    if let Some(mib) = settings.log_retained_mib {
        config.log_retained_bytes = mib.saturating_mul(1 << 20);
    }
    if let Some(entries) = settings.log_retained_entries {
        config.log_retained_entries = entries;
    }
    if let Some(kib) = settings.log_segment_kib {
        config.log_segment_bytes = kib.saturating_mul(1 << 10);
    }
    if let Some(kib) = settings.memtable_kib {
        config.memtable_bytes = kib.saturating_mul(1 << 10);
    }
    config.notices = Notices::new(|what| eprintln!("cstore: {what}"));
    config
}

fn platform() -> Platform<OsDisk, OsClock> {
    Platform {
        disk: OsDisk,
        clock: OsClock::new(),
        entropy: Arc::new(OsEntropy),
    }
}

/// SIGINT and SIGTERM.
struct StopSignals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl StopSignals {
    fn new() -> std::io::Result<Self> {
        Ok(StopSignals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// The reason for which the node ended, once it has.
fn wait_for_end(node: Node) -> oneshot::Receiver<ExitReason> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        // Nobody listens any more when the process is stopping by itself.
        let _ = sender.send(node.wait());
    });
    receiver
}

async fn sweep_cursors(server: Arc<Server>) {
    let mut period = interval(CURSOR_SWEEP_PERIOD);
    let mut dated = None;
    loop {
        period.tick().await;
        date_indexes(&server, &mut dated);
        server.cursors.close_timed_out();
        server.backups.close_idle();
    }
}

/// Tells indexes that are new since `dated` was the catalog from when on their use is counted.
fn date_indexes(server: &Server, dated: &mut Option<Arc<Catalog>>) {
    let snapshot = server.node.reader().snapshot();
    let catalog = snapshot.catalog();
    if !dated
        .as_ref()
        .is_some_and(|dated| Arc::ptr_eq(dated, catalog))
    {
        catalog.date_indexes(OsClock::new().wall_ms());
        *dated = Some(Arc::clone(catalog));
    }
}

/// Hands leadership over, tells clients, and lets the commands under way end.
async fn stop_cleanly(server: &Arc<Server>, accepting: &tokio::task::JoinHandle<()>) {
    let others = server.node.status().membership.voters.len() > 1;
    let mut views = server.topology.subscribe();
    if others && views.borrow_and_update().is_primary() {
        server.node.transfer_leadership();
        let handed_over = views.wait_for(|view| !view.is_primary() && view.primary.is_some());
        // Nobody could take over in time: the others will elect after this one is gone.
        let _ = timeout(TRANSFER_TIMEOUT, handed_over).await;
    }
    server.topology.announce_stop();
    accepting.abort();
    if others {
        sleep(ANNOUNCE_TIME).await;
    }
    server.close_connections();
    let deadline = Instant::now() + DRAIN_TIMEOUT;
    while server.connections_open() > 0 && Instant::now() < deadline {
        sleep(DRAIN_PERIOD).await;
    }
}
