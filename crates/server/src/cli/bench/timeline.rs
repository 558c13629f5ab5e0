//! Latency second by second. Each thread fills a histogram for the second that its operations end in and hands it over
//! when the next second begins; a second that all threads have left becomes one point.

use std::collections::BTreeMap;
use std::sync::Arc;

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::load::LATENCY_US_MAX;

/// Digits that the histograms of single seconds keep.
const DIGITS: u8 = 2;

/// One second of the measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Point {
    /// Since the measurement began.
    pub second: u64,
    /// Operations that ended in it.
    pub operations: u64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
}

impl Point {
    pub fn as_json(&self) -> Value {
        json!({ "second": self.second, "operations": self.operations, "p50_us": self.p50_us, "p99_us": self.p99_us,
            "max_us": self.max_us })
    }
}

/// The seconds of all threads.
pub(super) struct Timeline(Mutex<Seconds>);

struct Seconds {
    /// The second each thread is in; `None` once it has ended.
    threads: Vec<Option<u64>>,
    open: BTreeMap<u64, Histogram<u64>>,
    points: Vec<Point>,
}

impl Timeline {
    pub fn new(threads: usize) -> Timeline {
        Timeline(Mutex::new(Seconds {
            threads: vec![Some(0); threads],
            open: BTreeMap::new(),
            points: Vec::new(),
        }))
    }

    /// What a thread records into.
    pub fn recorder(self: &Arc<Self>, thread: usize) -> Recorder {
        Recorder {
            timeline: Arc::clone(self),
            thread,
            second: 0,
            latency_us: histogram(),
        }
    }

    /// Operations that ended in seconds that are over, and the last of these seconds.
    pub fn latest(&self) -> Option<Point> {
        self.0.lock().points.last().copied()
    }

    /// All points, also those of seconds in which nothing ended. Threads must have ended.
    pub fn points(&self) -> Vec<Point> {
        self.0.lock().points.clone()
    }

    fn hand_over(&self, thread: usize, filled: (u64, &Histogram<u64>), next: Option<u64>) {
        let mut seconds = self.0.lock();
        if !filled.1.is_empty() {
            let all = seconds.open.entry(filled.0).or_insert_with(histogram);
            all.add(filled.1).expect("histograms of the same shape");
        }
        seconds.threads[thread] = next;
        seconds.close();
    }
}

impl Seconds {
    /// Makes points of the seconds that nobody adds to any more.
    fn close(&mut self) {
        let behind = self.threads.iter().flatten().min().copied();
        while let Some(first) = self.open.first_entry() {
            let second = *first.key();
            if behind.is_some_and(|behind| second >= behind) {
                return;
            }
            let latency = first.remove();
            let missing = self.points.last().map_or(0, |point| point.second + 1)..second;
            self.points.extend(missing.map(|second| Point {
                second,
                ..Point::default()
            }));
            self.points.push(Point {
                second,
                operations: latency.len(),
                p50_us: latency.value_at_quantile(0.5),
                p99_us: latency.value_at_quantile(0.99),
                max_us: latency.max(),
            });
        }
    }
}

/// One thread's part.
pub(super) struct Recorder {
    timeline: Arc<Timeline>,
    thread: usize,
    second: u64,
    latency_us: Histogram<u64>,
}

impl Recorder {
    /// An operation that ended in this second; seconds never go back.
    pub fn record(&mut self, second: u64, latency_us: u64) {
        if second > self.second {
            let filled = (self.second, &self.latency_us);
            self.timeline.hand_over(self.thread, filled, Some(second));
            self.latency_us.reset();
            self.second = second;
        }
        self.latency_us.saturating_record(latency_us);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let filled = (self.second, &self.latency_us);
        self.timeline.hand_over(self.thread, filled, None);
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, DIGITS).expect("fixed bounds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_a_point_once_every_thread_has_left_it() {
        let timeline = Arc::new(Timeline::new(2));
        {
            let (mut first, mut second) = (timeline.recorder(0), timeline.recorder(1));
            for latency_us in 1..=100 {
                first.record(0, latency_us);
            }
            second.record(0, 5_000);
            first.record(1, 7);
            assert_eq!(timeline.latest(), None, "the other thread may add to it");
            second.record(3, 9);
            let point = timeline.latest().expect("both have left the first second");
            assert_eq!((point.second, point.operations), (0, 101));
            assert!((50..=51).contains(&point.p50_us), "{point:?}");
            assert!((5_000..5_100).contains(&point.max_us), "{point:?}");
        }
        let points = timeline.points();
        let counts: Vec<_> = points
            .iter()
            .map(|point| (point.second, point.operations))
            .collect();
        assert_eq!(counts, [(0, 101), (1, 1), (2, 0), (3, 1)], "a pause shows");
    }
}
