use platform::{OsDisk, OsEntropy};

use super::*;
use crate::tests::{PATIENCE, cluster, config, count, hash_at, namespace, propose, start, write};
use crate::{Node, NodeConfig};

const FORCE: GivenUp = GivenUp {
    other_members: true,
    damaged_log: false,
};
const CUT: GivenUp = GivenUp {
    other_members: false,
    damaged_log: true,
};

fn go_on(config: &NodeConfig, given_up: GivenUp) -> Result<Vec<String>, StartError> {
    LastResort::open(OsDisk, &config.data_dir)?.go_on(given_up, &OsEntropy)
}

/// A stopped member of a cluster of `size`, with 30 writes.
fn stopped(size: usize) -> (Vec<tempfile::TempDir>, Vec<NodeConfig>) {
    let directories: Vec<_> = (0..size)
        .map(|_| tempfile::tempdir().expect("temporary directory"))
        .collect();
    let paths: Vec<PathBuf> = directories.iter().map(|it| it.path().to_owned()).collect();
    let (nodes, configs) = cluster(&paths);
    let last = (0..30).fold(0, |_, id| write(&nodes, id));
    for node in &nodes {
        // A majority has it; the others get it a moment later.
        hash_at(node, last);
    }
    for node in nodes {
        node.stop();
    }
    (directories, configs)
}

fn check_serves(config: &NodeConfig, expected: u64) -> Node {
    let node = start(config.clone()).expect("starts");
    assert!(node.wait_until(PATIENCE, |status| status.writable));
    let membership = node.status().membership.clone();
    assert_eq!((membership.members.len(), membership.voters.len()), (1, 1));
    assert_eq!(count(&node), expected);
    write(std::slice::from_ref(&node), 1000 + expected as i32);
    node
}

#[test]
fn one_of_three_goes_on_alone_as_another_cluster() {
    let (_directories, configs) = stopped(3);
    let before = LastResort::open(OsDisk, &configs[1].data_dir)
        .expect("opens")
        .cluster_id();
    let refused = go_on(&configs[1], GivenUp::default()).expect_err("others may live");
    assert!(
        refused.to_string().contains("--force-new-cluster"),
        "{refused}"
    );
    let done = go_on(&configs[1], FORCE).expect("goes on");
    assert!(done.iter().any(|what| what.contains(&before)), "{done:?}");
    let node = check_serves(&configs[1], 30);
    assert_ne!(hex(&node.status().cluster_id), before);
    // A member of the old cluster that comes back is not taken for one of this.
    let old = start(configs[2].clone()).expect("starts");
    assert!(
        !old.wait_until(std::time::Duration::from_millis(500), |status| status
            .writable)
    );
    assert_eq!(node.status().membership.voters.len(), 1);
    old.stop();
    node.stop();
    check_serves(&configs[1], 31).stop();
}

#[test]
fn a_damaged_lone_member_goes_on_with_what_stands_before_the_damage() {
    let (_directories, configs) = stopped(1);
    let config = &configs[0];
    let segment = config.data_dir.join("wal/0000000000000001.wal");
    let mut bytes = std::fs::read(&segment).expect("readable");
    let at = bytes.len().min(4000);
    let at = (0..at)
        .rev()
        .find(|at| bytes[*at] == b'x')
        .expect("a document");
    bytes[at] ^= 1;
    std::fs::write(&segment, &bytes).expect("writable");
    let report = examine_directory(&OsDisk, &config.data_dir).expect("readable");
    assert_eq!(report.damage.len(), 1, "{report:?}");
    assert!(start(config.clone()).is_err());
    let refused = go_on(config, GivenUp::default()).expect_err("the log is damaged");
    assert!(
        refused.to_string().contains("--accept-data-loss"),
        "{refused}"
    );
    let done = go_on(config, CUT).expect("goes on");
    assert!(
        done.iter().any(|what| what.contains("damaged-")),
        "{done:?}"
    );
    // The engine had everything: it was flushed by the clean stop.
    check_serves(config, 30).stop();
    let report = examine_directory(&OsDisk, &config.data_dir).expect("readable");
    assert_eq!(report.damage, Vec::<String>::new());
}

#[test]
fn a_running_or_missing_directory_is_refused() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let config = config(directory.path(), &[]);
    let node = start(config.clone()).expect("starts");
    assert!(matches!(
        go_on(&config, FORCE),
        Err(StartError::Locked { .. })
    ));
    node.stop();
    let missing = directory.path().join("nothing");
    let error = LastResort::open(OsDisk, &missing)
        .err()
        .expect("is refused");
    assert!(matches!(error, StartError::NotRecovered { .. }), "{error}");
    assert!(!missing.exists());
}

/// An entry that a fault took out of an index: no checksum shows it, the comparison with the documents does.
#[test]
fn an_index_that_lacks_an_entry_is_found_in_a_stopped_directory() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let config = config(directory.path(), &[]);
    let node = start(config.clone()).expect("starts");
    for id in 0..30 {
        write(std::slice::from_ref(&node), id);
    }
    let create = state_machine::Command::CreateIndexes {
        namespace: namespace(),
        specs: vec![bson::rawdoc! { "key": { "text": 1 }, "name": "by_text" }],
    };
    propose(&node, create.encode());
    let reader = node.reader();
    let built = || {
        let snapshot = reader.snapshot();
        let collection = snapshot.collection(&namespace()).expect("it is there");
        let index = collection.index("by_text").expect("it is made");
        index.is_ready().then_some(index.id)
    };
    let deadline = std::time::Instant::now() + PATIENCE;
    let index = loop {
        if let Some(index) = built() {
            break index;
        }
        assert!(std::time::Instant::now() < deadline, "it is not built");
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    node.stop();
    drop((reader, node));
    let sound = examine_directory(&OsDisk, &config.data_dir).expect("readable");
    assert!(sound.damage.is_empty(), "{sound:?}");
    let compared = "30 documents, 30 index entries";
    assert!(
        sound.lines.iter().any(|line| line.contains(compared)),
        "{sound:?}"
    );
    let before = files_of(&config.data_dir);

    let generation = engine_dirs::open(&OsDisk, &engine_root(&config.data_dir)).expect("there");
    let engine = engines().open(&generation, storage_engine::Callbacks::default());
    let engine = engine.expect("sound");
    let version = engine.durable_version().expect("flushed");
    let prefix = state_machine::keyspace::index_prefix(index);
    let end = state_machine::keyspace::prefix_end(&prefix);
    let end = end.as_ref().map(Vec::as_slice);
    let first = engine
        .range(std::ops::Bound::Included(&prefix), end, version)
        .next();
    let (key, _) = first.expect("it has entries").expect("readable");
    engine.write(version, &[(key.to_vec(), None)]);
    engine.flush_all().expect("writable");
    drop(engine);

    let report = examine_directory(&OsDisk, &config.data_dir).expect("readable");
    assert!(
        report.damage[0].contains("test.things: index 'by_text' lacks 1 entries"),
        "{report:?}"
    );
    assert!(
        report.damage[1].contains("of the document with _id 0"),
        "{report:?}"
    );
    assert_ne!(before, files_of(&config.data_dir), "the planting shows");
    let before = files_of(&config.data_dir);
    examine_directory(&OsDisk, &config.data_dir).expect("readable");
    assert_eq!(
        before,
        files_of(&config.data_dir),
        "an examination does not"
    );
}

/// All files below a directory, with their lengths.
fn files_of(directory: &Path) -> Vec<(PathBuf, u64)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).expect("readable").flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => files.extend(files_of(&path)),
            false => files.push((path.clone(), entry.metadata().expect("readable").len())),
        }
    }
    files.sort();
    files
}
