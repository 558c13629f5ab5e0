//! When operations begin. Without a rate, each connection begins the next as soon as the last one has ended: while the
//! server pauses, nothing is asked, and the pause hides in one latency per connection. With a rate, operations are due at
//! fixed times, whoever carries them out, and latency counts from when an operation was due: a pause shows in every
//! operation that would have begun during it (no coordinated omission).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How late the timer may wake a connection that was free without that counting as latency: its own granularity.
const TIMER_SLACK: Duration = Duration::from_millis(2);

/// The operations' times, shared by all connections.
pub(super) struct Pace {
    start: Instant,
    /// Operations per second; `None`: as fast as they go.
    rate: Option<f64>,
    next: AtomicU64,
}

impl Pace {
    pub fn new(start: Instant, rate: Option<f64>) -> Pace {
        Pace {
            start,
            rate,
            next: AtomicU64::new(0),
        }
    }

    /// When the next operation is due, which the caller carries out; `None` without a rate.
    pub fn claim(&self) -> Option<Instant> {
        let rate = self.rate?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Some(self.start + Duration::from_secs_f64(number as f64 / rate))
    }
}

/// When the latency of an operation that was due, and is begun now, starts to count.
pub(super) fn counts_from(due: Option<Instant>, now: Instant) -> Instant {
    match due {
        Some(due) if now.saturating_duration_since(due) > TIMER_SLACK => due,
        _ => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_due_at_fixed_times_and_late_ones_count_from_there() {
        let start = Instant::now();
        assert_eq!(Pace::new(start, None).claim(), None);
        let pace = Pace::new(start, Some(200.0));
        let due: Vec<Instant> = (0..4).filter_map(|_| pace.claim()).collect();
        let expected = [0, 5, 10, 15].map(|ms| start + Duration::from_millis(ms));
        assert_eq!(due, expected);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(counts_from(None, at(7)), at(7));
        assert_eq!(
            counts_from(Some(at(5)), at(6)),
            at(6),
            "the timer's own delay"
        );
        assert_eq!(
            counts_from(Some(at(5)), at(60)),
            at(5),
            "no connection was free"
        );
    }
}
