//! How a time limit or a kill reaches running work, and how the work says how it goes, without this crate knowing a clock
//! or a client.

use std::sync::Arc;

use super::plan_summary::PlanSummary;

/// Why a read must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterruptReason {
    /// The operation's `maxTimeMS` has passed.
    TimeLimit,
    /// The operation or its cursor was killed, or its client went away.
    Killed,
}

/// Whoever runs an operation. Everything here is called from the thread that works on it, one call at a time, and often: it
/// has to be cheap.
pub trait Owner: Send + Sync {
    /// Must it stop? Asked every few documents.
    fn reason(&self) -> Option<InterruptReason>;

    /// A plan was chosen. Said once for each search: a pipeline that reads other collections makes many, and its own is
    /// the first.
    fn planned(&self, _plan: &dyn Fn() -> PlanSummary) {}

    /// So many more index entries and documents were looked at.
    fn examined(&self, _keys: u64, _documents: u64) {}
}

/// What an operation knows of its owner. The default has none: nothing stops it.
#[derive(Clone, Default)]
pub struct Interrupt {
    owner: Option<Arc<dyn Owner>>,
}

/// An owner that only has a reason to stop.
struct Check<F>(F);

impl<F: Fn() -> Option<InterruptReason> + Send + Sync> Owner for Check<F> {
    fn reason(&self) -> Option<InterruptReason> {
        (self.0)()
    }
}

impl Interrupt {
    /// Never stops the work.
    pub fn never() -> Self {
        Interrupt::default()
    }

    /// Stops the work as soon as `check` gives a reason. The closure may consult state that changes between
    /// batches, such as the deadline of the current getMore.
    pub fn new(check: impl Fn() -> Option<InterruptReason> + Send + Sync + 'static) -> Self {
        Interrupt::of(Arc::new(Check(check)))
    }

    /// Stops the work when its owner says so, and tells the owner how it goes.
    pub fn of(owner: Arc<impl Owner + 'static>) -> Self {
        Interrupt { owner: Some(owner) }
    }

    /// The reason to stop, if there is one now.
    pub fn reason(&self) -> Option<InterruptReason> {
        self.owner.as_ref().and_then(|owner| owner.reason())
    }

    pub(super) fn planned(&self, plan: &dyn Fn() -> PlanSummary) {
        if let Some(owner) = &self.owner {
            owner.planned(plan);
        }
    }

    pub(super) fn examined(&self, keys: u64, documents: u64) {
        if let Some(owner) = &self.owner {
            owner.examined(keys, documents);
        }
    }
}

impl std::fmt::Debug for Interrupt {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Interrupt").finish_non_exhaustive()
    }
}
