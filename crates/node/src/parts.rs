//! A node's parts, put together: what production and simulation share. Threads, sockets and the engine's files come in from
//! outside.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use consensus::{Config, LogIndex, Recovered, Replica};
use parking_lot::{Mutex, RwLock};
use peer_transport::{JoinReply, JoinRequest, PeerAddress, TransportError};
use platform::{Clock, Disk, Entropy};
use state_machine::StateMachine;
use storage_engine::{Callbacks, Engine, Engines};
use write_ahead_log::WriteAheadLog;

use crate::announce::seeds;
use crate::applied_waiters::AppliedWaiters;
use crate::apply_worker::{ApplySide, ApplyWorker, OpenEngine};
use crate::archive::{Archiver, ArchiverParts};
use crate::background::BackgroundWorker;
use crate::config::{INBOX_ITEMS_MAX, INFLIGHT_MESSAGES_MAX, MemberContext, NodeConfig};
use crate::core::{Core, LogSizes};
use crate::core_worker::{CoreWorker, Exit, Inboxes};
use crate::engine_dirs;
use crate::error::StartError;
use crate::events::{Event, StoragePart};
use crate::handle::{Node, NodeParts};
use crate::housekeeping::Housekeeping;
use crate::identity::Identity;
use crate::inbound::Inbound;
use crate::log_worker::{Held, LogWorker, RoomTeller};
use crate::mailbox::Mailbox;
use crate::memory::APPEND_BYTES_MAX;
use crate::metrics::ReplicationClock;
use crate::peers::{GROUP, Peers};
use crate::pins::Pins;
use crate::recovery::{self, engine_root, recover};
use crate::replay::Replay;
use crate::space::Space;
use crate::staging::Staging;
use crate::start::identity_of;
use crate::status::{Gauges, NodeStatus, StatusBoard};
use crate::throttle::Throttle;
use crate::{peers_file, repair};

/// A start that takes longer says what took how long.
const LONG_START: Duration = Duration::from_millis(50);

/// Asks the members at these addresses, for at most this long, to be admitted.
pub type Joiner = Box<
    dyn Fn(&[PeerAddress], &JoinRequest, Duration) -> Result<JoinReply, TransportError>
        + Send
        + Sync,
>;

/// The machine under a node.
pub(crate) struct Machine<D, C> {
    pub disk: D,
    pub clock: C,
    pub entropy: Arc<dyn Entropy + Send + Sync>,
    pub engines: Arc<dyn Engines>,
    pub joiner: Joiner,
}

/// What works a node's inboxes off.
pub(crate) struct Workers<D: Disk, C: Clock> {
    pub core: CoreWorker<C>,
    pub log: LogWorker<D>,
    pub apply: ApplySide<D>,
    pub background: BackgroundWorker<D>,
    /// Where the log is archived.
    pub archiver: Option<Archiver<D, C>>,
}

/// A directory, recovered.
struct Opened<D: Disk> {
    identity: Identity,
    inboxes: Inboxes,
    open_engine: OpenEngine,
    directory: PathBuf,
    engine: Arc<dyn Engine>,
    machine: StateMachine,
    log: WriteAheadLog<D>,
    recovered: Recovered,
}

/// Opens a directory; one that is damaged is repaired first, if the others let it.
fn open<D: Disk, C: Clock>(
    config: &NodeConfig,
    machine: &Machine<D, C>,
) -> Result<Opened<D>, StartError> {
    let (disk, joiner) = (&machine.disk, &machine.joiner);
    repair::resume(disk, config, joiner)?;
    let mut identity = None;
    let error = match open_once(config, machine, &mut identity) {
        Ok(opened) => return Ok(opened),
        Err(error) => error,
    };
    let Some(cause) = error.damage() else {
        return Err(error);
    };
    if !rebuild_engine(disk, config, &error)? {
        let was = identity.as_ref();
        repair::run(disk, config, &*machine.entropy, joiner, was, cause)?;
    }
    open_once(config, machine, &mut identity)
}

/// Opens a directory; leaves in `identity` who it is, as soon as that is known.
fn open_once<D: Disk, C: Clock>(
    config: &NodeConfig,
    machine: &Machine<D, C>,
    identity: &mut Option<Identity>,
) -> Result<Opened<D>, StartError> {
    let disk = &machine.disk;
    let found = identity_of(disk, config, &*machine.entropy, &machine.joiner)?;
    *identity = Some(found.clone());
    let inboxes = Inboxes {
        core: Arc::new(Mailbox::new(INBOX_ITEMS_MAX)),
        log: Arc::new(Mailbox::new(INBOX_ITEMS_MAX)),
        apply: Arc::new(Mailbox::new(INBOX_ITEMS_MAX)),
        background: Arc::new(Mailbox::new(INBOX_ITEMS_MAX)),
        segments: Arc::new(Mailbox::new(INBOX_ITEMS_MAX)),
    };
    let begun = machine.clock.monotonic();
    let directory = engine_dirs::open(disk, &engine_root(&config.data_dir))?;
    let marked = repair::marked(disk, &config.data_dir)?;
    if marked.is_some() {
        machine.engines.verify(&directory)?;
    }
    let open_engine = engine_opener(machine.engines.clone(), inboxes.core.clone());
    let engine = open_engine(&directory)?;
    let state = StateMachine::open(engine.clone())?;
    let opened = machine.clock.monotonic();
    let (log, recovered) = recover(disk, config, &state, &found)?;
    let read = machine.clock.monotonic();
    if read.saturating_sub(begun) >= LONG_START {
        config.notices.say(&format!(
            "opened the engine, which holds the log up to {}, in {} ms; read the log up to {} in {} ms",
            recovered.applied.0,
            opened.saturating_sub(begun).as_millis(),
            last_index(&recovered).0,
            read.saturating_sub(opened).as_millis()
        ));
    }
    if let Some(cause) = marked {
        repair::clear_mark(disk, &config.data_dir)?;
        config.notices.say(&format!(
            "{}: damage was met before ({cause}), but log and engine are as they were written: the disk or the memory of \
             this machine may be failing",
            config.data_dir.display()
        ));
    }
    Ok(Opened {
        identity: found,
        inboxes,
        open_engine,
        directory,
        engine,
        machine: state,
        log,
        recovered,
    })
}

/// Puts a damaged engine aside if the log holds everything that was ever in it, so that the start makes it anew.
/// Returns whether that was so.
fn rebuild_engine<D: Disk>(
    disk: &D,
    config: &NodeConfig,
    error: &StartError,
) -> Result<bool, StartError> {
    let root = engine_root(&config.data_dir);
    let of_engine = match error {
        StartError::Engine(_) => true,
        StartError::Inconsistent { path, .. } => path.starts_with(&root),
        _ => false,
    };
    if !of_engine || !recovery::log_holds_everything(disk, config)? {
        return Ok(false);
    }
    let aside = config
        .data_dir
        .join(repair::free_aside(disk, &config.data_dir)?);
    repair::move_aside(disk, &config.data_dir, &aside, &["engine"])?;
    config.notices.say(&format!(
        "{error}. The log holds everything since the first entry: the engine is made anew from it, the damaged one is in {}",
        aside.display()
    ));
    Ok(true)
}

/// Recovers the directory, which `lock` keeps others out of, and builds the node on it. `connect` is called once everything else has gone well.
pub(crate) fn build<D: Disk, C: Clock>(
    config: &NodeConfig,
    machine: Machine<D, C>,
    lock: D::Lock,
    connect: impl FnOnce(&Identity, Inbound<D>) -> Result<Arc<dyn Peers>, StartError>,
) -> Result<(Node, Workers<D, C>), StartError> {
    let opened = open(config, &machine)?;
    let Machine {
        disk,
        clock,
        entropy,
        engines,
        ..
    } = machine;
    let Opened {
        identity,
        inboxes,
        open_engine,
        directory,
        engine,
        machine,
        log,
        recovered,
    } = opened;
    let context = MemberContext::of(config, identity.directory);
    let engine_root = engine_root(&config.data_dir);
    let pins = Pins::open(disk.clone(), engine_root.clone(), &machine)?;
    // What an earlier run left over is looked at soon.
    let upkeep = Arc::new(AtomicBool::new(true));
    let gauges = initial_gauges(&recovered);
    let last = last_index(&recovered);
    let replay = Replay::new(recovered.applied, last, config.notices.clone());
    let log_sizes = LogSizes::found(&log.reader());
    let (replica, effects) = Replica::new(
        consensus_config(config, &identity, entropy.next_u64()),
        recovered,
    );
    let mut core = Core::new(
        replica,
        identity.cluster_id,
        config.feature_level,
        config.log_retained_entries,
        LogIndex(machine.applied().index),
    );

    let requests = Arc::new(RwLock::new(None));
    core.watch_room(
        config.data_dir.display().to_string(),
        config.log_segment_bytes,
    );
    core.bound_log(log_sizes, config.log_retained_bytes);
    core.bound_queues(config.queues);
    core.hold_log_for(pins.positions());
    let staging = Staging::new(
        disk.clone(),
        engines,
        engine_root.clone(),
        inboxes.core.clone(),
        upkeep.clone(),
    );
    let incoming_bytes = Box::new({
        let staging = staging.clone();
        move || staging.received_bytes()
    });
    let files = Box::new({
        let (disk, data_dir) = (disk.clone(), config.data_dir.clone());
        move || Space::of_directory(&disk, &data_dir)
    });
    let inbound = Inbound {
        core: inboxes.core.clone(),
        requests: requests.clone(),
        staging: staging.clone(),
    };
    let peers = connect(&identity, inbound)?;
    let reader = Arc::new(RwLock::new(machine.reader()));
    let waiters = Arc::new(AppliedWaiters::new(gauges.clone()));
    let board = Arc::new(StatusBoard::new(initial_status(&identity, core.replica())));
    let exit = Arc::new(Exit::default());
    let builds_driven_by_clients = Arc::default();

    let log_worker = LogWorker {
        log,
        group: GROUP,
        core: inboxes.core.clone(),
        peers: peers.clone(),
        gauges: gauges.clone(),
        held: Held::default(),
        sync_room: RoomTeller::new(StoragePart::Log, &inboxes.core),
        segments_room: RoomTeller::new(StoragePart::Segments, &inboxes.core),
        installed: Box::new({
            let (disk, root) = (disk.clone(), engine_root.clone());
            move |index| Ok(engine_dirs::installed(&disk, &root, index)?)
        }),
    };
    let background = BackgroundWorker {
        id: identity.node_id,
        log: log_worker.log.reader(),
        reader: reader.clone(),
        peers: peers.clone(),
        core: inboxes.core.clone(),
        disk: disk.clone(),
        staging,
        pins,
        retired: Vec::new(),
        upkeep: upkeep.clone(),
        record_peers: Box::new({
            let (disk, data_dir) = (disk.clone(), config.data_dir.clone());
            // Advice only, and written again with the next change: a disk that is full must not end the node for it.
            move |text| drop(peers_file::store(&disk, &data_dir, text))
        }),
    };
    let record_damage = {
        let (disk, data_dir) = (disk.clone(), config.data_dir.clone());
        // If even that cannot be written, the next start finds the damage by itself.
        Box::new(move |what: &str| drop(repair::mark(&disk, &data_dir, what)))
    };
    let archiver = config.archive_dir.as_ref().map(|directory| {
        core.hold_log_for_archive();
        Archiver::new(ArchiverParts {
            disk: disk.clone(),
            clock: clock.clone(),
            log: log_worker.log.reader(),
            gauges: gauges.clone(),
            core: inboxes.core.clone(),
            exit: exit.clone(),
            notices: config.notices.clone(),
            directory: directory.clone(),
            cluster_id: identity.cluster_id,
            member: identity.node_id.0,
        })
    });
    let apply = ApplySide {
        worker: ApplyWorker {
            machine,
            engine,
            open_engine,
            disk,
            engine_root,
            directory,
            background: inboxes.background.clone(),
            cluster_id: identity.cluster_id,
            reader: reader.clone(),
            waiters: waiters.clone(),
            core: inboxes.core.clone(),
            replay,
            look_ahead: None,
        },
        inbox: inboxes.apply.clone(),
        exit: exit.clone(),
    };
    let core_worker = CoreWorker {
        core,
        first: Some(effects),
        inboxes: inboxes.clone(),
        peers: peers.clone(),
        waiters: waiters.clone(),
        board: board.clone(),
        gauges: gauges.clone(),
        housekeeping: Housekeeping::new(
            clock.clone(),
            reader.clone(),
            Arc::clone(&builds_driven_by_clients),
        ),
        clock,
        tick: config.tick,
        exit: exit.clone(),
        next_tick: Duration::ZERO,
        ticks_to_housekeeping: 0,
        upkeep,
        let_apply_work: Box::new(|| {}),
        record_damage,
        idle_at: (0, 0),
        replication: ReplicationClock::default(),
        recorded_peers: String::new(),
        notices: config.notices.clone(),
    };
    let node = Node::new(NodeParts {
        inboxes,
        board,
        gauges,
        reader,
        waiters,
        exit,
        peers,
        requests,
        builds_driven_by_clients,
        context,
        seeds: seeds(&config.join),
        incoming_bytes,
        throttle: Throttle::default(),
        archive: archiver.as_ref().map(Archiver::status),
        files,
        threads: Mutex::default(),
        lock: Mutex::new(Some(Box::new(lock))),
    });
    let workers = Workers {
        core: core_worker,
        log: log_worker,
        apply,
        background,
        archiver,
    };
    Ok((node, workers))
}

fn engine_opener(engines: Arc<dyn Engines>, core: Arc<Mailbox<Event>>) -> OpenEngine {
    Box::new(move |directory: &Path| {
        let (flushed, fault, full) = (core.clone(), core.clone(), core.clone());
        let callbacks = Callbacks {
            on_flushed: Box::new(move |version| flushed.push(Event::Flushed(LogIndex(version)))),
            on_fault: Box::new(move |what| fault.push(Event::Fault(what.into()))),
            on_full: Box::new(move |what| {
                let what = what.map(str::to_owned);
                let part = StoragePart::Engine;
                full.push(Event::DiskFull { part, what });
            }),
        };
        engines.open(directory, callbacks)
    })
}

fn consensus_config(config: &NodeConfig, identity: &Identity, seed: u64) -> Config {
    Config {
        id: identity.node_id,
        seed,
        election_ticks_min: config.election_ticks_min,
        election_ticks_max: config.election_ticks_max,
        heartbeat_ticks: config.heartbeat_ticks,
        append_bytes_max: APPEND_BYTES_MAX,
        inflight_messages_max: INFLIGHT_MESSAGES_MAX,
        inflight_bytes_max: config.queues.inflight_bytes,
        uncommitted_bytes_max: config.queues.uncommitted_bytes,
        cache_bytes_max: config.queues.entry_cache_bytes,
        lease_ticks: config
            .leases
            .then(|| lease_ticks(config.election_ticks_min)),
    }
}

/// A lease lasts four fifths of the shortest election timeout: so much may the clocks of two members differ in pace.
fn lease_ticks(election_ticks_min: u32) -> u32 {
    let most = election_ticks_min.saturating_sub(2);
    (election_ticks_min - election_ticks_min / 5).min(most)
}

/// The last entry in the log.
fn last_index(recovered: &Recovered) -> LogIndex {
    let newest = recovered.entries.last();
    newest.map_or(recovered.applied, |entry| entry.index)
}

fn initial_gauges(recovered: &Recovered) -> Arc<Gauges> {
    let gauges = Gauges::default();
    let last = last_index(recovered);
    Gauges::set(&gauges.last, last);
    Gauges::set(&gauges.durable, last);
    Gauges::set(&gauges.applied, recovered.applied);
    Gauges::set(&gauges.commit, recovered.applied);
    Arc::new(gauges)
}

fn initial_status(identity: &Identity, replica: &Replica) -> NodeStatus {
    NodeStatus {
        cluster_id: identity.cluster_id,
        id: identity.node_id,
        role: replica.role(),
        term: replica.term(),
        leader: None,
        writable: false,
        membership: replica.membership().clone(),
        settled: false,
        removed: false,
        disk_full: None,
        revision: 0,
    }
}
