//! Nodes of this process on real directories, damaged while they are stopped.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use platform::{OsDisk, OsEntropy};
use tempfile::TempDir;

use super::*;
use crate::tests::{PATIENCE, cluster, config, count, hash_at, start, write};
use crate::{Node, Notices};

mod flips;

/// Stopped members with some writes in them, and what their starts will say.
struct Stopped {
    directories: Vec<TempDir>,
    configs: Vec<NodeConfig>,
    written: i32,
    said: Arc<Mutex<Vec<String>>>,
}

/// A cluster that has stopped. The engine holds `flushed` writes, the log all of them; its segments are small.
fn stopped(size: usize, written: i32) -> Stopped {
    let directories: Vec<_> = (0..size)
        .map(|_| tempfile::tempdir().expect("temporary directory"))
        .collect();
    let paths: Vec<PathBuf> = directories
        .iter()
        .map(|directory| directory.path().to_owned())
        .collect();
    let (nodes, mut configs) = cluster(&paths[..size]);
    let last = (0..written).fold(0, |_, id| write(&nodes, id));
    for node in &nodes {
        // A majority has it; the others get it a moment later.
        hash_at(node, last);
    }
    for node in nodes {
        node.stop();
    }
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    for config in &mut configs {
        let said = said.clone();
        config.notices = Notices::new(move |what| said.lock().push(what.to_owned()));
    }
    Stopped {
        directories,
        configs,
        written,
        said,
    }
}

impl Stopped {
    fn path(&self, member: usize, file: &str) -> PathBuf {
        self.directories[member].path().join(file)
    }

    fn flip(&self, member: usize, file: &str, at: impl FnOnce(&[u8]) -> usize) {
        let path = self.path(member, file);
        let mut bytes = std::fs::read(&path).expect("readable");
        let at = at(&bytes);
        bytes[at] ^= 0x20;
        std::fs::write(&path, bytes).expect("writable");
    }

    /// The first segment of a member's log.
    fn segment(&self, member: usize) -> String {
        let names = std::fs::read_dir(self.path(member, "wal")).expect("readable");
        let first = names
            .map(|entry| entry.expect("readable").file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .filter(|name| name.len() == "0000000000000001.wal".len())
            .min();
        format!("wal/{}", first.expect("a segment"))
    }

    fn start_all(&self) -> Vec<Node> {
        let mut threads = Vec::new();
        for config in self.configs.clone() {
            threads.push(std::thread::spawn(move || start(config).expect("starts")));
        }
        threads
            .into_iter()
            .map(|thread| thread.join().expect("does not panic"))
            .collect()
    }

    /// Everything is there on every member, and all vote.
    fn check(&mut self, nodes: &[Node]) {
        for node in nodes {
            let voters = nodes.len();
            assert!(
                node.wait_until(PATIENCE, move |status| status.membership.members.len()
                    == voters
                    && status.membership.voters.len() == voters),
                "{:?}; {:?}",
                node.status(),
                self.said.lock()
            );
        }
        let last = write(nodes, self.written);
        self.written += 1;
        let hashes: BTreeSet<String> = nodes.iter().map(|node| hash_at(node, last)).collect();
        assert_eq!(hashes.len(), 1, "{hashes:?}");
        for node in nodes {
            assert_eq!(count(node) as i32, self.written);
        }
    }
}

/// Damages member 2 of three; it must come back as a new member.
fn assert_repaired(damage: impl FnOnce(&Stopped)) {
    let mut run = stopped(3, 30);
    let before = Identity::load(&OsDisk, run.directories[2].path(), &Notices::default())
        .expect("readable")
        .expect("there");
    damage(&run);
    let nodes = run.start_all();
    run.check(&nodes);
    assert_ne!(
        nodes[2].status().id,
        before.node_id,
        "{:?}",
        run.said.lock()
    );
    assert!(run.path(2, "damaged-1").exists());
    assert!(!run.path(2, REPAIRING).exists());
    for node in nodes {
        node.stop();
    }
    let nodes = run.start_all();
    run.check(&nodes);
    for node in nodes {
        node.stop();
    }
}

fn after(bytes: &[u8], what: &[u8]) -> usize {
    let found = bytes.windows(what.len()).position(|window| window == what);
    found.expect("it is in the file")
}

#[test]
fn a_damaged_log_is_repaired() {
    assert_repaired(|run| run.flip(2, &run.segment(2), |bytes| after(bytes, b"xxxxxxxx")));
}

#[test]
fn a_damaged_hard_state_at_the_beginning_of_the_log_is_repaired() {
    assert_repaired(|run| run.flip(2, &run.segment(2), |_| 64 + 32 + 34));
}

#[test]
fn an_emptied_log_is_repaired() {
    assert_repaired(|run| {
        std::fs::remove_dir_all(run.path(2, "wal")).expect("removes");
        std::fs::create_dir(run.path(2, "wal")).expect("creates");
    });
}

#[test]
fn a_lost_identity_is_repaired_with_what_the_peers_file_knows() {
    assert_repaired(|run| {
        run.flip(2, "identity", |_| 30);
        run.flip(2, "identity.copy", |_| 31);
    });
}

/// The last batch had been synced and perhaps acknowledged: what says so stands behind it.
#[test]
fn a_decayed_last_record_is_repaired() {
    assert_repaired(|run| {
        run.flip(2, &run.segment(2), |bytes| {
            let at = bytes.windows(4).rposition(|window| window == b"SYND");
            at.expect("a mark") - 3
        });
    });
}

/// The engine can be made anew from the log while that holds everything.
#[test]
fn a_damaged_engine_whose_log_is_whole_needs_nobody() {
    let mut run = stopped(1, 30);
    let table = std::fs::read_dir(run.path(0, "engine/1/tables"))
        .expect("readable")
        .map(|entry| entry.expect("readable").file_name())
        .next()
        .expect("a table");
    let table = format!("engine/1/tables/{}", table.to_string_lossy());
    run.flip(0, &table, |bytes| bytes.len() - 20);
    let nodes = run.start_all();
    run.check(&nodes);
    assert!(run.said.lock().iter().any(|said| said.contains(&table)));
    assert!(run.path(0, "damaged-1/engine").exists());
    nodes[0].stop();
}

#[test]
fn a_damaged_identity_is_written_again_from_its_copy() {
    for file in ["identity", "identity.copy"] {
        let mut run = stopped(1, 3);
        run.flip(0, file, |bytes| bytes.len() / 2);
        let nodes = run.start_all();
        run.check(&nodes);
        nodes[0].stop();
        assert!(
            run.said.lock()[0].contains("written again"),
            "{:?}",
            run.said.lock()
        );
        let read = |file| std::fs::read(run.path(0, file)).expect("readable");
        assert_eq!(read("identity"), read("identity.copy"));
    }
}

/// Every file under a directory, with its bytes.
fn content(directory: &std::path::Path) -> BTreeSet<(PathBuf, Vec<u8>)> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(directory).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            found.extend(content(&path));
        } else {
            found.insert((path.clone(), std::fs::read(&path).expect("readable")));
        }
    }
    found
}

#[test]
fn a_lone_member_with_a_damaged_log_refuses_and_changes_nothing() {
    let run = stopped(1, 30);
    let segment = run.segment(0);
    run.flip(0, &segment, |bytes| after(bytes, b"xxxxxxxx"));
    let before = content(run.directories[0].path());
    let Err(error) = start(run.configs[0].clone()) else {
        panic!("must not start")
    };
    let text = error.to_string();
    assert!(matches!(error, StartError::Unrepairable { .. }), "{text}");
    for part in [
        &segment[..],
        "at offset",
        "the only member",
        "cstore recover",
    ] {
        assert!(text.contains(part), "{part} in: {text}");
    }
    assert_eq!(content(run.directories[0].path()), before);
}

#[test]
fn a_lone_member_with_a_damaged_identity_says_which_file_it_is() {
    let run = stopped(1, 3);
    for file in ["identity", "identity.copy"] {
        run.flip(0, file, |bytes| bytes.len() / 2);
    }
    let Err(error) = start(run.configs[0].clone()) else {
        panic!("must not start")
    };
    let text = error.to_string();
    assert!(matches!(error, StartError::Unrepairable { .. }), "{text}");
    for part in [
        "/identity: its checksum",
        "the only member",
        "cstore recover",
    ] {
        assert!(text.contains(part), "{part} in: {text}");
    }
}

/// Nobody may admit them: each start says what it waits for, and goes on asking.
#[test]
fn when_a_majority_is_damaged_nobody_is_taken_in() {
    let run = stopped(3, 30);
    for member in [1, 2] {
        run.flip(member, &run.segment(member), |bytes| {
            after(bytes, b"xxxxxxxx")
        });
    }
    let whole = start(run.configs[0].clone()).expect("starts");
    let before = content(&run.path(2, "wal"));
    let mut config = run.configs[2].clone();
    let (sender, said) = crossbeam_channel::unbounded();
    config.notices = Notices::new(move |what| drop(sender.send(what.to_owned())));
    // It never ends: the test does.
    std::thread::spawn(move || start(config).err().map(|error| panic!("{error}")));
    let hear = || {
        said.recv_timeout(PATIENCE)
            .expect("it says what it waits for")
    };
    let text = hear();
    for part in ["is damaged", "at offset", "are asked to take it in anew"] {
        assert!(text.contains(part), "{part} in: {text}");
    }
    let text = hear();
    for part in [
        "at offset",
        "no leader",
        "a majority of the members without it",
    ] {
        assert!(text.contains(part), "{part} in: {text}");
    }
    assert_eq!(content(&run.path(2, "wal")), before);
    assert!(!whole.status().writable);
    whole.stop();
}

/// A crash anywhere in the moving aside: the next start goes on where it was.
#[test]
fn a_repair_goes_on_after_a_crash_at_any_point() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let data_dir = directory.path();
    let config = config(data_dir, &[]);
    let old = Identity {
        cluster_id: [7; 16],
        node_id: NodeId(3),
        directory: [1; 16],
        founder: false,
    };
    let repair = Repair {
        cause: "a test".to_owned(),
        was: Some((NodeId(3), [7; 16])),
        directory: [2; 16],
        aside: "damaged-1".to_owned(),
        admitted: Some((NodeId(4), [7; 16])),
    };
    let joiner: Joiner = Box::new(|_, _, _| panic!("it is admitted already"));
    for moved in 0..=PARTS.len() {
        for entry in std::fs::read_dir(data_dir).expect("readable") {
            let path = entry.expect("readable").path();
            std::fs::remove_dir_all(&path)
                .or_else(|_| std::fs::remove_file(&path))
                .expect("removes");
        }
        old.store(&OsDisk, data_dir).expect("writable");
        begin_log(&OsDisk, &config, &old.directory).expect("begins");
        std::fs::create_dir(data_dir.join("engine")).expect("creates");
        std::fs::write(data_dir.join("peers"), "old").expect("writes");
        mark(&OsDisk, data_dir, "a test").expect("writable");
        repair.store(&OsDisk, data_dir).expect("writable");
        let aside = data_dir.join("damaged-1");
        move_aside(&OsDisk, data_dir, &aside, &PARTS[..moved]).expect("moves");
        for _ in 0..2 {
            resume(&OsDisk, &config, &joiner).expect("goes on");
            let now = Identity::load(&OsDisk, data_dir, &Notices::default());
            let now = now.expect("readable").expect("there");
            assert_eq!((now.node_id, now.directory), (NodeId(4), [2; 16]));
            for part in PARTS {
                assert!(aside.join(part).exists(), "{part} after {moved}");
            }
            assert!(!data_dir.join(DAMAGED).exists());
        }
    }
}

#[test]
fn a_repair_is_read_back_and_a_damaged_one_is_begun_again() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let repair = Repair {
        cause: "log segment = damaged".to_owned(),
        was: None,
        directory: random_id(&OsEntropy),
        aside: "damaged-3".to_owned(),
        admitted: None,
    };
    repair.store(&OsDisk, directory.path()).expect("writable");
    let load = || Repair::load(&OsDisk, directory.path()).expect("readable");
    assert_eq!(load(), Some(repair.clone()));
    let text = repair.render().replace("damaged-3", "damaged-4");
    std::fs::write(directory.path().join(REPAIRING), text).expect("writable");
    assert_eq!(load(), None);
}
