use super::inode::SECTOR_BYTES;
use super::*;

fn create(disk: &SimulatedDisk, path: &str) -> SimulatedFile {
    let path = Path::new(path);
    disk.create_dir_all(path.parent().unwrap()).unwrap();
    let options = OpenOptions {
        create: true,
        write: true,
        ..OpenOptions::default()
    };
    disk.open(path, options).unwrap()
}

fn read(disk: &SimulatedDisk, path: &str) -> io::Result<Vec<u8>> {
    let file = disk.open(Path::new(path), OpenOptions::default())?;
    let mut bytes = vec![0; file.len()? as usize];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[test]
fn a_crash_keeps_what_was_synced_and_loses_some_of_the_rest() {
    let mut survived = 0;
    for seed in 0..64 {
        let disk = SimulatedDisk::new(seed);
        let file = create(&disk, "/d/file");
        file.write_all_at(&[1; 2048], 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        file.write_all_at(&[2; 1024], 1024).unwrap();
        disk.crash();
        assert!(file.len().is_err(), "old handles are dead");
        let bytes = read(&disk, "/d/file").unwrap();
        assert_eq!(bytes[..1024], [1; 1024]);
        survived += bytes.iter().filter(|byte| **byte == 2).count() / SECTOR_BYTES;
    }
    assert!((10..118).contains(&survived), "{survived} of 128 sectors");
}

#[test]
fn an_unsynced_name_may_be_lost() {
    let outcomes: BTreeSet<bool> = (0..32)
        .map(|seed| {
            let disk = SimulatedDisk::new(seed);
            create(&disk, "/d/file").sync_all().unwrap();
            disk.crash();
            disk.exists(Path::new("/d/file")).unwrap()
        })
        .collect();
    assert_eq!(outcomes.len(), 2);
}

#[test]
fn a_failed_sync_loses_the_bytes_though_the_next_sync_succeeds() {
    let disk = SimulatedDisk::new(1);
    let file = create(&disk, "/d/file");
    file.write_all_at(b"first", 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    file.write_all_at(b"later", 0).unwrap();
    disk.fail_sync_after(0);
    assert!(file.sync_data().is_err());
    assert_eq!(read(&disk, "/d/file").unwrap(), b"later");
    file.sync_data().unwrap();
    disk.crash();
    assert_eq!(read(&disk, "/d/file").unwrap(), b"first");
}

#[test]
fn locks_exclude_and_capacity_limits() {
    let disk = SimulatedDisk::new(1);
    let lock = disk.lock(Path::new("/d/LOCK")).unwrap();
    assert_eq!(
        disk.lock(Path::new("/d/LOCK")).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    drop(lock);
    disk.lock(Path::new("/d/LOCK")).unwrap();
    disk.limit_capacity(Some(100));
    let file = create(&disk, "/d/file");
    file.allocate(100).unwrap();
    assert_eq!(
        file.allocate(101).unwrap_err().kind(),
        io::ErrorKind::StorageFull
    );
    file.write_all_at(&[1; 100], 0).unwrap();
}

/// A synced file of `len` bytes 1.
fn synced(disk: &SimulatedDisk, path: &str, len: usize) -> SimulatedFile {
    let file = create(disk, path);
    file.write_all_at(&vec![1; len], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new(path).parent().unwrap()).unwrap();
    file
}

#[test]
fn the_last_write_before_a_crash_may_be_torn_within_a_sector() {
    let torn = (0..64).any(|seed| {
        let disk = SimulatedDisk::new(seed);
        let file = synced(&disk, "/d/file", 4 * SECTOR_BYTES);
        file.write_all_at(&[2; 4 * SECTOR_BYTES], 0).unwrap();
        disk.crash();
        let bytes = read(&disk, "/d/file").unwrap();
        let new = bytes.iter().take_while(|byte| **byte == 2).count();
        bytes[new..].iter().all(|byte| *byte == 1) && new % SECTOR_BYTES != 0
    });
    assert!(torn);
}

#[test]
fn a_killed_process_loses_its_handles_and_nothing_else() {
    let disk = SimulatedDisk::new(1);
    let file = create(&disk, "/d/file");
    let _lock = disk.lock(Path::new("/d/LOCK")).unwrap();
    file.write_all_at(b"cached", 0).unwrap();
    disk.kill_process();
    assert!(file.sync_data().is_err());
    assert_eq!(read(&disk, "/d/file").unwrap(), b"cached");
    disk.lock(Path::new("/d/LOCK")).unwrap();
}

#[test]
fn a_full_disk_takes_what_fits_and_goes_on_when_space_comes_back() {
    let disk = SimulatedDisk::new(1);
    let file = synced(&disk, "/d/file", 100);
    disk.limit_capacity(Some(disk.used_bytes() + 10));
    let error = file.write_all_at(&[2; 60], 80).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.used_bytes(), 110, "a part was written");
    file.write_all_at(&[3; 100], 0).unwrap();
    disk.limit_capacity(None);
    file.write_all_at(&[2; 60], 80).unwrap();
    assert_eq!(file.len().unwrap(), 140);
}

#[test]
fn a_read_only_disk_is_read_and_not_changed() {
    let disk = SimulatedDisk::new(1);
    let file = synced(&disk, "/d/file", 100);
    disk.set_read_only(true);
    let path = Path::new("/d/file");
    let refused = [
        file.write_all_at(&[1], 0),
        file.allocate(200),
        disk.rename(path, Path::new("/d/other")),
        disk.remove_file(path),
        disk.create_dir_all(Path::new("/new")),
        disk.lock(Path::new("/d/LOCK")).map(drop),
    ];
    for outcome in refused {
        let kind = outcome.map_err(|error| error.kind());
        assert_eq!(kind, Err(io::ErrorKind::ReadOnlyFilesystem));
    }
    assert_eq!(read(&disk, "/d/file").unwrap().len(), 100);
    disk.create_dir_all(Path::new("/d")).unwrap();
    disk.set_read_only(false);
    file.write_all_at(&[1], 0).unwrap();
}

#[test]
fn a_removed_file_gives_its_space_back() {
    let disk = SimulatedDisk::new(1);
    create(&disk, "/d/old").allocate(700).unwrap();
    disk.limit_capacity(Some(1000));
    let file = create(&disk, "/d/new");
    let full = file.allocate(500).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    disk.remove_file(Path::new("/d/old")).unwrap();
    file.allocate(500).unwrap();
    assert_eq!(disk.used_bytes(), 500);
}

#[test]
fn a_write_over_old_bytes_may_find_the_disk_full() {
    let disk = SimulatedDisk::new(1);
    let file = create(&disk, "/d/file");
    file.write_all_at(&[1; 100], 0).unwrap();
    disk.fill_in_write_after(1);
    file.write_all_at(&[2; 100], 0).unwrap();
    let full = file.write_all_at(&[3; 100], 0).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    file.write_all_at(&[4; 100], 0).unwrap();
}

#[test]
fn a_failing_write_is_short_and_a_failing_read_passes() {
    let disk = SimulatedDisk::new(3);
    let file = synced(&disk, "/d/file", 1_000);
    disk.fail_write_after(1);
    file.write_all_at(&[1; 10], 0).unwrap();
    assert!(file.write_all_at(&[2; 1_000], 0).is_err());
    let bytes = read(&disk, "/d/file").unwrap();
    let new = bytes.iter().take_while(|byte| **byte == 2).count();
    assert!(new < 1_000 && bytes[new..].iter().all(|byte| *byte == 1));
    disk.fail_read_after(0);
    assert!(read(&disk, "/d/file").is_err());
    read(&disk, "/d/file").unwrap();
}

#[test]
fn a_spoilt_sector_cannot_be_read_until_it_is_written() {
    let disk = SimulatedDisk::new(3);
    let file = synced(&disk, "/d/file", 4 * SECTOR_BYTES);
    disk.spoil_sector(Path::new("/d/file"), SECTOR_BYTES as u64 + 7);
    let mut sector = [0; SECTOR_BYTES];
    file.read_at(&mut sector, 0).unwrap();
    assert!(file.read_at(&mut sector, SECTOR_BYTES as u64).is_err());
    assert!(file.read_at(&mut sector, 100).is_err());
    file.write_all_at(&[5; SECTOR_BYTES], SECTOR_BYTES as u64)
        .unwrap();
    file.read_at(&mut sector, 100).unwrap();
}

#[test]
fn flipped_bits_are_in_synced_data_and_stay() {
    for seed in 0..64 {
        let disk = SimulatedDisk::new(seed);
        let file = synced(&disk, "/d/wal/one", 100);
        file.allocate(100_000).unwrap();
        file.write_all_at(&[1; 50], 100).unwrap();
        file.sync_data().unwrap();
        file.write_all_at(&[1; 50], 150).unwrap();
        synced(&disk, "/d/other", 500);
        let wal = Path::new("/d/wal");
        let flipped = disk.flip_synced_bit(wal, true, |_| true).unwrap();
        assert_eq!(flipped.path, Path::new("/d/wal/one"));
        assert!(flipped.offset < 100, "{flipped:?}");
        let also_last = disk.flip_synced_bit(wal, false, |_| true).unwrap();
        assert!(also_last.offset < 150, "{also_last:?}");
        disk.crash();
        let bytes = read(&disk, "/d/wal/one").unwrap();
        let expected = match flipped.offset == also_last.offset {
            true => 1 ^ flipped.mask ^ also_last.mask,
            false => 1 ^ flipped.mask,
        };
        assert_eq!(bytes[flipped.offset as usize], expected);
        assert_eq!(disk.flip_synced_bit(wal, true, |_| false), None);
    }
}

#[test]
fn operations_say_how_long_they_took() {
    let disk = SimulatedDisk::new(1);
    disk.set_costs(DiskCosts {
        read: Duration::from_micros(1),
        write: Duration::from_micros(10),
        sync: Duration::from_micros(100),
    });
    let file = synced(&disk, "/d/file", 10);
    assert_eq!(disk.take_delay(), Duration::from_micros(210));
    disk.stall_next_sync(Duration::from_secs(2));
    file.sync_data().unwrap();
    file.sync_data().unwrap();
    assert_eq!(disk.take_delay(), Duration::from_micros(2_000_200));
    assert_eq!(disk.take_delay(), Duration::ZERO);
}

#[test]
fn a_file_cut_and_grown_again_reads_zeros_after_a_crash_too() {
    let disk = SimulatedDisk::new(1);
    let file = synced(&disk, "/d/file", 2_000);
    file.set_len(700).unwrap();
    file.allocate(2_000).unwrap();
    file.sync_data().unwrap();
    disk.crash();
    let bytes = read(&disk, "/d/file").unwrap();
    assert!(bytes[..700].iter().all(|byte| *byte == 1));
    assert!(bytes[700..].iter().all(|byte| *byte == 0));
    assert_eq!(bytes.len(), 2_000);
}

#[test]
fn a_directory_is_renamed_with_what_is_in_it() {
    let disk = SimulatedDisk::new(1);
    let file = create(&disk, "/d/a/file");
    file.write_all_at(&[7; 100], 0).unwrap();
    file.sync_data().unwrap();
    disk.rename(Path::new("/d/a"), Path::new("/d/b")).unwrap();
    assert!(!disk.exists(Path::new("/d/a")).unwrap());
    disk.crash();
    assert_eq!(read(&disk, "/d/b/file").unwrap(), [7; 100]);
}
