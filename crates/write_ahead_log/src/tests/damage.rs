//! What is known of a damaged log, and what can be done with it.

use super::*;

/// A log of some segments; a state was set before the first entry, and the last batch is marked.
fn several_segments(disk: &SimulatedDisk, segments: u64) -> u64 {
    let (mut log, _) = open(disk);
    log.set_state(1, b"term 1").unwrap();
    let mut index = 0;
    while log.stats().segments < segments {
        index += 1;
        append_synced(
            &mut log,
            index,
            &format!("entry {index}, {}", "x".repeat(300)),
        );
        log.housekeep().unwrap();
    }
    index
}

fn examine(disk: &SimulatedDisk) -> Examination<SimulatedDisk> {
    Examination::of(disk.clone(), Path::new(DIR)).unwrap()
}

fn held(index: u64) -> BTreeMap<u64, Start> {
    BTreeMap::from([(1, Start { index, tag: 7 })])
}

fn open_held(
    disk: &SimulatedDisk,
    index: u64,
) -> Result<(WriteAheadLog<SimulatedDisk>, Recovered), WalError> {
    WriteAheadLog::open_examined(examine(disk), options(), &held(index))
}

/// The first entry whose record stands in a segment.
fn first_entry_of(disk: &SimulatedDisk, sequence: u64) -> u64 {
    let bytes = bytes_of(disk, &segment(sequence));
    let at = bytes.windows(6).position(|it| it == b"entry ").unwrap();
    let digits = bytes[at + 6..].iter().take_while(|it| it.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

#[test]
fn decay_of_a_marked_last_batch_is_damage() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk);
    append_synced(&mut log, 1, "first");
    append_synced(&mut log, 2, "second");
    log.housekeep().unwrap();
    drop(log);
    for back in [0, 1, 20, 33, 50, 64] {
        let at = find(&disk, &segment(1), "second") - back;
        disk.corrupt(&segment(1), at, 0x10);
        let error = try_open(&disk).err().expect("damage is refused");
        assert!(matches!(error, WalError::Damaged(_)), "{error}");
        disk.corrupt(&segment(1), at, 0x10);
    }
    let (_, recovered) = open(&disk);
    assert_eq!(recovered.groups[&1].entries.len(), 2);
}

#[test]
fn decay_of_a_marked_first_batch_of_the_last_segment_is_damage() {
    let disk = SimulatedDisk::new(1);
    several_segments(&disk, 2);
    for at in [3, 20, 66, 100, find(&disk, &segment(2), "entry ")] {
        disk.corrupt(&segment(2), at, 1);
        let error = try_open(&disk).err().expect("damage is refused");
        assert!(matches!(error, WalError::Damaged(_)), "{at}: {error}");
        disk.corrupt(&segment(2), at, 1);
    }
    try_open(&disk).expect("whole again");
}

#[test]
fn a_damaged_mark_is_no_mark() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk);
    append_synced(&mut log, 1, "first");
    log.housekeep().unwrap();
    drop(log);
    let mark = find(&disk, &segment(1), "SYND");
    for at in mark..mark + 16 {
        disk.corrupt(&segment(1), at, 0x20);
        let (log, recovered) = open(&disk);
        assert_eq!(recovered.torn_tail, None);
        assert_eq!(recovered.groups[&1].entries.len(), 1);
        drop(log);
    }
}

#[test]
fn an_examination_tells_what_stands_before_and_after_damage() {
    let disk = SimulatedDisk::new(1);
    let last = several_segments(&disk, 4);
    let (second, third) = (first_entry_of(&disk, 2), first_entry_of(&disk, 3));
    let at = find(&disk, &segment(2), "entry ");
    disk.corrupt(&segment(2), at, 1);
    let found = examine(&disk);
    assert_eq!(found.damage().len(), 1);
    assert_eq!(found.damage()[0].segment, segment(2));
    let before = &found.before()[&1];
    assert!(second < third - 1);
    assert_eq!(
        before.entries,
        Some(1..=third - 2),
        "the last batch of segment 2 is damaged"
    );
    let after = &found.after().unwrap()[&1];
    assert_eq!(after.entries, Some(third..=last));
    assert_eq!(
        after.state.as_deref(),
        Some(&b"term 1"[..]),
        "carried forward"
    );
    assert!(after.end_known);
    assert!(found.torn_tail().is_none());
}

#[test]
fn damage_in_the_last_segment_leaves_nothing_after_it() {
    let disk = SimulatedDisk::new(1);
    several_segments(&disk, 3);
    let (mut log, recovered) = open(&disk);
    let last = recovered.groups[&1].entries.len() as u64;
    append_synced(&mut log, last + 1, "more");
    drop(log);
    disk.corrupt(&segment(3), 100, 1);
    let found = examine(&disk);
    assert_eq!(found.damage().len(), 1);
    assert!(found.after().is_none());
    assert!(open_held(&disk, last + 1).is_err(), "its end is not known");
}

#[test]
fn a_damaged_beginning_that_is_held_elsewhere_is_dropped() {
    let disk = SimulatedDisk::new(1);
    let last = several_segments(&disk, 4);
    let third = first_entry_of(&disk, 3);
    disk.corrupt(&segment(2), 200, 1);
    let before = bytes_of(&disk, &segment(1));
    assert!(
        open_held(&disk, third - 2).is_err(),
        "entry {third} - 1 is nowhere"
    );
    assert!(open_held(&disk, last + 1).is_err(), "the log ends before");
    assert_eq!(
        bytes_of(&disk, &segment(1)),
        before,
        "a refusal changes nothing"
    );
    for held_to in [third - 1, third, last] {
        let disk = SimulatedDisk::new(1);
        several_segments(&disk, 4);
        disk.corrupt(&segment(2), 200, 1);
        let (mut log, recovered) = open_held(&disk, held_to).unwrap();
        let dropped = recovered.dropped.unwrap();
        assert_eq!(dropped.damage[0].segment, segment(2));
        assert_eq!(
            dropped.set_aside,
            [segment::damaged_path(Path::new(DIR), 2)]
        );
        let group = &recovered.groups[&1];
        assert_eq!(
            group.start,
            Start {
                index: held_to,
                tag: 7
            }
        );
        assert_eq!(group.entries.len() as u64, last - held_to);
        append_synced(&mut log, last + 1, "goes on");
        drop(log);
        disk.crash();
        let (_, recovered) = open(&disk);
        assert_eq!(recovered.dropped, None, "done once");
        assert_eq!(
            recovered.groups[&1].entries.len() as u64,
            last + 1 - held_to
        );
    }
}

#[test]
fn dropping_a_damaged_beginning_is_continued_after_a_crash_at_any_point() {
    for seed in 0..60 {
        let disk = SimulatedDisk::new(seed);
        let last = several_segments(&disk, 5);
        let fourth = first_entry_of(&disk, 4);
        disk.corrupt(&segment(1), 200, 1);
        disk.corrupt(&segment(3), 200, 1);
        // The crash takes what comes after some number of syncs.
        disk.fail_sync_after(seed % 3);
        drop(open_held(&disk, fourth - 1));
        disk.crash();
        let (_, recovered) = open_held(&disk, fourth - 1).unwrap();
        let entries = &recovered.groups[&1].entries;
        assert_eq!(entries.first().unwrap().index, fourth);
        assert_eq!(entries.last().unwrap().index, last);
    }
}

#[test]
fn lost_oldest_segments_are_damage_unless_held_elsewhere() {
    let disk = SimulatedDisk::new(1);
    let last = several_segments(&disk, 3);
    let second = first_entry_of(&disk, 2);
    disk.remove_file(&segment(1)).unwrap();
    assert!(matches!(try_open(&disk), Err(WalError::Damaged(_))));
    assert!(open_held(&disk, second - 2).is_err());
    let (_, recovered) = open_held(&disk, second - 1).unwrap();
    assert_eq!(recovered.groups[&1].entries.last().unwrap().index, last);
}

#[test]
fn lost_newest_segments_are_damage() {
    for lost in [&[4][..], &[3, 4], &[2, 3, 4]] {
        let disk = SimulatedDisk::new(1);
        several_segments(&disk, 4);
        // One in waiting may stand behind them.
        disk.remove_file(&segment(5)).ok();
        for sequence in lost {
            disk.remove_file(&segment(*sequence)).unwrap();
        }
        let error = try_open(&disk).err().expect("damage is refused");
        let WalError::Damaged(damage) = &error else {
            panic!("{error}")
        };
        assert_eq!(damage.segment, segment(lost[0] - 1));
    }
}

/// A log of three segments that says `log_id`.
fn several_segments_of(disk: &SimulatedDisk, log_id: u64) {
    let options = Options {
        log_id,
        ..options()
    };
    let opened = WriteAheadLog::open(disk.clone(), Path::new(DIR), options);
    let (mut log, _) = opened.unwrap();
    for index in 1..=30 {
        append_synced(&mut log, index, &"x".repeat(400));
        log.housekeep().unwrap();
    }
    assert!(log.stats().segments >= 3);
}

#[test]
fn a_segment_of_another_log_is_damage() {
    let (own, other) = (SimulatedDisk::new(1), SimulatedDisk::new(2));
    several_segments_of(&own, 7);
    several_segments_of(&other, 8);
    let path = segment(2);
    let write = OpenOptions {
        write: true,
        ..OpenOptions::default()
    };
    let file = own.open(&path, write).unwrap();
    file.write_all_at(&bytes_of(&other, &path), 0).unwrap();
    file.sync_data().unwrap();
    let before = bytes_of(&own, &path);
    let error = try_open(&own).err().expect("it is refused");
    let WalError::Damaged(damage) = &error else {
        panic!("{error}")
    };
    assert_eq!((&damage.segment, damage.offset), (&path, 0));
    assert!(damage.detail.contains("another log"), "{error}");
    assert_eq!(bytes_of(&own, &path), before, "nothing was changed");
}

#[test]
fn a_log_of_another_directory_is_refused_and_one_that_says_nothing_is_not() {
    let disk = SimulatedDisk::new(1);
    several_segments_of(&disk, 7);
    let open = |disk: &SimulatedDisk, log_id| {
        let options = Options {
            log_id,
            ..options()
        };
        WriteAheadLog::open(disk.clone(), Path::new(DIR), options).map(drop)
    };
    open(&disk, 7).unwrap();
    open(&disk, 0).unwrap();
    let refused = open(&disk, 8).unwrap_err();
    assert!(
        matches!(
            refused,
            WalError::Foreign {
                found: 7,
                expected: 8,
                ..
            }
        ),
        "{refused}"
    );
    let old = SimulatedDisk::new(1);
    several_segments_of(&old, 0);
    open(&old, 8).unwrap();
}

#[test]
fn a_missing_segment_in_the_middle_is_treated_like_a_damaged_one() {
    let disk = SimulatedDisk::new(1);
    several_segments(&disk, 4);
    let third = first_entry_of(&disk, 3);
    disk.remove_file(&segment(2)).unwrap();
    assert!(open_held(&disk, third - 2).is_err());
    let (_, recovered) = open_held(&disk, third - 1).unwrap();
    assert_eq!(recovered.groups[&1].start.index, third - 1);
}

/// A suffix that only says where the log begins does not say where it ends.
#[test]
fn an_end_that_nothing_after_the_damage_tells_is_not_guessed() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk);
    append_synced(&mut log, 1, "one");
    append_synced(&mut log, 2, "two");
    while log.stats().segments < 2 {
        log.set_state(1, &[1; 400]).unwrap();
        log.sync().unwrap();
    }
    drop(log);
    disk.corrupt(&segment(1), find(&disk, &segment(1), "two"), 1);
    assert!(!examine(&disk).after().unwrap()[&1].end_known);
    for index in 0..4 {
        assert!(open_held(&disk, index).is_err());
    }
}

#[test]
fn a_cut_keeps_what_stands_before_the_damage_and_puts_the_rest_aside() {
    for (sequence, at) in [(1, 200), (2, 8), (2, 200), (3, 200)] {
        let disk = SimulatedDisk::new(1);
        several_segments(&disk, 4);
        disk.corrupt(&segment(sequence), at, 1);
        let damaged = bytes_of(&disk, &segment(sequence));
        let kept = examine(&disk).before();
        let aside = cut_at_damage(&disk, Path::new(DIR)).unwrap();
        assert!(aside.contains(&segment::damaged_path(Path::new(DIR), sequence)));
        let copy = bytes_of(&disk, &segment::damaged_path(Path::new(DIR), sequence));
        assert_eq!(copy, damaged);
        assert_eq!(examine(&disk).damage(), []);
        assert!(cut_at_damage(&disk, Path::new(DIR)).unwrap().is_empty());
        let (mut log, recovered) = open(&disk);
        let entries = recovered
            .groups
            .get(&1)
            .map_or(&[][..], |group| &group.entries);
        let found = entries
            .first()
            .map(|first| first.index..=entries.last().unwrap().index);
        let expected = kept.get(&1).and_then(|extent| extent.entries.clone());
        assert_eq!(found, expected);
        append_synced(&mut log, entries.len() as u64 + 1, "goes on");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// One flipped bit, anywhere in a log whose last batch is marked: the log opens with everything, or is refused.
    #[test]
    fn a_flipped_bit_loses_nothing_in_silence(
        sequence in 1..4_u64, at in 0..4096_u64, bit in 0..8_u32, held_to in 0..30_u64
    ) {
        let disk = SimulatedDisk::new(1);
        let last = several_segments(&disk, 3);
        disk.corrupt(&segment(sequence), at, 1 << bit);
        match open_held(&disk, held_to) {
            Ok((log, recovered)) => {
                let group = &recovered.groups[&1];
                let start = group.start.index;
                prop_assert_eq!(group.state.as_deref(), Some(&b"term 1"[..]));
                prop_assert!(start == 0 || start == held_to);
                let held = start.max(held_to).min(last);
                prop_assert_eq!(held + group.entries.len() as u64, last);
                let all = log.reader().read(1, start + 1, usize::MAX).unwrap();
                prop_assert_eq!(start + all.len() as u64, last);
                prop_assert!(all.ends_with(&group.entries));
                for entry in &all {
                    let text = format!("entry {}, ", entry.index);
                    prop_assert!(entry.payload.starts_with(text.as_bytes()));
                }
            }
            Err(error) => prop_assert!(matches!(error, WalError::Damaged(_)), "{}", error),
        }
    }
}
