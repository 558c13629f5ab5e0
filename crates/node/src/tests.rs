//! One node in this process, on real disks and sockets, and small parts by themselves; what clusters need, too.

mod clusters;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use consensus::{
    Entry, EntryKind, HardState, LogIndex, LogPosition, Member, Membership, NodeId, Payload, Term,
};
use platform::{OsClock, OsDisk, OsEntropy};
use state_machine::{
    Command, Namespace, Operation, Reply, Statement, StatementResult, WriteCommand,
};

use crate::entry_codec::*;
use crate::identity::Identity;
use crate::{
    Addresses, ExitReason, Node, NodeConfig, Platform, ProposeOutcome, RoleName, StartError,
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn config(directory: &Path, join: &[String]) -> NodeConfig {
    let peer = loopback_ports::reserve_address();
    let advertise = Addresses {
        client: peer.clone(),
        peer: peer.clone(),
        admin: String::new(),
    };
    let mut config = NodeConfig::new(directory.to_owned(), peer, advertise);
    config.join = join.to_vec();
    config
}

pub(crate) fn start(config: NodeConfig) -> Result<Node, StartError> {
    Node::start(
        config,
        Platform {
            disk: OsDisk,
            clock: OsClock::new(),
            entropy: Arc::new(OsEntropy),
        },
    )
}

pub(crate) fn namespace() -> Namespace {
    Namespace {
        database: "test".to_owned(),
        collection: "things".to_owned(),
    }
}

pub(crate) fn insert(id: i32) -> Vec<u8> {
    insert_document(bson::rawdoc! { "_id": id, "text": "x".repeat(100) })
}

/// The text is one that does not compress.
fn insert_text(id: i32, bytes: usize) -> Vec<u8> {
    let mut state = u64::try_from(id).expect("ids count up") + 1;
    let letters = (0..bytes).map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + ((state >> 58) as u8))
    });
    insert_document(bson::rawdoc! { "_id": id, "text": letters.collect::<String>() })
}

fn insert_document(document: bson::RawDocumentBuf) -> Vec<u8> {
    insert_documents([document])
}

/// One command that inserts all of them.
pub(crate) fn insert_documents(
    documents: impl IntoIterator<Item = bson::RawDocumentBuf>,
) -> Vec<u8> {
    let statements = (0..)
        .zip(documents)
        .map(|(statement_id, document)| Statement {
            statement_id,
            operation: Operation::Insert { document },
        });
    Command::Write(WriteCommand {
        namespace: namespace(),
        session: None,
        ordered: true,
        now_ms: 0,
        terms: Default::default(),
        statements: statements.collect(),
    })
    .encode()
}

pub(crate) fn propose(node: &Node, command: Vec<u8>) -> ProposeOutcome {
    let (sender, receiver) = crossbeam_channel::bounded(1);
    node.propose(
        command,
        Box::new(move |outcome| sender.send(outcome).expect("the test waits")),
    );
    receiver
        .recv_timeout(PATIENCE)
        .expect("every proposal is answered")
}

/// Proposes until some member of `nodes` has applied it; returns the index.
pub(crate) fn write(nodes: &[Node], id: i32) -> u64 {
    write_command(nodes, &insert(id))
}

fn write_text(nodes: &[Node], id: i32, bytes: usize) -> u64 {
    write_command(nodes, &insert_text(id, bytes))
}

fn write_command(nodes: &[Node], command: &[u8]) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let leader = nodes.iter().find(|node| node.status().writable);
        if let Some(leader) = leader
            && let ProposeOutcome::Applied { index, reply } = propose(leader, command.to_vec())
        {
            let Reply::Write(reply) = reply else {
                panic!("a write is answered as a write: {reply:?}")
            };
            assert!(
                matches!(reply.results[0].1, StatementResult::Inserted),
                "{reply:?}"
            );
            return index;
        }
        assert!(Instant::now() < deadline, "no leader took the write");
        std::thread::yield_now();
    }
}

pub(crate) fn hash_at(node: &Node, index: u64) -> String {
    let (sender, receiver) = crossbeam_channel::bounded(1);
    node.wait_applied(
        index,
        Box::new(move |outcome| sender.send(outcome).expect("the test waits")),
    );
    receiver
        .recv_timeout(PATIENCE)
        .expect("answered")
        .expect("applied");
    let snapshot = node
        .reader()
        .snapshot_at(index)
        .expect("no fault")
        .expect("recent enough");
    format!(
        "{:?}",
        snapshot.collection_hash(&namespace()).expect("no fault")
    )
}

pub(crate) fn count(node: &Node) -> u64 {
    node.reader()
        .snapshot()
        .counts(&namespace())
        .map_or(0, |counts| counts.documents)
}

fn describe(node: &Node) -> String {
    let health: Vec<_> = node.peer_health().into_iter().collect();
    format!("{:?} {:?} {health:?}", node.status(), node.indices())
}

pub(crate) fn cluster(directories: &[PathBuf]) -> (Vec<Node>, Vec<NodeConfig>) {
    cluster_with(directories, |_| {})
}

fn cluster_with(
    directories: &[PathBuf],
    settle: impl Fn(&mut NodeConfig),
) -> (Vec<Node>, Vec<NodeConfig>) {
    let first = config(&directories[0], &[]);
    let join = vec![first.peer_listen.clone()];
    let mut configs = vec![first];
    configs.extend(
        directories[1..]
            .iter()
            .map(|directory| config(directory, &join)),
    );
    configs.iter_mut().for_each(settle);
    let nodes: Vec<Node> = configs
        .iter()
        .map(|config| start(config.clone()).expect("starts"))
        .collect();
    for node in &nodes {
        let all = directories.len();
        let voting = node.wait_until(PATIENCE, move |status| {
            status.membership.voters.len() == all
        });
        assert!(
            voting,
            "all become voters: {:#?}",
            nodes.iter().map(describe).collect::<Vec<_>>()
        );
    }
    (nodes, configs)
}

#[test]
fn a_lone_node_serves_and_finds_its_state_again() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let settings = config(directory.path(), &[]);
    let node = start(settings.clone()).expect("starts");
    for id in 0..20 {
        write(std::slice::from_ref(&node), id);
    }
    assert_eq!(node.stop(), ExitReason::Stopped);
    let node = start(settings).expect("starts again");
    assert!(node.wait_until(PATIENCE, |status| status.writable));
    write(std::slice::from_ref(&node), 20);
    assert_eq!(count(&node), 21);
    node.stop();
}

#[test]
fn two_nodes_never_open_one_directory() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let node = start(config(directory.path(), &[])).expect("starts");
    assert!(matches!(
        start(config(directory.path(), &[])),
        Err(StartError::Locked { .. })
    ));
    node.stop();
    start(config(directory.path(), &[]))
        .expect("free again after the stop")
        .stop();
}

#[test]
fn a_directory_of_somebody_else_is_refused() {
    let directory = tempfile::tempdir().expect("temporary directory");
    std::fs::write(directory.path().join("letters.txt"), "dear").expect("writes");
    assert!(matches!(
        start(config(directory.path(), &[])),
        Err(StartError::Foreign { .. })
    ));
}

#[test]
fn a_damaged_identity_is_refused() {
    let directory = tempfile::tempdir().expect("temporary directory");
    std::fs::write(directory.path().join("identity"), "format_version=99\n").expect("writes");
    let Err(error) = start(config(directory.path(), &[])) else {
        panic!("must not start")
    };
    assert!(error.to_string().contains("format version 99"), "{error}");
}

/// Votes and acknowledged entries may have been in it: a member that forgets them could help to elect a leader that
/// lacks what was committed.
#[test]
fn a_directory_that_lost_its_log_is_refused() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let settings = config(directory.path(), &[]);
    let node = start(settings.clone()).expect("starts");
    write(std::slice::from_ref(&node), 1);
    node.stop();
    let log = directory.path().join("wal");
    std::fs::rename(&log, directory.path().join("lost+found")).expect("moves");
    let Err(error) = start(settings.clone()) else {
        panic!("must not start without the log")
    };
    assert!(matches!(error, StartError::Unrepairable { .. }), "{error}");
    assert!(error.to_string().contains("wal/ was emptied"), "{error}");
    // Nor when the engine is gone too: a founder would begin a second history under the same name.
    std::fs::remove_dir_all(directory.path().join("engine")).expect("removes");
    assert!(matches!(
        start(settings.clone()),
        Err(StartError::Unrepairable { .. })
    ));
    assert!(!log.exists(), "a refused start makes no log");
    std::fs::rename(directory.path().join("lost+found"), &log).expect("moves back");
    let node = start(settings).expect("the log alone is enough while it is whole");
    assert!(node.wait_until(PATIENCE, |status| status.writable));
    write(std::slice::from_ref(&node), 2);
    assert_eq!(count(&node), 2);
    node.stop();
}

#[test]
fn generations_without_the_file_that_names_the_current_one_are_not_removed() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let settings = config(directory.path(), &[]);
    let node = start(settings.clone()).expect("starts");
    write(std::slice::from_ref(&node), 1);
    node.stop();
    let engine = directory.path().join("engine");
    std::fs::rename(engine.join("1"), engine.join("2")).expect("moves");
    std::fs::remove_file(engine.join("CURRENT")).expect("removes");
    // The log holds everything since the first entry: the engine is made anew from it, the other one put aside.
    let node = start(settings).expect("the log is enough");
    // The answer to a write comes after everything before it is applied.
    write(std::slice::from_ref(&node), 2);
    assert_eq!(count(&node), 2);
    node.stop();
    let aside = directory.path().join("damaged-1/engine/2");
    assert!(aside.exists(), "data was removed");
}

#[test]
fn an_identity_survives_its_file() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let identity = Identity {
        cluster_id: [7; 16],
        node_id: NodeId(3),
        directory: [9; 16],
        founder: true,
    };
    assert_eq!(
        Identity::load(&OsDisk, directory.path(), &crate::Notices::default()).expect("readable"),
        None
    );
    identity.store(&OsDisk, directory.path()).expect("writable");
    assert_eq!(
        Identity::load(&OsDisk, directory.path(), &crate::Notices::default()).expect("readable"),
        Some(identity)
    );
}

#[test]
fn entries_memberships_and_hard_state_survive_their_encoding() {
    let members = BTreeMap::from([(
        NodeId(1),
        Member {
            context: Payload::from(&b"a"[..]),
            priority: 3,
        },
    )]);
    let membership = Membership {
        members,
        voters: BTreeSet::from([NodeId(1)]),
        outgoing: Some(BTreeSet::from([NodeId(1), NodeId(2)])),
        next_node_id: 5,
    };
    let kinds = [
        EntryKind::Noop,
        EntryKind::Command(Payload::from(&b"command"[..])),
        EntryKind::Membership(membership),
    ];
    for (position, kind) in kinds.into_iter().enumerate() {
        let entry = Entry {
            index: LogIndex(position as u64 + 1),
            term: Term(4),
            kind,
        };
        let mut bytes = entry_header(&entry).to_vec();
        match &entry.kind {
            EntryKind::Noop => {}
            EntryKind::Command(payload) => bytes.extend_from_slice(payload),
            EntryKind::Membership(membership) => bytes.extend(encode_membership(membership)),
        }
        assert_eq!(decode_entry(entry.index.0, &bytes), Ok(entry.clone()));
        for length in 0..HEADER_BYTES {
            assert_eq!(decode_entry(1, &bytes[..length]), Err(CodecError::Short));
        }
    }
    let state = HardState {
        term: Term(3),
        vote: Some(NodeId(2)),
        commit: LogIndex(9),
    };
    assert_eq!(decode_hard_state(&encode_hard_state(&state)), Ok(state));
    assert_eq!(decode_membership(&[]), Ok(empty_membership()));
    let ordinary = consensus::bootstrap(NodeId(7), Payload::from(&b"a"[..]));
    let encoded = encode_membership(&ordinary);
    assert_eq!(encoded.len(), 1 + 8 + 4 + (8 + 4 + 1) + (4 + 8) + 1);
    assert_eq!(decode_membership(&encoded), Ok(ordinary));
    assert_eq!(decode_hard_state(&[9]), Err(CodecError::Version(9)));
}

#[test]
fn log_and_engine_must_fit_together() {
    use crate::recovery::{Fit, reconcile};
    let position = |index, term| LogPosition {
        index: LogIndex(index),
        term: Term(term),
    };
    let fit = |held: Option<u64>, applied| reconcile(position(5, 2), held.map(Term), applied);
    assert_eq!(fit(None, position(5, 2)), Fit::Good);
    assert_eq!(fit(Some(3), position(7, 3)), Fit::Good);
    assert_eq!(fit(Some(3), position(7, 4)), Fit::LogEndsBeforeState);
    assert_eq!(fit(None, position(9, 4)), Fit::LogEndsBeforeState);
    assert_eq!(fit(None, position(4, 2)), Fit::Gap);
}

/// To apply it as a failed command, or not at all, would leave this member with another state than the others.
#[test]
fn a_command_that_only_a_newer_program_reads_ends_the_node_with_a_clear_message() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let settings = config(directory.path(), &[]);
    let node = start(settings.clone()).expect("starts");
    write(std::slice::from_ref(&node), 1);
    let mut newer = insert(2);
    newer[0] = u8::MAX;
    node.propose(newer, Box::new(|_| {}));
    let reason = node.wait();
    assert!(matches!(reason, ExitReason::NewerFormat(_)), "{reason}");
    assert!(reason.to_string().contains("newer version"), "{reason}");
    // It stays in the log: the same program ends the same way.
    let node = start(settings).expect("starts again");
    assert!(matches!(node.wait(), ExitReason::NewerFormat(_)));
}
