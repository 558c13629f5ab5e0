//! What a soak is reported as: a table, its goals, and a series for drawing.

use std::fmt::Write;
use std::time::{Duration, Instant};

use benchmarks::machine;

use super::samples::{LATE, Sample};
use super::{Outcome, SoakArgs};
use crate::slow_spells::SlowSpells;

const PAUSE_MAX: Duration = Duration::from_millis(100);
/// The tables, against the bytes of the documents.
const DISK_FACTOR_MAX: f64 = 2.5;
/// What the log may take beside what is kept for members that are away: what memtables hold, and files in stock.
const LOG_BEYOND_BYTES: u64 = 512 << 20;
/// Memory may grow by so much from the second quarter of the time to the last.
const GROWTH_MAX: f64 = 1.1;
const GROWTH_BYTES: f64 = (32 << 20) as f64;

/// One line for each second: what `--series` writes.
pub(super) fn series(outcome: &Outcome) -> String {
    let mut text =
        "second,writes,p50_ms,p99_ms,worst_ms,resident_mib,engine_mib,log_mib,idle_s,stolen_s,disk_reads\n"
            .to_owned();
    let samples = &outcome.samples;
    for (number, second) in outcome.seconds.seconds.iter().enumerate() {
        let at = |number: usize| {
            let sample = samples.get(number).or(samples.last());
            sample.copied().unwrap_or_default()
        };
        let (sample, next) = (at(number), at(number + 1));
        let latency = &second.latency_us;
        let quantile = |quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{number},{},{:.3},{:.3},{:.3},{},{},{},{:.2},{:.2},{}",
            latency.len(),
            quantile(0.5),
            quantile(0.99),
            quantile(1.0),
            sample.resident_bytes >> 20,
            sample.engine_bytes >> 20,
            sample.log_bytes >> 20,
            next.idle_seconds - sample.idle_seconds,
            next.stolen_seconds - sample.stolen_seconds,
            next.disk_reads - sample.disk_reads,
        );
    }
    text
}

/// Prints the figures; whether every goal is reached.
pub(super) fn print(args: &SoakArgs, outcome: &Outcome) -> bool {
    let latency = &outcome.seconds.total_us;
    let quantile = |quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
    println!(
        "{} writes: p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, worst {:.2} ms",
        latency.len(),
        quantile(0.5),
        quantile(0.99),
        quantile(0.999),
        quantile(1.0)
    );
    let (pause, at) = outcome.seconds.longest_pause;
    print_slow_spells(args, outcome);
    print_use(args, outcome);
    let late_ms = LATE.as_secs_f64() * 1e3;
    let mut reached = goal("p99.9 of writes", quantile(0.999), late_ms, "ms");
    reached &= goal(
        &format!("longest pause (at {:.1} s)", at.as_secs_f64()),
        pause.as_secs_f64() * 1e3,
        PAUSE_MAX.as_secs_f64() * 1e3,
        "ms",
    );
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let most = |of: fn(&Sample) -> f64| outcome.samples.iter().map(of).fold(0.0, f64::max);
    reached &= goal(
        "most memory of a member",
        mib(most(|it| it.resident_bytes as f64)),
        args.memory as f64,
        "MiB",
    );
    let (early, late) = quarters(&outcome.samples);
    reached &= goal(
        "memory in the last quarter",
        mib(late),
        mib(early * GROWTH_MAX + GROWTH_BYTES),
        "MiB",
    );
    reached &= goal(
        "tables against live data",
        most(|it| it.engine_bytes as f64 / it.live_bytes.max(1) as f64),
        DISK_FACTOR_MAX,
        "times",
    );
    reached &= goal(
        "log",
        mib(most(|it| it.log_bytes as f64)),
        mib(((args.log_retained_mib << 20) + LOG_BEYOND_BYTES) as f64),
        "MiB",
    );
    reached
}

/// How slow the machine is before anything runs on it.
pub(super) fn print_idle(args: &SoakArgs, slow: &SlowSpells, disk_slow: &SlowSpells) {
    println!("idle for {} s:", args.idle_seconds);
    print_spells(slow, disk_slow, Duration::from_secs(args.idle_seconds));
}

fn print_spells(slow: &SlowSpells, disk_slow: &SlowSpells, time: Duration) {
    for (what, spells) in [("processors were", slow), ("disk was", disk_slow)] {
        let (count, together, longest) = spells.summary();
        println!(
            "the {what} slow {count} times, {:.1} s together, {:.0} ms at the longest",
            together.as_secs_f64(),
            longest.as_secs_f64() * 1e3
        );
    }
    // At least: each was seen by a sync that may have begun after it.
    println!(
        "one write and sync of 4 KiB, begun at any time, would have taken longer than {} ms with a probability of {:.3}%",
        LATE.as_millis(),
        disk_slow.beyond(LATE).as_secs_f64() / time.as_secs_f64().max(1.0) * 100.0,
    );
}

/// How much of the machine it took: with hardly any processor idle, whatever comes between makes a queue.
fn print_use(args: &SoakArgs, outcome: &Outcome) {
    let (Some(first), Some(last)) = (outcome.samples.first(), outcome.samples.last()) else {
        return;
    };
    let time = (args.seconds as f64).max(1.0);
    let share = |seconds: f64| seconds / time / machine::cores() as f64 * 100.0;
    println!(
        "the processors were idle {:.1}% of the time, and {:.1}% of it the host gave to others; {:.0} reads from the disk a second",
        share(last.idle_seconds - first.idle_seconds),
        share(last.stolen_seconds - first.stolen_seconds),
        (last.disk_reads - first.disk_reads) / time,
    );
}

/// What of the lateness is the machine's.
fn print_slow_spells(args: &SoakArgs, outcome: &Outcome) {
    let time = Duration::from_secs(args.seconds);
    print_spells(&outcome.slow, &outcome.disk_slow, time);
    let late = &outcome.seconds.late;
    let share = |count: usize| {
        let writes = outcome.seconds.total_us.len().max(1);
        format!("{count} ({:.3}%)", count as f64 / writes as f64 * 100.0)
    };
    let disk = |it: &&(Instant, Instant)| outcome.disk_slow.touch(it.0, it.1);
    let processors = |it: &&(Instant, Instant)| outcome.slow.touch(it.0, it.1);
    let rest = |it: &&(Instant, Instant)| !disk(it) && !processors(it);
    println!(
        "writes that took longer than {} ms: {}; {} of them while the disk was slow or just after, {} while neither was",
        LATE.as_millis(),
        share(late.len()),
        share(late.iter().filter(disk).count()),
        share(late.iter().filter(rest).count()),
    );
}

/// Mean memory in the second quarter of the time, and in the last.
fn quarters(samples: &[Sample]) -> (f64, f64) {
    let quarter = samples.len() / 4;
    let mean = |samples: &[Sample]| {
        let sum: u64 = samples.iter().map(|it| it.resident_bytes).sum();
        sum as f64 / samples.len().max(1) as f64
    };
    (
        mean(&samples[quarter..2 * quarter]),
        mean(&samples[samples.len() - quarter..]),
    )
}

fn goal(what: &str, number: f64, most: f64, unit: &str) -> bool {
    let reached = number <= most;
    let verdict = if reached { "reached" } else { "MISSED" };
    println!("{what}: {number:.2} {unit}, at most {most:.2} asked for: {verdict}");
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_seen_between_quarters() {
        let sample = |resident_bytes| Sample {
            resident_bytes,
            ..Sample::default()
        };
        let samples: Vec<_> = [9, 9, 1, 3, 5, 5, 7, 9].map(sample).to_vec();
        assert_eq!(quarters(&samples), (2.0, 8.0));
        assert_eq!(quarters(&[]), (0.0, 0.0));
    }
}
