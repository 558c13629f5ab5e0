//! Prints what appending and syncing cost: `cargo run --release -p write_ahead_log --example measure_log [directory]`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use platform::OsDisk;
use write_ahead_log::{Examination, Options, Start, WriteAheadLog};

fn percentile(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

fn main() {
    let parent = std::env::args()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = parent.join(format!("log-measure-{}", std::process::id()));
    let start = Instant::now();
    let (mut log, _) = WriteAheadLog::open(OsDisk, &dir, Options::default()).expect("opens");
    println!("open fresh: {:?}", start.elapsed());
    let payload: Vec<u8> = (0..350_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut index = 0;
    for (batch, syncs) in [(1, 3000), (64, 1000), (256, 500)] {
        let mut latencies = Vec::new();
        let mut appending = Duration::ZERO;
        let mut housekeeping = Duration::ZERO;
        for _ in 0..syncs {
            let start = Instant::now();
            for _ in 0..batch {
                index += 1;
                log.append(1, index, &[&payload]).expect("appends");
            }
            let appended = Instant::now();
            log.sync().expect("syncs");
            latencies.push(appended.elapsed());
            appending += appended - start;
            if index > 10_000 {
                log.remove_prefix(
                    1,
                    Start {
                        index: index - 10_000,
                        tag: 1,
                    },
                )
                .expect("removes");
            }
            let start = Instant::now();
            log.housekeep().expect("housekeeps");
            housekeeping = housekeeping.max(start.elapsed());
        }
        latencies.sort_unstable();
        println!(
            "batch of {batch:>3}: append {:>4} ns each; sync p10 {:?} p50 {:?} p99 {:?} max {:?}; longest housekeeping {housekeeping:?}",
            appending.as_nanos() / (batch * syncs),
            percentile(&latencies, 0.1),
            percentile(&latencies, 0.5),
            percentile(&latencies, 0.99),
            percentile(&latencies, 1.0),
        );
    }
    println!("{:?}", log.stats());
    for (batch, large) in [(1, 300 << 10), (64, 350)] {
        let payload: Vec<u8> = payload.iter().copied().cycle().take(large).collect();
        let first = index;
        let mut bytes = 0;
        while bytes < 300 << 20 {
            for _ in 0..batch {
                index += 1;
                bytes += payload.len();
                log.append(1, index, &[&payload]).expect("appends");
            }
            log.sync().expect("syncs");
            while log.housekeep().expect("housekeeps") {}
        }
        drop(log);
        for share in [1, 10] {
            let start = Instant::now();
            let found = Examination::of(OsDisk, &dir).expect("reads");
            let examined = start.elapsed();
            let held = Start {
                index: index - (index - first) / share,
                tag: 1,
            };
            let held = BTreeMap::from([(1, held)]);
            let (_, recovered) =
                WriteAheadLog::open_examined(found, Options::default(), &held).expect("opens");
            println!(
                "{} MiB, entries of {large} bytes: examined in {examined:?}, with {} entries in memory after {:?}",
                bytes >> 20,
                recovered.groups[&1].entries.len(),
                start.elapsed()
            );
        }
        let opened = WriteAheadLog::open(OsDisk, &dir, Options::default());
        log = opened.expect("opens").0;
        let removed = Start { index, tag: 1 };
        log.remove_prefix(1, removed).expect("removes");
        log.sync().expect("syncs");
        while log.housekeep().expect("housekeeps") {}
    }
    let _ = std::fs::remove_dir_all(dir);
}
