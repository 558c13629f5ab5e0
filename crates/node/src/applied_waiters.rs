//! Reads that wait until the state machine has come far enough.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::events::{ReadDone, ReadError};
use crate::status::Gauges;

/// Most reads that may wait; more are refused as overloaded.
const WAITERS_MAX: usize = 65_536;

/// Waiters by the index they wait for.
pub(crate) struct AppliedWaiters {
    gauges: Arc<Gauges>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    by_index: BTreeMap<u64, Vec<ReadDone>>,
    count: usize,
}

impl AppliedWaiters {
    pub fn new(gauges: Arc<Gauges>) -> Self {
        AppliedWaiters {
            gauges,
            waiting: Mutex::new(Waiting::default()),
        }
    }

    /// Calls `done` once `index` is applied: now, if it is.
    pub fn wait(&self, index: u64, done: ReadDone) {
        if self.gauges.applied.load(Ordering::Acquire) < index {
            let mut waiting = self.waiting.lock();
            // Looked at again under the lock: `release` sets the gauge before it takes the lock.
            if self.gauges.applied.load(Ordering::Acquire) < index {
                if waiting.count >= WAITERS_MAX {
                    drop(waiting);
                    done(Err(ReadError::Overloaded));
                    return;
                }
                waiting.count += 1;
                waiting.by_index.entry(index).or_default().push(done);
                return;
            }
        }
        done(Ok(index));
    }

    /// The state machine has applied up to `index`.
    pub fn release(&self, index: u64) {
        self.gauges.applied.store(index, Ordering::Release);
        let ready = {
            let mut waiting = self.waiting.lock();
            if waiting.count == 0 {
                return;
            }
            let later = waiting.by_index.split_off(&(index + 1));
            let ready = std::mem::replace(&mut waiting.by_index, later);
            waiting.count -= ready.values().map(Vec::len).sum::<usize>();
            ready
        };
        for (wanted, done) in ready
            .into_iter()
            .flat_map(|(at, list)| list.into_iter().map(move |done| (at, done)))
        {
            done(Ok(wanted));
        }
    }

    /// The node ends; nobody waits any longer.
    pub fn abandon(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        for done in waiting.by_index.into_values().flatten() {
            done(Err(ReadError::Stopping));
        }
    }
}
