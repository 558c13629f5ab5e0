//! Backups written, damaged, and restored.

use std::path::Path;
use std::sync::Arc;

use platform::{OsDisk, OsEntropy};
use state_machine::{Command, Export, Namespace, Operation, StateMachine, Statement, WriteCommand};
use storage_engine::MemoryEngine;

use super::*;
use crate::archive::Until;
use crate::identity::Identity;

fn insert(id: i32) -> Command {
    let text = "some words that a table would hold ".repeat(20);
    Command::Write(WriteCommand {
        namespace: Namespace::new("test", "things"),
        session: None,
        ordered: true,
        now_ms: 1_000 + i64::from(id),
        terms: Default::default(),
        statements: vec![Statement {
            statement_id: 0,
            operation: Operation::Insert {
                document: bson::rawdoc! { "_id": id, "text": text },
            },
        }],
    })
}

fn machine(documents: i32) -> StateMachine {
    let mut machine = StateMachine::open(Arc::new(MemoryEngine::new())).expect("sound");
    for id in 0..documents {
        let index = machine.applied().index + 1;
        machine
            .apply(index, 3, &insert(id).encode())
            .expect("sound");
    }
    machine
}

fn head(machine: &StateMachine) -> BackupHead {
    BackupHead {
        cluster_id: [7; 16],
        index: machine.applied().index,
        term: machine.applied().term,
        taken_ms: 1_000_000,
    }
}

/// A backup's bytes.
fn backup(machine: &StateMachine) -> Vec<u8> {
    let export = Export::without_members(machine.reader().snapshot()).expect("the latest");
    let mut writer = BackupWriter::new(Vec::new(), &head(machine)).expect("memory");
    for chunk in export {
        assert!(!writer.is_whole());
        writer.chunk(&chunk.expect("sound")).expect("sound");
    }
    writer.finish().expect("whole").0
}

fn verify(bytes: &[u8]) -> Result<BackupSummary, BackupError> {
    BackupReader::open(bytes)?.verify(|_| {})
}

fn restore_into(
    directory: &Path,
    bytes: &[u8],
    archive: Option<(&Path, Until)>,
) -> Result<Restored, RestoreError> {
    let reader = BackupReader::open(bytes)?;
    restore(&OsDisk, &OsEntropy, directory, reader, archive, |_| {})
}

#[test]
fn what_was_written_is_read_and_hashed_alike() {
    let machine = machine(3_000);
    let summary = verify(&backup(&machine)).expect("whole");
    assert!(summary.chunks > 3);
    assert_eq!(summary.total().documents, 3_000);
    let snapshot = machine.reader().snapshot();
    let hash = snapshot.collection_hash(&Namespace::new("test", "things"));
    assert_eq!(Some(summary.collections[0].hash), hash.expect("sound"));
}

/// Every kind of place, every length.
#[test]
fn damage_and_cuts_are_named_with_chunk_and_offset() {
    let whole = backup(&machine(1_000));
    let error = |bytes: &[u8]| verify(bytes).expect_err("not whole").to_string();
    for end in (0..whole.len()).step_by(97) {
        let said = error(&whole[..end]);
        assert!(
            said.contains("cut off") && said.contains(&format!("offset {end}"))
                || end < 8 && said.contains("not a backup"),
            "{end}: {said}"
        );
    }
    for at in (0..whole.len()).step_by(211) {
        let mut damaged = whole.clone();
        damaged[at] ^= 4;
        let said = error(&damaged);
        assert!(
            ["damaged in", "cut off", "not a backup"]
                .iter()
                .any(|word| said.contains(word)),
            "{at}: {said}"
        );
    }
    let mut in_the_second = whole.clone();
    let reader = BackupReader::open(whole.as_slice()).expect("whole");
    let mut reader = reader;
    reader.next_chunk().expect("sound").expect("a first chunk");
    let second = reader.offset();
    in_the_second[usize::try_from(second).expect("small") + 60] ^= 1;
    let said = error(&in_the_second);
    assert!(
        said.contains(&format!("chunk 2 at offset {second}")),
        "{said}"
    );
    let beyond = [whole.as_slice(), b"x"].concat();
    assert!(error(&beyond).contains("goes on"));
    let mut newer = whole.clone();
    newer[8] = 9;
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&newer[..12]), &newer[16..64]);
    newer[12..16].copy_from_slice(&checksum.to_le_bytes());
    assert!(matches!(verify(&newer), Err(BackupError::Newer { .. })));
}

#[test]
fn a_restored_directory_is_a_member_of_a_new_cluster() {
    let machine = machine(2_000);
    let bytes = backup(&machine);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let data_dir = directory.path().join("new");
    let restored = restore_into(&data_dir, &bytes, None).expect("restored");
    assert_eq!(restored.index, machine.applied().index);
    assert_ne!(restored.cluster_id, [7; 16]);
    let identity = Identity::read(&OsDisk, &data_dir).expect("sound");
    assert_eq!(identity.expect("there").cluster_id, restored.cluster_id);
    let report = crate::examine_directory(&OsDisk, &data_dir).expect("readable");
    assert!(report.damage.is_empty(), "{report:?}");

    let config = crate::tests::config(&data_dir, &[]);
    let node = crate::tests::start(config).expect("it starts");
    let hash = |reader: state_machine::Reader| {
        let snapshot = reader.snapshot();
        let hash = snapshot.collection_hash(&Namespace::new("test", "things"));
        hash.expect("sound").expect("it is there")
    };
    assert_eq!(hash(node.reader()), hash(machine.reader()));
    assert!(node.wait_until(crate::tests::PATIENCE, |status| status.writable));
    node.stop();

    let refused = restore_into(&data_dir, &bytes, None).expect_err("used");
    assert!(matches!(refused, RestoreError::NotEmpty { .. }));
}

#[test]
fn a_failed_restore_leaves_nothing_behind() {
    let bytes = backup(&machine(2_000));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let data_dir = directory.path().join("new");
    let cut = &bytes[..bytes.len() - 40];
    let error = restore_into(&data_dir, cut, None).expect_err("cut off");
    assert!(error.to_string().contains("cut off"), "{error}");
    restore_into(&data_dir, &bytes, None).expect("the directory is free again");
}

#[test]
fn an_interrupted_restore_is_not_started() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join(RESTORING), "").expect("writable");
    let config = crate::tests::config(directory.path(), &[]);
    let Err(error) = crate::tests::start(config) else {
        panic!("it started");
    };
    assert!(error.to_string().contains("cstore restore"), "{error}");
}
