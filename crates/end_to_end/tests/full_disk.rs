//! A disk that is full: the member on it ends and says why, the others go on, nothing acknowledged is lost, and with room again
//! the member comes back by itself to where the others are.
//!
//! A leader that stays up and refuses writes while its disk is full is not there yet: it ends, as after any other fault of its
//! disk. Where the machine cannot mount a small file system the test says that it was skipped.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use bson::{Document, doc};
use end_to_end::Cluster;

const DISK_MIB: usize = 48;
const DOCUMENT_BYTES: usize = 100 << 10;
/// More than the log's open segment and its spares hold.
const DOCUMENTS_MAX: i32 = 600;
const BLOCK_BYTES: usize = 64 << 10;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_is_full_ends_and_the_others_go_on() {
    // The first to start leads.
    const FULL: usize = 0;
    let disk = Mutex::new(Err("not tried".to_owned()));
    let mut cluster = Cluster::start_prepared(3, &[], |member, directory| {
        if member == FULL {
            *disk.lock().expect("one thread") = SmallDisk::mount(directory);
        }
    })
    .await;
    let disk = match disk.into_inner().expect("one thread") {
        Ok(disk) => disk,
        Err(reason) => {
            writeln!(std::io::stderr(), "skipped: a full disk: {reason}").ok();
            return;
        }
    };
    let client = cluster.client().await;
    let things = client.database("test").collection::<Document>("things");
    things
        .insert_one(doc! { "_id": -1 })
        .await
        .expect("inserts");
    assert_eq!(cluster.leader().await, FULL);
    disk.fill();
    let mut inserted = 0;
    while cluster.is_running(FULL) && inserted < DOCUMENTS_MAX {
        let filling = "x".repeat(DOCUMENT_BYTES);
        things
            .insert_one(doc! { "_id": inserted, "filling": filling })
            .await
            .expect("the others go on");
        inserted += 1;
    }
    let log = cluster.log(FULL);
    assert!(!cluster.is_running(FULL), "there was room for {inserted}");
    assert!(log.contains("No space left on device"), "{log}");

    for id in inserted..inserted + 10 {
        things
            .insert_one(doc! { "_id": id })
            .await
            .expect("inserts");
    }
    let found = things.count_documents(doc! {}).await.expect("reads go on");
    assert_eq!(found, 1 + u64::try_from(inserted).expect("a count") + 10);

    disk.make_room();
    cluster.start_member(FULL);
    cluster.wait_until_whole().await;
    let hashes = cluster.hashes().await;
    assert!(
        hashes.windows(2).all(|pair| pair[0] == pair[1]),
        "the members differ: {hashes:#?}"
    );
    cluster.kill(FULL);
}
