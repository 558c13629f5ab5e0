//! Looks up, side by side, what entries that wait to be applied will look up. They are applied one after the other: where
//! the documents they change come from a disk, the apply thread would wait for one read after the other.
//!
//! Promises: only what is in memory depends on it; entries are looked into only while applying is seen to wait for a disk;
//! what has been applied meanwhile is passed over; a fault is left to the apply thread, which meets it again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use consensus::{EntryKind, Payload};
use parking_lot::{Condvar, Mutex, RwLock};
use state_machine::Reader;

use crate::events::ApplyWork;
use crate::status::Gauges;

/// Threads that look up. More reads at once gain little on the disks of one machine.
pub(crate) const HELPERS: usize = 8;
/// Keys that one of them looks up before others may take the rest of a command.
const KEYS_AT_ONCE: usize = 16;
/// Entries after which is decided anew whether to look ahead.
const DECIDE_EVERY: u64 = 256;
/// Looking ahead is worth its time when applying reads that much from a disk for an entry, on the average: one block for
/// every 16 entries.
const BYTES_PER_ENTRY: u64 = 256;

/// What is to be looked up for the entry at an index.
struct Job {
    index: u64,
    what: What,
}

enum What {
    Command(Payload),
    Keys(Vec<Vec<u8>>),
}

/// What the apply thread and the helpers share.
pub(crate) struct Prefetcher {
    queue: Mutex<Queue>,
    filled: Condvar,
    /// What helpers have had read from a disk since it was last decided.
    bytes_from_disk: AtomicU64,
    gauges: Arc<Gauges>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Prefetcher {
    pub fn new(gauges: Arc<Gauges>) -> Self {
        Prefetcher {
            queue: Mutex::default(),
            filled: Condvar::new(),
            bytes_from_disk: AtomicU64::new(0),
            gauges,
        }
    }

    /// Looks up until the queue is closed; `reader` is what the apply thread publishes.
    pub fn help(&self, reader: &RwLock<Reader>) {
        let mut before = platform::bytes_from_disk();
        while let Some(job) = self.next() {
            // Not kept longer than for one job: it holds the engine's files.
            self.look_up(&reader.read().clone(), job);
            let now = platform::bytes_from_disk();
            self.bytes_from_disk
                .fetch_add(now - before, Ordering::Relaxed);
            before = now;
        }
    }

    fn look_up(&self, reader: &Reader, job: Job) {
        let index = job.index;
        if reader.applied_index() >= index {
            return;
        }
        let mut keys = match job.what {
            What::Command(payload) => reader.keys_to_apply(&payload),
            What::Keys(keys) => keys,
        };
        if keys.len() > KEYS_AT_ONCE {
            let rest = keys.split_off(KEYS_AT_ONCE);
            let chunks = rest.chunks(KEYS_AT_ONCE).map(<[Vec<u8>]>::to_vec);
            self.add(chunks.map(What::Keys).map(|what| Job { index, what }));
        }
        for key in &keys {
            if reader.applied_index() >= index {
                return;
            }
            // The apply thread meets the fault again.
            let _ = reader.prefetch(key);
            self.gauges.prefetched.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The next job; `None` when the queue is closed.
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock();
        self.filled
            .wait_while(&mut queue, |queue| queue.jobs.is_empty() && !queue.closed);
        match queue.closed {
            true => None,
            false => queue.jobs.pop_front(),
        }
    }

    fn add(&self, jobs: impl Iterator<Item = Job>) {
        let mut queue = self.queue.lock();
        let before = queue.jobs.len();
        queue.jobs.extend(jobs);
        let added = queue.jobs.len() - before;
        drop(queue);
        // As many as sleep, at most.
        let mut woken = 0;
        while woken < added && self.filled.notify_one() {
            woken += 1;
        }
    }

    fn close(&self) {
        self.queue.lock().closed = true;
        self.filled.notify_all();
    }
}

/// The apply thread's side. Ends the helpers when it is dropped.
pub(crate) struct LookAhead {
    prefetcher: Arc<Prefetcher>,
    need: Need,
    /// What the apply thread itself had had read from a disk when it was last decided.
    own_bytes: u64,
}

impl LookAhead {
    pub fn new(prefetcher: Arc<Prefetcher>) -> Self {
        LookAhead {
            prefetcher,
            need: Need::default(),
            own_bytes: 0,
        }
    }

    /// To be called by the apply thread before it begins with `work`.
    pub fn begin(&mut self, work: &[ApplyWork]) {
        if self.need.is_due() {
            let own_bytes = platform::bytes_from_disk();
            let of_helpers = self.prefetcher.bytes_from_disk.swap(0, Ordering::Relaxed);
            self.need.decide(own_bytes - self.own_bytes + of_helpers);
            self.own_bytes = own_bytes;
        }
        self.need.entries += work.len() as u64;
        if self.need.is_there {
            self.tell(work);
        }
    }

    /// Tells the helpers of all but the first, which is applied at once.
    fn tell(&self, work: &[ApplyWork]) {
        let jobs = work.iter().skip(1).filter_map(|item| match item {
            ApplyWork::Entry { entry, .. } => match &entry.kind {
                EntryKind::Command(payload) => Some(Job {
                    index: entry.index.0,
                    what: What::Command(payload.clone()),
                }),
                EntryKind::Noop | EntryKind::Membership(_) => None,
            },
            ApplyWork::Install { .. } => None,
        });
        self.prefetcher.add(jobs);
    }
}

impl Drop for LookAhead {
    fn drop(&mut self) {
        self.prefetcher.close();
    }
}

/// Whether to look ahead, by what was read from a disk of late.
#[derive(Default)]
struct Need {
    is_there: bool,
    /// Since it was decided.
    entries: u64,
}

impl Need {
    fn is_due(&self) -> bool {
        self.entries >= DECIDE_EVERY
    }

    /// So much was read for the entries since the last time.
    fn decide(&mut self, bytes_from_disk: u64) {
        self.is_there = bytes_from_disk >= self.entries * BYTES_PER_ENTRY;
        self.entries = 0;
    }
}

#[cfg(test)]
mod tests;
