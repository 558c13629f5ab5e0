use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use platform::{Disk, DiskFile, OpenOptions, OsDisk, SimulatedDisk};
use proptest::prelude::*;

use super::*;

mod damage;
mod full_disk;
mod model;

const DIR: &str = "/data/wal";

fn options() -> Options {
    Options {
        segment_bytes: 4096,
        record_bytes_max: 10_000,
        log_id: 0,
    }
}

fn open(disk: &SimulatedDisk) -> (WriteAheadLog<SimulatedDisk>, Recovered) {
    try_open(disk).unwrap()
}

fn try_open(disk: &SimulatedDisk) -> Result<(WriteAheadLog<SimulatedDisk>, Recovered), WalError> {
    WriteAheadLog::open(disk.clone(), Path::new(DIR), options())
}

fn append(log: &mut WriteAheadLog<SimulatedDisk>, index: u64, payload: &str) {
    log.append(1, index, &[payload.as_bytes()]).unwrap();
}

fn append_synced(log: &mut WriteAheadLog<SimulatedDisk>, index: u64, payload: &str) {
    append(log, index, payload);
    log.sync().unwrap();
}

fn texts(entries: &[RecoveredEntry]) -> Vec<(u64, String)> {
    entries
        .iter()
        .map(|entry| {
            (
                entry.index,
                String::from_utf8(entry.payload.clone()).unwrap(),
            )
        })
        .collect()
}

fn pairs(expected: &[(u64, &str)]) -> Vec<(u64, String)> {
    expected
        .iter()
        .map(|(index, text)| (*index, (*text).to_owned()))
        .collect()
}

fn segment(sequence: u64) -> PathBuf {
    segment::path(Path::new(DIR), sequence)
}

fn bytes_of(disk: &SimulatedDisk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, OpenOptions::default()).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// Offset of the last occurrence.
fn find(disk: &SimulatedDisk, path: &Path, text: &str) -> u64 {
    let bytes = bytes_of(disk, path);
    let at = bytes
        .windows(text.len())
        .rposition(|window| window == text.as_bytes());
    at.unwrap() as u64
}

#[test]
fn a_fresh_log_is_empty_and_keeps_what_is_synced() {
    let disk = SimulatedDisk::new(1);
    let (mut log, recovered) = open(&disk);
    assert!(recovered.groups.is_empty());
    assert_eq!(recovered.torn_tail, None);
    log.set_state(1, b"term 1").unwrap();
    log.append(1, 1, &[b"on", b"e"]).unwrap();
    append(&mut log, 2, "two");
    log.append(9, 1, &[b"other group"]).unwrap();
    assert!(
        log.reader().read(1, 1, 100).unwrap().is_empty(),
        "not synced: not readable"
    );
    log.sync().unwrap();
    append(&mut log, 3, "lost");
    drop(log);
    disk.crash();
    let (_, recovered) = open(&disk);
    let group = &recovered.groups[&1];
    assert_eq!(group.state.as_deref(), Some(&b"term 1"[..]));
    assert_eq!(texts(&group.entries), pairs(&[(1, "one"), (2, "two")]));
    assert_eq!(
        texts(&recovered.groups[&9].entries),
        pairs(&[(1, "other group")])
    );
}

#[test]
fn a_sync_is_one_sync_and_an_empty_one_none() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk);
    append_synced(&mut log, 1, "begins the segment");
    let before = disk.syncs();
    for index in 2..10 {
        append(&mut log, index, "entry");
    }
    log.sync().unwrap();
    log.sync().unwrap();
    assert_eq!(disk.syncs(), before + 1);
    assert_eq!(log.stats().fsyncs, 2);
}

#[test]
fn a_later_entry_supersedes_the_suffix() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk);
    for index in 1..=4 {
        append(&mut log, index, "old");
    }
    log.sync().unwrap();
    append(&mut log, 3, "new");
    log.sync().unwrap();
    let expected = pairs(&[(1, "old"), (2, "old"), (3, "new")]);
    assert_eq!(texts(&log.reader().read(1, 1, 1000).unwrap()), expected);
    drop(log);
    let (_, recovered) = open(&disk);
    assert_eq!(texts(&recovered.groups[&1].entries), expected);
}

#[test]
#[should_panic(expected = "entry 3 of group 1 neither follows")]
fn a_gap_is_refused() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk);
    append(&mut log, 1, "one");
    append(&mut log, 3, "three");
}

#[test]
fn a_reset_replaces_the_log_and_a_removed_prefix_stays_removed() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk);
    append(&mut log, 1, "one");
    log.reset(1, Start { index: 10, tag: 3 }).unwrap();
    append(&mut log, 11, "eleven");
    append(&mut log, 12, "twelve");
    log.sync().unwrap();
    log.remove_prefix(1, Start { index: 11, tag: 4 }).unwrap();
    log.sync().unwrap();
    assert_eq!(log.reader().bounds(1), Some((11, 12)));
    assert!(log.reader().read(1, 11, 1000).unwrap().is_empty());
    drop(log);
    let (_, recovered) = open(&disk);
    let group = &recovered.groups[&1];
    assert_eq!(group.start, Start { index: 11, tag: 4 });
    assert_eq!(texts(&group.entries), pairs(&[(12, "twelve")]));
}

#[test]
fn segments_are_recycled_and_state_is_carried_forward() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk);
    log.set_state(7, b"set once").unwrap();
    let text = "x".repeat(300);
    for index in 1..=500 {
        append_synced(&mut log, index, &text);
        if index > 20 {
            log.remove_prefix(
                1,
                Start {
                    index: index - 20,
                    tag: 1,
                },
            )
            .unwrap();
        }
        while log.housekeep().unwrap() {}
    }
    let stats = log.stats();
    assert!(stats.segments <= 5, "{stats:?}");
    assert!(stats.disk_bytes <= 4096 * 10, "{stats:?}");
    drop(log);
    disk.crash();
    let (_, recovered) = open(&disk);
    assert_eq!(
        recovered.groups[&7].state.as_deref(),
        Some(&b"set once"[..])
    );
    assert_eq!(recovered.groups[&1].entries.last().unwrap().index, 500);
}

#[test]
fn a_batch_larger_than_a_segment_gets_one_of_its_own() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk);
    append_synced(&mut log, 1, "small");
    let noise: Vec<u8> = (0..9000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    log.append(1, 2, &[&noise]).unwrap();
    log.append(1, 3, &[&noise]).unwrap();
    log.sync().unwrap();
    append_synced(&mut log, 4, "small");
    assert_eq!(log.reader().read(1, 2, 0).unwrap()[0].payload, noise);
    let error = log.append(1, 5, &[&[0; 10_001]]).unwrap_err();
    assert!(matches!(
        error,
        WalError::TooLarge {
            bytes: 10_001,
            limit: 10_000
        }
    ));
    drop(log);
    let (_, recovered) = open(&disk);
    assert_eq!(recovered.groups[&1].entries.len(), 4);
}

#[test]
fn the_reader_honours_its_limit_and_always_makes_progress() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk);
    for index in 1..=10 {
        append(&mut log, index, &"x".repeat(100));
    }
    log.sync().unwrap();
    let reader = log.reader();
    assert_eq!(reader.read(1, 3, 250).unwrap().len(), 2);
    assert_eq!(reader.read(1, 3, 0).unwrap().len(), 1);
    assert_eq!(reader.read(1, 3, usize::MAX).unwrap().len(), 8);
    assert!(reader.read(1, 11, 100).unwrap().is_empty());
    assert!(reader.read(1, 0, 100).unwrap().is_empty());
    assert!(reader.read(2, 1, 100).unwrap().is_empty());
}

#[test]
fn a_reader_of_a_freed_segment_keeps_its_bytes() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk);
    let reader = log.reader();
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || {
            for index in 1..=2000 {
                append_synced(&mut log, index, &format!("{index} {}", "x".repeat(200)));
                let removed = index.saturating_sub(10);
                log.remove_prefix(
                    1,
                    Start {
                        index: removed,
                        tag: 1,
                    },
                )
                .unwrap();
                while log.housekeep().unwrap() {}
            }
        });
        while !writing.is_finished() {
            let (start, _) = reader.bounds(1).unwrap_or_default();
            for entry in reader.read(1, start + 1, 10_000).unwrap() {
                let text = String::from_utf8(entry.payload).unwrap();
                assert!(text.starts_with(&format!("{} ", entry.index)));
            }
        }
    });
}

#[test]
fn after_a_failed_sync_the_handle_refuses_and_recovery_rewrites_the_last_batch() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk);
    append_synced(&mut log, 1, "one");
    append(&mut log, 2, "two");
    disk.fail_sync_after(0);
    assert!(matches!(log.sync(), Err(WalError::Io { .. })));
    assert!(matches!(log.sync(), Err(WalError::Poisoned { .. })));
    assert!(matches!(
        log.append(1, 3, &[b"three"]),
        Err(WalError::Poisoned { .. })
    ));
    assert!(matches!(log.housekeep(), Err(WalError::Poisoned { .. })));
    drop(log);
    // The process restarts, the machine does not: the kernel still shows the batch.
    let (mut log, recovered) = open(&disk);
    assert_eq!(recovered.groups[&1].entries.len(), 2);
    append_synced(&mut log, 3, "three");
    drop(log);
    disk.crash();
    let (_, recovered) = open(&disk);
    assert_eq!(
        texts(&recovered.groups[&1].entries),
        pairs(&[(1, "one"), (2, "two"), (3, "three")])
    );
}

#[test]
fn a_bad_last_batch_is_cut_and_reported_once() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk);
    append_synced(&mut log, 1, "first");
    append(&mut log, 2, "second");
    append(&mut log, 3, "third");
    log.sync().unwrap();
    drop(log);
    disk.corrupt(&segment(1), find(&disk, &segment(1), "second"), 1);
    let (mut log, recovered) = open(&disk);
    assert_eq!(
        texts(&recovered.groups[&1].entries),
        pairs(&[(1, "first")]),
        "good record after it, same batch"
    );
    let torn = recovered.torn_tail.unwrap();
    assert_eq!(torn.segment, segment(1));
    append_synced(&mut log, 2, "again");
    drop(log);
    let (_, recovered) = open(&disk);
    assert_eq!(recovered.torn_tail, None);
    assert_eq!(
        texts(&recovered.groups[&1].entries),
        pairs(&[(1, "first"), (2, "again")])
    );
}

/// Damage at the given text must be refused, and the disk left as it was.
fn assert_damaged(disk: &SimulatedDisk, sequence: u64, offset: u64) {
    let path = segment(sequence);
    disk.corrupt(&path, offset, 0x10);
    let before = bytes_of(disk, &path);
    let error = try_open(disk).err().expect("damage is refused");
    let WalError::Damaged(Damage {
        segment,
        offset: found,
        ..
    }) = &error
    else {
        panic!("{error}")
    };
    assert_eq!(segment, &path);
    assert!(*found <= offset, "{found} for {offset}");
    assert!(error.to_string().contains("nothing was cut"), "{error}");
    assert_eq!(bytes_of(disk, &path), before);
    disk.corrupt(&path, offset, 0x10);
    try_open(disk).expect("whole again");
}

#[test]
fn a_bad_batch_with_a_later_one_is_damage() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk);
    append_synced(&mut log, 1, "first");
    append_synced(&mut log, 2, "second");
    append_synced(&mut log, 3, "third");
    drop(log);
    let second = find(&disk, &segment(1), "second");
    assert_damaged(&disk, 1, second);
    for back in [1, 20, 33, 50, 64] {
        assert_damaged(&disk, 1, second - back);
    }
    assert_damaged(&disk, 1, 3);
}

#[test]
fn a_bad_batch_in_an_older_segment_is_damage_even_if_it_is_the_last_there() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk);
    let mut index = 0;
    while log.stats().segments < 3 {
        index += 1;
        append_synced(
            &mut log,
            index,
            &format!("entry {index} {}", "x".repeat(300)),
        );
    }
    drop(log);
    let last_of_second = find(&disk, &segment(2), "entry ");
    assert_damaged(&disk, 2, last_of_second);
    assert_damaged(&disk, 1, 70);
    assert_damaged(&disk, 1, 8);
    disk.remove_file(&segment(2)).unwrap();
    let error = try_open(&disk).err().unwrap();
    assert!(
        matches!(&error, WalError::Damaged(Damage { segment: missing, .. }) if *missing == segment(2)),
        "{error}"
    );
}

#[test]
fn a_torn_first_batch_of_a_segment_is_cut_and_the_segment_used_again() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk);
    let mut index = 0;
    while log.stats().segments < 2 {
        index += 1;
        append_synced(
            &mut log,
            index,
            &format!("entry {index} {}", "x".repeat(300)),
        );
    }
    drop(log);
    disk.corrupt(&segment(2), find(&disk, &segment(2), "entry "), 1);
    let (log, recovered) = open(&disk);
    assert_eq!(recovered.torn_tail.unwrap().segment, segment(2));
    drop(log);
    let (mut log, recovered) = open(&disk);
    assert_eq!(recovered.torn_tail, None, "reported once");
    assert_eq!(recovered.groups[&1].entries.len() as u64, index - 1);
    for index in index..index + 20 {
        append_synced(&mut log, index, &"y".repeat(300));
    }
    drop(log);
    let (_, recovered) = open(&disk);
    assert_eq!(recovered.groups[&1].entries.len() as u64, index + 19);
}

#[test]
fn a_newer_format_is_named_not_cut() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk);
    append_synced(&mut log, 1, "one");
    drop(log);
    let header = format::SegmentHeader {
        version: 2,
        sequence: 1,
        first_batch: 1,
        log_id: 0,
    };
    let write = OpenOptions {
        write: true,
        ..OpenOptions::default()
    };
    let file = disk.open(&segment(1), write).unwrap();
    file.write_all_at(&header.encode(), 0).unwrap();
    let error = try_open(&disk).err().unwrap();
    assert!(
        matches!(
            error,
            WalError::Version {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn the_log_works_on_a_real_disk_and_starts_small() {
    let dir = tempfile::tempdir().unwrap();
    let wal = dir.path().join("wal");
    let (mut log, _) = WriteAheadLog::open(OsDisk, &wal, Options::default()).unwrap();
    log.append(1, 1, &[&vec![b'x'; 2 << 20]]).unwrap();
    log.sync().unwrap();
    assert!(log.stats().disk_bytes <= 1 << 20, "it compresses");
    while log.housekeep().unwrap() {}
    drop(log);
    let (_, recovered) = WriteAheadLog::open(OsDisk, &wal, Options::default()).unwrap();
    assert_eq!(recovered.groups[&1].entries[0].payload.len(), 2 << 20);
}

/// A full segment must not hold up a sync: the next one is there already.
#[test]
fn with_a_keeper_beside_it_the_writer_only_ever_syncs_its_batches() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk);
    append_synced(&mut log, 1, "begins the first segment");
    let keeper = log.keeper();
    let text = "x".repeat(300);
    let mut kept = 0;
    for index in 2..=200 {
        let before = disk.syncs();
        append_synced(&mut log, index, &text);
        let removed = index.saturating_sub(20).max(1);
        log.remove_prefix(
            1,
            Start {
                index: removed,
                tag: 1,
            },
        )
        .unwrap();
        let work = log.tidy().unwrap();
        assert_eq!(disk.syncs(), before + 1, "entry {index}");
        if work {
            while keeper.step().unwrap() {}
            kept += 1;
        }
    }
    assert!(kept > 5 && log.stats().segments <= 5);
    assert!(!keeper.step().unwrap(), "it has nothing left to do");
}
