//! Prints what appending and syncing cost: `cargo run --release -p write_ahead_log --example measure_log [directory]`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use platform::OsDisk;
use write_ahead_log::{Options, Start, WriteAheadLog};

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
    drop(log);
    let start = Instant::now();
    let (_, recovered) = WriteAheadLog::open(OsDisk, &dir, Options::default()).expect("opens");
    println!(
        "recovery of {} entries: {:?}",
        recovered.groups[&1].entries.len(),
        start.elapsed()
    );
    let _ = std::fs::remove_dir_all(dir);
}
