//! The table, the ratios beside their goals, and the same as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cluster::MEMBERS;
use crate::compare::Settings;
use crate::load::VALUE_BYTES;
use crate::statistics::{Finding, Goal, Sample, Summary};
use crate::workload::{
    BATCH, BULK, BULK_FOUR, MANY_READERS, MANY_WRITERS, ONE_WRITER, SOME_WRITERS, System, Workload,
};
use benchmarks::machine::Machine;

/// Above this, other programs had a part in the numbers.
const OTHERS_SHARE_MAX: f64 = 0.15;

/// All that was measured.
#[derive(Debug)]
pub(crate) struct Report {
    pub machine: Machine,
    pub settings: Settings,
    pub workloads: Vec<Workload>,
    /// By row of `workloads` and system, one per round.
    pub samples: BTreeMap<(usize, System), Vec<Sample>>,
    /// Measurements that met an error and were taken again.
    pub repeats: Vec<String>,
}

/// One sample, for progress.
pub(crate) fn line(workload: &Workload, system: System, sample: &Sample) -> String {
    format!(
        "{:<14} {:<7} {:>9.0}/s  p50 {:>8.3} ms  p99 {:>8.3} ms",
        workload.name,
        system.name(),
        sample.per_second,
        sample.p50_ms,
        sample.p99_ms
    )
}

impl Report {
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_circumstances(&mut text);
        let _ = self.write_table(&mut text);
        let _ = self.write_findings(&mut text);
        text
    }

    fn write_circumstances(&self, text: &mut String) -> std::fmt::Result {
        let Machine {
            cores,
            processor,
            kernel,
            memory_gib,
            sync_ms,
            slow_share,
        } = &self.machine;
        let settings = &self.settings;
        writeln!(text)?;
        writeln!(
            text,
            "machine   {cores} cores ({processor}), {memory_gib:.0} GiB, Linux {kernel}; at less than half speed {:.0}% of the time",
            slow_share * 100.0
        )?;
        writeln!(
            text,
            "disk      4 KiB append + fdatasync: {sync_ms:.3} ms (median); all data directories are on it"
        )?;
        writeln!(
            text,
            "systems   {}; {}; {MEMBERS} members each, default settings (etcd's space quota raised)",
            settings.etcd_version, settings.cstore_version
        )?;
        writeln!(
            text,
            "durable   both acknowledge a write when a majority has synced it to disk; neither was told otherwise"
        )?;
        writeln!(
            text,
            "load      {} rounds of {} s after {} s warm-up; {} generator threads; {VALUE_BYTES} B values that do not \
             compress, 12 B keys; all sent to the leader",
            settings.rounds, settings.seconds, settings.warm_up, settings.threads
        )?;
        writeln!(
            text,
            "clients   etcd: gRPC streams over {} connections for puts and {} for reads (256 clients); cstore: a \
             connection each, retryable inserts with lsid and txnNumber",
            settings.connections_put, settings.connections_read
        )?;
        writeln!(
            text,
            "apart     while one system is measured the others' processes are stopped (SIGSTOP)"
        )?;
        for repeat in &self.repeats {
            writeln!(text, "repeated  {repeat}")?;
        }
        Ok(())
    }

    fn write_table(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "\n{:<14} {:<7} {:>10} {:>19} {:>9} {:>9} {:>11} {:>11} {:>10} {:>7}",
            "workload",
            "system",
            "per second",
            "lowest - highest",
            "p50 ms",
            "p99 ms",
            "servers us",
            "client us",
            "flushes/s",
            "others"
        )?;
        for (row, workload) in self.workloads.iter().enumerate() {
            for system in workload.systems {
                let Some(summary) = self.summary(row, *system) else {
                    continue;
                };
                let median = summary.median;
                writeln!(
                    text,
                    "{:<14} {:<7} {:>10.0} {:>19} {:>9.3} {:>9.3} {:>11.1} {:>11.1} {:>10.0} {:>6.0}%",
                    workload.name,
                    system.name(),
                    median.per_second,
                    format!(
                        "{:.0} - {:.0}",
                        summary.per_second_min, summary.per_second_max
                    ),
                    median.p50_ms,
                    median.p99_ms,
                    median.server_us,
                    median.client_us,
                    median.flushes_per_second,
                    median.others_share * 100.0
                )?;
            }
        }
        writeln!(
            text,
            "Medians over rounds. insertMany: {BATCH} documents per call, counted in documents, latency per call. \"us\" is \
             processor time per key or\ndocument, of all members together. \"flushes/s\" are the disk's, whoever asked. \"others\" is the share of the \
             machine used by neither side."
        )?;
        if self.disturbed() {
            writeln!(
                text,
                "NOTE: other programs used more than {:.0}% of the machine in some row; take the numbers as a hint only.",
                OTHERS_SHARE_MAX * 100.0
            )?;
        }
        Ok(())
    }

    fn write_findings(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "\n{:<52} {:>9}   {:<18} final goal",
            "ratio", "", "goal of this stage"
        )?;
        for finding in self.findings() {
            writeln!(
                text,
                "{:<52} {:>9}   {:<18} {}",
                finding.what,
                number(finding.number),
                verdict(finding.goal, finding.number),
                verdict(finding.final_goal, finding.number)
            )?;
        }
        if !self
            .findings()
            .iter()
            .any(|finding| finding.what.ends_with("(*)"))
        {
            return Ok(());
        }
        writeln!(
            text,
            "(*) The design means shares of what a driver reaches with a stub. This generator costs a fraction of a driver, so \
             its stub reaches\nfar more; read the share as the room left on this machine."
        )
    }

    /// The numbers that have goals, as far as they were measured.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        use Goal::{AtLeast, AtMost};
        use System::{Cstore, Etcd, Stub};
        let p50: fn(&Sample) -> f64 = |sample| sample.p50_ms;
        let rate: fn(&Sample) -> f64 = |sample| sample.per_second;
        let ratio = |workload, of: fn(&Sample) -> f64, to| {
            Some(of(&self.median(workload, Cstore)?) / of(&self.median(workload, to)?))
        };
        let bulk = |workload| Some(rate(&self.median(workload, Cstore)?));
        let row = |what, number: Option<f64>, goal, final_goal| {
            number.map(|number| Finding {
                what,
                number,
                goal,
                final_goal,
            })
        };
        let rows = [
            row(
                "1 writer, p50: ours / etcd",
                ratio(ONE_WRITER, p50, Etcd),
                Some(AtMost(1.0)),
                Some(AtMost(0.4)),
            ),
            row(
                "64 writers, inserts/s: ours / etcd",
                ratio(SOME_WRITERS, rate, Etcd),
                None,
                None,
            ),
            row(
                "256 writers, inserts/s: ours / etcd",
                ratio(MANY_WRITERS, rate, Etcd),
                Some(AtLeast(2.0)),
                Some(AtLeast(4.0)),
            ),
            row(
                "256 writers, inserts/s: ours / stub (*)",
                ratio(MANY_WRITERS, rate, Stub),
                None,
                Some(AtLeast(0.6)),
            ),
            row(
                "256 linearizable readers, reads/s: ours / etcd",
                ratio(MANY_READERS, rate, Etcd),
                Some(AtLeast(2.0)),
                Some(AtLeast(3.5)),
            ),
            row(
                "256 linearizable readers, reads/s: ours / stub (*)",
                ratio(MANY_READERS, rate, Stub),
                None,
                Some(AtLeast(0.75)),
            ),
            row(
                "insertMany, one client, documents/s",
                bulk(BULK),
                None,
                Some(AtLeast(100_000.0)),
            ),
            row(
                "insertMany, four clients, documents/s",
                bulk(BULK_FOUR),
                None,
                Some(AtLeast(100_000.0)),
            ),
        ];
        rows.into_iter().flatten().collect()
    }

    /// Whether every goal of this stage that was measured is reached.
    pub(crate) fn goals_reached(&self) -> bool {
        self.findings()
            .iter()
            .all(|finding| finding.goal.is_none_or(|goal| goal.reached(finding.number)))
    }

    pub(crate) fn json(&self) -> String {
        let settings = &self.settings;
        let rows: Vec<Value> = self
            .samples
            .iter()
            .map(|((row, system), samples)| {
                let workload = &self.workloads[*row];
                json!({
                    "workload": workload.name,
                    "clients": workload.clients,
                    "system": system.name(),
                    "median": self.summary(*row, *system).map(|summary| sample_json(&summary.median)),
                    "rounds": samples.iter().map(sample_json).collect::<Vec<Value>>(),
                })
            })
            .collect();
        let findings: Vec<Value> = self
            .findings()
            .iter()
            .map(|finding| {
                json!({
                    "what": finding.what,
                    "number": finding.number,
                    "goal": goal_json(finding.goal, finding.number),
                    "final_goal": goal_json(finding.final_goal, finding.number),
                })
            })
            .collect();
        let whole = json!({
            "machine": {
                "cores": self.machine.cores,
                "processor": self.machine.processor,
                "kernel": self.machine.kernel,
                "memory_gib": self.machine.memory_gib,
                "fdatasync_ms": self.machine.sync_ms,
                "slow_share": self.machine.slow_share,
            },
            "settings": {
                "rounds": settings.rounds,
                "seconds": settings.seconds,
                "warm_up_seconds": settings.warm_up,
                "generator_threads": settings.threads,
                "members": MEMBERS,
                "value_bytes": VALUE_BYTES,
                "etcd": settings.etcd_version,
                "cstore": settings.cstore_version,
                "etcd_connections_put": settings.connections_put,
                "etcd_connections_read": settings.connections_read,
            },
            "disturbed": self.disturbed(),
            "repeats": self.repeats,
            "results": rows,
            "findings": findings,
        });
        format!("{whole:#}\n")
    }

    fn disturbed(&self) -> bool {
        self.samples
            .values()
            .flatten()
            .any(|sample| sample.others_share > OTHERS_SHARE_MAX)
    }

    fn median(&self, workload: &str, system: System) -> Option<Sample> {
        let row = self
            .workloads
            .iter()
            .position(|candidate| candidate.name == workload)?;
        Some(self.summary(row, system)?.median)
    }

    fn summary(&self, row: usize, system: System) -> Option<Summary> {
        Summary::of(self.samples.get(&(row, system))?)
    }
}

fn number(number: f64) -> String {
    if number >= 1_000.0 {
        format!("{number:.0}")
    } else {
        format!("{number:.2}")
    }
}

fn verdict(goal: Option<Goal>, found: f64) -> String {
    let Some(goal) = goal else {
        return "-".to_owned();
    };
    let bound = match goal {
        Goal::AtMost(bound) => format!("<= {}", number(bound)),
        Goal::AtLeast(bound) => format!(">= {}", number(bound)),
    };
    let reached = if goal.reached(found) { "yes" } else { "NO" };
    format!("{bound} {reached}")
}

fn goal_json(goal: Option<Goal>, found: f64) -> Value {
    let Some(goal) = goal else { return Value::Null };
    let (bound, at) = match goal {
        Goal::AtMost(bound) => (bound, "most"),
        Goal::AtLeast(bound) => (bound, "least"),
    };
    json!({ "at": at, "bound": bound, "reached": goal.reached(found) })
}

fn sample_json(sample: &Sample) -> Value {
    json!({
        "per_second": sample.per_second,
        "p50_ms": sample.p50_ms,
        "p99_ms": sample.p99_ms,
        "servers_us_each": sample.server_us,
        "client_us_each": sample.client_us,
        "others_share": sample.others_share,
        "disk_flushes_per_second": sample.flushes_per_second,
    })
}

#[cfg(test)]
mod tests;
