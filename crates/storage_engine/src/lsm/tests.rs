use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use proptest::prelude::*;
use proptest::test_runner::Config as ProptestConfig;

use super::*;
use crate::MemoryEngine;

mod merging;

fn small_options() -> Options {
    Options {
        memtable_bytes: 1 << 10,
        cache_bytes: 1 << 20,
        level_0_tables_max: 2,
        table_bytes: 4 << 10,
        ..Options::default()
    }
}

fn open(dir: &Path) -> Arc<LsmEngine> {
    LsmEngine::open(dir, small_options()).unwrap()
}

fn put(engine: &dyn Engine, version: Version, key: &[u8], value: &[u8]) {
    engine.write(version, &[(key.to_vec(), Some(value.to_vec()))]);
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn collect(entries: impl Iterator<Item = Result<(Slice, Slice), StorageFault>>) -> Pairs {
    entries
        .map(|entry| {
            let (key, value) = entry.unwrap();
            (key.to_vec(), value.to_vec())
        })
        .collect()
}

fn all(engine: &dyn Engine, as_of: Version) -> Pairs {
    collect(engine.range(Bound::Unbounded, Bound::Unbounded, as_of))
}

/// Takes from the front where the pattern has a 1 bit, from the back where it has a 0.
fn both_ends(
    engine: &dyn Engine,
    from: Bound<&[u8]>,
    to: Bound<&[u8]>,
    as_of: Version,
    mut pattern: u64,
) -> Pairs {
    let mut entries = engine.range(from, to, as_of);
    let (mut front, mut back) = (Vec::new(), Vec::new());
    loop {
        let ahead = pattern & 1 == 1;
        pattern = pattern.rotate_right(1);
        let next = if ahead {
            entries.next()
        } else {
            entries.next_back()
        };
        let Some(entry) = next else { break };
        let (key, value) = entry.unwrap();
        let pair = (key.to_vec(), value.to_vec());
        if ahead {
            front.push(pair)
        } else {
            back.push(pair)
        }
    }
    assert!(
        entries.next().is_none() && entries.next_back().is_none(),
        "an ended range stays ended"
    );
    front.extend(back.into_iter().rev());
    front
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(u8, Option<u8>)>),
    Rotate,
    Flush,
    Compact,
    Reopen,
    /// Moves the oldest reader to a share (of 255) of the way to the newest version.
    Advance(u8),
    Read {
        key: u8,
        from: u8,
        to: u8,
        behind: u8,
        pattern: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let batch =
        prop::collection::btree_map(0..40_u8, prop::option::weighted(0.7, any::<u8>()), 1..12);
    prop_oneof![
        10 => batch.prop_map(|batch| Step::Write(batch.into_iter().collect())),
        2 => Just(Step::Rotate),
        2 => Just(Step::Flush),
        1 => Just(Step::Compact),
        1 => Just(Step::Reopen),
        2 => any::<u8>().prop_map(Step::Advance),
        6 => (0..45_u8, 0..45_u8, 0..45_u8, any::<u8>(), any::<u64>())
            .prop_map(|(key, from, to, behind, pattern)| Step::Read { key, from, to, behind, pattern }),
    ]
}

/// Keys long and short, so that both inline and allocated slices occur.
fn key(number: u8) -> Vec<u8> {
    if number.is_multiple_of(3) {
        format!("a-rather-long-key-{number:03}-beyond-twenty-bytes").into_bytes()
    } else {
        vec![1, number]
    }
}

fn value(number: u8, version: Version) -> Vec<u8> {
    format!("{number}@{version}")
        .repeat(1 + usize::from(number) % 9)
        .into_bytes()
}

fn bounds(from: u8, to: u8, pattern: u64) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let bound = |number, kind| match kind {
        0 => Bound::Unbounded,
        1 => Bound::Included(key(number)),
        _ => Bound::Excluded(key(number)),
    };
    (bound(from, pattern % 3), bound(to, (pattern >> 8) % 3))
}

fn check_reads(engine: &dyn Engine, model: &dyn Engine, as_of: Version, step: &Step) {
    let Step::Read {
        key: number,
        from,
        to,
        pattern,
        ..
    } = step
    else {
        return;
    };
    let wanted = key(*number);
    let found = engine.get(&wanted, as_of).unwrap();
    assert_eq!(
        found.as_deref(),
        model.get(&wanted, as_of).unwrap().as_deref()
    );
    let (from, to) = bounds(*from, *to, *pattern);
    let (from, to) = (
        from.as_ref().map(Vec::as_slice),
        to.as_ref().map(Vec::as_slice),
    );
    assert_eq!(
        both_ends(engine, from, to, as_of, *pattern),
        collect(model.range(from, to, as_of))
    );
}

type LoggedBatch = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// The engine under test, its model, and the batches a restart must replay.
struct Pair {
    dir: tempfile::TempDir,
    engine: Option<Arc<LsmEngine>>,
    model: MemoryEngine,
    log: Vec<LoggedBatch>,
    oldest_reader: Version,
}

impl Pair {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Some(open(dir.path()));
        Self {
            dir,
            engine,
            model: MemoryEngine::new(),
            log: Vec::new(),
            oldest_reader: 0,
        }
    }

    fn engine(&self) -> &LsmEngine {
        self.engine.as_ref().unwrap()
    }

    fn newest(&self) -> Version {
        self.log.len() as Version
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Write(batch) => {
                let version = self.newest() + 1;
                let batch: Vec<_> = batch
                    .iter()
                    .map(|(number, new)| (key(*number), new.map(|new| value(new, version))))
                    .collect();
                self.engine().write(version, &batch);
                self.model.write(version, &batch);
                self.log.push(batch);
            }
            Step::Rotate => self.engine().rotate(),
            Step::Flush => {
                self.engine().flush_all().unwrap();
                assert_eq!(self.engine().durable_version().unwrap_or(0), self.newest());
            }
            Step::Compact => self.engine().compact_all().unwrap(),
            Step::Reopen => {
                self.engine = None;
                let engine = open(self.dir.path());
                let durable = engine.durable_version().unwrap_or(0);
                assert!(durable <= self.newest());
                for (version, batch) in (durable + 1..).zip(&self.log[durable as usize..]) {
                    engine.write(version, batch);
                }
                self.engine = Some(engine);
            }
            Step::Advance(share) => {
                let way = (self.newest() - self.oldest_reader) * Version::from(*share) / 255;
                self.oldest_reader += way;
                self.engine().set_oldest_reader(self.oldest_reader);
                self.model.set_oldest_reader(self.oldest_reader);
            }
            Step::Read { behind, .. } => {
                let behind = Version::from(*behind) % (self.newest() - self.oldest_reader + 1);
                check_reads(self.engine(), &self.model, self.newest() - behind, step);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn reads_equal_the_model_across_flush_compaction_and_reopen(
        steps in prop::collection::vec(step(), 1..120)
    ) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.run(step);
        }
        for as_of in pair.oldest_reader..=pair.newest() {
            prop_assert_eq!(all(pair.engine(), as_of), all(&pair.model, as_of));
        }
    }
}

#[test]
fn a_fresh_directory_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(&dir.path().join("absent/engine"));
    assert_eq!(engine.durable_version(), None);
    assert_eq!(all(&*engine, 1000), []);
    assert_eq!(engine.memtable_bytes(), 0);
}

#[test]
fn a_drop_without_flush_loses_exactly_what_is_after_the_durable_version() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    put(&*engine, 1, b"kept", b"1");
    put(&*engine, 2, b"deleted", b"2");
    engine.write(3, &[(b"deleted".to_vec(), None)]);
    engine.flush_all().unwrap();
    put(&*engine, 4, b"lost", b"4");
    put(&*engine, 5, b"kept", b"5");
    drop(engine);
    let engine = open(dir.path());
    assert_eq!(
        engine.durable_version(),
        Some(3),
        "a trailing deletion counts too"
    );
    assert_eq!(all(&*engine, 10), [(b"kept".to_vec(), b"1".to_vec())]);
}

#[test]
fn the_durable_version_survives_deletion_and_compaction_of_everything() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    put(&*engine, 1, b"key", b"1");
    engine.flush_all().unwrap();
    engine.write(2, &[(b"key".to_vec(), None)]);
    engine.flush_all().unwrap();
    engine.set_oldest_reader(2);
    engine.compact_all().unwrap();
    drop(engine);
    let engine = open(dir.path());
    assert_eq!(engine.durable_version(), Some(2));
    assert_eq!(all(&*engine, 2), []);
}

#[test]
fn a_reader_below_newer_tables_keeps_its_versions_through_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    engine.set_oldest_reader(1);
    for version in 1..=20 {
        put(&*engine, version, b"hot", version.to_string().as_bytes());
        engine.flush_all().unwrap();
    }
    engine.compact_all().unwrap();
    for version in 1..=20 {
        let found = engine.get(b"hot", version).unwrap().unwrap();
        assert_eq!(found.to_vec(), version.to_string().into_bytes());
    }
    engine.set_oldest_reader(20);
    engine.compact_all().unwrap();
    assert_eq!(engine.get(b"hot", 20).unwrap().unwrap().to_vec(), b"20");
    assert_eq!(
        engine.get(b"hot", 19).unwrap(),
        None,
        "no reader needs it: dropped"
    );
}

#[test]
fn a_scan_goes_over_many_tables_of_several_runs_from_both_ends() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let model = MemoryEngine::new();
    let mut version = 0;
    let mut write = |number: u64, value: Option<&str>| {
        version += 1;
        let key = [b"document-", &number.to_be_bytes()[..]].concat();
        // Digits that a table cannot make much shorter.
        let digits = |which: u64| (number * 31 + which).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let long: String = (0..8).map(|which| digits(which).to_string()).collect();
        let batch = [(key, value.map(|value| [value, &long].concat().into_bytes()))];
        engine.write(version, &batch);
        model.write(version, &batch);
    };
    (0..600).for_each(|number| write(number, Some("first")));
    engine.flush_all().unwrap();
    engine.compact_all().unwrap();
    // What follows, what lies in between, and what is no more.
    (600..650).for_each(|number| write(number, Some("later")));
    engine.flush_all().unwrap();
    (90..200)
        .step_by(7)
        .for_each(|number| write(number, Some("other")));
    (150..260).step_by(3).for_each(|number| write(number, None));
    engine.flush_all().unwrap();
    assert!(engine.stats().tables > 8, "{:?}", engine.stats());
    let key = |number: u64| [b"document-", &number.to_be_bytes()[..]].concat();
    for as_of in [599, 620, 655, 670, 1_000] {
        for pattern in [0, u64::MAX, 0x5555_5555_5555_5555, 0xff00_f0f0_1234_cccc] {
            for (first, last) in [(0, 700), (95, 96), (140, 610), (599, 601), (649, 700)] {
                let (first, last) = (key(first), key(last));
                let (from, to) = (Bound::Excluded(&first[..]), Bound::Included(&last[..]));
                assert_eq!(
                    both_ends(&*engine, from, to, as_of, pattern),
                    collect(model.range(from, to, as_of))
                );
            }
        }
    }
}

#[test]
fn an_open_range_outlives_flush_compaction_and_later_writes() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    for number in 0..200_u64 {
        put(
            &*engine,
            1 + number,
            format!("key{number:04}").as_bytes(),
            b"old",
        );
    }
    let mut range = engine.range(Bound::Unbounded, Bound::Unbounded, 200);
    assert_eq!(range.next().unwrap().unwrap().0.to_vec(), b"key0000");
    for number in 0..200_u64 {
        put(
            &*engine,
            201 + number,
            format!("key{number:04}").as_bytes(),
            b"new",
        );
        if number.is_multiple_of(50) {
            engine.flush_all().unwrap();
        }
    }
    engine.flush_all().unwrap();
    engine.set_oldest_reader(400);
    engine.compact_all().unwrap();
    let rest = collect(range);
    assert_eq!(rest.len(), 199);
    assert!(rest.iter().all(|(_, value)| value == b"old"));
}

#[test]
fn the_flush_callback_names_each_durable_version() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, receiver) = mpsc::channel();
    let options = Options {
        on_flushed: Box::new(move |version| sender.send(version).unwrap()),
        ..small_options()
    };
    let engine = LsmEngine::open(dir.path(), options).unwrap();
    put(&*engine, 3, b"a", b"1");
    engine.rotate();
    put(&*engine, 7, b"a", b"2");
    engine.rotate();
    engine.rotate();
    assert_eq!(receiver.recv().unwrap(), 3);
    assert_eq!(receiver.recv().unwrap(), 7);
    engine.flush_all().unwrap();
    assert_eq!(engine.durable_version(), Some(7));
    drop(engine);
    assert!(receiver.recv().is_err(), "nothing to flush is not flushed");
}

#[test]
fn readers_see_whole_versions_while_writes_flushes_and_compactions_go_on() {
    const KEYS: u8 = 30;
    const VERSIONS: Version = 1500;
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let applied = Arc::new(AtomicU64::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (engine, applied, done) = (engine.clone(), applied.clone(), done.clone());
            std::thread::spawn(move || {
                let mut reads = 0_u64;
                while !done.load(Ordering::Acquire) || reads == 0 {
                    let as_of = applied.load(Ordering::Acquire);
                    let seen: BTreeSet<_> = all(&*engine, as_of)
                        .into_iter()
                        .map(|(_, value)| value)
                        .collect();
                    let expected = if as_of == 0 { 0 } else { 1 };
                    assert_eq!(seen.len(), expected, "one version at {as_of}: {seen:?}");
                    let found = engine.get(&key(1), as_of).unwrap();
                    assert_eq!(found.map(|value| value.to_vec()), seen.into_iter().next());
                    reads += 1;
                }
            })
        })
        .collect();
    for version in 1..=VERSIONS {
        let value = version.to_be_bytes().repeat(4);
        let batch: Vec<_> = (0..KEYS)
            .map(|number| (key(number), Some(value.clone())))
            .collect();
        engine.write(version, &batch);
        applied.store(version, Ordering::Release);
        if engine.memtable_bytes() > 20_000 {
            engine.rotate();
            // Far enough behind for any read in flight.
            engine.set_oldest_reader(version.saturating_sub(1000));
        }
    }
    done.store(true, Ordering::Release);
    for reader in readers {
        reader.join().unwrap();
    }
    engine.flush_all().unwrap();
    assert!(engine.stats().flushes > 5);
}

#[test]
fn compaction_waits_for_old_readers_and_resumes_when_they_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    for version in 1..=3 {
        put(&*engine, version, b"key", &[7; 500]);
        engine.flush_all().unwrap();
    }
    assert_eq!(
        engine.stats().compactions,
        0,
        "the reader at 0 holds it back"
    );
    engine.set_oldest_reader(3);
    let mut state = engine.shared.maintenance.state.lock();
    while state.done.compactions == 0 {
        engine.shared.maintenance.changed.wait(&mut state);
    }
}

#[test]
fn a_damaged_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    put(&*engine, 1, b"key", b"1");
    engine.flush_all().unwrap();
    drop(engine);
    std::fs::remove_file(dir.path().join("current")).unwrap();
    let fault = LsmEngine::open(dir.path(), small_options()).err().unwrap();
    assert!(matches!(fault, StorageFault::Damaged { .. }));
    assert!(
        fault.to_string().contains(&*dir.path().to_string_lossy()),
        "{fault}"
    );
}

#[test]
fn a_missing_table_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    put(&*engine, 1, b"key", b"1");
    engine.flush_all().unwrap();
    drop(engine);
    std::fs::remove_file(dir.path().join("tables/0")).unwrap();
    let fault = LsmEngine::open(dir.path(), small_options()).err().unwrap();
    assert!(matches!(fault, StorageFault::Damaged { .. }), "{fault}");
}

#[test]
fn a_failing_flush_is_reported_once_and_stops_the_engine() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, receiver) = mpsc::channel();
    let options = Options {
        on_fault: Box::new(move |fault| sender.send(fault).unwrap()),
        ..small_options()
    };
    let engine = LsmEngine::open(&dir.path().join("engine"), options).unwrap();
    std::fs::remove_dir_all(dir.path().join("engine")).unwrap();
    put(&*engine, 1, b"key", b"1");
    assert!(matches!(
        engine.flush_all(),
        Err(StorageFault::Stopped { .. })
    ));
    assert!(receiver.recv().is_ok());
    assert_eq!(engine.get(b"key", 1).unwrap().unwrap().to_vec(), b"1");
    assert_eq!(engine.durable_version(), None);
}

/// What is deleted or overwritten gives its space back: nobody has to ask for it, and nothing is written in the end.
#[test]
fn space_of_deleted_and_overwritten_values_comes_back_by_itself() {
    const KEYS: u64 = 4_000;
    let key = |number: u64| number.to_be_bytes().to_vec();
    for deleting in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let options = Options {
            memtable_bytes: 64 << 10,
            table_bytes: 64 << 10,
            ..small_options()
        };
        let engine = LsmEngine::open(directory.path(), options).unwrap();
        let mut version = 0;
        let mut apply = |numbers: std::ops::Range<u64>, seed: Option<u64>| {
            for number in numbers {
                version += 1;
                // Values that do not compress.
                let value = seed.map(|seed| {
                    let words = (0..25_u64).map(|word| (number ^ seed).wrapping_add(word << 32));
                    let mixed = words.map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                    mixed.flat_map(u64::to_le_bytes).collect::<Vec<u8>>()
                });
                engine.write(version, &[(key(number), value)]);
                if engine.wants_rotation() {
                    engine.rotate();
                }
            }
            engine.flush_all().unwrap();
            engine.set_oldest_reader(version);
            version
        };
        apply(0..KEYS, Some(1));
        let full = engine.stats().disk_bytes;
        let live_bytes = if deleting {
            apply(0..KEYS * 9 / 10, None);
            full / 10
        } else {
            for seed in 2..5 {
                apply(0..KEYS, Some(seed));
            }
            full
        };
        let newest = engine.durable_version().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let stats = engine.stats();
            if stats.disk_bytes * 2 <= live_bytes * 5 {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{stats:?}");
            std::thread::yield_now();
        }
        let left = if deleting { KEYS / 10 } else { KEYS };
        assert_eq!(all(&*engine, newest).len() as u64, left);
        let stats = engine.stats();
        assert!(stats.flushed_bytes > 0 && stats.compacted_bytes > 0);
    }
}

/// All of it stands in the last level then, where nothing that comes later merges with it.
#[test]
fn what_was_merged_while_readers_needed_it_goes_when_they_have_gone() {
    const KEYS: u64 = 2_000;
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let key = |number: u64| number.to_be_bytes().to_vec();
    for number in 0..KEYS {
        let value = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
        engine.write(number + 1, &[(key(number), Some(value.repeat(8)))]);
    }
    engine.flush_all().unwrap();
    for number in 0..KEYS * 9 / 10 {
        engine.write(KEYS + number + 1, &[(key(number), None)]);
    }
    engine.flush_all().unwrap();
    engine.compact_all().unwrap();
    let newest = engine.durable_version().unwrap();
    assert_eq!(all(&*engine, KEYS).len() as u64, KEYS);
    assert!(
        engine.stats().entries >= KEYS * 19 / 10,
        "readers need it all"
    );

    engine.set_oldest_reader(newest);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while engine.stats().entries > KEYS / 5 {
        let stats = engine.stats();
        assert!(std::time::Instant::now() < deadline, "{stats:?}");
        std::thread::yield_now();
    }
    assert_eq!(all(&*engine, newest).len() as u64, KEYS / 10);
}
