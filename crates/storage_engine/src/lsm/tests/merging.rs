//! What merging leaves, and what it was left.

use super::*;

/// Waits until nothing is left to merge.
fn wait_merged(engine: &LsmEngine) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let sizes = choice::Sizes {
        level_0_runs: usize::from(engine.shared.options.level_0_tables_max),
        table_bytes: engine.shared.options.table_bytes,
    };
    loop {
        let _under_way = engine.shared.compacting.under_way.lock();
        let kinds_of = |table| engine.shared.views.kinds_of(table);
        let shape = choice::Shape::of(&engine.shared.lists.current(), kinds_of);
        if choice::ordinary(&shape, sizes).is_none() {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{shape:?}");
        drop(_under_way);
        std::thread::yield_now();
    }
}

/// A table from the last of them to the next kind would have to be merged with everything that comes between.
#[test]
fn new_keys_in_order_are_written_twice_and_stand_in_tables_of_their_own() {
    const DOCUMENTS: u64 = 40_000;
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        memtable_bytes: 256 << 10,
        table_bytes: 64 << 10,
        ..small_options()
    };
    let engine = LsmEngine::open(directory.path(), options).unwrap();
    let noise = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    let document = |number: u64| [&b"\x03docs"[..], &number.to_be_bytes()].concat();
    let mut version = 0;
    for number in 0..DOCUMENTS {
        version += 1;
        let value: Vec<u8> = (0..12).flat_map(|word| noise(number << 8 | word)).collect();
        let batch = [
            (document(number), Some(value)),
            (
                [&b"\x04inde"[..], &noise(number)[..2]].concat(),
                Some(vec![]),
            ),
            (b"\x08coun".to_vec(), Some(number.to_be_bytes().to_vec())),
        ];
        engine.write(version, &batch);
        if engine.wants_rotation() {
            engine.rotate();
            engine.set_oldest_reader(version);
            // As a throttle would.
            while engine.runs_waiting() > 20 {
                std::thread::yield_now();
            }
        }
    }
    engine.flush_all().unwrap();
    engine.set_oldest_reader(version);
    wait_merged(&engine);
    let list = engine.shared.lists.current();
    let kinds = |table: &lsm_tree::Table| {
        (
            extent::kind(list::first(table)).to_vec(),
            extent::kind(list::last(table)).to_vec(),
        )
    };
    let below: Vec<_> = list.levels[1..]
        .iter()
        .flatten()
        .flat_map(|run| run.iter())
        .map(kinds)
        .collect();
    let of_documents = below
        .iter()
        .filter(|(first, last)| first == b"\x03docs" || last == b"\x03docs");
    assert!(of_documents.clone().count() > 20, "{below:?}");
    assert!(
        of_documents.clone().all(|(first, last)| first == last),
        "{below:?}"
    );
    let stats = engine.stats();
    assert!(stats.compacted_bytes < stats.flushed_bytes * 2, "{stats:?}");
    for number in (0..DOCUMENTS).step_by(97) {
        assert!(engine.get(&document(number), version).unwrap().is_some());
    }
    let count = engine
        .range(
            Bound::Included(&document(0)),
            Bound::Included(&document(DOCUMENTS)),
            version,
        )
        .count();
    assert_eq!(count as u64, DOCUMENTS);
}

/// In a tree of several levels, large merges under way for long, and others that go between.
#[test]
fn keys_overwritten_and_deleted_at_random_are_read_as_written_while_levels_are_merged() {
    const KEYS: u64 = 12_000;
    const WRITES: u64 = 90_000;
    let directory = tempfile::tempdir().unwrap();
    let options = || Options {
        memtable_bytes: 48 << 10,
        table_bytes: 16 << 10,
        ..small_options()
    };
    let engine = LsmEngine::open(directory.path(), options()).unwrap();
    let mut expected = std::collections::BTreeMap::new();
    let mut random = 7_u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005) | 1;
        random ^= random >> 29;
        random
    };
    let key = |number: u64| number.to_be_bytes().to_vec();
    for version in 1..=WRITES {
        let (number, word) = (next() % KEYS, next());
        let value = (word % 5 > 0).then(|| word.to_be_bytes().repeat(20));
        engine.write(version, &[(key(number), value.clone())]);
        match value {
            Some(value) => expected.insert(key(number), value),
            None => expected.remove(&key(number)),
        };
        if engine.wants_rotation() {
            engine.rotate();
            engine.set_oldest_reader(version);
            while engine.runs_waiting() > 20 {
                std::thread::yield_now();
            }
        }
        if version % 997 == 0 {
            let found = engine.get(&key(number), version).unwrap();
            assert_eq!(
                found.as_deref(),
                expected.get(&key(number)).map(|it| &it[..])
            );
        }
    }
    engine.flush_all().unwrap();
    engine.set_oldest_reader(WRITES);
    let expected: Pairs = expected.into_iter().collect();
    assert_eq!(all(&*engine, WRITES), expected);
    wait_merged(&engine);
    let used = engine.shared.lists.current();
    let used = used.levels.iter().filter(|level| !level.is_empty()).count();
    assert!(used > 1, "{used}");
    assert_eq!(all(&*engine, WRITES), expected);
    drop(engine);
    let engine = LsmEngine::open(directory.path(), options()).unwrap();
    assert_eq!(all(&*engine, WRITES), expected);
}

/// Directories of before merging was ours, and those that a snapshot was loaded into.
#[test]
fn what_lsm_tree_has_written_and_merged_is_read_and_merged_on() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Arc::new(Cache::with_capacity_bytes(1 << 20));
    let descriptors = descriptors();
    let tree = open_tree(directory.path(), &cache, &descriptors).unwrap();
    let entry = |number: u8, version| {
        InternalValue::from_components(
            key(number),
            value(number, version),
            version,
            ValueType::Value,
        )
    };
    for version in 1..=3 {
        let mut entries: Vec<_> = (0..30).map(|number| entry(number, version)).collect();
        entries.push(marker(version, version));
        entries.sort_by(|left, right| left.key.cmp(&right.key));
        let (tables, _) = tree
            .flush_to_tables(entries.into_iter().map(Ok))
            .unwrap()
            .unwrap();
        tree.register_tables(&tables, None, None, &[], 1).unwrap();
        if version == 2 {
            tree.major_compact(1 << 10, 1).unwrap();
        }
    }
    assert!(tree.current_version().level_count() == list::LEVELS && tree.l0_run_count() == 1);
    drop(tree);
    let engine = open(directory.path());
    let expected = |version| -> Pairs {
        let mut pairs: Pairs = (0..30)
            .map(|number| (key(number), value(number, version)))
            .collect();
        pairs.sort();
        pairs
    };
    assert_eq!(engine.durable_version(), Some(3));
    for version in 1..=3 {
        assert_eq!(all(&*engine, version), expected(version));
    }
    put(&*engine, 4, &key(1), b"new");
    engine.flush_all().unwrap();
    engine.set_oldest_reader(3);
    engine.compact_all().unwrap();
    assert_eq!(all(&*engine, 3), expected(3));
    drop(engine);
    let engine = open(directory.path());
    assert_eq!(engine.durable_version(), Some(4));
    assert_eq!(engine.get(&key(1), 4).unwrap().unwrap().to_vec(), b"new");
    assert_eq!(all(&*engine, 3), expected(3));
}

/// Counters and sessions are written with nearly every command, and readers of long ago keep their versions.
#[test]
fn keys_with_hundreds_of_versions_are_read_from_either_end_as_of_any() {
    const VERSIONS: Version = 600;
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let model = MemoryEngine::new();
    for version in 1..=VERSIONS {
        let mut batch: Vec<_> = (0..4_u8)
            .filter(|hot| version % 7 != u64::from(*hot))
            .map(|hot| (vec![9, hot], Some(version.to_be_bytes().to_vec())))
            .collect();
        batch.push((vec![9, 200], (version % 5 > 0).then(|| vec![7; 40])));
        batch.push((
            [&[9, 2][..], &version.to_be_bytes()].concat(),
            Some(vec![1]),
        ));
        batch.sort();
        engine.write(version, &batch);
        model.write(version, &batch);
        if version.is_multiple_of(130) {
            engine.rotate();
        }
    }
    for as_of in [1, 20, 133, 390, 555, VERSIONS] {
        for pattern in [u64::MAX, 0, 0b1011_0111, 0x0f0f_0f0f_ffff_0000] {
            let (from, to) = (Bound::Excluded(&[9][..]), Bound::Included(&[9, 200][..]));
            assert_eq!(
                both_ends(&*engine, from, to, as_of, pattern),
                collect(model.range(from, to, as_of))
            );
        }
    }
}
