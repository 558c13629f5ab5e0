//! How a time limit or a kill reaches running work, without this crate knowing a clock or a client.

use std::sync::Arc;

/// Why a read must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterruptReason {
    /// The operation's `maxTimeMS` has passed.
    TimeLimit,
    /// The operation or its cursor was killed, or its client went away.
    Killed,
}

type Check = dyn Fn() -> Option<InterruptReason> + Send + Sync;

/// A question the owner of an operation answers: must it stop? Asked every few documents, so it has to be cheap
/// (an atomic load, or a clock read). The default never stops anything.
#[derive(Clone, Default)]
pub struct Interrupt {
    check: Option<Arc<Check>>,
}

impl Interrupt {
    /// Never stops the work.
    pub fn never() -> Self {
        Interrupt::default()
    }

    /// Stops the work as soon as `check` gives a reason. The closure may consult state that changes between
    /// batches, such as the deadline of the current getMore.
    pub fn new(check: impl Fn() -> Option<InterruptReason> + Send + Sync + 'static) -> Self {
        Interrupt {
            check: Some(Arc::new(check)),
        }
    }

    /// The reason to stop, if there is one now.
    pub fn reason(&self) -> Option<InterruptReason> {
        self.check.as_ref().and_then(|check| check())
    }
}

impl std::fmt::Debug for Interrupt {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Interrupt").finish_non_exhaustive()
    }
}
