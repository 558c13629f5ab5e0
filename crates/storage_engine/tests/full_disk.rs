//! A real file system that fills up under the engine: flushes and compactions wait for room, leave nothing behind, and go on.
//! Where the machine cannot mount a small one the tests say that they were skipped.

#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use storage_engine::{Engine, LsmEngine, Options, StorageFault, verify};

const DISK_MIB: u64 = 8;
const VALUE_BYTES: usize = 4 << 10;
const PATIENCE: Duration = Duration::from_secs(60);

/// A file system in memory; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(directory: &Path) -> Option<SmallDisk> {
        let size = format!("size={DISK_MIB}m");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "none"])
            .arg(directory)
            .output();
        match mount {
            Ok(mount) if mount.status.success() => Some(SmallDisk(directory.to_owned())),
            failed => {
                writeln!(std::io::stderr(), "skipped: a full disk: {failed:?}").ok();
                None
            }
        }
    }

    fn engine(&self) -> PathBuf {
        self.0.join("engine")
    }

    /// Leaves room for this much.
    fn fill(&self, room: usize) {
        let mut file = File::create(self.0.join("filler")).unwrap();
        let mut block = vec![1; 64 << 10];
        while !block.is_empty() {
            if file.write_all(&block).is_err() {
                block.truncate(block.len() / 2);
            }
        }
        let full = file.metadata().unwrap().len();
        file.set_len(full.saturating_sub(room as u64)).unwrap();
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

enum Told {
    Full(Option<String>),
    Fault(StorageFault),
}

fn open(disk: &SmallDisk) -> (Arc<LsmEngine>, Receiver<Told>) {
    let (told, hears) = mpsc::channel();
    let (full, fault) = (told.clone(), told);
    let options = Options {
        memtable_bytes: 1 << 20,
        table_bytes: 256 << 10,
        level_0_tables_max: 2,
        on_full: Box::new(move |what| drop(full.send(Told::Full(what.map(str::to_owned))))),
        on_fault: Box::new(move |what| drop(fault.send(Told::Fault(what)))),
        ..Options::default()
    };
    (LsmEngine::open(&disk.engine(), options).unwrap(), hears)
}

fn value(version: u64) -> Vec<u8> {
    let noise = |at: u64| ((at ^ version).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    (0..VALUE_BYTES as u64).map(noise).collect()
}

/// Writes one memtable and seals it.
fn write(engine: &LsmEngine, version: u64) {
    for key in 0..200_u64 {
        let key = (version << 32 | key).to_be_bytes().to_vec();
        engine.write(version, &[(key, Some(value(version)))]);
    }
    engine.rotate();
}

fn expect(engine: &LsmEngine, versions: std::ops::RangeInclusive<u64>) {
    for version in versions {
        let key = (version << 32 | 77).to_be_bytes();
        let found = engine.get(&key, u64::MAX - 1).unwrap();
        assert_eq!(found.unwrap().to_vec(), value(version));
    }
}

fn hear(hears: &Receiver<Told>) -> Option<String> {
    match hears.recv_timeout(PATIENCE).unwrap() {
        Told::Full(what) => what,
        Told::Fault(fault) => panic!("{fault}"),
    }
}

/// Waits until everything written is durable.
fn wait_flushed(engine: &LsmEngine, version: u64) {
    let start = std::time::Instant::now();
    while engine.durable_version() != Some(version) {
        assert!(start.elapsed() < PATIENCE, "{:?}", engine.stats());
        std::thread::yield_now();
    }
}

#[test]
fn a_flush_that_finds_no_room_is_repeated_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(directory.path()) else {
        return;
    };
    let (engine, hears) = open(&disk);
    write(&engine, 1);
    engine.flush_all().unwrap();
    disk.fill(300 << 10);
    write(&engine, 2);
    let what = hear(&hears).expect("the disk is full");
    assert!(what.contains("No space left on device"), "{what}");
    let fault = engine.flush_all().unwrap_err();
    assert!(fault.is_no_room(), "{fault}");
    write(&engine, 3);
    expect(&engine, 1..=3);
    assert_eq!(engine.durable_version(), Some(1));
    // It is tried again, and again, without taking more and more.
    disk.make_room();
    assert_eq!(hear(&hears), None);
    wait_flushed(&engine, 3);
    expect(&engine, 1..=3);
    engine.compact_all().unwrap();
    let listed = verify(&disk.engine()).unwrap().tables;
    let tables = std::fs::read_dir(disk.engine().join("tables")).unwrap();
    assert_eq!(tables.count() as u64, listed, "no table is left over");
    drop(engine);
    let (engine, _hears) = open(&disk);
    assert_eq!(engine.durable_version(), Some(3));
    expect(&engine, 1..=3);
}

#[test]
fn a_crash_while_the_disk_is_full_leaves_what_was_durable() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(directory.path()) else {
        return;
    };
    let (engine, hears) = open(&disk);
    write(&engine, 1);
    engine.flush_all().unwrap();
    disk.fill(100 << 10);
    write(&engine, 2);
    assert!(hear(&hears).is_some());
    // What was sealed and not flushed is gone with the process, as after kill -9.
    drop(engine);
    let (engine, hears) = open(&disk);
    assert_eq!(engine.durable_version(), Some(1));
    expect(&engine, 1..=1);
    write(&engine, 2);
    assert!(hear(&hears).is_some(), "it is still full");
    disk.make_room();
    wait_flushed(&engine, 2);
    expect(&engine, 1..=2);
    verify(&disk.engine()).unwrap();
}

#[test]
fn a_compaction_that_finds_no_room_loses_nothing_and_holds_up_no_flush() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(directory.path()) else {
        return;
    };
    let (engine, hears) = open(&disk);
    write(&engine, 1);
    engine.flush_all().unwrap();
    // Room for another memtable, not for all of them merged.
    disk.fill(1 << 20);
    write(&engine, 2);
    wait_flushed(&engine, 2);
    let fault = engine.compact_all().unwrap_err();
    assert!(fault.to_string().contains("No space left"), "{fault}");
    expect(&engine, 1..=2);
    disk.make_room();
    write(&engine, 3);
    wait_flushed(&engine, 3);
    engine.compact_all().unwrap();
    expect(&engine, 1..=3);
    assert!(hears.try_iter().all(|told| matches!(told, Told::Full(_))));
    drop(engine);
    verify(&disk.engine()).unwrap();
}
