//! How fast writes may come in while the engine has more before it than it should.
//!
//! Promises: no delay while all is well; then the delay grows with what waits, smoothly, so that writers are slowed down to
//! what can be flushed and merged, and never stand still. It is shared by all writers: each gets its turn after the ones
//! before it.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Sorted runs up to which nobody is slowed down.
const RUNS_EASY: u64 = 20;
/// From so many on, writes come in at the lowest rate.
const RUNS_HARD: u64 = 44;
/// Bytes of commands per second.
const RATE_MAX: f64 = (32 << 20) as f64;
const RATE_MIN: f64 = (1 << 20) as f64;
/// A turn is never further away than this.
const DELAY_MAX: Duration = Duration::from_millis(250);

const _: () = assert!(RUNS_EASY < RUNS_HARD);

/// Shared by all writers of a node.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    next_turn: Mutex<Option<Instant>>,
}

impl Throttle {
    /// How long a command of so many bytes has to wait, `runs` being what waits in the engine.
    pub fn delay(&self, bytes: usize, runs: u64, now: Instant) -> Duration {
        if runs <= RUNS_EASY {
            return Duration::ZERO;
        }
        let cost = Duration::from_secs_f64(bytes as f64 / rate(runs));
        let mut next_turn = self.next_turn.lock();
        let turn = next_turn
            .map_or(now, |turn| turn.max(now))
            .min(now + DELAY_MAX);
        *next_turn = Some(turn + cost);
        turn - now
    }
}

fn rate(runs: u64) -> f64 {
    let left = RUNS_HARD.saturating_sub(runs) as f64 / (RUNS_HARD - RUNS_EASY) as f64;
    RATE_MIN + (RATE_MAX - RATE_MIN) * left * left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_waits_the_longer_writers_wait_but_never_for_ever() {
        let now = Instant::now();
        let second_of = |runs| {
            let throttle = Throttle::default();
            assert_eq!(throttle.delay(100_000, runs, now), Duration::ZERO);
            throttle.delay(100_000, runs, now)
        };
        let delays: Vec<_> = (RUNS_EASY..=RUNS_HARD + 5).map(second_of).collect();
        assert_eq!(delays[0], Duration::ZERO);
        assert!(delays.is_sorted());
        assert!(delays[1] > Duration::ZERO && delays[1] < Duration::from_millis(5));
        assert_eq!(delays.last(), delays.get((RUNS_HARD - RUNS_EASY) as usize));
        let throttle = Throttle::default();
        for _ in 0..1000 {
            let delay = throttle.delay(1 << 20, RUNS_HARD, now);
            assert!(delay <= DELAY_MAX);
        }
        let later = now + Duration::from_secs(60);
        assert_eq!(throttle.delay(1, RUNS_HARD, later), Duration::ZERO);
    }
}
