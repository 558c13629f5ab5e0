//! From a directory to a running replica: lock, identity, recovery of log and engine, threads.
//!
//! What is damaged is repaired from the other members (`repair`), or the start is refused with what is wrong and what to
//! do. While the others do not answer, the start goes on asking and says so.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use consensus::{HardState, NodeId};
use peer_transport::{JoinReply, JoinRequest, PeerAddress, Transport};
use platform::{Clock, Disk, Entropy};
use storage_engine::LsmEngines;
use write_ahead_log::{Examination, Extent, WalError, WriteAheadLog};

use crate::config::{FEATURE_LEVEL, MemberContext, NodeConfig};
use crate::entry_codec::encode_hard_state;
use crate::error::StartError;
use crate::handle::Node;
use crate::identity::{self, Identity, hex, unhex};
use crate::inbound::Inbound;
use crate::parts::{self, Joiner, Machine};
use crate::peers::GROUP;
use crate::recovery::{log_dir, log_options};
use crate::threads;
use crate::{backup, peers_file, repair, small_file};

/// How long a joining node looks for a member that admits it.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Holds the directory's identity while it is not admitted yet, so that a repeated join is the same join.
const JOINING: &str = "joining";
/// Pauses between the attempts of a damaged member to be taken in anew, after asking for a while.
const ASK_PAUSE_MIN: Duration = Duration::from_secs(1);
const ASK_PAUSE_MAX: Duration = Duration::from_secs(30);

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
        let mut pause = ASK_PAUSE_MIN;
        loop {
            match Self::start_once(&config, &platform) {
                Err(waiting @ StartError::AwaitingRepair { .. }) => {
                    config.notices.say(&waiting.to_string());
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(ASK_PAUSE_MAX);
                }
                done => return done,
            }
        }
    }

    fn start_once<D: Disk, C: Clock>(
        config: &NodeConfig,
        platform: &Platform<D, C>,
    ) -> Result<Node, StartError> {
        let lock = take_directory(&platform.disk, &config.data_dir)?;
        let listener = peer_transport::bind(&config.peer_listen)?;
        let entropy = platform.entropy.clone();
        let machine = Machine {
            disk: platform.disk.clone(),
            clock: platform.clock.clone(),
            entropy: entropy.clone(),
            engines: Arc::new(LsmEngines {
                memtable_bytes: config.memtable_bytes,
                cache_bytes: config.cache_bytes,
            }),
            joiner: Box::new(peer_transport::request_join),
        };
        let (node, workers) = parts::build(config, machine, lock, |identity, inbound| {
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
    let entries = disk
        .list(data_dir)
        .map_err(|source| StartError::io("list", data_dir, source))?;
    let named = |name: &str| entries.iter().any(|entry| entry.name == name);
    if named(backup::RESTORING) {
        return Err(StartError::NotRestored {
            path: data_dir.to_owned(),
        });
    }
    let known = named(identity::FILE) || named(identity::COPY) || named(repair::REPAIRING);
    if !known && entries.iter().any(|entry| !is_ours(&entry.name)) {
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

/// Whether a data directory may hold something of this name.
fn is_ours(name: &str) -> bool {
    let ours = [
        identity::FILE,
        identity::COPY,
        peers_file::FILE,
        repair::REPAIRING,
        repair::DAMAGED,
        JOINING,
        "LOCK",
        "wal",
        "engine",
        "lost+found",
    ];
    ours.contains(&name.strip_suffix(".new").unwrap_or(name))
        || name.starts_with(repair::ASIDE_PREFIX)
}

/// Who the directory is: what it says, or what it becomes if it is fresh.
pub(crate) fn identity_of<D: Disk>(
    disk: &D,
    config: &NodeConfig,
    entropy: &dyn Entropy,
    joiner: &Joiner,
) -> Result<Identity, StartError> {
    if let Some(identity) = Identity::load(disk, &config.data_dir, &config.notices)? {
        return Ok(identity);
    }
    refuse_used_log(disk, config)?;
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
    begin_log(disk, config, &identity.directory)?;
    identity.store(disk, &config.data_dir)?;
    Ok(identity)
}

/// A log that holds more than its first record has belonged to a member, whose identity is lost.
fn refuse_used_log<D: Disk>(disk: &D, config: &NodeConfig) -> Result<(), StartError> {
    if !is_fresh_log(disk, config)? {
        return Err(StartError::Inconsistent {
            path: config.data_dir.join(identity::FILE),
            what: "it is missing, though wal/ holds a member's log".to_owned(),
        });
    }
    Ok(())
}

/// Whether the log holds nothing beyond its first record.
fn is_fresh_log<D: Disk>(disk: &D, config: &NodeConfig) -> Result<bool, StartError> {
    let found = Examination::of(disk.clone(), &log_dir(&config.data_dir))?;
    let fresh = Extent {
        state: Some(encode_hard_state(&HardState::default())),
        ..Extent::default()
    };
    Ok(found.damage().is_empty() && found.before().into_values().all(|group| group == fresh))
}

/// Writes the first record of the log. A directory with an identity and a log that holds nothing is then known to have
/// lost it: votes and entries that others count on may have been in it.
pub(crate) fn begin_log<D: Disk>(
    disk: &D,
    config: &NodeConfig,
    directory: &[u8; 16],
) -> Result<(), StartError> {
    let options = log_options(config, directory);
    let wal = log_dir(&config.data_dir);
    let opened = match WriteAheadLog::open(disk.clone(), &wal, options.clone()) {
        // Begun for an identity that a crash kept from being written.
        Err(WalError::Foreign { .. }) if is_fresh_log(disk, config)? => {
            disk.remove_dir_all(&wal)
                .map_err(|source| StartError::io("remove", &wal, source))?;
            WriteAheadLog::open(disk.clone(), &wal, options)
        }
        opened => opened,
    };
    let (mut log, found) = opened?;
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

pub(crate) fn random_id(entropy: &dyn Entropy) -> [u8; 16] {
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
