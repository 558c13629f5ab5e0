//! Pauses between attempts to dial a peer: exponential, with jitter, so that members that lost one another at the same
//! moment do not all dial at the same moment.

use std::time::Duration;

/// The pauses of one peer. Pure: the random bits come from the caller.
#[derive(Debug)]
pub struct BackOff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl BackOff {
    /// Starts at `min` and doubles up to `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        assert!(
            min <= max && !min.is_zero(),
            "a back-off grows from a positive pause"
        );
        BackOff {
            min,
            max,
            next: min,
        }
    }

    /// The pause after one more failure: between half of the current step and the whole of it.
    pub fn pause(&mut self, random: u64) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.max);
        let half = step / 2;
        let spread_nanos = u64::try_from((step - half).as_nanos())
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        half + Duration::from_nanos(random % spread_nanos)
    }

    /// After a success: the next failure pauses for the shortest time again.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}
