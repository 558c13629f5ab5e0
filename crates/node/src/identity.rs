//! The `identity` file: which cluster and which member a data directory belongs to.
//!
//! Written once, atomically (temporary file, sync, rename, sync of the directory), as `key=value` lines. A
//! directory of another format is refused rather than guessed at. Bytes: `docs/file_format.md`.

use std::path::Path;

use consensus::NodeId;
use platform::Disk;

use crate::error::StartError;
use crate::small_file;

/// The only format this version reads and writes.
pub const FORMAT_VERSION: u32 = 1;
const FILE: &str = "identity";

/// What a data directory is part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's random identity.
    pub cluster_id: [u8; 16],
    /// This member's id in it.
    pub node_id: NodeId,
    /// This directory's random identity.
    pub directory: [u8; 16],
    /// True on the node that founded the cluster: its first membership is itself alone.
    pub founder: bool,
}

impl Identity {
    /// Reads the identity of `data_dir`; `None` on a fresh directory.
    pub fn load<D: Disk>(disk: &D, data_dir: &Path) -> Result<Option<Identity>, StartError> {
        let path = data_dir.join(FILE);
        let text = small_file::read(disk, &path)?;
        text.map(|text| parse(&text).map_err(|what| StartError::Identity { path, what }))
            .transpose()
    }

    /// Writes the identity; after return it survives a power cut.
    pub fn store<D: Disk>(&self, disk: &D, data_dir: &Path) -> Result<(), StartError> {
        small_file::replace(disk, data_dir, FILE, &self.render())
    }

    fn render(&self) -> String {
        format!(
            "format_version={FORMAT_VERSION}\ncluster_id={}\nnode_id={}\ndirectory={}\nfounder={}\n",
            hex(&self.cluster_id),
            self.node_id.0,
            hex(&self.directory),
            self.founder
        )
    }
}

fn parse(text: &str) -> Result<Identity, String> {
    let value = |key: &str| {
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
            .ok_or_else(|| format!("the line `{key}=` is missing"))
    };
    let version: u32 = value("format_version")?
        .parse()
        .map_err(|_| "format_version is not a number".to_owned())?;
    if version != FORMAT_VERSION {
        return Err(format!(
            "format version {version} is not one this program reads (it reads {FORMAT_VERSION})"
        ));
    }
    let id =
        |key: &str| unhex(value(key)?).ok_or_else(|| format!("{key} is not 32 hexadecimal digits"));
    let node_id: u64 = value("node_id")?
        .parse()
        .map_err(|_| "node_id is not a number".to_owned())?;
    if node_id == 0 {
        return Err("node_id is 0".to_owned());
    }
    Ok(Identity {
        cluster_id: id("cluster_id")?,
        node_id: NodeId(node_id),
        directory: id("directory")?,
        founder: value("founder")? == "true",
    })
}

/// Lower-case hexadecimal digits of an identity.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads what [`hex`] wrote.
pub fn unhex(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (position, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * position..2 * position + 2], 16).ok()?;
    }
    Some(bytes)
}
