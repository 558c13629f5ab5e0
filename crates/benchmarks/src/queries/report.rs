//! The figures beside their goals.

use std::time::Duration;

use super::QueriesArgs;
use super::measure::{Figures, Pass, RANGE};
use crate::statistics::{median, quantile_seconds};
use benchmarks::machine::Machine;

/// What a point read may take, against the engine's read and a round trip.
const POINT_FACTOR_MAX: f64 = 1.5;
/// Documents per second that one core groups.
const GROUPED_MIN: f64 = 1e6;
/// Documents per second that go into a new index.
const INDEXED_MIN: f64 = 200e3;

/// Prints the figures; whether every goal is reached.
pub(super) fn print(args: &QueriesArgs, machine: &Machine, figures: &mut Figures) -> bool {
    println!(
        "{} cores, {}, {:.0} GiB, Linux {}, 4 KiB append + fdatasync {:.2} ms, slow {:.0}% of the time",
        machine.cores,
        machine.processor,
        machine.memory_gib,
        machine.kernel,
        machine.sync_ms,
        machine.slow_share * 100.0
    );
    let ping = quantiles("ping", &mut figures.ping);
    let mut reached = true;
    for (name, of_engine, times) in [
        (
            "point read by _id",
            &mut figures.engine.by_id,
            &mut figures.by_id,
        ),
        (
            "point read by a unique index",
            &mut figures.engine.by_unique,
            &mut figures.by_unique,
        ),
    ] {
        let engine = quantiles("the same in the engine alone", of_engine);
        let factor = quantiles(name, times) / (ping + engine);
        reached &= goal(
            &format!("{name}, against ping and the engine's read"),
            factor <= POINT_FACTOR_MAX,
            &format!("{factor:.2} times"),
            &format!("at most {POINT_FACTOR_MAX}"),
        );
    }
    quantiles(
        &format!("range of {RANGE} through an index"),
        &mut figures.range,
    );
    reached &= goal(
        "documents examined by the range",
        figures.range_examined <= RANGE as f64,
        &figures.range_examined.to_string(),
        &format!("at most {RANGE}"),
    );
    let documents = args.documents as f64;
    for pass in &figures.builds {
        let rate = documents / pass.took.as_secs_f64();
        reached &= goal(
            &format!("index on {}, documents/s", pass.name),
            rate >= INDEXED_MIN,
            &format!("{rate:.0} ({})", costs(pass)),
            &format!("at least {INDEXED_MIN:.0}"),
        );
    }
    reached &= print_groups(documents, &figures.groups);
    quantiles("covered count", &mut figures.count);
    reached
        & goal(
            "documents examined by the covered count",
            figures.count_examined == 0.0,
            &figures.count_examined.to_string(),
            "0",
        )
}

fn print_groups(documents: f64, groups: &[Pass]) -> bool {
    let mut rates: Vec<f64> = groups
        .iter()
        .map(|pass| documents / pass.processor)
        .collect();
    for pass in groups {
        println!("$group: {}", costs(pass));
    }
    let rate = median(&mut rates).unwrap_or(f64::NAN);
    goal(
        "$group, documents per second of a core",
        rate >= GROUPED_MIN,
        &format!("{rate:.0}"),
        &format!("at least {GROUPED_MIN:.0}"),
    )
}

fn costs(pass: &Pass) -> String {
    format!(
        "{:.2} s, {:.2} processor seconds",
        pass.took.as_secs_f64(),
        pass.processor
    )
}

/// Prints them in microseconds; gives the median.
fn quantiles(name: &str, times: &mut [Duration]) -> f64 {
    times.sort();
    let at = |quantile: f64| quantile_seconds(times, quantile) * 1e6;
    println!(
        "{name:<32} p50 {:>9.1} us  p99 {:>9.1} us  of {}",
        at(0.5),
        at(0.99),
        times.len()
    );
    at(0.5)
}

fn goal(name: &str, reached: bool, seen: &str, asked: &str) -> bool {
    let verdict = if reached { "reached" } else { "MISSED" };
    println!("{name}: {seen}; {asked} asked for: {verdict}");
    reached
}
