//! Prints what the engine's operations cost: `cargo run --release -p storage_engine --example measure_engine [documents]`.

use std::ops::Bound;
use std::time::{Duration, Instant};

use storage_engine::{Engine, LsmEngine, Options};

const BATCH: u64 = 64;
const DOCUMENT_BYTES: usize = 250;
const READS: u64 = 200_000;

fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 31)
}

/// A document under an ordered key and two index entries under random keys.
fn batch_of(first: u64) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut batch = Vec::new();
    for number in first..first + BATCH {
        let mut document = number.to_be_bytes().repeat(DOCUMENT_BYTES / 8);
        document[..8].copy_from_slice(&mixed(number).to_be_bytes());
        batch.push((key(b'd', number), Some(document)));
        batch.push((index_key(b'i', number), Some(Vec::new())));
        batch.push((index_key(b'j', number.rotate_left(17)), Some(Vec::new())));
    }
    batch
}

fn key(space: u8, number: u64) -> Vec<u8> {
    let mut key = vec![space, 0, 0, 0, 1];
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn index_key(space: u8, number: u64) -> Vec<u8> {
    let mut index_key = key(space, mixed(number));
    index_key.extend_from_slice(&number.to_be_bytes());
    index_key
}

fn per_operation(name: &str, count: u64, act: impl FnOnce()) {
    let start = Instant::now();
    act();
    println!(
        "{name:<44} {:>9.0} ns",
        start.elapsed().as_nanos() as f64 / count as f64
    );
}

fn reads(engine: &LsmEngine, when: &str, documents: u64, version: u64) {
    per_operation(&format!("get, absent key ({when})"), READS, || {
        for number in 0..READS {
            let found = engine.get(&key(b'd', documents + mixed(number)), version);
            assert!(found.expect("reads").is_none());
        }
    });
    per_operation(
        &format!("get, absent key within range ({when})"),
        READS,
        || {
            for number in 0..READS {
                let found = engine.get(&index_key(b'i', documents + number), version);
                assert!(found.expect("reads").is_none());
            }
        },
    );
    per_operation(&format!("get, present key ({when})"), READS, || {
        for number in 0..READS {
            let found = engine.get(&key(b'd', mixed(number) % documents), version);
            assert!(found.expect("reads").is_some());
        }
    });
    let scans = 20_000;
    per_operation(
        &format!("range of 20 from a random key ({when})"),
        scans,
        || {
            for number in 0..scans {
                let from = key(b'd', mixed(number) % (documents - 20));
                let range = engine.range(Bound::Included(&from), Bound::Unbounded, version);
                assert!(
                    range
                        .take(20)
                        .map(|entry| entry.expect("reads").1.len())
                        .sum::<usize>()
                        > 0
                );
            }
        },
    );
}

/// Resident memory of this process, where the system tells.
fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap_or("unknown").trim().to_owned()
}

fn main() {
    let documents: u64 = std::env::args()
        .nth(1)
        .and_then(|count| count.parse().ok())
        .unwrap_or(1_000_000);
    let dir = std::env::temp_dir().join(format!("engine-measure-{}", std::process::id()));
    let open = Instant::now();
    let engine = LsmEngine::open(&dir, Options::default()).expect("opens");
    println!("open fresh: {:?}, resident {}", open.elapsed(), resident());
    let mut longest = Duration::ZERO;
    let mut inserting = Duration::ZERO;
    let (mut version, mut sealed_bytes_max) = (0, 0);
    for first in (0..documents).step_by(BATCH as usize) {
        let batch = batch_of(first);
        let start = Instant::now();
        version += 1;
        engine.write(version, &batch);
        if engine.wants_rotation() {
            engine.rotate();
            sealed_bytes_max = sealed_bytes_max.max(engine.stats().sealed_bytes);
        }
        engine.set_oldest_reader(version);
        let took = start.elapsed();
        inserting += took;
        longest = longest.max(took);
    }
    println!(
        "{documents} documents with two index entries: {inserting:?}, {:.0} documents/s",
        documents as f64 / inserting.as_secs_f64()
    );
    println!(
        "insert of one entry: {:.0} ns; longest batch of {}: {longest:?}",
        inserting.as_nanos() as f64 / (3 * documents) as f64,
        3 * BATCH
    );
    println!(
        "most bytes waiting for a flush: {} MiB",
        sealed_bytes_max >> 20
    );
    let start = Instant::now();
    engine.flush_all().expect("flushes");
    println!(
        "flush at the end: {:?}; {:?}",
        start.elapsed(),
        engine.stats()
    );
    reads(&engine, "loaded", documents, version);
    let start = Instant::now();
    engine.compact_all().expect("compacts");
    println!(
        "full compaction: {:?}; {:?}",
        start.elapsed(),
        engine.stats()
    );
    reads(&engine, "compacted", documents, version);
    drop(engine);
    let start = Instant::now();
    let engine = LsmEngine::open(&dir, Options::default()).expect("opens");
    println!(
        "reopen: {:?}, durable version {:?}, resident {}",
        start.elapsed(),
        engine.durable_version(),
        resident()
    );
    engine.write(version + 1, &batch_of(documents * 2));
    reads(&engine, "reopened, small memtable", documents, version);
    drop(engine);
    let _ = std::fs::remove_dir_all(dir);
}
