//! Simulated time: one clock for the world, and one for each machine that drifts from it and whose wall time jumps.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use platform::Clock;

/// Microseconds since the simulation began.
pub type Micros = u64;

/// Wall time when a simulation begins, milliseconds since 1970.
const WALL_START_MS: i64 = 1_700_000_000_000;
const MILLION: u64 = 1_000_000;

/// A machine's clocks; clones are the same.
#[derive(Clone, Debug)]
pub struct SimulatedClock(Arc<Hands>);

#[derive(Debug)]
struct Hands {
    world: Arc<AtomicU64>,
    /// Microseconds of this clock per second of the world's.
    rate: AtomicU64,
    /// World's and own monotonic time when the rate was set.
    rate_since: AtomicU64,
    own_since: AtomicU64,
    /// What the wall clock was put forward by, milliseconds.
    wall_offset_ms: AtomicI64,
}

impl SimulatedClock {
    /// A clock that goes with the world's time.
    pub fn new(world: Arc<AtomicU64>, own_start: Micros) -> Self {
        let rate_since = AtomicU64::new(world.load(Ordering::Relaxed));
        SimulatedClock(Arc::new(Hands {
            world,
            rate: AtomicU64::new(MILLION),
            rate_since,
            own_since: AtomicU64::new(own_start),
            wall_offset_ms: AtomicI64::new(0),
        }))
    }

    /// From now on it goes this much faster than the world's, in millionths.
    pub fn drift(&self, ppm: i64) {
        let own = self.micros();
        let now = self.0.world.load(Ordering::Relaxed);
        self.0.own_since.store(own, Ordering::Relaxed);
        self.0.rate_since.store(now, Ordering::Relaxed);
        let rate = MILLION.saturating_add_signed(ppm).max(1);
        self.0.rate.store(rate, Ordering::Relaxed);
    }

    /// Puts the wall clock forward or back.
    pub fn jump_wall(&self, by_ms: i64) {
        self.0.wall_offset_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    fn micros(&self) -> Micros {
        let passed =
            self.0.world.load(Ordering::Relaxed) - self.0.rate_since.load(Ordering::Relaxed);
        let own = u128::from(passed) * u128::from(self.0.rate.load(Ordering::Relaxed));
        self.0.own_since.load(Ordering::Relaxed) + (own / u128::from(MILLION)) as u64
    }

    /// The world's time at which this clock shows `own`, or now if it does already.
    pub fn world_time_of(&self, own: Duration) -> Micros {
        let now = self.0.world.load(Ordering::Relaxed);
        let left = (own.as_micros() as u64).saturating_sub(self.micros());
        let rate = self.0.rate.load(Ordering::Relaxed);
        now + (u128::from(left) * u128::from(MILLION)).div_ceil(u128::from(rate)) as u64
    }
}

impl Clock for SimulatedClock {
    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.micros())
    }

    fn wall_ms(&self) -> i64 {
        WALL_START_MS
            + (self.micros() / 1_000) as i64
            + self.0.wall_offset_ms.load(Ordering::Relaxed)
    }
}
