use std::collections::BTreeSet;

use lsm_tree::ValueType;
use proptest::prelude::*;

use super::*;
use crate::lsm::list::last;
use crate::lsm::{LsmEngine, Options};

const PLACE: Place = Place { level: 6, depth: 1 };

fn entry(key: &[u8], version: u64, bytes: usize) -> InternalValue {
    InternalValue::from_components(key, vec![7; bytes], version, ValueType::Value)
}

/// Writes the entries of an engine that is otherwise empty, whose tables have 4 KiB.
fn write(fences: Fences, entries: &[InternalValue]) -> Vec<Table> {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        table_bytes: 4 << 10,
        ..Options::default()
    };
    let engine = LsmEngine::open(directory.path(), options).unwrap();
    let mut writer = TablesWriter::new(&engine.shared, PLACE, fences);
    for entry in entries {
        writer.write(entry.clone()).unwrap();
    }
    let tables = writer.finish().unwrap();
    let read = tables.iter().flat_map(|table| table.iter());
    let read: Vec<_> = read.map(|entry| entry.unwrap()).collect();
    assert!(
        read.iter()
            .map(|it| &it.key)
            .eq(entries.iter().map(|it| &it.key))
    );
    assert!(
        tables
            .windows(2)
            .all(|pair| last(&pair[0]) < first(&pair[1]))
    );
    tables
}

fn reaches(tables: &[Table]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let reach = |table: &Table| (first(table).to_vec(), last(table).to_vec());
    tables.iter().map(reach).collect()
}

#[test]
fn little_of_several_kinds_stands_together_and_much_of_one_by_itself() {
    let entries = [
        entry(b"kind1-a", 1, 10),
        entry(b"kind2-a", 1, 10),
        entry(b"kind3-a", 1, 200),
        entry(b"kind3-b", 1, 200),
        entry(b"kind4-a", 1, 10),
        entry(b"kind5-a", 1, 10),
    ];
    let expected = [
        (b"kind1-a".to_vec(), b"kind2-a".to_vec()),
        (b"kind3-a".to_vec(), b"kind3-b".to_vec()),
        (b"kind4-a".to_vec(), b"kind5-a".to_vec()),
    ];
    assert_eq!(reaches(&write(Fences::default(), &entries)), expected);
}

#[test]
fn little_of_two_kinds_does_not_span_what_lies_between_them_below() {
    let entries = [entry(b"kind1-a", 1, 10), entry(b"kind3-a", 1, 10)];
    let between = Slice::from(b"kind2-a");
    let fences = Fences {
        below: vec![between],
        ..Fences::default()
    };
    assert_eq!(write(fences, &entries).len(), 2);
    assert_eq!(write(Fences::default(), &entries).len(), 1);
}

proptest! {
    #[test]
    fn no_table_reaches_over_one_that_stays_and_nothing_is_left_out(
        keys in prop::collection::btree_map((0_u8..6, 0_u8..60), (1_u64..4, 0_usize..400), 1..150),
        staying in prop::collection::btree_set((0_u8..6, 0_u8..60), 0..8),
    ) {
        let name = |(kind, number): (u8, u8)| format!("kind{kind}-{number:03}").into_bytes();
        let staying: BTreeSet<Vec<u8>> = staying.into_iter().map(|it| [&name(it)[..], b"-stays"].concat()).collect();
        let mut entries = Vec::new();
        for (key, (versions, bytes)) in keys {
            entries.extend((1..=versions).rev().map(|version| entry(&name(key), version, bytes)));
        }
        let fences = Fences {
            level: staying.iter().map(|key| Slice::from(&key[..])).collect(),
            ..Fences::default()
        };
        for (first, last) in reaches(&write(fences, &entries)) {
            prop_assert!(!staying.iter().any(|key| first < *key && *key < last), "{first:?} to {last:?}");
        }
    }
}
