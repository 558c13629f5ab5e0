//! Faults of the disk under a whole node: what ends it, what it bears, what keeps it from starting.

use std::path::PathBuf;

use platform::{DiskFile, OpenOptions, SimulatedDisk};
use storage_engine::{BulkLoad, Callbacks, Engine, MemoryEngine, StorageFault};

use super::*;
use crate::ReadError;

const DIR: &str = "/data";
const SEGMENT_BYTES: u64 = 16 << 10;

/// An engine that forgets everything at the end of its process: the log is what is tested.
struct Forgetful;

impl Engines for Forgetful {
    fn open(&self, _: &Path, _: Callbacks) -> Result<Arc<dyn Engine>, StorageFault> {
        Ok(Arc::new(MemoryEngine::default()))
    }

    fn bulk_loader(&self, dir: &Path) -> Result<Box<dyn BulkLoad>, StorageFault> {
        Err(StorageFault::BulkLoad {
            dir: dir.to_owned(),
            detail: "there is nobody to send a snapshot",
        })
    }

    fn verify(&self, _: &Path) -> Result<(), StorageFault> {
        Ok(())
    }
}

type Lone = SteppedNode<SimulatedDisk, Hand>;

fn begin(disk: &SimulatedDisk, clock: &Hand) -> Result<Lone, StartError> {
    let mut config = config(Path::new(DIR));
    config.log_segment_bytes = SEGMENT_BYTES;
    start_on(disk.clone(), Forgetful, &config, clock)
}

fn leader(disk: &SimulatedDisk, clock: &Hand) -> Lone {
    let mut node = begin(disk, clock).expect("a sound directory");
    run(&mut node, clock, |node| node.status().writable);
    node
}

/// What becomes of an insert; `None`: the node ended without an answer.
fn insert(node: &mut Lone, clock: &Hand, id: i32) -> Option<ProposeOutcome> {
    let outcome = Arc::new(Mutex::new(None));
    let told = outcome.clone();
    let noise = |at: u32| ((at ^ id.unsigned_abs()).wrapping_mul(2_654_435_761) >> 24) as u8;
    let bytes: Vec<u8> = (0..500).map(noise).collect();
    let filling = bson::Binary {
        subtype: bson::spec::BinarySubtype::Generic,
        bytes,
    };
    node.propose(
        insert_document(bson::rawdoc! { "_id": id, "filling": filling }),
        Box::new(move |outcome| *told.lock() = Some(outcome)),
    );
    run(node, clock, |node| {
        outcome.lock().is_some() || node.exited().is_some()
    });
    outcome.lock().take()
}

fn applied(outcome: Option<ProposeOutcome>) -> bool {
    matches!(outcome, Some(ProposeOutcome::Applied { .. }))
}

fn read(node: &mut Lone, clock: &Hand) -> Result<u64, ReadError> {
    let index = Arc::new(Mutex::new(None));
    let told = index.clone();
    node.read_index(Box::new(move |outcome| *told.lock() = Some(outcome)));
    run(node, clock, |_| index.lock().is_some());
    index.lock().take().expect("it was just there")
}

/// The node ends and says what failed; what was not acknowledged may be there at the next start, what was is.
fn ends(break_disk: impl Fn(&SimulatedDisk), says: &str) {
    let (disk, clock) = (SimulatedDisk::new(1), Hand::default());
    let mut node = leader(&disk, &clock);
    assert!(applied(insert(&mut node, &clock, 1)));
    break_disk(&disk);
    let syncs = disk.syncs();
    assert!(!applied(insert(&mut node, &clock, 2)));
    let Some(ExitReason::StorageFault(what)) = node.exited() else {
        panic!("{:?}", node.exited());
    };
    assert!(what.contains(says), "{what}");
    assert_eq!(disk.syncs(), syncs, "nothing is tried again");
    drop(node);
    disk.set_read_only(false);
    disk.crash();
    let mut node = leader(&disk, &clock);
    let found = node.indices().last;
    assert!(applied(insert(&mut node, &clock, 3)));
    assert!(found >= 2, "the first insert is there");
}

#[test]
fn a_failed_sync_ends_the_node_and_is_never_tried_again() {
    ends(|disk| disk.fail_sync_after(0), "sync");
}

#[test]
fn a_failed_write_ends_the_node() {
    ends(|disk| disk.fail_write_after(0), "write");
}

#[test]
fn a_file_system_that_turns_read_only_ends_the_node() {
    ends(|disk| disk.set_read_only(true), "read-only");
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_goes_on_without_a_restart() {
    let (disk, clock) = (SimulatedDisk::new(1), Hand::default());
    let mut node = leader(&disk, &clock);
    for round in 0..3 {
        disk.limit_capacity(Some(disk.used_bytes() + 1_000));
        let mut written = 0;
        let what = loop {
            assert!(written < 200, "there is room for all of it");
            match insert(&mut node, &clock, round * 1_000 + written) {
                Some(ProposeOutcome::Applied { .. }) => written += 1,
                Some(ProposeOutcome::DiskFull { what }) => break what,
                other => panic!("{other:?}"),
            }
        };
        assert!(what.contains(DIR) && what.contains("make room"), "{what}");
        assert!(node.status().disk_full.is_some() && node.status().writable);
        let applied_index = node.indices().applied;
        assert!(read(&mut node, &clock).expect("reads go on") >= applied_index);
        if round == 1 {
            // It can be stopped and started meanwhile.
            node.request_stop();
            run(&mut node, &clock, |node| node.exited().is_some());
            assert_eq!(node.exited(), Some(ExitReason::Stopped));
            drop(node);
            node = leader(&disk, &clock);
            assert!(node.indices().applied > applied_index);
        }
        disk.limit_capacity(None);
        run(&mut node, &clock, |node| node.status().disk_full.is_none());
        assert!(applied(insert(&mut node, &clock, round * 1_000 + 500)));
    }
}

#[test]
fn a_write_that_finds_the_disk_full_is_held_and_done_when_there_is_room() {
    let (disk, clock) = (SimulatedDisk::new(1), Hand::default());
    let mut node = leader(&disk, &clock);
    for id in 0..30_i32 {
        disk.fill_in_write_after(u64::from(id.unsigned_abs() % 2));
        assert!(applied(insert(&mut node, &clock, id)), "it was tried again");
    }
    assert!(node.exited().is_none());
}

#[test]
fn what_cannot_be_read_keeps_the_node_from_starting_and_is_left_alone() {
    let (disk, clock) = (SimulatedDisk::new(1), Hand::default());
    let mut node = leader(&disk, &clock);
    for id in 0..10 {
        assert!(applied(insert(&mut node, &clock, id)));
    }
    drop(node);
    disk.kill_process();
    let segment = PathBuf::from(DIR).join("wal/0000000000000001.wal");
    disk.spoil_sector(&segment, 1_024);
    let error = begin(&disk, &clock).err().expect("it must not start");
    let said = error.to_string();
    assert!(
        said.contains("wal") && said.contains("unreadable"),
        "{said}"
    );
    // Written again, the sector can be read: nothing else was touched.
    let options = OpenOptions {
        write: true,
        ..OpenOptions::default()
    };
    let file = disk.open(&segment, options).expect("it is there");
    drop(file);
    assert!(disk.exists(&segment).expect("it can be listed"));
}

#[test]
fn a_read_only_file_system_is_named_at_the_start() {
    let (disk, clock) = (SimulatedDisk::new(1), Hand::default());
    drop(leader(&disk, &clock));
    disk.kill_process();
    disk.set_read_only(true);
    let error = begin(&disk, &clock).err().expect("it must not start");
    let said = error.to_string();
    assert!(
        said.contains("/data") && said.contains("read-only"),
        "{said}"
    );
    disk.set_read_only(false);
    drop(leader(&disk, &clock));
}

#[test]
fn a_second_process_on_the_directory_is_refused() {
    let (disk, clock) = (SimulatedDisk::new(1), Hand::default());
    let node = leader(&disk, &clock);
    let error = begin(&disk, &clock).err().expect("it must not start");
    assert!(matches!(error, StartError::Locked { .. }), "{error}");
    drop(node);
    drop(leader(&disk, &clock));
}

#[test]
fn a_log_of_another_directory_is_refused() {
    let clock = Hand::default();
    let (own, other) = (SimulatedDisk::new(1), SimulatedDisk::new(2));
    drop(leader(&own, &clock));
    drop(leader(&other, &clock));
    for (path, bytes) in other.files(&PathBuf::from(DIR).join("wal")) {
        let mut content = vec![0; bytes as usize];
        let source = other.open(&path, OpenOptions::default());
        source
            .and_then(|file| file.read_at(&mut content, 0))
            .expect("it can be read");
        let options = OpenOptions {
            create: true,
            write: true,
            ..OpenOptions::default()
        };
        let target = own.open(&path, options).expect("it can be written");
        target.write_all_at(&content, 0).expect("there is room");
    }
    let error = begin(&own, &clock).err().expect("it must not start");
    assert!(
        error.to_string().contains("another data directory"),
        "{error}"
    );
}
