//! A full disk: what is buffered stays, what was synced is safe, and the log goes on when there is room again.

use super::*;

/// About one batch.
const TEXT_BYTES: usize = 300;

fn text() -> String {
    // Not compressible.
    let noise = |at: usize| char::from(b'a' + ((at.wrapping_mul(2_654_435_761) >> 13) % 26) as u8);
    (0..TEXT_BYTES).map(noise).collect()
}

/// Writes and housekeeps until the log finds no room; returns the last index that is durable.
fn write_until_full(log: &mut WriteAheadLog<SimulatedDisk>, mut index: u64) -> u64 {
    loop {
        append(log, index + 1, &text());
        match log.sync() {
            Ok(()) => index += 1,
            Err(error) => {
                assert!(error.is_no_room(), "{error}");
                return index;
            }
        }
        match log.housekeep() {
            Ok(_) => {}
            Err(error) => assert!(error.is_no_room(), "{error}"),
        }
    }
}

fn expect_entries(disk: &SimulatedDisk, last: u64) {
    let (_, recovered) = open(disk);
    assert_eq!(recovered.torn_tail, None);
    let entries = &recovered.groups[&1].entries;
    assert_eq!(entries.last().map(|entry| entry.index), Some(last));
}

#[test]
fn a_batch_that_finds_no_room_stays_buffered_and_is_written_later() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk);
    append_synced(&mut log, 1, "one");
    disk.limit_capacity(Some(4096 + 100));
    let durable = write_until_full(&mut log, 1);
    assert!(durable > 4, "the segment in use is filled");
    assert!(log.is_dirty());
    // More comes meanwhile.
    append(&mut log, durable + 2, "more");
    assert!(log.sync().unwrap_err().is_no_room());
    assert!(log.reader().read(1, durable + 1, 1).unwrap().is_empty());
    disk.limit_capacity(None);
    log.sync().unwrap();
    drop(log);
    disk.crash();
    expect_entries(&disk, durable + 2);
}

#[test]
fn a_crash_on_a_full_disk_loses_only_what_was_not_synced() {
    for seed in 0..20 {
        let disk = SimulatedDisk::new(seed);
        let (mut log, _) = open(&disk);
        append_synced(&mut log, 1, "one");
        disk.limit_capacity(Some(4096 * 3));
        let durable = write_until_full(&mut log, 1);
        drop(log);
        disk.crash();
        // It starts on the full disk.
        let (mut log, recovered) = open(&disk);
        assert_eq!(recovered.groups[&1].entries.len() as u64, durable);
        disk.limit_capacity(None);
        append_synced(&mut log, durable + 1, "goes on");
        drop(log);
        disk.crash();
        expect_entries(&disk, durable + 1);
    }
}

#[test]
fn a_full_disk_is_met_with_a_segment_in_reserve() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk);
    append_synced(&mut log, 1, "one");
    let mut last = 1;
    let mut without_room = None;
    while without_room.is_none() {
        last += 1;
        append_synced(&mut log, last, &text());
        if last == 30 {
            while log.housekeep().unwrap() {}
            disk.limit_capacity(Some(disk.used_bytes()));
        }
        without_room = log.housekeep().err();
    }
    assert!(without_room.unwrap().is_no_room());
    assert!(last > 30);
    let segments = log.stats().segments;
    // Votes, until the segment in use is full, and some into the reserve.
    let mut votes = 0_u64;
    while log.stats().segments == segments || votes < 40 {
        votes += 1;
        log.set_state(1, &votes.to_le_bytes()).unwrap();
        log.sync().unwrap();
        assert!(log.housekeep().unwrap_err().is_no_room());
    }
    // Entries are superseded, and segments freed: the reserve is there again.
    append_synced(&mut log, last, "superseded");
    let start = Start {
        index: last,
        tag: 1,
    };
    log.remove_prefix(1, start).unwrap();
    log.sync().unwrap();
    while log.housekeep().unwrap() {}
    for index in last + 1..last + 20 {
        append_synced(&mut log, index, &text());
        while log.housekeep().unwrap() {}
        let start = Start { index, tag: 1 };
        log.remove_prefix(1, start).unwrap();
    }
}

#[test]
fn a_write_that_finds_the_disk_full_is_written_again_and_not_believed_before() {
    for seed in 0..60 {
        let disk = SimulatedDisk::new(seed);
        let (mut log, _) = open(&disk);
        // Up to the first batch of a segment, which brings its header with it, and others.
        let before = seed % 14 + 1;
        for index in 1..=before {
            append_synced(&mut log, index, &text());
            if seed % 2 == 0 {
                log.housekeep().unwrap();
            }
        }
        append(&mut log, before + 1, "short");
        disk.fill_in_write_after(0);
        assert!(log.sync().unwrap_err().is_no_room());
        log.housekeep().unwrap();
        if seed % 3 == 0 {
            drop(log);
            disk.kill_process();
            let (_, recovered) = open(&disk);
            // Where nothing but padding was missing, it is there.
            let found = recovered.groups[&1].entries.len() as u64;
            assert!(found == before || found == before + 1 && recovered.torn_tail.is_none());
            continue;
        }
        append(&mut log, before + 2, &text().repeat(1 + seed as usize % 20));
        log.sync().unwrap();
        append_synced(&mut log, before + 3, "more");
        drop(log);
        disk.crash();
        expect_entries(&disk, before + 3);
    }
}

#[test]
fn spares_beyond_the_reserve_are_given_back() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk);
    for index in 1..=100 {
        append_synced(&mut log, index, &text());
        while log.housekeep().unwrap() {}
    }
    let start = Start { index: 99, tag: 1 };
    log.remove_prefix(1, start).unwrap();
    append_synced(&mut log, 101, "frees segments");
    while log.housekeep().unwrap() {}
    let before = disk.used_bytes();
    log.give_back_spares().unwrap();
    assert!(before - disk.used_bytes() >= 3 * 4096);
    disk.limit_capacity(Some(disk.used_bytes()));
    assert!(write_until_full(&mut log, 101) > 101, "the reserve is left");
}

#[test]
fn a_failed_sync_while_a_segment_is_prepared_is_never_repeated() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk);
    for index in 1..=6 {
        append_synced(&mut log, index, &text());
    }
    disk.fail_sync_after(0);
    let error = loop {
        match log.housekeep() {
            Ok(true) => {}
            Ok(false) => panic!("nothing was prepared"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, WalError::Io { .. }), "{error}");
    assert!(matches!(log.sync(), Err(WalError::Poisoned { .. })));
}

#[test]
fn a_short_write_is_fatal_and_cut_at_the_next_start() {
    let mut cut = 0;
    for seed in 0..20 {
        let disk = SimulatedDisk::new(seed);
        let (mut log, _) = open(&disk);
        append_synced(&mut log, 1, "one");
        append(&mut log, 2, "two");
        disk.fail_write_after(0);
        assert!(matches!(log.sync(), Err(WalError::Io { .. })));
        assert!(matches!(log.sync(), Err(WalError::Poisoned { .. })));
        drop(log);
        disk.kill_process();
        let (mut log, recovered) = open(&disk);
        // Where nothing but padding was missing, it is there.
        let found = recovered.groups[&1].entries.len();
        assert!(found == 1 || recovered.torn_tail.is_none());
        cut += usize::from(found == 1);
        append_synced(&mut log, found as u64 + 1, "goes on");
    }
    assert!(cut > 5, "{cut}");
}

#[test]
fn a_read_that_fails_is_told_and_the_log_is_left_as_it_is() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk);
    append_synced(&mut log, 1, "one");
    append_synced(&mut log, 2, "two");
    let at = find(&disk, &segment(1), "one");
    disk.spoil_sector(&segment(1), at);
    let error = log.reader().read(1, 1, 1).unwrap_err();
    assert!(
        matches!(error, WalError::Io { action: "read", .. }),
        "{error}"
    );
    drop(log);
    let before = bytes_around(&disk);
    let error = try_open(&disk).err().unwrap();
    assert!(
        matches!(error, WalError::Io { action: "read", .. }),
        "an unreadable sector is not a torn tail: {error}"
    );
    assert_eq!(bytes_around(&disk), before);
}

/// What of the first segment can still be read.
fn bytes_around(disk: &SimulatedDisk) -> Vec<Option<Vec<u8>>> {
    let file = disk.open(&segment(1), OpenOptions::default()).unwrap();
    let sectors = 0..file.len().unwrap() / 512;
    let read = |sector| {
        let mut bytes = vec![0; 512];
        let read = file.read_at(&mut bytes, sector * 512);
        read.ok().map(|_| bytes)
    };
    sectors.map(read).collect()
}
