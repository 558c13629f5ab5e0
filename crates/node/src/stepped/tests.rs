//! A lone node that is stepped by hand.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use consensus::{Envelope, NodeId, SnapshotMeta};
use peer_transport::{PeerAddress, PeerHealth, SnapshotSource, TransportError};
use platform::{OsDisk, OsEntropy};
use state_machine::{Command, Namespace, Operation, Statement, WriteCommand};
use storage_engine::LsmEngines;

use super::*;
use crate::peers::SnapshotDone;
use crate::{Addresses, ProposeOutcome};

mod disk_faults;

/// Nobody else is there.
struct Alone;

impl Peers for Alone {
    fn send(&self, envelopes: Vec<Envelope>) {
        assert!(envelopes.is_empty(), "there is nobody to send to");
    }

    fn set_peers(&self, _: BTreeMap<NodeId, PeerAddress>) {}

    fn send_snapshot(&self, _: NodeId, _: SnapshotMeta, _: SnapshotSource, done: SnapshotDone) {
        done(false);
    }

    fn health(&self) -> BTreeMap<NodeId, PeerHealth> {
        BTreeMap::new()
    }

    fn stop(&self) {}
}

#[derive(Clone, Default)]
struct Hand(Arc<AtomicU64>);

impl Clock for Hand {
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }

    fn wall_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed) as i64
    }
}

fn start(directory: &Path, clock: &Hand) -> SteppedNode<OsDisk, Hand> {
    let config = config(directory);
    let engines = LsmEngines {
        memtable_bytes: config.memtable_bytes,
        cache_bytes: config.cache_bytes,
    };
    start_on(OsDisk, engines, &config, clock).expect("a sound directory")
}

fn config(directory: &Path) -> NodeConfig {
    let addresses = Addresses {
        peer: "a:1".to_owned(),
        ..Addresses::default()
    };
    NodeConfig::new(directory.to_owned(), String::new(), addresses)
}

fn start_on<D: Disk>(
    disk: D,
    engines: impl Engines,
    config: &NodeConfig,
    clock: &Hand,
) -> Result<SteppedNode<D, Hand>, StartError> {
    let platform = SteppedPlatform {
        disk,
        clock: clock.clone(),
        entropy: Arc::new(OsEntropy),
        peers: Arc::new(Alone),
        engines: Arc::new(engines),
        joiner: Box::new(|_, _, _| {
            Err(TransportError::JoinTimedOut {
                seconds: 0,
                last: "nobody is there".to_owned(),
            })
        }),
    };
    SteppedNode::start(config, platform)
}

/// Steps until nothing moves, tick after tick, until `over`.
fn run<D: Disk>(
    node: &mut SteppedNode<D, Hand>,
    clock: &Hand,
    over: impl Fn(&SteppedNode<D, Hand>) -> bool,
) {
    for _ in 0..1_000 {
        while node.step_core() | node.step_log() | node.step_apply() | node.step_background() {}
        if over(node) {
            return;
        }
        clock.0.fetch_add(10, Ordering::Relaxed);
    }
    panic!("it takes longer than 1,000 ticks");
}

fn insert() -> Vec<u8> {
    insert_document(bson::rawdoc! { "_id": 1 })
}

fn insert_document(document: bson::RawDocumentBuf) -> Vec<u8> {
    let namespace = Namespace {
        database: "test".to_owned(),
        collection: "things".to_owned(),
    };
    let statement = Statement {
        statement_id: 0,
        operation: Operation::Insert { document },
    };
    Command::Write(WriteCommand {
        namespace,
        session: None,
        ordered: true,
        now_ms: 0,
        terms: Default::default(),
        statements: vec![statement],
    })
    .encode()
}

#[test]
fn a_lone_node_founds_announces_writes_stops_and_comes_back() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let clock = Hand::default();
    let mut node = start(directory.path(), &clock);
    assert!(!node.status().writable);
    run(&mut node, &clock, |node| node.status().writable);

    let request = node.announcement().expect("a founder is not in yet");
    let answer = node.begin_join(request.request);
    run(&mut node, &clock, |node| node.announcement().is_none());
    assert!(matches!(answer.take(), Some(JoinReply::Accepted { .. })));

    let outcome = Arc::new(Mutex::new(None));
    let told = outcome.clone();
    node.propose(
        insert(),
        Box::new(move |outcome| *told.lock() = Some(outcome)),
    );
    run(&mut node, &clock, |_| outcome.lock().is_some());
    let Some(ProposeOutcome::Applied { index, .. }) = outcome.lock().take() else {
        panic!("the write is applied");
    };

    node.request_stop();
    run(&mut node, &clock, |node| node.exited().is_some());
    assert_eq!(node.exited(), Some(ExitReason::Stopped));
    drop(node);

    let node = start(directory.path(), &clock);
    assert!(node.indices().applied >= index, "a clean stop flushes");
}

/// Drivers that are turned away by a member whose status still shows a writable leader come straight back, and give up.
#[test]
fn an_ending_leader_says_that_it_takes_no_writes_before_it_turns_any_away() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let clock = Hand::default();
    let mut node = start(directory.path(), &clock);
    run(&mut node, &clock, |node| node.status().writable);
    let said = Arc::new(Mutex::new(Vec::new()));
    let (observed, told) = (said.clone(), said.clone());
    node.on_change(Box::new(move |status| {
        observed
            .lock()
            .push(format!("writable: {}", status.writable));
    }));
    said.lock().clear();
    node.propose(
        insert(),
        Box::new(move |outcome| told.lock().push(format!("{outcome:?}"))),
    );
    node.request_stop();
    run(&mut node, &clock, |node| node.exited().is_some());
    assert_eq!(*said.lock(), ["writable: false", "Stopping"]);
}
