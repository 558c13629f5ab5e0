use super::directory::Inode;
use super::disk::{Disk, ROOT};
use super::points::{POINTS, Place};
use super::survival::Habit;
use crate::random::Random;

const ALL_HABITS: &[Habit] = &[
    Habit::Lazy,
    Habit::Eager,
    Habit::Ordered,
    Habit::Unordered { percent: 50 },
    Habit::Torn { percent: 50 },
];

fn file(disk: &mut Disk, name: &str, content: &[u8]) -> Inode {
    let made = disk.create(ROOT, name).expect("new");
    disk.write(made.inode, 0, content).expect("a file");
    made.inode
}

fn content(disk: &Disk, name: &str) -> Option<Vec<u8>> {
    let found = disk.lookup(ROOT, name).ok()?;
    let len = usize::try_from(found.len).expect("short");
    Some(disk.read(found.inode, 0, len).expect("a file").to_vec())
}

#[test]
fn what_was_synced_survives_every_habit() {
    for habit in ALL_HABITS {
        for seed in 0..50 {
            let mut disk = Disk::new();
            let inode = file(&mut disk, "a", &[7; 2_000]);
            disk.sync_file(inode).expect("a file");
            disk.sync_directory(ROOT).expect("a directory");
            disk.lose_power(*habit, Random::new(seed));
            disk.collect();
            assert_eq!(content(&disk, "a"), Some(vec![7; 2_000]), "{habit:?}");
        }
    }
}

#[test]
fn a_name_needs_a_sync_of_its_directory_and_content_one_of_the_file() {
    let mut disk = Disk::new();
    let inode = file(&mut disk, "nameless", &[1; 10]);
    disk.sync_file(inode).expect("a file");
    assert!(disk.lose_power(Habit::Lazy, Random::new(1)));
    assert_eq!(content(&disk, "nameless"), None);

    file(&mut disk, "empty", &[1; 10]);
    disk.sync_directory(ROOT).expect("a directory");
    assert!(disk.lose_power(Habit::Lazy, Random::new(1)));
    assert_eq!(content(&disk, "empty"), Some(Vec::new()));
}

#[test]
fn a_rename_happened_or_did_not() {
    let mut seen = [false; 2];
    for seed in 0..100 {
        let mut disk = Disk::new();
        let inode = file(&mut disk, "old", b"x");
        disk.sync_file(inode).expect("a file");
        let below = disk.make_directory(ROOT, "below").expect("new").inode;
        disk.sync_directory(ROOT).expect("a directory");
        disk.rename((ROOT, "old"), (below, "new"))
            .expect("it is there");
        disk.lose_power(Habit::Unordered { percent: 50 }, Random::new(seed));
        let moved = disk.lookup(below, "new").is_ok();
        assert_ne!(moved, disk.lookup(ROOT, "old").is_ok(), "seed {seed}");
        seen[usize::from(moved)] = true;
    }
    assert_eq!(seen, [true; 2]);

    let mut disk = Disk::new();
    let inode = file(&mut disk, "old", b"x");
    disk.sync_file(inode).expect("a file");
    let below = disk.make_directory(ROOT, "below").expect("new").inode;
    disk.sync_directory(ROOT).expect("a directory");
    disk.rename((ROOT, "old"), (below, "new"))
        .expect("it is there");
    disk.sync_directory(ROOT).expect("a directory");
    disk.lose_power(Habit::Lazy, Random::new(1));
    assert!(disk.lookup(below, "new").is_ok(), "both halves were synced");
}

#[test]
fn what_was_not_synced_is_torn_by_sectors() {
    let (mut mixed, mut short) = (false, false);
    for seed in 0..100 {
        let mut disk = Disk::new();
        let inode = file(&mut disk, "a", &[1; 4_096]);
        disk.sync_file(inode).expect("a file");
        disk.sync_directory(ROOT).expect("a directory");
        disk.write(inode, 100, &[2; 4_096]).expect("a file");
        disk.lose_power(Habit::Torn { percent: 50 }, Random::new(seed));
        let found = content(&disk, "a").expect("its name was synced");
        assert!(found[..100].iter().all(|byte| *byte == 1));
        for sector in found[..4_096].chunks(512).skip(1) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "seed {seed}");
        }
        mixed |= found[512..4_096].contains(&1) && found[512..4_096].contains(&2);
        short |= found.len() == 4_096;
    }
    assert!(mixed && short);
}

#[test]
fn an_ordered_disk_keeps_a_beginning() {
    for seed in 0..100 {
        let mut disk = Disk::new();
        for name in ["a", "b", "c", "d"] {
            file(&mut disk, name, b"x");
        }
        disk.lose_power(Habit::Ordered, Random::new(seed));
        let there: Vec<bool> = ["a", "b", "c", "d"]
            .iter()
            .map(|name| content(&disk, name).is_some())
            .collect();
        assert!(there.is_sorted_by(|a, b| a >= b), "seed {seed}: {there:?}");
    }
}

#[test]
fn files_without_a_name_are_freed_and_others_not() {
    let mut disk = Disk::new();
    let inode = file(&mut disk, "a", b"x");
    disk.sync_directory(ROOT).expect("a directory");
    disk.unlink(ROOT, "a").expect("it is there");
    disk.collect();
    assert!(
        disk.attributes(inode).is_ok(),
        "a power loss may bring it back"
    );
    disk.sync_directory(ROOT).expect("a directory");
    disk.collect();
    assert!(disk.attributes(inode).is_err());
}

#[test]
fn every_point_has_a_name_of_its_own_and_paths_have_places() {
    let mut names: Vec<&str> = POINTS.iter().map(|point| point.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), POINTS.len());
    for (path, place) in [
        ("data", Place::Data),
        ("data/wal", Place::Log),
        ("data/wal/0000000000000007.wal", Place::Segment),
        ("data/wal/spare-0000000000000003.wal", Place::Spare),
        ("data/wal/prepare.tmp", Place::Prepared),
        ("data/engine", Place::Engine),
        ("data/engine/CURRENT.new", Place::CurrentGeneration),
        ("data/engine/installing-4711.new", Place::Installing),
        ("data/engine/incoming", Place::Incoming),
        ("data/engine/3", Place::Generation),
        ("data/engine/3/current", Place::CurrentList),
        ("data/engine/3/.tmpQ9", Place::CurrentList),
        ("data/engine/3/v41", Place::TableList),
        ("data/engine/3/tables", Place::Tables),
        ("data/engine/3/tables/12", Place::Table),
        ("data/identity.copy.new", Place::Identity),
        ("data/LOCK", Place::Other),
    ] {
        assert_eq!(Place::of(path), place, "{path}");
    }
}
