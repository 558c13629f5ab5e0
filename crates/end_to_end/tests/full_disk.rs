//! Disks that are full: nobody ends and nothing acknowledged is lost. A leader whose disk is full hands over to a member that
//! has room; where none has, writes are refused with MongoDB's error for it while reads go on; and all goes on by itself once
//! there is room again, without a restart. A file system that cannot be written to is named.
//!
//! Where the machine cannot mount a small file system the tests say that they were skipped.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

use bson::spec::BinarySubtype;
use bson::{Binary, Document, doc};
use end_to_end::{Cluster, PATIENCE};
use mongodb::Collection;
use mongodb::error::{Error, ErrorKind};

const DISK_MIB: usize = 96;
const DOCUMENT_BYTES: usize = 100 << 10;
/// More than the log's segments in use and in reserve hold.
const DOCUMENTS_MAX: i32 = 1_500;
const BLOCK_BYTES: usize = 64 << 10;
const OUT_OF_DISK_SPACE: i32 = 14031;

/// A file system in memory; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(directory: &Path) -> Result<SmallDisk, String> {
        std::fs::create_dir_all(directory).map_err(|error| error.to_string())?;
        let size = format!("size={DISK_MIB}m");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "none"])
            .arg(directory)
            .output()
            .map_err(|error| error.to_string())?;
        if !mount.status.success() {
            return Err(String::from_utf8_lossy(&mount.stderr).trim().to_owned());
        }
        Ok(SmallDisk(directory.to_owned()))
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let mut file = File::create(self.filler()).expect("the disk is writable");
        let mut block = vec![1; BLOCK_BYTES];
        while !block.is_empty() {
            if file.write_all(&block).is_err() {
                block.truncate(block.len() / 2);
            }
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.filler()).expect("the file is there");
    }

    /// Lets nobody write any more, or everybody again.
    fn remount(&self, mode: &str) {
        let option = format!("remount,{mode}");
        let mount = Command::new("mount")
            .args(["-o", &option])
            .arg(&self.0)
            .status()
            .expect("it was mounted before");
        assert!(mount.success(), "{option}");
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Nothing runs on it any more; should something, it goes when that ends.
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

/// Starts `count` members, the first `small` of them on disks of their own; `None` where there can be none.
async fn start(count: usize, small: usize) -> Option<(Cluster, Vec<SmallDisk>)> {
    let disks = Mutex::new(Vec::new());
    let cluster = Cluster::start_prepared(count, &[], |member, directory| {
        if member < small {
            let mut disks = disks.lock().expect("one thread");
            disks.push(SmallDisk::mount(directory));
        }
    })
    .await;
    let disks: Result<Vec<_>, _> = disks
        .into_inner()
        .expect("one thread")
        .into_iter()
        .collect();
    match disks {
        Ok(disks) => Some((cluster, disks)),
        Err(reason) => {
            writeln!(std::io::stderr(), "skipped: a full disk: {reason}").ok();
            None
        }
    }
}

/// Something no compression makes smaller.
fn filling(id: i32) -> Binary {
    let mut state = u64::from(id.unsigned_abs()) << 32 | 1;
    let noise = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: (0..DOCUMENT_BYTES).map(noise).collect(),
    }
}

async fn insert(things: &Collection<Document>, id: i32) -> Result<(), Error> {
    let document = doc! { "_id": id, "filling": filling(id) };
    things.insert_one(document).await.map(drop)
}

fn code(error: &Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

async fn count(things: &Collection<Document>) -> u64 {
    things.count_documents(doc! {}).await.expect("reads go on")
}

/// Inserts until that is refused for lack of room; returns how many were acknowledged.
async fn insert_until_refused(things: &Collection<Document>) -> i32 {
    let mut inserted = 0;
    for id in 0..DOCUMENTS_MAX {
        match insert(things, id).await {
            Ok(()) => inserted += 1,
            Err(error) if code(&error) == Some(OUT_OF_DISK_SPACE) => {
                let said = error.to_string();
                assert!(said.contains("make room"), "{said}");
                return inserted;
            }
            // The lead went from one to another as they filled up.
            Err(error) => assert!(error.contains_label("RetryableWriteError"), "{error}"),
        }
    }
    panic!("there was room for {DOCUMENTS_MAX}");
}

/// Inserts again once that works.
async fn insert_when_there_is_room(things: &Collection<Document>, id: i32) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = insert(things, id).await {
        assert!(Instant::now() < deadline, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_is_full_hands_over_and_catches_up_when_there_is_room() {
    // The first to start leads.
    const FULL: usize = 0;
    let Some((mut cluster, disks)) = start(3, 1).await else {
        return;
    };
    let client = cluster.client().await;
    let things = client.database("test").collection::<Document>("things");
    insert(&things, -1).await.expect("inserts");
    assert_eq!(cluster.leader().await, FULL);
    let process = cluster.process_id(FULL);
    disks[FULL].fill();
    let mut inserted = 0;
    while !cluster.log(FULL).contains("the disk is full") {
        assert!(inserted < DOCUMENTS_MAX, "there was room for {inserted}");
        insert(&things, inserted).await.expect("writes go on");
        inserted += 1;
    }
    for id in inserted..inserted + 200 {
        insert(&things, id).await.expect("writes go on");
    }
    assert_ne!(cluster.leader().await, FULL, "one who has room leads");
    assert!(cluster.is_running(FULL));
    let written = 1 + u64::try_from(inserted).expect("a count") + 200;
    assert_eq!(count(&things).await, written);

    disks[FULL].make_room();
    cluster.wait_until_whole().await;
    assert_eq!(cluster.process_id(FULL), process, "nobody restarted it");
    let hashes = cluster.hashes().await;
    assert!(
        hashes.windows(2).all(|pair| pair[0] == pair[1]),
        "the members differ: {hashes:#?}"
    );
    cluster.kill(FULL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_all_disks_are_full_writes_are_refused_and_reads_go_on() {
    let Some((mut cluster, disks)) = start(3, 3).await else {
        return;
    };
    let client = cluster.client().await;
    let things = client.database("test").collection::<Document>("things");
    insert(&things, -1).await.expect("inserts");
    for disk in &disks {
        disk.fill();
    }
    let inserted = insert_until_refused(&things).await;
    let written = 1 + u64::try_from(inserted).expect("a count");
    assert!(count(&things).await >= written);
    let refused = insert(&things, 5_000).await.expect_err("there is no room");
    assert_eq!(code(&refused), Some(OUT_OF_DISK_SPACE), "{refused}");
    assert_eq!(
        things
            .find_one(doc! { "_id": 5_000 })
            .await
            .expect("reads go on"),
        None
    );

    for disk in &disks {
        disk.make_room();
    }
    insert_when_there_is_room(&things, 5_000).await;
    for id in 5_001..5_020 {
        insert_when_there_is_room(&things, id).await;
    }
    assert!((0..3).all(|member| cluster.is_running(member)));
    cluster.wait_until_whole().await;
    let hashes = cluster.hashes().await;
    assert!(
        hashes.windows(2).all(|pair| pair[0] == pair[1]),
        "the members differ: {hashes:#?}"
    );
    (0..3).for_each(|member| cluster.kill(member));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_member_refuses_writes_is_stopped_started_and_goes_on() {
    let Some((mut cluster, disks)) = start(1, 1).await else {
        return;
    };
    let client = cluster.client().await;
    let things = client.database("test").collection::<Document>("things");
    insert(&things, -1).await.expect("inserts");
    disks[0].fill();
    let inserted = insert_until_refused(&things).await;
    let written = 1 + u64::try_from(inserted).expect("a count");
    assert_eq!(count(&things).await, written);
    // It stops cleanly and starts on the full disk.
    assert!(cluster.stop(0), "{}", cluster.log(0));
    cluster.start_member(0);
    assert_eq!(cluster.leader().await, 0);
    assert_eq!(count(&things).await, written);
    disks[0].make_room();
    insert_when_there_is_room(&things, 5_000).await;
    assert_eq!(count(&things).await, written + 1);
    cluster.kill(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_file_system_is_named() {
    let Some((mut cluster, disks)) = start(1, 1).await else {
        return;
    };
    let client = cluster.client().await;
    let things = client.database("test").collection::<Document>("things");
    insert(&things, 1).await.expect("inserts");
    assert!(cluster.stop(0), "{}", cluster.log(0));
    disks[0].remount("ro");
    cluster.start_member(0);
    assert!(!cluster.wait_for_exit(0), "it must not start");
    let said = cluster.log(0);
    let directory = cluster.data_dir(0).display().to_string();
    assert!(
        said.contains("Read-only file system") && said.contains(&directory),
        "{said}"
    );
    disks[0].remount("rw");
    cluster.start_member(0);
    assert_eq!(cluster.leader().await, 0);
    assert_eq!(count(&things).await, 1);
    cluster.kill(0);
}
