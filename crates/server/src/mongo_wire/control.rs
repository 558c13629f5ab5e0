//! What a running operation must heed, and what it has said of how it goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use state_machine::query::{Interrupt, InterruptReason, Owner, PlanSummary};

/// Shared with the [`Interrupt`] inside the work. One thread works at a time, so counters need no atomic addition.
#[derive(Debug)]
pub(crate) struct Control {
    started: Instant,
    /// Milliseconds after `started`; `u64::MAX` for none.
    deadline_ms: AtomicU64,
    killed: AtomicBool,
    plan: Mutex<Option<PlanSummary>>,
    keys: AtomicU64,
    documents: AtomicU64,
    returned: AtomicU64,
}

impl Control {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Control {
            started: Instant::now(),
            deadline_ms: AtomicU64::new(u64::MAX),
            killed: AtomicBool::new(false),
            plan: Mutex::new(None),
            keys: AtomicU64::new(0),
            documents: AtomicU64::new(0),
            returned: AtomicU64::new(0),
        })
    }

    /// Sets the time limit of what is about to run.
    pub(crate) fn limit(&self, remaining: Option<Duration>) {
        let deadline = remaining.map_or(u64::MAX, |remaining| {
            u64::try_from((self.started.elapsed() + remaining).as_millis()).unwrap_or(u64::MAX)
        });
        self.deadline_ms.store(deadline, Ordering::Relaxed);
    }

    /// Counts from zero, for the next batch of a cursor.
    pub(crate) fn count_anew(&self) {
        for counter in [&self.keys, &self.documents, &self.returned] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// Serves another operation, after the last one has ended.
    pub(crate) fn serve_anew(&self) {
        self.count_anew();
        self.killed.store(false, Ordering::Relaxed);
        *self.plan.lock() = None;
    }

    pub(crate) fn kill(&self) {
        self.killed.store(true, Ordering::Relaxed);
    }

    /// A row goes into the reply.
    pub(crate) fn give(&self) {
        add(&self.returned, 1);
    }

    pub(crate) fn interrupt(self: &Arc<Self>) -> Interrupt {
        Interrupt::of(self.clone())
    }

    pub(crate) fn plan(&self) -> Option<PlanSummary> {
        self.plan.lock().clone()
    }

    /// Index entries and documents that were looked at.
    pub(crate) fn examined(&self) -> (u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.keys), read(&self.documents))
    }

    /// Rows of the batch.
    pub(crate) fn returned(&self) -> u64 {
        self.returned.load(Ordering::Relaxed)
    }
}

impl Owner for Control {
    fn reason(&self) -> Option<InterruptReason> {
        if self.killed.load(Ordering::Relaxed) {
            return Some(InterruptReason::Killed);
        }
        let deadline = self.deadline_ms.load(Ordering::Relaxed);
        let passed = deadline != u64::MAX && self.started.elapsed().as_millis() as u64 >= deadline;
        passed.then_some(InterruptReason::TimeLimit)
    }

    fn planned(&self, plan: &dyn Fn() -> PlanSummary) {
        self.plan.lock().get_or_insert_with(plan);
    }

    fn examined(&self, keys: u64, documents: u64) {
        add(&self.keys, keys);
        add(&self.documents, documents);
    }
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
}
