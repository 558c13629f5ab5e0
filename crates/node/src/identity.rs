//! The `identity` file: which cluster and which member a data directory belongs to.
//!
//! Written once, atomically (temporary file, sync, rename, sync of the directory), as `key=value` lines. A
//! directory of another format is refused rather than guessed at. Bytes: `docs/file_format.md`.

use std::path::Path;

use consensus::NodeId;
use platform::{Disk, DiskFile, OpenOptions};

use crate::error::StartError;

/// The only format this version reads and writes.
pub const FORMAT_VERSION: u32 = 1;
const FILE: &str = "identity";
const TEMPORARY: &str = "identity.new";

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
        if !disk
            .exists(&path)
            .map_err(|source| StartError::io("look for", &path, source))?
        {
            return Ok(None);
        }
        let file = disk
            .open(
                &path,
                OpenOptions {
                    create: false,
                    create_new: false,
                    write: false,
                },
            )
            .map_err(|source| StartError::io("open", &path, source))?;
        let length = file
            .len()
            .map_err(|source| StartError::io("read", &path, source))?
            .min(4096) as usize;
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match file.read_at(&mut bytes[filled..], filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(source) => return Err(StartError::io("read", &path, source)),
            }
        }
        parse(&String::from_utf8_lossy(&bytes[..filled]))
            .map(Some)
            .map_err(|what| StartError::Identity { path, what })
    }

    /// Writes the identity; after return it survives a power cut.
    pub fn store<D: Disk>(&self, disk: &D, data_dir: &Path) -> Result<(), StartError> {
        let temporary = data_dir.join(TEMPORARY);
        let fail = |source| StartError::io("write", &temporary, source);
        let file = disk
            .open(
                &temporary,
                OpenOptions {
                    create: true,
                    create_new: false,
                    write: true,
                },
            )
            .map_err(fail)?;
        let text = self.render();
        file.set_len(text.len() as u64).map_err(fail)?;
        file.write_all_at(text.as_bytes(), 0).map_err(fail)?;
        file.sync_all().map_err(fail)?;
        disk.rename(&temporary, &data_dir.join(FILE))
            .map_err(fail)?;
        disk.sync_dir(data_dir).map_err(fail)
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
pub fn hex(bytes: &[u8; 16]) -> String {
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
