//! Whether the files of an engine's directory are what was written.
//!
//! `lsm-tree` verifies each block it reads, but trusts the list of its tables and the directory at the end of each
//! table: a damaged list would make it delete tables, a damaged directory could make it allocate without bound. So both
//! are verified here before it sees them. Whole tables are verified by [`verify`], offline, and by the engine's own
//! thread after each start.
//!
//! The bytes are `lsm-tree`'s (format version 3) and `sfa`'s: a file ends with a table of contents and a trailer of 38
//! bytes; `current` holds number and XXH3-128 of the list `v<number>`; the list's section `tables` holds number and
//! XXH3-128 of each table file.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

use crate::StorageFault;
use crate::fault::FaultContext;

const TRAILER_MAGIC: &[u8; 4] = b"SFA!";
const TRAILER_BYTES: usize = 38;
const CONTENTS_MAGIC: &[u8; 4] = b"TOC!";
/// A table of contents holds some ten names.
const CONTENTS_BYTES_MAX: u64 = 64 << 10;
const CHUNK_BYTES: usize = 1 << 20;

/// A table file and its checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub path: PathBuf,
    pub checksum: u128,
}

/// What [`verify`] read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Table files.
    pub tables: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Reads every file that the engine in `dir` uses, and compares it with its checksum. The engine may be open: a table
/// that it merged meanwhile is left out. An engine that was never written to has nothing to verify.
pub fn verify(dir: &Path) -> Result<Verified, StorageFault> {
    let context = FaultContext::new(dir);
    let mut verified = Verified::default();
    for table in read_list(dir, &context)?.unwrap_or_default() {
        match verify_table(&table, |_| true) {
            Ok(bytes) => {
                verified.tables += 1;
                verified.bytes += bytes;
            }
            Err(what) if read_list(dir, &context)?.is_some_and(|now| now.contains(&table)) => {
                return Err(context.damaged("verify", what));
            }
            Err(_) => {}
        }
    }
    Ok(verified)
}

/// The first damaged file that is found within `budget`; for the message of a fault that is known to have happened.
pub(crate) fn locate(dir: &Path, budget: Duration) -> Option<String> {
    let deadline = Instant::now() + budget;
    let context = FaultContext::new(dir);
    let tables = match read_list(dir, &context) {
        Ok(tables) => tables?,
        Err(fault) => return Some(fault.to_string()),
    };
    tables.iter().find_map(|table| {
        let mut in_time = true;
        let found = verify_table(table, |_| {
            in_time = Instant::now() < deadline;
            in_time
        });
        found.err().filter(|_| in_time)
    })
}

/// Verifies what `lsm-tree` trusts when it opens the directory.
pub(crate) fn check_before_open(dir: &Path, context: &FaultContext) -> Result<(), StorageFault> {
    for table in read_list(dir, context)?.unwrap_or_default() {
        let bytes = File::open(&table.path).and_then(|file| read_contents(&file));
        match bytes {
            Ok(Ok(_)) => {}
            Ok(Err(what)) => {
                let what = format!("{}: {what}", table.path.display());
                return Err(context.damaged("open", what));
            }
            Err(error) => return Err(context.file("open", &table.path, error)),
        }
    }
    Ok(())
}

/// The tables in use; `None` if the directory has no list, which must then have no tables either.
pub(crate) fn read_list(
    dir: &Path,
    context: &FaultContext,
) -> Result<Option<Vec<Listed>>, StorageFault> {
    let current = dir.join("current");
    let named = match std::fs::read(&current) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return refuse_tables(dir, context).map(|()| None);
        }
        Err(error) => return Err(context.file("open", &current, error)),
    };
    let damaged =
        |path: &Path, what: &str| context.damaged("open", format!("{}: {what}", path.display()));
    if named.len() != 25 || named[24] != 0 {
        return Err(damaged(&current, "it does not name a list of tables"));
    }
    let list = dir.join(format!("v{}", u64_at(&named, 0)));
    let bytes = match std::fs::read(&list) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let what = format!("it names the list {}, which is missing", list.display());
            return Err(damaged(&current, &what));
        }
        Err(error) => return Err(context.file("open", &list, error)),
    };
    if xxh3_128(&bytes) != u128_at(&named, 8) {
        let what = format!(
            "the list of tables is not what {} says it is",
            current.display()
        );
        return Err(damaged(&list, &what));
    }
    parse_list(dir, &bytes).map(Some).ok_or_else(|| {
        damaged(
            &list,
            "the list of tables is not in a form this program knows",
        )
    })
}

/// Tables without the list that names them: `lsm-tree` would start afresh and delete them.
fn refuse_tables(dir: &Path, context: &FaultContext) -> Result<(), StorageFault> {
    let tables = dir.join("tables");
    let entries = match std::fs::read_dir(&tables) {
        Ok(mut entries) => entries.next(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(context.file("open", &tables, error)),
    };
    match entries {
        None => Ok(()),
        Some(_) => {
            Err(context.damaged("open", "tables but not the file `current` that lists them"))
        }
    }
}

/// The section `tables`: levels u8, runs u8, tables u32, then number u64, checksum type u8, checksum u128, offset u64.
fn parse_list(dir: &Path, bytes: &[u8]) -> Option<Vec<Listed>> {
    let contents = contents_of(bytes)?;
    let (at, len) = section(&contents, b"tables")?;
    let at = usize::try_from(at).ok()?;
    let end = at.checked_add(usize::try_from(len).ok()?)?;
    let mut reader = bytes.get(at..end)?;
    let mut tables = Vec::new();
    for _ in 0..take(&mut reader, 1)?[0] {
        for _ in 0..take(&mut reader, 1)?[0] {
            for _ in 0..u32::from_le_bytes(take(&mut reader, 4)?.try_into().ok()?) {
                let entry = take(&mut reader, 33)?;
                tables.push(Listed {
                    path: dir.join("tables").join(u64_at(entry, 0).to_string()),
                    checksum: u128_at(entry, 9),
                });
            }
        }
    }
    Some(tables)
}

fn contents_of(bytes: &[u8]) -> Option<Vec<u8>> {
    let trailer = bytes.get(bytes.len().checked_sub(TRAILER_BYTES)?..)?;
    let at = usize::try_from(u64_at(trailer, 22)).ok()?;
    bytes
        .get(at..bytes.len() - TRAILER_BYTES)
        .map(<[u8]>::to_vec)
}

/// Position and length of a section.
fn section(contents: &[u8], name: &[u8]) -> Option<(u64, u64)> {
    let mut reader = contents.strip_prefix(CONTENTS_MAGIC)?;
    for _ in 0..u32::from_le_bytes(take(&mut reader, 4)?.try_into().ok()?) {
        let (at, len) = (
            u64_at(take(&mut reader, 8)?, 0),
            u64_at(take(&mut reader, 8)?, 0),
        );
        let count = u16::from_le_bytes(take(&mut reader, 2)?.try_into().ok()?);
        if take(&mut reader, usize::from(count))? == name {
            return Some((at, len));
        }
    }
    None
}

/// The table of contents of an open file, verified; the inner error says what is wrong with it.
fn read_contents(file: &File) -> std::io::Result<Result<Vec<u8>, String>> {
    let len = file.metadata()?.len();
    let Some(trailer_at) = len.checked_sub(TRAILER_BYTES as u64) else {
        return Ok(Err(format!("it is cut off after {len} bytes")));
    };
    let mut trailer = [0; TRAILER_BYTES];
    file.read_exact_at(&mut trailer, trailer_at)?;
    if &trailer[..4] != TRAILER_MAGIC {
        return Ok(Err("its end is not a trailer".to_owned()));
    }
    let at = u64_at(&trailer, 22);
    let contents_bytes = trailer_at.checked_sub(at);
    let Some(count) = contents_bytes.filter(|bytes| *bytes <= CONTENTS_BYTES_MAX) else {
        return Ok(Err("its trailer points to no table of contents".to_owned()));
    };
    let mut contents = vec![0; usize::try_from(count).expect("bounded just now")];
    file.read_exact_at(&mut contents, at)?;
    if xxh3_128(&contents) != u128_at(&trailer, 6) || !contents.starts_with(CONTENTS_MAGIC) {
        return Ok(Err(
            "its table of contents does not match its checksum".to_owned()
        ));
    }
    Ok(Ok(contents))
}

/// Reads a whole table; `go_on` is told of each chunk's length. Returns the bytes read; the error names the file.
pub(crate) fn verify_table(
    table: &Listed,
    mut go_on: impl FnMut(usize) -> bool,
) -> Result<u64, String> {
    let named = |what: String| format!("{}: {what}", table.path.display());
    let mut file = File::open(&table.path).map_err(|error| named(error.to_string()))?;
    let mut hasher = Xxh3Default::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        let count = file
            .read(&mut chunk)
            .map_err(|error| named(error.to_string()))?;
        if count == 0 {
            break;
        }
        hasher.update(&chunk[..count]);
        bytes += count as u64;
        if !go_on(count) {
            return Ok(bytes);
        }
    }
    if hasher.digest128() != table.checksum {
        return Err(named(format!(
            "the {bytes} bytes of this table do not match its checksum"
        )));
    }
    Ok(bytes)
}

fn take<'a>(reader: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, rest) = reader.split_at_checked(count)?;
    *reader = rest;
    Some(head)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

fn u128_at(bytes: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(bytes[at..at + 16].try_into().expect("16 bytes"))
}

#[cfg(test)]
mod tests;
