use std::ops::Bound;
use std::sync::Arc;

use super::*;
use crate::{Engine, LsmEngine, Options};

fn options() -> Options {
    Options {
        memtable_bytes: 1 << 10,
        level_0_tables_max: 2,
        table_bytes: 4 << 10,
        ..Options::default()
    }
}

/// An engine of several tables, closed.
fn filled(dir: &Path) {
    let engine = LsmEngine::open(dir, options()).unwrap();
    for version in 1..=200_u64 {
        let key = format!("key {:03}", version % 120).into_bytes();
        engine.write(version, &[(key, Some(vec![version as u8; 40]))]);
        if version % 50 == 0 {
            engine.flush_all().unwrap();
        }
    }
    engine.flush_all().unwrap();
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x20;
    std::fs::write(path, bytes).unwrap();
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&file, target).unwrap();
    }
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Everything there is, read by point, from both ends, and after a full compaction.
fn read_all(engine: &Arc<LsmEngine>) -> Result<Pairs, StorageFault> {
    for version in 0..120 {
        engine.get(format!("key {version:03}").as_bytes(), 200)?;
    }
    for entry in engine.range(Bound::Unbounded, Bound::Unbounded, 200).rev() {
        entry?;
    }
    engine.compact_all()?;
    let entries = engine.range(Bound::Unbounded, Bound::Unbounded, 200);
    entries
        .map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())))
        .collect()
}

#[test]
fn an_engine_as_it_was_written_verifies_and_a_fresh_one_too() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(verify(dir.path()).unwrap(), Verified::default());
    filled(dir.path());
    let verified = verify(dir.path()).unwrap();
    assert!(verified.tables > 0 && verified.bytes > 1000, "{verified:?}");
}

/// Never a panic, never wrong data: each byte of each file in turn.
#[test]
fn a_flipped_byte_is_found_wherever_it_is() {
    let source = tempfile::tempdir().unwrap();
    filled(source.path());
    let expected = {
        let dir = tempfile::tempdir().unwrap();
        copy(source.path(), dir.path());
        read_all(&LsmEngine::open(dir.path(), options()).unwrap()).unwrap()
    };
    for file in files(source.path()) {
        let name = file.strip_prefix(source.path()).unwrap();
        let len = std::fs::metadata(&file).unwrap().len() as usize;
        for at in (0..len)
            .step_by(len / 60 + 1)
            .chain(len.saturating_sub(150)..len)
        {
            let dir = tempfile::tempdir().unwrap();
            copy(source.path(), dir.path());
            flip(&dir.path().join(name), at);
            if let Ok(engine) = LsmEngine::open(dir.path(), options())
                && let Ok(found) = read_all(&engine)
            {
                assert_eq!(found, expected, "{} at {at}", name.display());
            }
            copy(source.path(), dir.path());
            flip(&dir.path().join(name), at);
            let error = verify(dir.path())
                .expect_err("a flipped byte is found")
                .to_string();
            assert!(error.contains(&*name.to_string_lossy()), "{error}");
        }
    }
}

#[test]
fn a_refused_open_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let list = files(dir.path())
        .into_iter()
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with('v'))
        .unwrap();
    flip(&list, 10);
    let before = files(dir.path());
    let error = LsmEngine::open(dir.path(), options()).err().unwrap();
    assert!(matches!(error, StorageFault::Damaged { .. }), "{error}");
    assert_eq!(files(dir.path()), before);
}

#[test]
fn a_cut_or_missing_table_is_named() {
    for remove in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path());
        let table = files(&dir.path().join("tables")).remove(0);
        if remove {
            std::fs::remove_file(&table).unwrap();
        } else {
            let bytes = std::fs::read(&table).unwrap();
            std::fs::write(&table, &bytes[..bytes.len() / 2]).unwrap();
        }
        let error = LsmEngine::open(dir.path(), options()).err().unwrap();
        assert!(matches!(error, StorageFault::Damaged { .. }), "{error}");
        assert!(
            error.to_string().contains(&*table.to_string_lossy()),
            "{error}"
        );
        assert!(verify(dir.path()).is_err());
    }
}

/// A table of many blocks, one in the middle of which went bad: the first block and the index are read at the opening.
fn with_a_bad_block(dir: &Path) {
    let engine = LsmEngine::open(dir, Options::default()).unwrap();
    let noise = |version: u64| -> Vec<u8> {
        let mixed = |at: u64| (version * 1000 + at).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (0..2000).map(|at| (mixed(at) >> 56) as u8).collect()
    };
    for version in 1..=200_u64 {
        let key = format!("key {version:03}").into_bytes();
        engine.write(version, &[(key, Some(noise(version)))]);
    }
    engine.flush_all().unwrap();
    drop(engine);
    for table in files(&dir.join("tables")) {
        let len = std::fs::metadata(&table).unwrap().len() as usize;
        flip(&table, len / 2);
    }
}

fn open_listening(dir: &Path) -> (Arc<LsmEngine>, std::sync::mpsc::Receiver<StorageFault>) {
    let (told, faults) = std::sync::mpsc::channel();
    let options = Options {
        on_fault: Box::new(move |fault| told.send(fault).unwrap()),
        ..Options::default()
    };
    (LsmEngine::open(dir, options).unwrap(), faults)
}

#[test]
fn damage_met_by_a_read_is_told_once_with_the_file() {
    let dir = tempfile::tempdir().unwrap();
    with_a_bad_block(dir.path());
    let (engine, faults) = open_listening(dir.path());
    let read = |version: u64| engine.get(format!("key {version:03}").as_bytes(), 200);
    let met = (1..=200).find_map(|version| read(version).err()).unwrap();
    assert!(
        met.is_damage() && met.to_string().contains("/tables/"),
        "{met}"
    );
    let told = faults.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(
        told.is_damage() && told.to_string().contains("/tables/"),
        "{told}"
    );
    drop(engine);
    assert!(faults.recv().is_err(), "told once");
}

#[test]
fn the_verification_after_a_start_finds_what_nobody_reads() {
    let dir = tempfile::tempdir().unwrap();
    with_a_bad_block(dir.path());
    let (_engine, faults) = open_listening(dir.path());
    let fault = faults.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(fault.to_string().contains("verification"), "{fault}");
    assert!(fault.is_damage(), "{fault}");
}
