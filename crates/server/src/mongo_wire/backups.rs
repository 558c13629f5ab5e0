//! Backups that are being taken from this node: each a thread that exports chunks of one version of the state, no further
//! ahead of its client than a few chunks, and at low priority.
//!
//! A backup keeps its version readable while it lives, so there is a limit to their number and to the time one may lie
//! unused. One command at a time uses it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use state_machine::{Export, StorageFault};
use tokio::sync::mpsc;

use super::failure::{Code, Failure};

/// Backups under way on one node.
const BACKUPS_MAX: usize = 4;
/// Chunks that may be ready before they are asked for; one is about 256 KiB before it is compressed, or one large document.
const READY_CHUNKS_MAX: usize = 2;
/// A reply holds no more than this, or one chunk.
const REPLY_BYTES_MAX: usize = 1 << 20;
/// A backup that nobody has asked to go on for so long is given up.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Exporting yields to what answers clients.
const NICENESS: i32 = 10;

type Chunks = mpsc::Receiver<Result<Vec<u8>, StorageFault>>;

struct Idle {
    chunks: Chunks,
    since: Instant,
}

/// The backups of one node.
#[derive(Default)]
pub(crate) struct Backups {
    /// `None`: a command is using it.
    open: Mutex<BTreeMap<i64, Option<Idle>>>,
    last_id: AtomicI64,
}

impl Backups {
    /// Begins a backup and returns its number.
    pub(crate) fn begin(&self, export: Export) -> Result<i64, Failure> {
        let mut open = self.open.lock();
        if open.len() >= BACKUPS_MAX {
            return Err(Failure::new(
                Code::ConflictingOperationInProgress,
                format!(
                    "{BACKUPS_MAX} backups are being taken from this member already; wait for one, or take it from another member"
                ),
            ));
        }
        let (sender, chunks) = mpsc::channel(READY_CHUNKS_MAX);
        let spawned = std::thread::Builder::new()
            .name("backup".to_owned())
            .spawn(move || {
                // Without the permission it works all the same.
                let _ = platform::lower_thread_priority(NICENESS);
                for chunk in export {
                    let failed = chunk.is_err();
                    // Given up by its client, or broken: nothing more is wanted.
                    if sender.blocking_send(chunk).is_err() || failed {
                        return;
                    }
                }
            });
        spawned.map_err(|error| {
            let what = format!("cannot start a thread for the backup: {error}");
            Failure::new(Code::InternalError, what)
        })?;
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let since = Instant::now();
        open.insert(id, Some(Idle { chunks, since }));
        Ok(id)
    }

    /// The next chunks, at least one. A backup that has ended is forgotten.
    pub(crate) async fn next(&self, id: i64) -> Result<Vec<Vec<u8>>, Failure> {
        let idle = match self.open.lock().get_mut(&id) {
            None => return Err(unknown(id)),
            Some(place) => place.take(),
        };
        let Some(Idle { mut chunks, .. }) = idle else {
            return Err(Failure::new(
                Code::CursorInUse,
                format!("backup {id} is being read by another command"),
            ));
        };
        // Should this command be given up, so is the backup.
        let mut guard = Forget {
            backups: self,
            id,
            armed: true,
        };
        let Some(first) = chunks.recv().await else {
            return Err(unknown(id));
        };
        let mut ready = vec![first?];
        let mut bytes = ready[0].len();
        while bytes < REPLY_BYTES_MAX
            && let Ok(chunk) = chunks.try_recv()
        {
            let chunk = chunk?;
            bytes += chunk.len();
            ready.push(chunk);
        }
        if !(chunks.is_closed() && chunks.is_empty()) {
            guard.armed = false;
            let since = Instant::now();
            self.open.lock().insert(id, Some(Idle { chunks, since }));
        }
        Ok(ready)
    }

    /// Gives a backup up; whether there was one.
    pub(crate) fn end(&self, id: i64) -> bool {
        self.open.lock().remove(&id).is_some()
    }

    /// Gives up what lies unused.
    pub(crate) fn close_idle(&self) {
        self.open.lock().retain(|_, backup| {
            backup
                .as_ref()
                .is_none_or(|idle| idle.since.elapsed() < IDLE_MAX)
        });
    }
}

/// Forgets a backup when dropped, unless disarmed.
struct Forget<'a> {
    backups: &'a Backups,
    id: i64,
    armed: bool,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.backups.open.lock().remove(&self.id);
        }
    }
}

fn unknown(id: i64) -> Failure {
    Failure::new(
        Code::CursorNotFound,
        format!(
            "backup {id} is not under way here: it has ended, or was not asked for anything for {} s",
            IDLE_MAX.as_secs()
        ),
    )
}
