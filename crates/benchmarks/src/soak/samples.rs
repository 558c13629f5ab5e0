//! What is recorded while a soak runs: writes by the second, and the members' memory and disks.

use std::path::Path;
use std::time::{Duration, Instant};

use benchmarks::machine;
use hdrhistogram::Histogram;

use crate::cluster::Cluster;
use crate::settle::bytes_in;

const LATENCY_US_MAX: u64 = 600_000_000;
/// What 999 of 1,000 writes are to take at most.
pub(super) const LATE: Duration = Duration::from_millis(25);

/// One second of writes, by when they were acknowledged.
pub(super) struct Second {
    pub latency_us: Histogram<u64>,
}

/// All writes.
pub(super) struct Seconds {
    begin: Instant,
    last_acknowledged: Instant,
    pub seconds: Vec<Second>,
    pub total_us: Histogram<u64>,
    /// Writes that took longer than the goal, from when they were due until they were acknowledged.
    pub late: Vec<(Instant, Instant)>,
    /// The longest time in which no write was acknowledged, and when it began.
    pub longest_pause: (Duration, Duration),
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)
        .expect("constant bounds and precision that the histogram accepts")
}

impl Seconds {
    pub fn new(begin: Instant) -> Self {
        Seconds {
            begin,
            last_acknowledged: begin,
            seconds: Vec::new(),
            total_us: histogram(),
            late: Vec::new(),
            longest_pause: (Duration::ZERO, Duration::ZERO),
        }
    }

    /// A write that was due at `from` was acknowledged at `now`. Of writes of one thread: `now` never goes back.
    pub fn record(&mut self, from: Instant, now: Instant) {
        let pause = now - self.last_acknowledged;
        if pause > self.longest_pause.0 {
            self.longest_pause = (pause, self.last_acknowledged - self.begin);
        }
        self.last_acknowledged = now;
        let second = (now - self.begin).as_secs() as usize;
        while self.seconds.len() <= second {
            self.seconds.push(Second {
                latency_us: histogram(),
            });
        }
        let latency = u64::try_from((now - from).as_micros()).unwrap_or(LATENCY_US_MAX);
        let latency = latency.clamp(1, LATENCY_US_MAX);
        self.seconds[second].latency_us.saturating_record(latency);
        self.total_us.saturating_record(latency);
        if now - from > LATE {
            self.late.push((from, now));
        }
    }
}

/// The members at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sample {
    /// Of the member that takes most.
    pub resident_bytes: u64,
    pub engine_bytes: u64,
    pub log_bytes: u64,
    /// Bytes of the documents there are.
    pub live_bytes: u64,
    /// Until now, of the whole machine.
    pub disk_reads: f64,
    /// Idle or waiting for disks.
    pub idle_seconds: f64,
    pub stolen_seconds: f64,
}

impl Sample {
    pub fn take(cluster: &Cluster, directory: &Path, live_bytes: u64) -> Self {
        let members = cluster.clients().len();
        let most = |part: &str| {
            let paths =
                (0..members).map(|member| directory.join(format!("cstore-{member}/{part}")));
            paths.map(|path| bytes_in(&path)).max().unwrap_or(0)
        };
        let (idle_seconds, stolen_seconds) = machine::idle_and_stolen_seconds();
        Sample {
            resident_bytes: cluster.resident_bytes().into_iter().max().unwrap_or(0),
            engine_bytes: most("engine"),
            log_bytes: most("wal"),
            live_bytes,
            disk_reads: machine::disk_reads(),
            idle_seconds,
            stolen_seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_sorted_into_seconds_and_the_longest_pause_is_known() {
        let begin = Instant::now();
        let at = |ms: u64| begin + Duration::from_millis(ms);
        let mut seconds = Seconds::new(begin);
        seconds.record(at(0), at(10));
        seconds.record(at(5), at(20));
        seconds.record(at(900), at(2300));
        seconds.record(at(2290), at(2301));
        let counts: Vec<u64> = seconds
            .seconds
            .iter()
            .map(|it| it.latency_us.len())
            .collect();
        assert_eq!(counts, [2, 0, 2]);
        assert_eq!(seconds.total_us.len(), 4);
        assert_eq!(
            seconds.longest_pause,
            (Duration::from_millis(2280), Duration::from_millis(20))
        );
        assert!(seconds.total_us.max() >= 1_400_000);
    }
}
