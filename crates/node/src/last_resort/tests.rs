use platform::{OsDisk, OsEntropy};

use super::*;
use crate::tests::{PATIENCE, cluster, config, count, start, write};
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
    for id in 0..30 {
        write(&nodes, id);
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
