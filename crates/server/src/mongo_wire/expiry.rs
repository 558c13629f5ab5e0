//! The background task that deletes documents whose time has passed (indexes with `expireAfterSeconds`).
//!
//! Works on the leader only, in passes: small batches are found in a snapshot and proposed as replicated commands, which
//! look at each document again; all members delete the same. The clock that counts is the leader's own, read when a batch is
//! looked for: what a stop of the process or a change of the lead delays can only be deleted later.
//!
//! Between two batches it pauses for a multiple of what the last one took, so that clients keep most of the machine, and
//! so much the more when it is busy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use state_machine::{ExpiredBatch, Reply};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::failure::Failure;
use super::server::{Server, wall_ms};
use super::write_path::{propose, unexpected};

/// Time between two passes, unless it is set.
pub(crate) const PERIOD_DEFAULT: Duration = Duration::from_secs(60);
/// Entries of an index that one command names.
const BATCH_ENTRIES: usize = 100;
/// The pause after a batch, in times of what the batch took.
const PAUSE_FACTOR: u32 = 3;
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// A pass ends after so many batches of an index: one that gains expired documents without end must not hold it up.
const BATCHES_PER_PASS_MAX: u32 = 10_000;

/// What is set, and what `serverStatus` shows.
pub(crate) struct Expiry {
    pace: watch::Sender<Pace>,
    pub passes: AtomicU64,
    /// Rounds over all indexes; a pass goes on until one finds nothing left.
    pub rounds: AtomicU64,
    pub deleted: AtomicU64,
}

/// When passes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    pub enabled: bool,
    pub period: Duration,
}

impl Expiry {
    pub(crate) fn new(period: Duration) -> Self {
        let pace = Pace {
            enabled: true,
            period,
        };
        Expiry {
            pace: watch::Sender::new(pace),
            passes: AtomicU64::new(0),
            rounds: AtomicU64::new(0),
            deleted: AtomicU64::new(0),
        }
    }

    pub(crate) fn pace(&self) -> Pace {
        *self.pace.borrow()
    }

    /// Takes effect at once: a period that is over already is followed by a pass.
    pub(crate) fn set_pace(&self, change: impl FnOnce(&mut Pace)) {
        self.pace.send_modify(change);
    }
}

/// Makes pass after pass until the task is dropped.
pub(crate) async fn run(server: Arc<Server>) {
    let mut pace = server.expiry.pace.subscribe();
    let mut last = Instant::now();
    loop {
        let now = *pace.borrow_and_update();
        tokio::select! {
            () = sleep_until(last + now.period), if now.enabled => {}
            changed = pace.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        }
        if server.topology.view().is_primary() {
            // What cannot be deleted now is found again by the next pass.
            if let Err(failure) = pass(&server).await {
                tell(&server, &failure);
            }
        }
        last = Instant::now();
    }
}

/// A lost lead is no news.
fn tell(server: &Server, failure: &Failure) {
    if server.topology.view().is_primary() {
        eprintln!("cstore: deleting expired documents: {}", failure.message);
    }
}

/// Deletes what has expired, a batch of each index in turn.
async fn pass(server: &Arc<Server>) -> Result<(), Failure> {
    let expiry = &server.expiry;
    // Where the search goes on: what was deleted need not be passed over again.
    let mut places: BTreeMap<u32, Option<Vec<u8>>> = indexes(server)
        .into_iter()
        .map(|index_id| (index_id, None))
        .collect();
    let mut batches = 0;
    while !places.is_empty() && batches < BATCHES_PER_PASS_MAX {
        batches += 1;
        for (index_id, mut after) in std::mem::take(&mut places) {
            let start = Instant::now();
            let Some(batch) = find(server, index_id, after.take()).await? else {
                continue;
            };
            let deleted = match propose(server, &batch.command).await? {
                Reply::DocumentsExpired { deleted } => deleted,
                other => return Err(unexpected(&other)),
            };
            expiry
                .deleted
                .fetch_add(u64::from(deleted), Ordering::Relaxed);
            if batch.entries == BATCH_ENTRIES {
                places.insert(index_id, Some(batch.last));
            }
            sleep((start.elapsed() * PAUSE_FACTOR).max(PAUSE_MIN)).await;
        }
        expiry.rounds.fetch_add(1, Ordering::Relaxed);
    }
    expiry.passes.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

fn indexes(server: &Server) -> Vec<u32> {
    let snapshot = server.node.reader().snapshot();
    let expiring = snapshot.expiring_indexes();
    expiring.into_iter().map(|(_, index)| index.id).collect()
}

async fn find(
    server: &Arc<Server>,
    index_id: u32,
    after: Option<Vec<u8>>,
) -> Result<Option<ExpiredBatch>, Failure> {
    let reader = server.node.reader();
    let searching = tokio::task::spawn_blocking(move || {
        let snapshot = reader.snapshot();
        let Some(index) = snapshot.expiring_index(index_id) else {
            return Ok(None);
        };
        snapshot.find_expired(&index, after.as_deref(), wall_ms(), BATCH_ENTRIES)
    });
    match searching.await {
        Ok(found) => Ok(found?),
        // A task that panicked has printed why.
        Err(_) => Ok(None),
    }
}
