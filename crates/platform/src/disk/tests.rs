use super::*;

const WRITE: OpenOptions = OpenOptions {
    create: true,
    create_new: false,
    write: true,
};

#[test]
fn allocate_extends_with_zeros_and_keeps_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let file = OsDisk.open(&path, WRITE).unwrap();
    file.write_all_at(b"kept", 0).unwrap();
    file.allocate(1 << 20).unwrap();
    file.sync_all().unwrap();
    assert_eq!(file.len().unwrap(), 1 << 20);
    let mut bytes = vec![1; (1 << 20) + 1];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 1 << 20);
    assert_eq!(&bytes[..4], b"kept");
    assert!(bytes[4..1 << 20].iter().all(|byte| *byte == 0));
    file.allocate(10).unwrap();
    assert_eq!(file.len().unwrap(), 1 << 20, "never shrinks");
}

#[test]
fn a_locked_file_cannot_be_locked_again_until_released() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("LOCK");
    let lock = OsDisk.lock(&path).unwrap();
    assert_eq!(
        OsDisk.lock(&path).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    drop(lock);
    OsDisk.lock(&path).unwrap();
}

#[test]
fn names_are_created_listed_renamed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    OsDisk
        .open(&a, WRITE)
        .unwrap()
        .write_all_at(b"123", 0)
        .unwrap();
    let again = OpenOptions {
        create_new: true,
        ..WRITE
    };
    assert_eq!(
        OsDisk.open(&a, again).unwrap_err().kind(),
        io::ErrorKind::AlreadyExists
    );
    OsDisk.rename(&a, &b).unwrap();
    OsDisk.sync_dir(dir.path()).unwrap();
    let entries = OsDisk.list(dir.path()).unwrap();
    assert_eq!(
        entries,
        [DirEntry {
            name: "b".to_owned(),
            len: 3
        }]
    );
    assert!(!OsDisk.exists(&a).unwrap());
    OsDisk.remove_file(&b).unwrap();
    assert!(OsDisk.list(dir.path()).unwrap().is_empty());
}

#[test]
fn a_listing_goes_on_over_names_that_vanish_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    OsDisk.open(&dir.path().join("stays"), WRITE).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let path = dir.path().join("comes and goes");
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                drop(OsDisk.open(&path, WRITE).unwrap());
                OsDisk.remove_file(&path).unwrap();
            }
        });
        for _ in 0..5_000 {
            let listed = OsDisk.list(dir.path());
            done.store(listed.is_err(), std::sync::atomic::Ordering::Relaxed);
            assert!(listed.unwrap().iter().any(|entry| entry.name == "stays"));
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn a_directory_is_made_with_its_ancestors_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/c");
    for _ in 0..2 {
        OsDisk.create_dir_all(&path).unwrap();
        assert!(OsDisk.exists(&path).unwrap());
    }
    OsDisk.open(&path.join("file"), WRITE).unwrap();
    assert!(OsDisk.create_dir_all(&path.join("file")).is_err());
}
