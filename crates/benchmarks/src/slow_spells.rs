//! When the machine itself was slow: a virtual one shares its processors and its disk with others, and for some time
//! everything in it takes several times as long.
//!
//! A thread counts for some microseconds every two milliseconds and reads from its own processor clock how long that took.
//! Waiting for a processor that another program of this machine has is not in that clock, so load is not mistaken for
//! slowness. Promises nothing about spells shorter than a few milliseconds. Interrupts are in it, so that load that comes by
//! network or disk shows a little.
//!
//! Of the disk, a spell is a sync of a block that has nothing to do with what is measured and took long all the same
//! ([`SlowSpells::of_disk`]). What is measured uses that disk too: compare with spells while nothing ran.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use benchmarks::disk_watch::DiskWatch;
use rustix::time::{ClockId, clock_gettime};

const PERIOD: Duration = Duration::from_millis(2);
const STEPS: u32 = 4_000;
/// Samples from which the ordinary time of one is learned.
const LEARNED: usize = 500;
/// So many times the ordinary is slow: more than what a second thread of the same core takes.
const SLOW_RATIO: u32 = 3;
/// Slow samples that are no further apart are one spell.
const GAP_MAX: Duration = Duration::from_millis(20);
/// What waited in a spell is worked off in so many times its length.
const AFTERMATH: u32 = 3;
/// A sync that takes longer is a spell of the disk. Ordinary is a fraction of a millisecond.
const SYNC_SLOW: Duration = Duration::from_millis(10);

/// A watch that is running.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(Instant, Duration)>>,
}

/// The spells seen, in order.
#[derive(Debug, Default)]
pub(crate) struct SlowSpells {
    spells: Vec<(Instant, Instant)>,
}

impl Watch {
    pub fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            // It works for microseconds, and is to see spells from their beginning.
            let _ = platform::prefer_short_turns();
            let mut samples = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                samples.push((Instant::now(), count()));
                thread::sleep(PERIOD);
            }
            samples
        });
        Watch { stop, thread }
    }

    /// Ends the watch.
    pub fn spells(self) -> SlowSpells {
        self.stop.store(true, Ordering::Relaxed);
        SlowSpells::of(&self.thread.join().unwrap_or_default())
    }
}

impl SlowSpells {
    /// The syncs of a watch that took long.
    pub fn of_disk(watch: &DiskWatch) -> SlowSpells {
        let slow = watch.all().into_iter().filter(|it| it.1 > SYNC_SLOW);
        SlowSpells {
            spells: slow.map(|(begun, took)| (begun, begun + took)).collect(),
        }
    }

    fn of(samples: &[(Instant, Duration)]) -> Self {
        let mut first: Vec<Duration> = samples.iter().take(LEARNED).map(|it| it.1).collect();
        first.sort();
        let ordinary = first.get(first.len() / 2).copied().unwrap_or_default();
        let mut spells: Vec<(Instant, Instant)> = Vec::new();
        for (at, took) in samples {
            if *took <= ordinary * SLOW_RATIO {
                continue;
            }
            let end = *at + *took;
            match spells.last_mut() {
                Some((_, last)) if *at - *last <= GAP_MAX => *last = end,
                _ => spells.push((*at, end)),
            }
        }
        SlowSpells { spells }
    }

    /// How many there were, the time they took together, and the longest.
    pub fn summary(&self) -> (usize, Duration, Duration) {
        let lengths = self.spells.iter().map(|(begin, end)| *end - *begin);
        let longest = lengths.clone().max().unwrap_or_default();
        (self.spells.len(), lengths.sum(), longest)
    }

    /// How long all together something that began in a spell would have waited for more than `patience` until its end.
    pub fn beyond(&self, patience: Duration) -> Duration {
        let lengths = self.spells.iter().map(|(begin, end)| *end - *begin);
        lengths.map(|length| length.saturating_sub(patience)).sum()
    }

    /// Whether any of `from..=until` lies in a spell, or in the time in which what waited then is worked off.
    pub fn touch(&self, from: Instant, until: Instant) -> bool {
        let begun = self.spells.partition_point(|(begin, _)| *begin <= until);
        // An earlier one may have been longer than the last.
        let before = self.spells[..begun].iter().rev().take(8);
        before
            .clone()
            .any(|(begin, end)| *end + (*end - *begin) * AFTERMATH >= from)
    }
}

fn count() -> Duration {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(
            u64::try_from(time.tv_sec).unwrap_or_default(),
            u32::try_from(time.tv_nsec).unwrap_or_default(),
        )
    };
    let begin = now();
    let mut number = 1_u32;
    for _ in 0..STEPS {
        number = std::hint::black_box(number.wrapping_mul(1_664_525).wrapping_add(1));
    }
    now().saturating_sub(begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_are_slow_samples_that_lie_close_together() {
        let begin = Instant::now();
        let at = |ms: u64| begin + Duration::from_millis(ms);
        let sample = |ms: u64| {
            let slow = matches!(ms, 100..=140 | 150..=160 | 400..=404);
            (at(ms), Duration::from_micros(if slow { 80 } else { 10 }))
        };
        let samples: Vec<_> = (0..600).step_by(2).map(sample).collect();
        let spells = SlowSpells::of(&samples);
        let (count, together, longest) = spells.summary();
        assert_eq!((count, longest.as_millis()), (2, 60));
        assert_eq!(together.as_millis(), 64);
        let beyond = |ms| spells.beyond(Duration::from_millis(ms)).as_millis();
        assert_eq!([beyond(0), beyond(25), beyond(100)], [64, 35, 0]);
        assert!(!spells.touch(at(0), at(99)));
        assert!(spells.touch(at(0), at(100)) && spells.touch(at(120), at(121)));
        // 60 ms, and 180 ms to work off what waited.
        assert!(spells.touch(at(330), at(331)) && !spells.touch(at(350), at(399)));
        assert!(!spells.touch(at(500), at(501)));
    }

    #[test]
    fn counting_takes_time_of_the_own_clock() {
        assert!(count() > Duration::ZERO);
        let (_, together, longest) = Watch::start().spells().summary();
        assert!(together >= longest);
    }
}
