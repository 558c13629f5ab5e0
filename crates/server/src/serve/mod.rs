//! `cstore serve`: flags and configuration file to settings, start, signals, clean stop.

mod process;
mod settings;

use std::path::PathBuf;
use std::process::ExitCode;

pub(crate) use settings::Settings;

/// The exit code of a wrong command line.
const USAGE: u8 = 2;

/// The flags of `serve`. Every one may stand in the configuration file too.
#[derive(Debug, Default, Clone, clap::Args)]
pub struct ServeArgs {
    /// Directory of this node's data; created when missing.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address for MongoDB clients [default: 127.0.0.1:27017].
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Address for the other members [default: the client port + 10000].
    #[arg(long, value_name = "HOST:PORT")]
    pub peer_listen: Option<String>,
    /// Address for health and metrics over HTTP [default: the client port + 1000].
    #[arg(long, value_name = "HOST:PORT")]
    pub admin_listen: Option<String>,
    /// The client address that drivers and members are told [default: the address listened on].
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// The peer address that members are told [default: the advertised host with the peer port].
    #[arg(long, value_name = "HOST:PORT")]
    pub peer_advertise: Option<String>,
    /// The admin address that members are told [default: the advertised host with the admin port].
    #[arg(long, value_name = "HOST:PORT")]
    pub admin_advertise: Option<String>,
    /// Peer addresses of an existing cluster to join, when the data directory is empty.
    #[arg(long, value_name = "HOST:PEERPORT", value_delimiter = ',')]
    pub join: Vec<String>,
    /// Configuration file; flags win over it.
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// The replica-set name that drivers see [default: cstore].
    #[arg(long, value_name = "NAME")]
    pub replica_set: Option<String>,
    /// Listen beyond loopback although clients are not authenticated.
    #[arg(long)]
    pub insecure: bool,
    /// Offer the fail points that drivers' test-suites use.
    #[arg(long)]
    pub enable_test_commands: bool,
    /// Threads that serve client connections [default: the processors, at most 4].
    #[arg(long, value_name = "N")]
    pub worker_threads: Option<usize>,
    /// Client connections open at once [default: 20000].
    #[arg(long, value_name = "N")]
    pub connections_max: Option<usize>,
    /// Shortest election timeout; the longest is twice that [default: 150].
    #[arg(long, value_name = "MS")]
    pub election_timeout_ms: Option<u64>,
    /// Time between a leader's heartbeats [default: 50].
    #[arg(long, value_name = "MS")]
    pub heartbeat_ms: Option<u64>,
    /// Who leads if it can: members of a higher priority are handed the lead, one of priority 0 never leads [default: 1].
    #[arg(long, value_name = "N")]
    pub priority: Option<u32>,
    /// Answer linearizable reads without asking the other members, for as long as clocks run alike; see the manual. All
    /// members must have it alike.
    #[arg(long)]
    pub leases: bool,
    /// Memory that the node may take: memtables, block cache, queues, messages, queries and cursors share it, see the manual
    /// [default: 1024, at least 512].
    #[arg(long, value_name = "MIB")]
    pub memory: Option<u64>,
    /// Memory for the storage engine's block cache [default: its share of --memory].
    #[arg(long, value_name = "MIB")]
    pub cache_mib: Option<u64>,
    /// Pace at which a member that was away for long is sent the whole state, so that writers notice little [default: 16].
    #[arg(long, value_name = "MIB")]
    pub snapshot_mib_per_second: Option<u64>,
    /// Log kept for members that are away; one that misses more is sent the whole state [default: 512].
    #[arg(long, value_name = "MIB")]
    pub log_retained_mib: Option<u64>,
    /// Time between two looks for documents that expire (indexes with expireAfterSeconds) [default: 60].
    #[arg(long, value_name = "SECONDS")]
    pub ttl_seconds: Option<u32>,
    /// Log operations that take longer than this; -1 logs all [default: 100].
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    pub slow_ms: Option<i32>,
    /// Copy the committed log into this directory, for `cstore restore --to-time` and `--to-index`; better on another disk.
    #[arg(long, value_name = "DIR")]
    pub archive_dir: Option<PathBuf>,
    /// The same bound in entries [default: 50000].
    #[arg(long, value_name = "N")]
    pub log_retained_entries: Option<u64>,
    /// Length of the log's files [default: 16384].
    #[arg(long, value_name = "KIB")]
    pub log_segment_kib: Option<u64>,
    /// Writes kept in memory before they go to a table; what a start after a crash replays [default: 16384].
    #[arg(long, value_name = "KIB")]
    pub memtable_kib: Option<u64>,
}

/// Runs a node until it is told to stop or fails; returns the process's exit code.
pub fn run(args: ServeArgs) -> ExitCode {
    // Where the kernel does not know this, it is as it was.
    let _ = platform::avoid_huge_pages();
    // Where that is refused, less is kept open.
    let _ = platform::raise_open_files_max();
    // All threads begin with them; those that lower their priority give them up.
    let _ = platform::prefer_short_turns();
    let settings = match Settings::resolve(args) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("cstore: {error}");
            return ExitCode::from(USAGE);
        }
    };
    match process::run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cstore: {error}");
            ExitCode::FAILURE
        }
    }
}
