//! Files of a few lines that say what a directory is: read whole, replaced whole.

use std::path::Path;

use platform::{Disk, DiskFile, OpenOptions};

use crate::error::StartError;

/// Bytes of such a file that are looked at.
const BYTES_MAX: u64 = 1 << 20;
const CHECKSUM_KEY: &str = "checksum=";

/// The text of the file; `None` if there is no such file.
pub fn read<D: Disk>(disk: &D, path: &Path) -> Result<Option<String>, StartError> {
    let fail = |source| StartError::io("read", path, source);
    if !disk.exists(path).map_err(fail)? {
        return Ok(None);
    }
    let file = disk.open(path, OpenOptions::default()).map_err(fail)?;
    let length = file.len().map_err(fail)?.min(BYTES_MAX);
    let mut bytes = vec![0; length as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(source) => return Err(fail(source)),
        }
    }
    Ok(Some(String::from_utf8_lossy(&bytes[..filled]).into_owned()))
}

/// Writes what [`replace`] will write to `name.new`, so that it needs no more room then.
pub fn prepare<D: Disk>(disk: &D, dir: &Path, name: &str, text: &str) -> Result<(), StartError> {
    write(disk, &dir.join(format!("{name}.new")), text)
}

/// Puts `text` in the place of whatever the file held, by way of `name.new`: a crash leaves the old text or the new, and
/// after return the new one survives a power cut.
pub fn replace<D: Disk>(disk: &D, dir: &Path, name: &str, text: &str) -> Result<(), StartError> {
    let temporary = dir.join(format!("{name}.new"));
    let fail = |source| StartError::io("write", &temporary, source);
    write(disk, &temporary, text)?;
    disk.rename(&temporary, &dir.join(name)).map_err(fail)?;
    disk.sync_dir(dir).map_err(fail)
}

fn write<D: Disk>(disk: &D, path: &Path, text: &str) -> Result<(), StartError> {
    let fail = |source| StartError::io("write", path, source);
    let options = OpenOptions {
        create: true,
        create_new: false,
        write: true,
    };
    let file = disk.open(path, options).map_err(fail)?;
    file.set_len(text.len() as u64).map_err(fail)?;
    file.write_all_at(text.as_bytes(), 0).map_err(fail)?;
    file.sync_all().map_err(fail)
}

/// The text with its checksum as a last line.
pub fn seal(text: &str) -> String {
    format!(
        "{text}{CHECKSUM_KEY}{:08x}\n",
        crc32c::crc32c(text.as_bytes())
    )
}

/// The text that [`seal`] was given; `None` if it is not what was sealed.
pub fn unseal(sealed: &str) -> Option<&str> {
    let at = sealed.rfind(CHECKSUM_KEY)?;
    let text = &sealed[..at];
    (seal(text) == sealed).then_some(text)
}

/// The value of `key` in `key=value` lines.
pub fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines
        .into_iter()
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}
