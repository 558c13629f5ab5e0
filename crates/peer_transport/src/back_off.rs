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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_bound_with_jitter_and_start_over() {
        let (min, max) = (Duration::from_millis(50), Duration::from_secs(2));
        let mut back_off = BackOff::new(min, max);
        for (attempt, step) in [50, 100, 200, 400, 800, 1600, 2000, 2000]
            .into_iter()
            .enumerate()
        {
            let step = Duration::from_millis(step);
            let pause = back_off.pause(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(attempt as u64 + 1));
            assert!(
                pause >= step / 2 && pause <= step,
                "{pause:?} for a step of {step:?}"
            );
        }
        back_off.reset();
        assert!(back_off.pause(u64::MAX) <= min);
    }
}
