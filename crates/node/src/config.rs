//! What a node is told at its start, and the addresses it tells the others.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use consensus::{DEFAULT_PRIORITY, Payload};

use crate::memory::{MemoryBudget, QueueLimits};

/// Settings of one replica.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Directory that holds everything this node keeps.
    pub data_dir: PathBuf,
    /// `HOST:PORT` the peer transport listens on.
    pub peer_listen: String,
    /// Addresses that clients and other members dial.
    pub advertise: Addresses,
    /// Peer addresses of an existing cluster to join; empty starts a cluster of one.
    pub join: Vec<String>,
    /// Length of a consensus tick.
    pub tick: Duration,
    /// Ticks without a leader before an election, lower bound.
    pub election_ticks_min: u32,
    /// Ticks without a leader before an election, upper bound.
    pub election_ticks_max: u32,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: u32,
    /// Bytes of writes kept in memory before they are flushed to tables; bounds replay after a crash.
    pub memtable_bytes: u64,
    /// Length of a segment file of the log, bytes.
    pub log_segment_bytes: u64,
    /// Upper bound of the engine's block cache, bytes.
    pub cache_bytes: u64,
    /// Bounds of the queues between the node's threads.
    pub queues: QueueLimits,
    /// Entries kept in the log behind the durable applied index for members that were away.
    pub log_retained_entries: u64,
    /// Bytes of entries that are kept so at most.
    pub log_retained_bytes: u64,
    /// Bytes per second at which a snapshot is streamed to a member.
    pub snapshot_bytes_per_second: u64,
    /// Where the committed log is archived; `None`: nowhere.
    pub archive_dir: Option<PathBuf>,
    /// Who leads if it can: members of a higher priority are handed the lead; 0 never leads.
    pub priority: u32,
    /// Reads without a round of messages, while clocks are to be trusted; all members must have it alike.
    pub leases: bool,
    /// The newest formats this node lets others write: [`FEATURE_LEVEL`], unless it plays an older version.
    pub feature_level: u32,
    /// Hears what went wrong and was mended, and what a start waits for.
    pub notices: Notices,
}

/// Takes what the program's log should say: one sentence at a time.
#[derive(Clone)]
pub struct Notices(Arc<dyn Fn(&str) + Send + Sync>);

impl Notices {
    /// Hands each sentence to `to`.
    pub fn new(to: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Notices(Arc::new(to))
    }

    /// Says it.
    pub fn say(&self, what: &str) {
        (self.0)(what);
    }
}

impl Default for Notices {
    /// Nobody listens.
    fn default() -> Self {
        Notices::new(|_| {})
    }
}

impl std::fmt::Debug for Notices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Notices")
    }
}

/// The newest formats that this program reads. A cluster uses what all of its members read.
pub const FEATURE_LEVEL: u32 = 4;
/// From this level on there are joint memberships, election priorities and replacements.
pub const FEATURE_LEVEL_MEMBERSHIP: u32 = 2;
/// From this level on there are commands of the second format: indexes whose documents expire, validators and views, and
/// writes that carry what concerns all of their statements.
pub const FEATURE_LEVEL_COMMAND_FORMAT_2: u32 = 3;
/// From this level on there are commands of the third format: hashed, wildcard and text indexes.
pub const FEATURE_LEVEL_COMMAND_FORMAT_3: u32 = 4;
/// The level of a member that says none: the first.
const FEATURE_LEVEL_FIRST: u32 = 1;

/// Most proposals and reads that may wait for the core thread.
pub const INBOX_ITEMS_MAX: usize = 16_384;
/// Entries a learner may lack and still count as caught up.
pub const LEARNER_LAG_MAX: u64 = 200;
/// Entries that a connected but slow follower, a snapshot on its way, or the archive may hold back log truncation by.
pub const LOG_HELD_ENTRIES_MAX: u64 = 4_000_000;
/// Bytes of entries that it may.
pub const LOG_HELD_BYTES_MAX: u64 = 4 << 30;
/// Appends under way to one follower.
pub const INFLIGHT_MESSAGES_MAX: usize = 64;

const _: () = assert!(LEARNER_LAG_MAX < LOG_HELD_ENTRIES_MAX);

impl NodeConfig {
    /// The defaults of DESIGN §10 for a node at `data_dir`.
    pub fn new(data_dir: PathBuf, peer_listen: String, advertise: Addresses) -> Self {
        let budget = MemoryBudget::default();
        NodeConfig {
            data_dir,
            peer_listen,
            advertise,
            join: Vec::new(),
            tick: Duration::from_millis(10),
            election_ticks_min: 15,
            election_ticks_max: 30,
            heartbeat_ticks: 5,
            memtable_bytes: budget.memtable_bytes(),
            log_segment_bytes: 16 << 20,
            cache_bytes: budget.cache_bytes(),
            queues: budget.queues(),
            log_retained_entries: 50_000,
            log_retained_bytes: 512 << 20,
            snapshot_bytes_per_second: 16 << 20,
            archive_dir: None,
            priority: DEFAULT_PRIORITY,
            leases: false,
            feature_level: FEATURE_LEVEL,
            notices: Notices::default(),
        }
    }

    /// Sizes memtables, cache and queues by a budget.
    pub fn set_memory(&mut self, budget: MemoryBudget) {
        self.memtable_bytes = budget.memtable_bytes();
        self.cache_bytes = budget.cache_bytes();
        self.queues = budget.queues();
    }
}

/// Where a member is reached. Travels as the opaque context of its membership record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Addresses {
    /// What drivers dial, `HOST:PORT`.
    pub client: String,
    /// What other members dial, `HOST:PORT`.
    pub peer: String,
    /// Health and metrics, `HOST:PORT`.
    pub admin: String,
}

/// A member's record: its addresses, the identity of its data directory, and what it can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberContext {
    /// Random identity of the member's data directory; makes a repeated join the same join.
    pub directory: [u8; 16],
    /// Where it is reached.
    pub addresses: Addresses,
    /// The newest formats it reads.
    pub feature_level: u32,
    /// The election priority it asks for.
    pub priority: u32,
}

impl Default for MemberContext {
    fn default() -> Self {
        MemberContext {
            directory: [0; 16],
            addresses: Addresses::default(),
            feature_level: FEATURE_LEVEL_FIRST,
            priority: DEFAULT_PRIORITY,
        }
    }
}

impl MemberContext {
    /// What a node of these settings says of itself.
    pub fn of(config: &NodeConfig, directory: [u8; 16]) -> Self {
        MemberContext {
            directory,
            addresses: config.advertise.clone(),
            feature_level: config.feature_level,
            priority: config.priority,
        }
    }

    /// `key=value` lines; unknown keys are left to newer versions.
    pub fn encode(&self) -> Payload {
        let mut text = format!(
            "directory={}\nclient={}\npeer={}\nadmin={}\n",
            crate::identity::hex(&self.directory),
            self.addresses.client,
            self.addresses.peer,
            self.addresses.admin
        );
        if self.feature_level != FEATURE_LEVEL_FIRST {
            text.push_str(&format!("feature_level={}\n", self.feature_level));
        }
        if self.priority != DEFAULT_PRIORITY {
            text.push_str(&format!("priority={}\n", self.priority));
        }
        text.into_bytes().into()
    }

    /// Reads what [`MemberContext::encode`] wrote. Missing keys stay empty.
    pub fn decode(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut context = MemberContext::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match key {
                "directory" => {
                    context.directory = crate::identity::unhex(value).unwrap_or_default()
                }
                "client" => context.addresses.client = value.to_owned(),
                "peer" => context.addresses.peer = value.to_owned(),
                "admin" => context.addresses.admin = value.to_owned(),
                "feature_level" => {
                    context.feature_level = value.parse().unwrap_or(FEATURE_LEVEL_FIRST)
                }
                "priority" => context.priority = value.parse().unwrap_or(DEFAULT_PRIORITY),
                _ => {}
            }
        }
        context
    }
}
