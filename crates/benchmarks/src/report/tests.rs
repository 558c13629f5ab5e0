//! The report on made-up samples.

use super::*;
use crate::workload::WORKLOADS;

fn sample(per_second: f64, p50_ms: f64) -> Sample {
    Sample {
        per_second,
        p50_ms,
        p99_ms: p50_ms * 3.0,
        server_us: 100.0,
        client_us: 10.0,
        others_share: 0.01,
        flushes_per_second: 700.0,
    }
}

/// One writer: ours half of etcd's median. 256 writers: twice etcd's less a bit, half of the stub's.
fn report() -> Report {
    let mut samples = BTreeMap::new();
    let etcd_rounds = vec![
        sample(900.0, 1.1),
        sample(1_000.0, 1.0),
        sample(1_100.0, 0.9),
    ];
    samples.insert((0, System::Etcd), etcd_rounds);
    samples.insert((0, System::Cstore), vec![sample(2_000.0, 0.5)]);
    samples.insert((2, System::Etcd), vec![sample(10_000.0, 25.0)]);
    samples.insert((2, System::Cstore), vec![sample(19_900.0, 12.0)]);
    samples.insert((2, System::Stub), vec![sample(39_800.0, 6.0)]);
    Report {
        machine: Machine {
            cores: 2,
            processor: "some processor".to_owned(),
            kernel: "6.1".to_owned(),
            memory_gib: 8.0,
            sync_ms: 0.2,
            slow_share: 0.04,
        },
        settings: Settings {
            rounds: 3,
            seconds: 5.0,
            warm_up: 1.0,
            threads: 2,
            connections_put: 16,
            connections_read: 64,
            etcd_version: "etcd Version: 3.4".to_owned(),
            cstore_version: "cstore 0.1.0".to_owned(),
        },
        workloads: WORKLOADS.to_vec(),
        samples,
        repeats: Vec::new(),
    }
}

#[test]
fn ratios_are_of_medians_and_only_of_what_was_measured() {
    let found: Vec<(&str, f64)> = report()
        .findings()
        .iter()
        .map(|finding| (finding.what, finding.number))
        .collect();
    let expected = [
        ("1 writer, p50: ours / etcd", 0.5),
        ("256 writers, inserts/s: ours / etcd", 1.99),
        ("256 writers, inserts/s: ours / stub (*)", 0.5),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_goal_missed_is_said_plainly() {
    let mut report = report();
    assert!(!report.goals_reached());
    let text = report.text();
    assert!(text.contains("<= 1.00 yes"), "{text}");
    assert!(text.contains(">= 2.00 NO"), "{text}");
    report
        .samples
        .insert((2, System::Cstore), vec![sample(20_000.0, 12.0)]);
    assert!(report.goals_reached());
}

#[test]
fn a_disturbed_machine_is_noted() {
    let mut report = report();
    assert!(!report.text().contains("NOTE"));
    let mut disturbed = sample(1.0, 1.0);
    disturbed.others_share = 0.4;
    report.samples.insert((1, System::Etcd), vec![disturbed]);
    assert!(report.text().contains("NOTE"));
}

#[test]
fn json_keeps_every_round() {
    let value: Value = serde_json::from_str(&report().json()).unwrap();
    let first = &value["results"][0];
    assert_eq!(first["system"], "etcd");
    assert_eq!(first["rounds"].as_array().unwrap().len(), 3);
    assert_eq!(first["median"]["p50_ms"], 1.0);
    assert_eq!(value["findings"][1]["goal"]["reached"], false);
}
