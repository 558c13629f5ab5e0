//! Generations of the engine's directory.
//!
//! The engine lives in `engine/N/`; `engine/CURRENT` names the N in use. A snapshot is staged as generation N + 1
//! beside the running one and becomes current by one atomic rename of `CURRENT`, so a crash at any point leaves either
//! the old state or the new. An older generation is removed when nobody reads it any more, and others at the next start.
//!
//! `engine/installing-<index>` stands from before that rename until the log was reset to the snapshot: a log that ends
//! before the state is an interrupted install if it is there, and has lost its end if it is not.

use std::path::{Path, PathBuf};

use consensus::LogIndex;
use platform::Disk;

use crate::error::StartError;
use crate::small_file;

const CURRENT: &str = "CURRENT";
const INSTALLING: &str = "installing-";

/// Finds the current generation, makes the first one on a fresh directory, removes the others.
pub fn open<D: Disk>(disk: &D, root: &Path) -> Result<PathBuf, StartError> {
    disk.create_dir_all(root)
        .map_err(|source| StartError::io("create", root, source))?;
    let generation = match read_current(disk, root)? {
        Some(generation) => generation,
        None => {
            refuse_generations(disk, root)?;
            commit(disk, root, 1)?;
            1
        }
    };
    let keep = generation.to_string();
    for name in generations(disk, root)? {
        if name != keep {
            let path = root.join(&name);
            disk.remove_dir_all(&path)
                .map_err(|source| StartError::io("remove", &path, source))?;
        }
    }
    Ok(root.join(keep))
}

/// Names of the generations' directories.
fn generations<D: Disk>(disk: &D, root: &Path) -> Result<Vec<String>, StartError> {
    let entries = disk
        .list(root)
        .map_err(|source| StartError::io("list", root, source))?;
    let names = entries.into_iter().map(|entry| entry.name);
    Ok(names.filter(|name| name.parse::<u64>().is_ok()).collect())
}

/// `CURRENT` is written before the first generation is made and never goes: generations without it are data that must
/// not be taken for leftovers.
fn refuse_generations<D: Disk>(disk: &D, root: &Path) -> Result<(), StartError> {
    match generations(disk, root)?.first() {
        None => Ok(()),
        Some(name) => Err(StartError::Inconsistent {
            path: root.join(CURRENT),
            what: format!("it is missing, though there is a generation {name} beside it"),
        }),
    }
}

/// The directory in which the generation after the current one is to be staged; emptied if it exists.
pub fn stage<D: Disk>(disk: &D, root: &Path) -> Result<PathBuf, StartError> {
    let generation = read_current(disk, root)?.unwrap_or(0) + 1;
    let path = root.join(generation.to_string());
    if disk
        .exists(&path)
        .map_err(|source| StartError::io("look for", &path, source))?
    {
        disk.remove_dir_all(&path)
            .map_err(|source| StartError::io("remove", &path, source))?;
    }
    Ok(path)
}

/// The generation in use; `None` before the first.
pub fn current<D: Disk>(disk: &D, root: &Path) -> Result<Option<u64>, StartError> {
    read_current(disk, root)
}

/// Takes the room that [`make_current`] needs; to be called before it, as it must not fail for want of it.
pub fn prepare_current<D: Disk>(
    disk: &D,
    root: &Path,
    staged: &Path,
    index: LogIndex,
) -> Result<(), StartError> {
    let generation = generation_of(staged);
    let installing = format!("{INSTALLING}{}", index.0);
    small_file::prepare(disk, root, &installing, &installing_text(generation))?;
    small_file::prepare(disk, root, CURRENT, &current_text(generation))
}

/// Gives back the room that [`prepare_current`] took, when nothing is to be made current.
pub fn give_up_prepared<D: Disk>(disk: &D, root: &Path) -> Result<(), StartError> {
    let entries = disk
        .list(root)
        .map_err(|source| StartError::io("list", root, source))?;
    let current = format!("{CURRENT}.new");
    let prepared =
        |name: &str| name == current || name.starts_with(INSTALLING) && name.ends_with(".new");
    for entry in entries.iter().filter(|entry| prepared(&entry.name)) {
        remove(disk, &root.join(&entry.name))?;
    }
    Ok(())
}

/// Removes a file that another thread may be removing, too.
fn remove<D: Disk>(disk: &D, path: &Path) -> Result<(), StartError> {
    match disk.remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(StartError::io("remove", path, source))
        }
        _ => Ok(()),
    }
}

/// Makes a staged directory, which holds a snapshot as of `index`, the current generation.
pub fn make_current<D: Disk>(
    disk: &D,
    root: &Path,
    staged: &Path,
    index: LogIndex,
) -> Result<(), StartError> {
    let generation = generation_of(staged);
    let installing = format!("{INSTALLING}{}", index.0);
    small_file::replace(disk, root, &installing, &installing_text(generation))?;
    commit(disk, root, generation)
}

fn generation_of(staged: &Path) -> u64 {
    let name = staged.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.parse().ok())
        .expect("a staged directory is named by `stage`")
}

fn installing_text(generation: u64) -> String {
    format!("generation={generation}\n")
}

fn current_text(generation: u64) -> String {
    format!("{generation}\n")
}

/// Whether the snapshot as of `index` was made current, and the log perhaps not reset to it yet.
pub fn is_installing<D: Disk>(disk: &D, root: &Path, index: LogIndex) -> Result<bool, StartError> {
    let path = root.join(format!("{INSTALLING}{}", index.0));
    disk.exists(&path)
        .map_err(|source| StartError::io("look for", &path, source))
}

/// The log has been reset to the snapshot as of `index`, or goes on from a later one.
pub fn installed<D: Disk>(disk: &D, root: &Path, index: LogIndex) -> Result<(), StartError> {
    let entries = disk
        .list(root)
        .map_err(|source| StartError::io("list", root, source))?;
    let done = entries.iter().filter(|entry| {
        let of = entry.name.strip_prefix(INSTALLING);
        of.and_then(|of| of.trim_end_matches(".new").parse().ok())
            .is_some_and(|of: u64| of <= index.0)
    });
    let mut any = false;
    for entry in done {
        remove(disk, &root.join(&entry.name))?;
        any = true;
    }
    if any {
        disk.sync_dir(root)
            .map_err(|source| StartError::io("sync", root, source))?;
    }
    Ok(())
}

fn read_current<D: Disk>(disk: &D, root: &Path) -> Result<Option<u64>, StartError> {
    let path = root.join(CURRENT);
    let Some(text) = small_file::read(disk, &path)? else {
        return Ok(None);
    };
    match text.trim().parse() {
        Ok(generation) => Ok(Some(generation)),
        Err(_) => Err(StartError::Inconsistent {
            path,
            what: format!("it should hold a number, it holds {text:?}"),
        }),
    }
}

fn commit<D: Disk>(disk: &D, root: &Path, generation: u64) -> Result<(), StartError> {
    small_file::replace(disk, root, CURRENT, &current_text(generation))
}
