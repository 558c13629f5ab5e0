//! The configuration file: TOML whose keys are the long flags of `serve` with underscores. A flag given on
//! the command line wins over the file. An unknown key is an error that names it.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// What `--config FILE.toml` may hold; every key is optional.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigFile {
    pub data_dir: Option<PathBuf>,
    pub listen: Option<String>,
    pub peer_listen: Option<String>,
    pub admin_listen: Option<String>,
    pub advertise: Option<String>,
    pub peer_advertise: Option<String>,
    pub admin_advertise: Option<String>,
    #[serde(default)]
    pub join: Vec<String>,
    pub replica_set: Option<String>,
    pub insecure: Option<bool>,
    pub enable_test_commands: Option<bool>,
    pub worker_threads: Option<usize>,
    pub connections_max: Option<usize>,
    pub election_timeout_ms: Option<u64>,
    pub heartbeat_ms: Option<u64>,
    pub priority: Option<u32>,
    pub leases: Option<bool>,
    pub memory_mib: Option<u64>,
    pub cache_mib: Option<u64>,
    pub snapshot_mib_per_second: Option<u64>,
    pub log_retained_mib: Option<u64>,
    pub ttl_seconds: Option<u32>,
    pub slow_ms: Option<i32>,
    pub archive_dir: Option<PathBuf>,
    pub log_retained_entries: Option<u64>,
    pub log_segment_kib: Option<u64>,
    pub memtable_kib: Option<u64>,
}

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read the configuration file {path}: {source}")]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the configuration file {path} is not valid: {message}")]
    Invalid { path: PathBuf, message: String },
}

impl ConfigFile {
    /// Reads and parses `path`.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text).map_err(|message| ConfigError::Invalid {
            path: path.to_owned(),
            message,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_flags_with_underscores() {
        let file = ConfigFile::parse(
            "data_dir = \"d\"\nlisten = \"127.0.0.1:1\"\njoin = [\"a:1\", \"b:2\"]\n",
        )
        .expect("valid");
        assert_eq!(file.data_dir, Some(PathBuf::from("d")));
        assert_eq!(file.join, ["a:1", "b:2"]);
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = ConfigFile::parse("listne = \"x\"").expect_err("unknown key");
        assert!(error.contains("listne"), "{error}");
    }
}
