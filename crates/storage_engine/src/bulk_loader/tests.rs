use std::ops::Bound;

use super::*;
use crate::{Engine, LsmEngine, Options};

#[test]
fn a_loaded_directory_opens_with_its_version_and_takes_writes() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("staged");
    let mut loader = BulkLoader::create(&target).unwrap();
    for number in 0..5000_u32 {
        loader
            .add(format!("key{number:06}").as_bytes(), &[b'x'; 100])
            .unwrap();
        if number == 2500 {
            loader.write_table().unwrap();
        }
    }
    loader.finish(77).unwrap();
    let engine = LsmEngine::open(&target, Options::default()).unwrap();
    assert_eq!(engine.durable_version(), Some(77));
    let count = || {
        engine
            .range(Bound::Unbounded, Bound::Unbounded, 200)
            .map(Result::unwrap)
            .count()
    };
    assert_eq!(count(), 5000);
    engine.write(
        78,
        &[
            (b"key000001".to_vec(), None),
            (b"key000002".to_vec(), Some(vec![1])),
        ],
    );
    engine.flush_all().unwrap();
    engine.set_oldest_reader(77);
    engine.compact_all().unwrap();
    assert_eq!(count(), 4999);
    assert_eq!(engine.get(b"key000002", 77).unwrap().unwrap().len(), 100);
    assert_eq!(engine.get(b"key000002", 78).unwrap().unwrap().len(), 1);
    assert_eq!(engine.durable_version(), Some(78));
}

#[test]
fn an_empty_load_still_has_its_version() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("staged");
    BulkLoader::create(&target).unwrap().finish(5).unwrap();
    let engine = LsmEngine::open(&target, Options::default()).unwrap();
    assert_eq!(engine.durable_version(), Some(5));
    assert_eq!(
        engine.range(Bound::Unbounded, Bound::Unbounded, 9).count(),
        0
    );
}

#[test]
fn keys_must_ascend_and_the_directory_be_empty() {
    let dir = tempfile::tempdir().unwrap();
    let mut loader = BulkLoader::create(dir.path()).unwrap();
    loader.add(b"b", b"").unwrap();
    assert!(matches!(
        loader.add(b"b", b""),
        Err(StorageFault::BulkLoad { .. })
    ));
    assert!(matches!(
        loader.add(b"a", b""),
        Err(StorageFault::BulkLoad { .. })
    ));
    assert!(matches!(
        BulkLoader::create(dir.path()),
        Err(StorageFault::BulkLoad { .. })
    ));
}
