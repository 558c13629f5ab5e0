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
