//! A new cluster of one member from a backup, and what of an archived log is to follow it.
//!
//! The directory must be empty. While the restore is under way a file `restoring` stands in it, by which a start refuses it;
//! the identity, of a new cluster, is written last. Nothing is written before the archive is known to hold what was asked
//! for. After a failure what was made is removed again.

use std::io::Read;
use std::path::{Path, PathBuf};

use consensus::{EntryKind, HardState, LogIndex, LogPosition, NodeId, Term};
use platform::{Disk, Entropy};
use state_machine::{Command, ImportError, Snapshot, SnapshotImport, StateMachine, StorageFault};
use storage_engine::{Callbacks, Engine, Engines};
use write_ahead_log::{WalError, WriteAheadLog};

use super::{BackupError, BackupReader, BackupSummary};
use crate::archive::{Archive, ArchiveError, Plan, Until};
use crate::engine_dirs;
use crate::entry_codec::{decode_entry, encode_hard_state};
use crate::error::StartError;
use crate::identity::{Identity, hex};
use crate::last_resort::engines;
use crate::peers::GROUP;
use crate::recovery::{engine_root, log_dir, start_of};
use crate::small_file;
use crate::start::{random_id, take_directory};

/// Stands in a directory while it is being restored.
pub(crate) const RESTORING: &str = "restoring";

/// Why there is no new cluster.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup cannot be read, or is damaged.
    #[error("the backup: {0}")]
    Backup(#[from] BackupError),
    /// The archive does not hold what was asked for.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// There is something in the directory already.
    #[error(
        "{path} is not empty (it holds {found:?}): a restore makes a new member and overwrites nothing; give another --data-dir"
    )]
    NotEmpty {
        /// The data directory.
        path: PathBuf,
        /// Something in it.
        found: String,
    },
    /// What stands in the new engine is not what the backup says.
    #[error(
        "{namespace} has another hash after the restore than in the backup: the disk or the memory of this machine may be failing"
    )]
    OtherContent {
        /// Which collection.
        namespace: String,
    },
    /// An archived entry cannot be applied by this program.
    #[error("archived entry {index}: {what}")]
    Entry {
        /// Its log index.
        index: u64,
        /// What is wrong.
        what: String,
    },
    /// The directory could not be written.
    #[error(transparent)]
    Directory(#[from] StartError),
    /// The new engine could not be written.
    #[error(transparent)]
    Engine(#[from] StorageFault),
    /// The new log could not be written.
    #[error(transparent)]
    Log(#[from] WalError),
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The new cluster.
    pub cluster_id: [u8; 16],
    /// What the backup held.
    pub summary: BackupSummary,
    /// The last log entry in the new state.
    pub index: u64,
    /// Entries that were replayed from the archive, and when the last of them was made.
    pub replayed: u64,
    /// When the last entry was made, milliseconds since 1970, if it came from the archive.
    pub last_ms: Option<i64>,
    /// Set when a time was asked for and the archive ends before it.
    pub ends_before_time: bool,
}

/// How far a restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreStep {
    /// Reading the backup: so far.
    Reading {
        /// Of the file.
        bytes: u64,
        /// In it.
        documents: u64,
    },
    /// Comparing what was written with the backup.
    Comparing,
    /// Replaying entries.
    Replaying {
        /// So far.
        done: u64,
        /// In all.
        of: u64,
    },
}

/// Makes a new cluster's first member in `data_dir` from a backup and, if given, the archive in a directory up to a point.
pub fn restore<D: Disk, R: Read>(
    disk: &D,
    entropy: &dyn Entropy,
    data_dir: &Path,
    backup: BackupReader<R>,
    archive: Option<(&Path, Until)>,
    mut watch: impl FnMut(RestoreStep),
) -> Result<Restored, RestoreError> {
    refuse_used(disk, data_dir)?;
    let head = backup.head().clone();
    let replay = match archive {
        None => None,
        Some((directory, until)) => {
            let mut archive = Archive::open(disk.clone(), directory, head.cluster_id, head.index)?;
            if let Until::Time(asked) = until
                && asked < head.taken_ms
            {
                return Err(ArchiveError::BeforeBackup {
                    asked_ms: asked,
                    taken_ms: head.taken_ms,
                }
                .into());
            }
            let plan = archive.plan(until)?;
            Some((archive, plan))
        }
    };
    let lock = take_directory(disk, data_dir)?;
    let work = Work {
        disk,
        entropy,
        data_dir,
    };
    let outcome = work.run(backup, replay, &mut watch);
    if outcome.is_err() {
        work.clean_up();
    }
    drop(lock);
    outcome
}

/// Only what a fresh file system holds may be there.
fn refuse_used<D: Disk>(disk: &D, data_dir: &Path) -> Result<(), RestoreError> {
    let fail = |source| StartError::io("list", data_dir, source);
    if !disk.exists(data_dir).map_err(fail)? {
        return Ok(());
    }
    let entries = disk.list(data_dir).map_err(fail)?;
    match entries.iter().find(|entry| entry.name != "lost+found") {
        None => Ok(()),
        Some(entry) => Err(RestoreError::NotEmpty {
            path: data_dir.to_owned(),
            found: entry.name.clone(),
        }),
    }
}

struct Work<'a, D> {
    disk: &'a D,
    entropy: &'a dyn Entropy,
    data_dir: &'a Path,
}

impl<D: Disk> Work<'_, D> {
    fn run<R: Read>(
        &self,
        backup: BackupReader<R>,
        replay: Option<(Archive<D>, Plan)>,
        watch: &mut impl FnMut(RestoreStep),
    ) -> Result<Restored, RestoreError> {
        let head = backup.head().clone();
        let from = format!("cluster={}\nindex={}\n", hex(&head.cluster_id), head.index);
        small_file::replace(
            self.disk,
            self.data_dir,
            RESTORING,
            &small_file::seal(&from),
        )?;
        let root = engine_root(self.data_dir);
        self.disk
            .create_dir_all(&root)
            .map_err(|source| StartError::io("create", &root, source))?;
        let staged = engine_dirs::stage(self.disk, &root)?;
        let summary = import(&staged, backup, watch)?;
        engine_dirs::make_current(self.disk, &root, &staged, LogIndex(head.index))?;
        let engine = engines().open(&staged, Callbacks::default())?;
        let mut machine = StateMachine::open(engine.clone())?;
        watch(RestoreStep::Comparing);
        compare(&machine.reader().snapshot(), &summary)?;
        let (mut replayed, mut last_ms, mut ends_before_time) = (0, None, false);
        if let Some((mut archive, plan)) = replay {
            replayed = replay_into(&mut machine, &*engine, &mut archive, plan.last, watch)?;
            last_ms = plan.last_ms;
            ends_before_time = plan.ends_before_time;
        }
        let applied = machine.applied();
        let position = LogPosition {
            index: LogIndex(applied.index),
            term: Term(applied.term),
        };
        drop(machine);
        drop(engine);
        self.begin_log(position)?;
        engine_dirs::installed(self.disk, &root, position.index)?;
        let identity = Identity {
            cluster_id: random_id(self.entropy),
            node_id: NodeId(1),
            directory: random_id(self.entropy),
            founder: true,
        };
        identity.store(self.disk, self.data_dir)?;
        self.remove(RESTORING)?;
        Ok(Restored {
            cluster_id: identity.cluster_id,
            summary,
            index: applied.index,
            replayed,
            last_ms,
            ends_before_time,
        })
    }

    /// The log of a member that has applied everything up to `position` and has voted for nobody.
    fn begin_log(&self, position: LogPosition) -> Result<(), RestoreError> {
        let options = write_ahead_log::Options::default();
        let directory = log_dir(self.data_dir);
        let (mut log, _) = WriteAheadLog::open(self.disk.clone(), &directory, options)?;
        let state = HardState {
            term: position.term,
            vote: None,
            commit: position.index,
        };
        log.set_state(GROUP.0, &encode_hard_state(&state))?;
        log.reset(GROUP.0, start_of(position))?;
        Ok(log.sync()?)
    }

    fn remove(&self, name: &str) -> Result<(), RestoreError> {
        let path = self.data_dir.join(name);
        let fail = |source| StartError::io("remove", &path, source);
        self.disk.remove_file(&path).map_err(fail)?;
        Ok(self.disk.sync_dir(self.data_dir).map_err(fail)?)
    }

    /// Removes what was made, so that the restore can be tried again. What cannot be removed keeps the directory from being
    /// started.
    fn clean_up(&self) {
        for directory in [engine_root(self.data_dir), log_dir(self.data_dir)] {
            if self.disk.remove_dir_all(&directory).is_err()
                && self.disk.exists(&directory).unwrap_or(true)
            {
                return;
            }
        }
        for name in [RESTORING, "LOCK"] {
            self.disk.remove_file(&self.data_dir.join(name)).ok();
        }
    }
}

/// Builds the engine; the backup is verified to its end before that becomes durable.
fn import<R: Read>(
    staged: &Path,
    mut backup: BackupReader<R>,
    watch: &mut impl FnMut(RestoreStep),
) -> Result<BackupSummary, RestoreError> {
    let head = backup.head().clone();
    let loader = engines().bulk_loader(staged)?;
    let mut import = SnapshotImport::new(loader, head.index);
    let failed = |error: ImportError| match error {
        ImportError::Storage(fault) => RestoreError::Engine(fault),
        error => RestoreError::Backup(error.into()),
    };
    while let Some(chunk) = backup.next_chunk()? {
        import.chunk(chunk).map_err(failed)?;
        watch(RestoreStep::Reading {
            bytes: backup.offset(),
            documents: backup.total().documents,
        });
    }
    let summary = backup.finish()?;
    let applied = import.finish().map_err(failed)?;
    if (applied.index, applied.term) != (head.index, head.term) {
        return Err(RestoreError::Backup(ImportError::Position.into()));
    }
    Ok(summary)
}

/// Reads everything back.
fn compare(snapshot: &Snapshot, summary: &BackupSummary) -> Result<(), RestoreError> {
    for collection in &summary.collections {
        let found = snapshot.collection_hash(&collection.namespace)?;
        if found != Some(collection.hash) {
            return Err(RestoreError::OtherContent {
                namespace: collection.namespace.to_string(),
            });
        }
    }
    Ok(())
}

/// Applies the archived entries up to `last`, and makes the state durable. Memberships are the old cluster's: they are
/// passed over. Returns how many entries.
fn replay_into<D: Disk>(
    machine: &mut StateMachine,
    engine: &dyn Engine,
    archive: &mut Archive<D>,
    last: u64,
    watch: &mut impl FnMut(RestoreStep),
) -> Result<u64, RestoreError> {
    let first = machine.applied().index + 1;
    for index in first..=last {
        let archived = archive.entry(index)?;
        let bad = |what: String| RestoreError::Entry { index, what };
        let entry =
            decode_entry(index, &archived.payload).map_err(|error| bad(error.to_string()))?;
        if entry.term.0 < machine.applied().term {
            return Err(bad("its term is lower than that of the entry before: the archive is of another history".to_owned()));
        }
        match entry.kind {
            EntryKind::Noop | EntryKind::Membership(_) => machine.apply_noop(index, entry.term.0),
            EntryKind::Command(command) => {
                Command::check_version(&command).map_err(|error| bad(error.to_string()))?;
                machine.apply(index, entry.term.0, &command)?;
            }
        }
        if machine.wants_rotate() {
            machine.before_rotate();
            // Waits: so memory stays bounded however fast entries come.
            engine.flush_all()?;
        }
        if index % 1024 == 0 || index == last {
            watch(RestoreStep::Replaying {
                done: index + 1 - first,
                of: last + 1 - first,
            });
        }
    }
    if last >= first {
        machine.before_rotate();
        engine.flush_all()?;
    }
    Ok((last + 1).saturating_sub(first))
}
