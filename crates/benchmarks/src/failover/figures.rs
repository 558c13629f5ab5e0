//! Distributions beside their goals.

use crate::faults::{Fault, Outcome};
use crate::load::ms;

/// How much longer a clean stop may make the slowest hundredth of the operations around it.
const STOP_ADDED_P99_MS_MAX: f64 = 20.0;

/// What an election by itself may take.
const ELECTION_P99_MS_MAX: f64 = 150.0;

/// Bounds in milliseconds.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Goal {
    pub p50: Option<f64>,
    pub p99: Option<f64>,
}

/// What all faults of one kind cost.
pub(crate) struct Figures {
    fault: Fault,
    wire_ms: Vec<f64>,
    driver_ms: Vec<f64>,
    election_ms: Vec<f64>,
    before_ms: Vec<f64>,
    around_ms: Vec<f64>,
    longest_ms: Vec<f64>,
    errors: Vec<String>,
    never: usize,
}

impl Figures {
    pub(crate) fn new(fault: Fault) -> Figures {
        Figures {
            fault,
            wire_ms: Vec::new(),
            driver_ms: Vec::new(),
            election_ms: Vec::new(),
            before_ms: Vec::new(),
            around_ms: Vec::new(),
            longest_ms: Vec::new(),
            errors: Vec::new(),
            never: 0,
        }
    }

    pub(crate) fn add(&mut self, number: usize, outcome: Outcome, outlier_ms: u64) {
        let slow = |took: Option<std::time::Duration>| {
            took.is_none_or(|took| took.as_millis() > u128::from(outlier_ms))
        };
        if slow(outcome.wire) || slow(outcome.driver) {
            println!(
                "  outlier: {:?} {number}: wire {:?}, driver {:?}, {} terms; longest sync of the disk meanwhile {:?}",
                self.fault, outcome.wire, outcome.driver, outcome.terms, outcome.sync
            );
        }
        self.never += usize::from(outcome.wire.is_none()) + usize::from(outcome.driver.is_none());
        self.wire_ms.extend(outcome.wire.map(ms));
        self.driver_ms.extend(outcome.driver.map(ms));
        self.election_ms.extend(outcome.election.map(ms));
        self.longest_ms
            .extend(outcome.around.latencies_ms.iter().copied().reduce(f64::max));
        self.before_ms.extend(outcome.before.latencies_ms);
        self.around_ms.extend(outcome.around.latencies_ms);
        self.errors.extend(outcome.driver_errors);
        self.errors.extend(outcome.before.errors);
        self.errors.extend(outcome.around.errors);
    }

    /// Prints everything; whether the goals of the fault were reached.
    pub(crate) fn print(self) -> bool {
        let (what, goal) = match self.fault {
            Fault::Kill => ("kill -9 of the leader", (Some(50.0), Some(300.0))),
            Fault::Freeze => ("the leader frozen (SIGSTOP)", (None, Some(600.0))),
            Fault::Cut => ("the leader cut off (its cable out)", (None, Some(600.0))),
            Fault::Stop => ("clean stop of the leader", (None, None)),
        };
        let goal = Goal {
            p50: goal.0,
            p99: goal.1,
        };
        println!("\n{what}, {} times", self.wire_ms.len());
        let mut reached = self.never == 0;
        reached &= distribution("fault → write at the wire", self.wire_ms, goal);
        reached &= distribution("fault → write by the driver", self.driver_ms, goal);
        let election = Goal {
            p50: None,
            p99: Some(ELECTION_P99_MS_MAX),
        };
        reached &= distribution("election by itself", self.election_ms, election);
        let [mut before, mut around] = [self.before_ms.clone(), self.around_ms.clone()];
        let added = quantile(&mut around, 0.99) - quantile(&mut before, 0.99);
        distribution("background before", self.before_ms, Goal::default());
        distribution("background within 1 s", self.around_ms, Goal::default());
        if self.fault == Fault::Stop {
            let kept = added <= STOP_ADDED_P99_MS_MAX;
            let said = if kept { "yes" } else { "NO" };
            println!("  added at p99: {added:.1} ms  [≤ {STOP_ADDED_P99_MS_MAX}: {said}]");
            reached &= kept;
        }
        distribution(
            "background, longest of each",
            self.longest_ms,
            Goal::default(),
        );
        println!("  {} operations failed", self.errors.len());
        for error in &self.errors {
            println!("    {error}");
        }
        // What was sent to a silent leader ends with an error when it is heard again.
        let silent = matches!(self.fault, Fault::Freeze | Fault::Cut);
        reached && (self.errors.is_empty() || silent)
    }
}

/// Prints one line; whether its goal was reached.
pub(crate) fn distribution(what: &str, mut samples: Vec<f64>, goal: Goal) -> bool {
    let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|q| quantile(&mut samples, q));
    print!(
        "  {what:<30} n {:<6} p50 {p50:>7.1}  p90 {p90:>7.1}  p99 {p99:>7.1}  max {max:>7.1} ms",
        samples.len()
    );
    let mut reached = true;
    for (name, value, bound) in [("p50", p50, goal.p50), ("p99", p99, goal.p99)] {
        if let Some(bound) = bound {
            let kept = value <= bound;
            print!("  [{name} ≤ {bound}: {}]", if kept { "yes" } else { "NO" });
            reached &= kept;
        }
    }
    println!();
    reached
}

/// The smallest sample that is not below the share `q` of them. Sorts its input.
fn quantile(samples: &mut [f64], q: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let rank = (samples.len() as f64 * q).ceil() as usize;
    samples
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let mut samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&mut samples, 0.5), 50.0);
        assert_eq!(quantile(&mut samples, 0.99), 99.0);
        assert_eq!(quantile(&mut samples, 1.0), 100.0);
        assert!(quantile(&mut [], 0.5).is_nan());
    }
}
