//! Flags and configuration file, resolved into the addresses and limits one node runs with.
//!
//! Ports that are not given derive from the client port (peer +10000, admin +1000). An address beyond
//! loopback is refused without `insecure`, because clients are not authenticated.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use node::{MEMORY_BYTES_MIN, MemoryBudget};

use super::ServeArgs;
use crate::config::{ConfigError, ConfigFile};
use crate::mongo_wire::{SLOW_MS_DEFAULT, expiry};

const LISTEN_DEFAULT: &str = "127.0.0.1:27017";
const REPLICA_SET_DEFAULT: &str = "cstore";
const PEER_PORT_OFFSET: u16 = 10_000;
const ADMIN_PORT_OFFSET: u16 = 1_000;
const CONNECTIONS_MAX_DEFAULT: usize = 20_000;
const WORKER_THREADS_DEFAULT_MAX: usize = 4;
const ELECTION_TIMEOUT_MS_DEFAULT: u64 = 150;
const HEARTBEAT_MS_DEFAULT: u64 = 50;
/// Smaller segments and memtables would hold little beside their own bookkeeping.
const SIZE_KIB_MIN: u64 = 16;

/// Everything one node needs to know to start.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    pub peer_listen: SocketAddr,
    pub admin_listen: SocketAddr,
    /// Client address told to drivers, `host:port`.
    pub advertise: String,
    pub peer_advertise: String,
    pub admin_advertise: String,
    pub join: Vec<String>,
    pub replica_set: String,
    pub enable_test_commands: bool,
    pub worker_threads: usize,
    pub connections_max: usize,
    pub election_timeout_ms: u64,
    pub heartbeat_ms: u64,
    /// `None`: the default.
    pub priority: Option<u32>,
    pub leases: bool,
    /// `None`: the default.
    pub memory_mib: Option<u64>,
    pub cache_mib: Option<u64>,
    pub snapshot_mib_per_second: Option<u64>,
    pub log_retained_mib: Option<u64>,
    /// Milliseconds beyond which an operation is logged as slow; negative: every one.
    pub slow_ms: i32,
    /// Time between two looks for expired documents.
    pub ttl_period: Duration,
    pub archive_dir: Option<PathBuf>,
    pub log_retained_entries: Option<u64>,
    pub log_segment_kib: Option<u64>,
    pub memtable_kib: Option<u64>,
}

/// Why flags and configuration do not make a node.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("no data directory: give --data-dir DIR (or data_dir in the configuration file)")]
    NoDataDir,
    #[error("--{flag} {value}: not an address ({reason}); write HOST:PORT")]
    BadAddress {
        flag: &'static str,
        value: String,
        reason: String,
    },
    #[error("--{flag}: the client port {port} + {offset} is beyond 65535; give --{flag} HOST:PORT")]
    PortOverflow {
        flag: &'static str,
        port: u16,
        offset: u16,
    },
    #[error(
        "--{flag} {address} listens beyond this machine and clients are not authenticated; listen on a loopback \
         address, or accept the risk with --insecure"
    )]
    Insecure {
        flag: &'static str,
        address: SocketAddr,
    },
    #[error(
        "--advertise: {listen} is no address others can dial; say which with --advertise HOST:PORT"
    )]
    NothingToAdvertise { listen: SocketAddr },
    #[error("--{flag} must be at least {least}")]
    TooSmall { flag: &'static str, least: u64 },
    #[error(
        "--heartbeat-ms {heartbeat_ms} must be less than --election-timeout-ms {election_timeout_ms}"
    )]
    HeartbeatTooSlow {
        heartbeat_ms: u64,
        election_timeout_ms: u64,
    },
}

impl Settings {
    /// Merges flags over the configuration file and checks the result.
    pub(crate) fn resolve(args: ServeArgs) -> Result<Self, SettingsError> {
        let file = match &args.config {
            Some(path) => ConfigFile::load(path)?,
            None => ConfigFile::default(),
        };
        Self::merge(args, file)
    }

    fn merge(args: ServeArgs, file: ConfigFile) -> Result<Self, SettingsError> {
        let data_dir = args
            .data_dir
            .or(file.data_dir)
            .ok_or(SettingsError::NoDataDir)?;
        let listen_text = args
            .listen
            .or(file.listen)
            .unwrap_or_else(|| LISTEN_DEFAULT.to_owned());
        let listen = socket_address("listen", &listen_text)?;
        let peer_listen = listen_or_derived(
            "peer-listen",
            args.peer_listen.or(file.peer_listen),
            listen,
            PEER_PORT_OFFSET,
        )?;
        let admin_listen = listen_or_derived(
            "admin-listen",
            args.admin_listen.or(file.admin_listen),
            listen,
            ADMIN_PORT_OFFSET,
        )?;
        if !(args.insecure || file.insecure.unwrap_or(false)) {
            require_loopback("listen", listen)?;
            require_loopback("peer-listen", peer_listen)?;
            require_loopback("admin-listen", admin_listen)?;
        }
        let advertise = advertised(args.advertise.or(file.advertise), &listen_text, listen)?;
        let host = host_of(&advertise).to_owned();
        let with_port = |port: u16| format!("{host}:{port}");
        let settings = Settings {
            data_dir,
            listen,
            peer_listen,
            admin_listen,
            peer_advertise: args
                .peer_advertise
                .or(file.peer_advertise)
                .unwrap_or_else(|| with_port(peer_listen.port())),
            admin_advertise: args
                .admin_advertise
                .or(file.admin_advertise)
                .unwrap_or_else(|| with_port(admin_listen.port())),
            advertise,
            join: if args.join.is_empty() {
                file.join
            } else {
                args.join
            },
            replica_set: args
                .replica_set
                .or(file.replica_set)
                .unwrap_or_else(|| REPLICA_SET_DEFAULT.to_owned()),
            enable_test_commands: args.enable_test_commands
                || file.enable_test_commands.unwrap_or(false),
            worker_threads: args
                .worker_threads
                .or(file.worker_threads)
                .unwrap_or_else(worker_threads_default),
            connections_max: args
                .connections_max
                .or(file.connections_max)
                .unwrap_or(CONNECTIONS_MAX_DEFAULT),
            election_timeout_ms: args
                .election_timeout_ms
                .or(file.election_timeout_ms)
                .unwrap_or(ELECTION_TIMEOUT_MS_DEFAULT),
            heartbeat_ms: args
                .heartbeat_ms
                .or(file.heartbeat_ms)
                .unwrap_or(HEARTBEAT_MS_DEFAULT),
            priority: args.priority.or(file.priority),
            leases: args.leases || file.leases.unwrap_or(false),
            memory_mib: args.memory.or(file.memory_mib),
            cache_mib: args.cache_mib.or(file.cache_mib),
            snapshot_mib_per_second: args
                .snapshot_mib_per_second
                .or(file.snapshot_mib_per_second),
            log_retained_mib: args.log_retained_mib.or(file.log_retained_mib),
            slow_ms: args.slow_ms.or(file.slow_ms).unwrap_or(SLOW_MS_DEFAULT),
            ttl_period: args
                .ttl_seconds
                .or(file.ttl_seconds)
                .map_or(expiry::PERIOD_DEFAULT, |seconds| {
                    Duration::from_secs(seconds.into())
                }),
            archive_dir: args.archive_dir.or(file.archive_dir),
            log_retained_entries: args.log_retained_entries.or(file.log_retained_entries),
            log_segment_kib: args.log_segment_kib.or(file.log_segment_kib),
            memtable_kib: args.memtable_kib.or(file.memtable_kib),
        };
        settings.check_limits()?;
        Ok(settings)
    }

    /// The memory the node may take.
    pub(crate) fn memory(&self) -> MemoryBudget {
        let given = self.memory_mib.map(|mib| mib.saturating_mul(1 << 20));
        given.map_or_else(MemoryBudget::default, MemoryBudget::new)
    }

    fn check_limits(&self) -> Result<(), SettingsError> {
        let least = |flag, value: u64, least| {
            if value < least {
                Err(SettingsError::TooSmall { flag, least })
            } else {
                Ok(())
            }
        };
        least("worker-threads", self.worker_threads as u64, 1)?;
        least("connections-max", self.connections_max as u64, 1)?;
        least("election-timeout-ms", self.election_timeout_ms, 20)?;
        least("heartbeat-ms", self.heartbeat_ms, 10)?;
        least("ttl-seconds", self.ttl_period.as_secs(), 1)?;
        least(
            "snapshot-mib-per-second",
            self.snapshot_mib_per_second.unwrap_or(1),
            1,
        )?;
        if let Some(memory_mib) = self.memory_mib {
            least("memory", memory_mib, MEMORY_BYTES_MIN >> 20)?;
        }
        least(
            "log-segment-kib",
            self.log_segment_kib.unwrap_or(SIZE_KIB_MIN),
            SIZE_KIB_MIN,
        )?;
        least(
            "memtable-kib",
            self.memtable_kib.unwrap_or(SIZE_KIB_MIN),
            SIZE_KIB_MIN,
        )?;
        if self.leases {
            least("election-timeout-ms", self.election_timeout_ms, 50)?;
        }
        if self.heartbeat_ms >= self.election_timeout_ms {
            return Err(SettingsError::HeartbeatTooSlow {
                heartbeat_ms: self.heartbeat_ms,
                election_timeout_ms: self.election_timeout_ms,
            });
        }
        Ok(())
    }
}

fn worker_threads_default() -> usize {
    std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(WORKER_THREADS_DEFAULT_MAX)
}

fn socket_address(flag: &'static str, value: &str) -> Result<SocketAddr, SettingsError> {
    let bad = |reason: String| SettingsError::BadAddress {
        flag,
        value: value.to_owned(),
        reason,
    };
    let mut found = value
        .to_socket_addrs()
        .map_err(|error| bad(error.to_string()))?;
    found
        .next()
        .ok_or_else(|| bad("the name has no address".to_owned()))
}

fn listen_or_derived(
    flag: &'static str,
    given: Option<String>,
    client: SocketAddr,
    offset: u16,
) -> Result<SocketAddr, SettingsError> {
    if let Some(value) = given {
        return socket_address(flag, &value);
    }
    let port = client
        .port()
        .checked_add(offset)
        .ok_or(SettingsError::PortOverflow {
            flag,
            port: client.port(),
            offset,
        })?;
    Ok(SocketAddr::new(client.ip(), port))
}

fn require_loopback(flag: &'static str, address: SocketAddr) -> Result<(), SettingsError> {
    if address.ip().is_loopback() {
        Ok(())
    } else {
        Err(SettingsError::Insecure { flag, address })
    }
}

/// What clients are told: the flag, else what was written for `--listen` (a name stays a name), unless it is the wildcard.
fn advertised(
    given: Option<String>,
    listen_text: &str,
    listen: SocketAddr,
) -> Result<String, SettingsError> {
    match given {
        Some(value) => {
            check_host_port("advertise", &value)?;
            Ok(value.to_ascii_lowercase())
        }
        None if is_wildcard(listen.ip()) => Err(SettingsError::NothingToAdvertise { listen }),
        None => Ok(listen_text.to_ascii_lowercase()),
    }
}

fn check_host_port(flag: &'static str, value: &str) -> Result<(), SettingsError> {
    let valid = value.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if valid {
        Ok(())
    } else {
        Err(SettingsError::BadAddress {
            flag,
            value: value.to_owned(),
            reason: "no host or no port".to_owned(),
        })
    }
}

fn is_wildcard(ip: IpAddr) -> bool {
    ip.is_unspecified()
}

fn host_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(listen: &str) -> ServeArgs {
        ServeArgs {
            data_dir: Some("d".into()),
            listen: Some(listen.to_owned()),
            ..ServeArgs::default()
        }
    }

    #[test]
    fn ports_derive_from_the_client_port() {
        let settings = Settings::resolve(args("127.0.0.1:27018")).expect("valid");
        assert_eq!(settings.peer_listen.port(), 37018);
        assert_eq!(settings.admin_listen.port(), 28018);
        assert_eq!(settings.advertise, "127.0.0.1:27018");
        assert_eq!(settings.peer_advertise, "127.0.0.1:37018");
    }

    #[test]
    fn a_name_is_advertised_as_it_was_written() {
        let settings = Settings::resolve(args("localhost:27018")).expect("valid");
        assert_eq!(settings.advertise, "localhost:27018");
        assert_eq!(settings.admin_advertise, "localhost:28018");
    }

    #[test]
    fn beyond_loopback_needs_insecure_and_something_to_advertise() {
        assert!(matches!(
            Settings::resolve(args("0.0.0.0:27018")),
            Err(SettingsError::Insecure { flag: "listen", .. })
        ));
        let insecure = ServeArgs {
            insecure: true,
            ..args("0.0.0.0:27018")
        };
        assert!(matches!(
            Settings::resolve(insecure.clone()),
            Err(SettingsError::NothingToAdvertise { .. })
        ));
        let advertised = ServeArgs {
            advertise: Some("db1.example:27018".to_owned()),
            ..insecure
        };
        assert_eq!(
            Settings::resolve(advertised).expect("valid").peer_advertise,
            "db1.example:37018"
        );
    }

    #[test]
    fn a_port_that_overflows_must_be_given() {
        assert!(matches!(
            Settings::resolve(args("127.0.0.1:60000")),
            Err(SettingsError::PortOverflow {
                flag: "peer-listen",
                ..
            })
        ));
    }

    #[test]
    fn too_little_memory_is_refused() {
        let with = |memory| ServeArgs {
            memory: Some(memory),
            ..args("127.0.0.1:27018")
        };
        assert!(matches!(
            Settings::resolve(with(511)),
            Err(SettingsError::TooSmall {
                flag: "memory",
                least: 512
            })
        ));
        let settings = Settings::resolve(with(600)).expect("enough");
        assert_eq!(settings.memory().bytes(), 600 << 20);
        let unsaid = Settings::resolve(args("127.0.0.1:27018")).expect("valid");
        assert_eq!(unsaid.memory(), MemoryBudget::default());
    }

    #[test]
    fn heartbeats_come_before_the_election_timeout() {
        let slow = ServeArgs {
            heartbeat_ms: Some(150),
            ..args("127.0.0.1:27018")
        };
        assert!(matches!(
            Settings::resolve(slow),
            Err(SettingsError::HeartbeatTooSlow { .. })
        ));
    }
}
