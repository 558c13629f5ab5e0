//! The `identity` file: which cluster and which member a data directory belongs to.
//!
//! Written once, atomically (temporary file, sync, rename, sync of the directory), as `key=value` lines that end with a
//! checksum, and a second time as `identity.copy`: one that is damaged is written again from the other. A directory of
//! another format is refused rather than guessed at. Bytes: `docs/file_format.md`.

use std::path::Path;

use consensus::NodeId;
use platform::Disk;

use crate::config::Notices;
use crate::error::StartError;
use crate::small_file;

/// The format this version writes; it reads version 1, which had no checksum, too.
pub const FORMAT_VERSION: u32 = 2;
pub const FILE: &str = "identity";
pub const COPY: &str = "identity.copy";

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
    /// Reads the identity of `data_dir`; `None` on a fresh directory. One that is damaged or missing is written again from
    /// the other, and `notices` hears of it.
    pub fn load<D: Disk>(
        disk: &D,
        data_dir: &Path,
        notices: &Notices,
    ) -> Result<Option<Identity>, StartError> {
        let Some((identity, to_mend)) = Self::look(disk, data_dir)? else {
            return Ok(None);
        };
        if let Some(what) = to_mend {
            identity.store(disk, data_dir)?;
            notices.say(&format!("{}: {what}", data_dir.display()));
        }
        Ok(Some(identity))
    }

    /// Reads the identity of `data_dir` from whichever of the two files is whole; changes nothing.
    pub fn read<D: Disk>(disk: &D, data_dir: &Path) -> Result<Option<Identity>, StartError> {
        let found = Self::look(disk, data_dir)?;
        Ok(found.map(|(identity, _)| identity))
    }

    /// The identity, and what is to be said when one of its files is written again.
    fn look<D: Disk>(
        disk: &D,
        data_dir: &Path,
    ) -> Result<Option<(Identity, Option<String>)>, StartError> {
        let read = |name: &str| -> Result<Option<Result<Identity, String>>, StartError> {
            let path = data_dir.join(name);
            let Some(text) = small_file::read(disk, &path)? else {
                return Ok(None);
            };
            match parse(&text) {
                Err(Unreadable::Newer(what)) => Err(StartError::Identity { path, what }),
                Err(Unreadable::Damaged(what)) => Ok(Some(Err(what))),
                Ok(identity) => Ok(Some(Ok(identity))),
            }
        };
        let damaged = |what: String| StartError::Inconsistent {
            path: data_dir.join(FILE),
            what,
        };
        let mended = |bad: &str, good: &str, what: &str| {
            Some(format!("{bad}: {what}; it was written again from {good}"))
        };
        Ok(Some(match (read(FILE)?, read(COPY)?) {
            (None, None) => return Ok(None),
            (Some(Ok(identity)), Some(Ok(copy))) if identity == copy => (identity, None),
            (Some(Ok(_)), Some(Ok(_))) => {
                return Err(damaged(format!("it and {COPY} name different members")));
            }
            // A directory of the first format has no copy.
            (Some(Ok(identity)), None) => (identity, None),
            (Some(Ok(identity)), Some(Err(what))) => (identity, mended(COPY, FILE, &what)),
            (Some(Err(what)), Some(Ok(identity))) => (identity, mended(FILE, COPY, &what)),
            (None, Some(Ok(identity))) => (identity, mended(FILE, COPY, "it is missing")),
            (Some(Err(what)), None | Some(Err(_))) => return Err(damaged(what)),
            (None, Some(Err(what))) => {
                return Err(damaged(format!("it is missing, and of {COPY}: {what}")));
            }
        }))
    }

    /// Writes the identity, twice; after return it survives a power cut.
    pub fn store<D: Disk>(&self, disk: &D, data_dir: &Path) -> Result<(), StartError> {
        small_file::replace(disk, data_dir, COPY, &self.render())?;
        small_file::replace(disk, data_dir, FILE, &self.render())
    }

    fn render(&self) -> String {
        small_file::seal(&format!(
            "format_version={FORMAT_VERSION}\ncluster_id={}\nnode_id={}\ndirectory={}\nfounder={}\n",
            hex(&self.cluster_id),
            self.node_id.0,
            hex(&self.directory),
            self.founder
        ))
    }
}

/// Why an identity cannot be read.
enum Unreadable {
    /// It is not what was written.
    Damaged(String),
    /// It is of a format that this program does not know.
    Newer(String),
}

fn parse(text: &str) -> Result<Identity, Unreadable> {
    let sealed = small_file::unseal(text).is_some();
    let version = small_file::value(text, "format_version").and_then(|it| it.parse::<u32>().ok());
    match version {
        Some(1) if !text.contains("checksum") => {}
        // A later format may be sealed in another way.
        Some(version) if version > FORMAT_VERSION && (sealed || !text.contains("checksum=")) => {
            return Err(Unreadable::Newer(format!(
                "format version {version} is not one this program reads (it reads up to {FORMAT_VERSION})"
            )));
        }
        Some(FORMAT_VERSION) if sealed => {}
        _ => {
            let what = "its checksum does not match".to_owned();
            return Err(Unreadable::Damaged(what));
        }
    }
    fields(text).map_err(Unreadable::Damaged)
}

fn fields(text: &str) -> Result<Identity, String> {
    let value = |key: &str| {
        small_file::value(text, key).ok_or_else(|| format!("the line `{key}=` is missing"))
    };
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
