//! From a directory to a running replica: lock, identity, recovery of log and engine, threads.
//!
//! Recovery never guesses: log and engine must fit together (`reconcile` says how), or the start is refused with what
//! is wrong and what to do.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use consensus::{HardState, LogIndex, LogPosition, Membership, NodeId, Recovered, Term};
use peer_transport::{JoinReply, JoinRequest, PeerAddress, Transport};
use platform::{Clock, Disk, Entropy};
use state_machine::StateMachine;
use storage_engine::LsmEngines;
use write_ahead_log::{Start, WriteAheadLog};

use crate::config::{FEATURE_LEVEL, MemberContext, NodeConfig};
use crate::entry_codec::{
    CodecError, decode_entry, decode_hard_state, decode_membership, encode_hard_state,
};
use crate::error::StartError;
use crate::handle::Node;
use crate::identity::{Identity, hex, unhex};
use crate::inbound::Inbound;
use crate::parts::{self, Joiner, Machine};
use crate::peers::GROUP;
use crate::small_file;
use crate::threads;

/// How long a joining node looks for a member that admits it.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Holds the directory's identity while it is not admitted yet, so that a repeated join is the same join.
const JOINING: &str = "joining";

/// The machine a node runs on.
pub struct Platform<D, C> {
    /// Its files.
    pub disk: D,
    /// Its clocks.
    pub clock: C,
    /// Its source of randomness.
    pub entropy: Arc<dyn Entropy + Send + Sync>,
}

impl Node {
    /// Opens `config.data_dir` and runs a replica on it: a founder's on an empty directory, a member's after a join.
    /// Blocks until the directory is recovered and, for a joining node, a member has admitted it.
    pub fn start<D: Disk, C: Clock>(
        config: NodeConfig,
        platform: Platform<D, C>,
    ) -> Result<Node, StartError> {
        let Platform {
            disk,
            clock,
            entropy,
        } = platform;
        let lock = take_directory(&disk, &config.data_dir)?;
        let listener = peer_transport::bind(&config.peer_listen)?;
        let machine = Machine {
            disk,
            clock,
            entropy: entropy.clone(),
            engines: Arc::new(LsmEngines {
                memtable_bytes: config.memtable_bytes,
                cache_bytes: config.cache_bytes,
            }),
            joiner: Box::new(peer_transport::request_join),
        };
        let (node, workers) = parts::build(&config, machine, lock, |identity, inbound| {
            let address = &config.advertise.peer;
            let limits = peer_transport::Limits {
                snapshot_bytes_per_second: config.snapshot_bytes_per_second,
                ..peer_transport::Limits::default()
            };
            let transport = start_transport(identity, address, listener, entropy, limits, inbound)?;
            Ok(Arc::new(transport))
        })?;
        let threads = threads::spawn(workers)
            .map_err(|source| StartError::io("start threads for", &config.data_dir, source))?;
        node.run_by(threads);
        node.announce();
        Ok(node)
    }
}

/// Makes and locks the data directory; refuses one that is somebody else's.
pub(crate) fn take_directory<D: Disk>(disk: &D, data_dir: &Path) -> Result<D::Lock, StartError> {
    disk.create_dir_all(data_dir)
        .map_err(|source| StartError::io("create", data_dir, source))?;
    let ours = [
        "identity",
        "identity.new",
        "LOCK",
        "wal",
        "engine",
        JOINING,
        "joining.new",
        "lost+found",
    ];
    let entries = disk
        .list(data_dir)
        .map_err(|source| StartError::io("list", data_dir, source))?;
    let has_identity = entries.iter().any(|entry| entry.name == "identity");
    if !has_identity
        && entries
            .iter()
            .any(|entry| !ours.contains(&entry.name.as_str()))
    {
        return Err(StartError::Foreign {
            path: data_dir.to_owned(),
        });
    }
    let path = data_dir.join("LOCK");
    disk.lock(&path).map_err(|source| match source.kind() {
        std::io::ErrorKind::WouldBlock => StartError::Locked {
            path: data_dir.to_owned(),
        },
        _ => StartError::io("lock", &path, source),
    })
}

pub(crate) fn identity<D: Disk>(
    disk: &D,
    config: &NodeConfig,
    entropy: &dyn Entropy,
    joiner: &Joiner,
) -> Result<Identity, StartError> {
    if let Some(identity) = Identity::load(disk, &config.data_dir)? {
        return Ok(identity);
    }
    let identity = if config.join.is_empty() {
        Identity {
            cluster_id: random_id(entropy),
            node_id: NodeId(1),
            directory: random_id(entropy),
            founder: true,
        }
    } else {
        let directory = joining_directory(disk, config, entropy)?;
        let context = MemberContext::of(config, directory);
        let addresses: Vec<PeerAddress> = config
            .join
            .iter()
            .map(|address| PeerAddress(address.clone()))
            .collect();
        let request = JoinRequest::fresh(directory, context.encode().to_vec());
        let (cluster_id, node_id) = ask_to_join(joiner, &addresses, &request)?;
        Identity {
            cluster_id,
            node_id,
            directory,
            founder: false,
        }
    };
    begin_log(disk, config)?;
    identity.store(disk, &config.data_dir)?;
    Ok(identity)
}

/// Writes the first record of the log. A directory with an identity and a log that holds nothing is then known to have
/// lost it: votes and entries that others count on may have been in it.
fn begin_log<D: Disk>(disk: &D, config: &NodeConfig) -> Result<(), StartError> {
    let directory = log_dir(&config.data_dir);
    let (mut log, found) = WriteAheadLog::open(disk.clone(), &directory, log_options(config))?;
    if found.groups.is_empty() {
        log.set_state(GROUP.0, &encode_hard_state(&HardState::default()))?;
        log.sync()?;
    }
    Ok(())
}

fn ask_to_join(
    joiner: &Joiner,
    addresses: &[PeerAddress],
    request: &JoinRequest,
) -> Result<([u8; 16], NodeId), StartError> {
    match joiner(addresses, request, JOIN_TIMEOUT)? {
        JoinReply::Accepted {
            cluster_id,
            node_id,
            ..
        } => Ok((cluster_id, node_id)),
        JoinReply::Redirect { leader } => Err(peer_transport::TransportError::JoinTimedOut {
            seconds: JOIN_TIMEOUT.as_secs(),
            last: format!("redirected to {leader}"),
        }
        .into()),
        JoinReply::NotNow { reason } => Err(peer_transport::TransportError::JoinTimedOut {
            seconds: JOIN_TIMEOUT.as_secs(),
            last: reason,
        }
        .into()),
        JoinReply::Refused { reason } | JoinReply::Removed { reason } => {
            Err(StartError::NotAdmitted { reason })
        }
    }
}

/// The directory's identity, written down before anybody is told of it.
fn joining_directory<D: Disk>(
    disk: &D,
    config: &NodeConfig,
    entropy: &dyn Entropy,
) -> Result<[u8; 16], StartError> {
    let written = small_file::read(disk, &config.data_dir.join(JOINING))?;
    if let Some(directory) = written.as_deref().and_then(unhex) {
        return Ok(directory);
    }
    let directory = random_id(entropy);
    small_file::replace(disk, &config.data_dir, JOINING, &hex(&directory))?;
    Ok(directory)
}

fn random_id(entropy: &dyn Entropy) -> [u8; 16] {
    let mut id = [0; 16];
    entropy.fill(&mut id);
    id
}

fn start_transport<D: Disk>(
    identity: &Identity,
    advertise: &str,
    listener: TcpListener,
    entropy: Arc<dyn Entropy + Send + Sync>,
    limits: peer_transport::Limits,
    inbound: Inbound<D>,
) -> Result<Transport, StartError> {
    let config = peer_transport::Config {
        cluster_id: identity.cluster_id,
        node_id: identity.node_id,
        advertise: PeerAddress(advertise.to_owned()),
        listener,
        feature_level: FEATURE_LEVEL,
        entropy,
        limits,
    };
    Ok(Transport::start(config, Arc::new(inbound))?)
}

/// Directory of the log inside a data directory.
fn log_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("wal")
}

fn log_options(config: &NodeConfig) -> write_ahead_log::Options {
    write_ahead_log::Options {
        segment_bytes: config.log_segment_bytes,
        ..write_ahead_log::Options::default()
    }
}

/// Opens the log and fits it to the engine's durable state.
pub(crate) fn recover<D: Disk>(
    disk: &D,
    config: &NodeConfig,
    machine: &StateMachine,
    identity: &Identity,
) -> Result<(WriteAheadLog<D>, Recovered), StartError> {
    let data_dir = &config.data_dir;
    let (mut log, mut found) =
        WriteAheadLog::open(disk.clone(), &log_dir(data_dir), log_options(config))?;
    let group = found.groups.remove(&GROUP.0).unwrap_or_default();
    let broken = |what: String| StartError::Inconsistent {
        path: data_dir.to_owned(),
        what,
    };
    let unreadable = |what: &str, error: CodecError| match error {
        CodecError::Version(_) => StartError::NewerFormat {
            path: data_dir.to_owned(),
            what: format!("{what}: {error}"),
        },
        _ => broken(format!("{what}: {error}")),
    };
    let hard_state = match &group.state {
        Some(bytes) => decode_hard_state(bytes)
            .map_err(|error| unreadable("the stored term and vote", error))?,
        None => {
            return Err(broken(
                "the log holds nothing, though the directory was in use: wal/ was emptied or is on a disk that is not \
                 mounted"
                    .to_owned(),
            ));
        }
    };
    let mut entries = Vec::with_capacity(group.entries.len());
    for record in group.entries {
        let entry = decode_entry(record.index, &record.payload)
            .map_err(|error| unreadable(&format!("log entry {}", record.index), error))?;
        entries.push(entry);
    }
    let applied = machine.applied();
    let applied_at = LogPosition {
        index: LogIndex(applied.index),
        term: Term(applied.term),
    };
    let mut log_start = LogPosition {
        index: LogIndex(group.start.index),
        term: Term(group.start.tag),
    };
    match reconcile(log_start, &entries, applied_at) {
        Fit::Good => {}
        Fit::LogEndsBeforeState => {
            log.reset(
                GROUP.0,
                Start {
                    index: applied.index,
                    tag: applied.term,
                },
            )?;
            log.sync()?;
            entries.clear();
            log_start = applied_at;
        }
        Fit::Gap => {
            return Err(broken(format!(
                "the log starts after entry {} but the engine holds the state as of {}",
                log_start.index, applied.index
            )));
        }
    }
    let stored = decode_membership(&applied.membership)
        .map_err(|error| unreadable("the stored membership", error))?;
    let membership = if stored.members.is_empty() && identity.founder {
        founding_membership(identity)
    } else {
        stored
    };
    Ok((
        log,
        Recovered {
            hard_state,
            membership,
            log_start,
            applied: applied_at.index,
            entries,
        },
    ))
}

/// How log and engine fit together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// The log goes on from the state.
    Good,
    /// The state is a snapshot that was put in place just before a crash kept the log from being reset to it.
    LogEndsBeforeState,
    /// Entries between the state and the log are missing.
    Gap,
}

pub(crate) fn reconcile(
    log_start: LogPosition,
    entries: &[consensus::Entry],
    applied: LogPosition,
) -> Fit {
    if applied.index < log_start.index {
        return Fit::Gap;
    }
    if applied == log_start {
        return Fit::Good;
    }
    let offset = applied.index.0 - log_start.index.0;
    match usize::try_from(offset - 1)
        .ok()
        .and_then(|offset| entries.get(offset))
    {
        Some(entry) if entry.term == applied.term => Fit::Good,
        _ => Fit::LogEndsBeforeState,
    }
}

/// A founder begins alone. The addresses follow as the first change of membership, so that they are in the log.
fn founding_membership(identity: &Identity) -> Membership {
    let context = MemberContext {
        directory: identity.directory,
        ..MemberContext::default()
    };
    let mut membership = consensus::bootstrap(identity.node_id, context.encode());
    membership.voters = BTreeSet::from([identity.node_id]);
    membership
}
