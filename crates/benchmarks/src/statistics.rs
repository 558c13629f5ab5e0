//! From samples to what is reported: medians over rounds, ratios, and whether goals are reached.

use std::time::Duration;

use crate::load::Measured;

/// One measurement, reduced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    /// Keys or documents per second.
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Processor time of all the system's processes per key or document.
    pub server_us: f64,
    /// Processor time of the load generator per key or document.
    pub client_us: f64,
    /// Share of the machine that neither used nor left idle: other programs, the kernel's own work.
    pub others_share: f64,
    /// Flushes the machine's disks completed per second: what syncing came down to, whoever asked for it.
    pub flushes_per_second: f64,
}

/// Processor seconds used so far, and disk flushes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub server: f64,
    pub client: f64,
    pub machine: f64,
    /// Not seconds: flushes that the disks completed.
    pub flushes: f64,
}

/// Of sorted times, in seconds; not a number of none.
pub(crate) fn quantile_seconds(sorted: &[Duration], quantile: f64) -> f64 {
    let rank = (sorted.len() as f64 * quantile) as usize;
    let time = sorted.get(rank.min(sorted.len().saturating_sub(1)));
    time.map_or(f64::NAN, Duration::as_secs_f64)
}

impl Sample {
    /// `before` and `after` were taken at the window's edges.
    pub(crate) fn new(measured: &Measured, before: Usage, after: Usage, cores: usize) -> Self {
        let server = after.server - before.server;
        let client = after.client - before.client;
        let others = after.machine - before.machine - server - client;
        let each = |seconds: f64| seconds * 1e6 / (measured.handled.max(1)) as f64;
        Sample {
            per_second: measured.per_second(),
            p50_ms: measured.quantile_ms(0.5),
            p99_ms: measured.quantile_ms(0.99),
            server_us: each(server),
            client_us: each(client),
            others_share: share(others, measured.window, cores),
            flushes_per_second: (after.flushes - before.flushes) / measured.window.as_secs_f64(),
        }
    }
}

fn share(seconds: f64, window: Duration, cores: usize) -> f64 {
    (seconds / window.as_secs_f64() / cores.max(1) as f64).max(0.0)
}

/// What several rounds say together: the median of each number, and how far the rates were apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    pub median: Sample,
    pub per_second_min: f64,
    pub per_second_max: f64,
    pub rounds: usize,
}

impl Summary {
    /// `None` without samples.
    pub(crate) fn of(samples: &[Sample]) -> Option<Self> {
        let each = |number: fn(&Sample) -> f64| {
            let mut numbers: Vec<f64> = samples.iter().map(number).collect();
            median(&mut numbers)
        };
        let rates = || samples.iter().map(|sample| sample.per_second);
        Some(Summary {
            median: Sample {
                per_second: each(|sample| sample.per_second)?,
                p50_ms: each(|sample| sample.p50_ms)?,
                p99_ms: each(|sample| sample.p99_ms)?,
                server_us: each(|sample| sample.server_us)?,
                client_us: each(|sample| sample.client_us)?,
                others_share: each(|sample| sample.others_share)?,
                flushes_per_second: each(|sample| sample.flushes_per_second)?,
            },
            per_second_min: rates().fold(f64::INFINITY, f64::min),
            per_second_max: rates().fold(0.0, f64::max),
            rounds: samples.len(),
        })
    }
}

/// The middle number, or the mean of the two in the middle. Sorts its input.
pub(crate) fn median(numbers: &mut [f64]) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let upper = *numbers.get(numbers.len() / 2)?;
    if numbers.len() % 2 == 1 {
        return Some(upper);
    }
    Some((numbers[numbers.len() / 2 - 1] + upper) / 2.0)
}

/// A bound that a number should keep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    pub(crate) fn reached(self, number: f64) -> bool {
        match self {
            Goal::AtMost(bound) => number <= bound,
            Goal::AtLeast(bound) => number >= bound,
        }
    }
}

/// A number beside its goals.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub what: &'static str,
    pub number: f64,
    /// What this stage of the project asks for.
    pub goal: Option<Goal>,
    /// What the design asks for in the end.
    pub final_goal: Option<Goal>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: Sample = Sample {
        per_second: 10.0,
        p50_ms: 1.0,
        p99_ms: 2.0,
        server_us: 3.0,
        client_us: 4.0,
        others_share: 0.5,
        flushes_per_second: 6.0,
    };

    #[test]
    fn medians() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0]), Some(3.0));
        assert_eq!(median(&mut [9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }

    #[test]
    fn a_summary_is_the_median_of_each_number_by_itself() {
        let with = |per_second, p50_ms| Sample {
            per_second,
            p50_ms,
            ..SAMPLE
        };
        let summary = Summary::of(&[with(30.0, 1.0), with(10.0, 2.0), with(20.0, 9.0)]).unwrap();
        assert_eq!(summary.median, with(20.0, 2.0));
        assert_eq!(
            (summary.per_second_min, summary.per_second_max),
            (10.0, 30.0)
        );
        assert_eq!(summary.rounds, 3);
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn goals_include_their_bound() {
        assert!(Goal::AtMost(1.0).reached(1.0));
        assert!(!Goal::AtMost(1.0).reached(1.01));
        assert!(Goal::AtLeast(2.0).reached(2.0));
        assert!(!Goal::AtLeast(2.0).reached(f64::NAN));
    }

    #[test]
    fn others_get_what_neither_side_used() {
        let seconds = Duration::from_secs(2);
        assert_eq!(share(2.0, seconds, 2), 0.5);
        assert_eq!(
            share(-0.1, seconds, 2),
            0.0,
            "clock granularity is not negative load"
        );
    }
}
