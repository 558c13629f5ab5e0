//! Group commit: what is synced when, counted at the disk.

use std::collections::BTreeMap;
use std::path::Path;

use consensus::{Entry, Message, NodeId, SnapshotMeta, Term};
use parking_lot::Mutex;
use peer_transport::{PeerAddress, PeerHealth, SnapshotSource};
use platform::SimulatedDisk;
use write_ahead_log::Options;

use super::*;
use crate::peers::{GROUP, SnapshotDone};
use crate::tests::{cluster, config, propose, start, write};

/// Remembers how many syncs the disk had seen when each message left.
struct Watched {
    disk: SimulatedDisk,
    sent: Mutex<Vec<u64>>,
}

impl Peers for Watched {
    fn send(&self, envelopes: Vec<Envelope>) {
        let syncs = self.disk.syncs();
        self.sent.lock().extend(envelopes.iter().map(|_| syncs));
    }
    fn set_peers(&self, _: BTreeMap<NodeId, PeerAddress>) {}
    fn send_snapshot(&self, _: NodeId, _: SnapshotMeta, _: SnapshotSource, _: SnapshotDone) {}
    fn health(&self) -> BTreeMap<NodeId, PeerHealth> {
        BTreeMap::new()
    }
    fn stop(&self) {}
}

fn persist(index: u64) -> LogWork {
    let entry = Entry {
        index: LogIndex(index),
        term: Term(1),
        kind: EntryKind::Command(vec![7; 100].into()),
    };
    let vote = Envelope {
        from: NodeId(1),
        to: NodeId(2),
        term: Term(1),
        message: Message::VoteReply { granted: true },
    };
    LogWork::Persist {
        persist: Some(Persist {
            position: PersistPosition(index),
            reset_to: None,
            entries: vec![entry],
            hard_state: None,
        }),
        then_send: vec![vote],
    }
}

#[test]
fn all_that_waits_goes_in_one_sync_and_nothing_leaves_before_it() {
    let disk = SimulatedDisk::new(1);
    let (log, _) = WriteAheadLog::open(disk.clone(), Path::new("/wal"), Options::default())
        .expect("an empty directory opens");
    let peers = Arc::new(Watched {
        disk: disk.clone(),
        sent: Mutex::default(),
    });
    let core = Arc::new(Mailbox::new(100));
    let segments = Mailbox::new(100);
    let gauges = Arc::new(Gauges::default());
    let mut worker = LogWorker {
        log,
        group: GROUP,
        core: core.clone(),
        peers: peers.clone(),
        gauges: gauges.clone(),
        held: Held::default(),
        sync_room: RoomTeller::new(StoragePart::Log, &core),
        segments_room: RoomTeller::new(StoragePart::Segments, &core),
        installed: Box::new(|_| Ok(())),
    };
    // The first one begins the first segment, which takes syncs of its own.
    let begun = worker.round_beside(&mut vec![persist(1)], &segments);
    begun.expect("the disk works");
    let before = disk.syncs();
    let mut waiting: Vec<_> = (2..=101).map(persist).collect();
    let worked = worker.round_beside(&mut waiting, &segments);
    worked.expect("the disk works");
    assert_eq!(disk.syncs(), before + 1);
    assert!(
        peers
            .sent
            .lock()
            .split_off(1)
            .iter()
            .all(|syncs| *syncs == before + 1),
        "what had to wait left after the sync"
    );
    let mut events = Vec::new();
    core.take(&mut events);
    let durable = events.iter().filter_map(|event| match event {
        Event::Durable(position) => Some(position.0),
        _ => None,
    });
    assert_eq!(durable.collect::<Vec<_>>(), [1, 101]);
    let counted = gauges.log.read();
    assert_eq!((counted.syncs, counted.entries), (2, 101));
}

#[test]
fn a_lone_writer_costs_one_sync_a_write() {
    let directory = tempfile::tempdir().expect("writable");
    let node = start(config(directory.path(), &[])).expect("starts");
    write(std::slice::from_ref(&node), 0);
    let before = node.metrics().log;
    for id in 1..=50 {
        let outcome = propose(&node, crate::tests::insert(id));
        assert!(matches!(outcome, crate::ProposeOutcome::Applied { .. }));
    }
    let after = node.metrics().log;
    // What a node proposes by itself after its start may still come: a batch of its own, or with one of these.
    let entries = after.entries - before.entries;
    let syncs = after.syncs - before.syncs;
    assert!(
        syncs >= 50 && syncs <= entries,
        "{syncs} syncs of {entries} entries"
    );
    node.stop();
}

/// Commits travel with the next entries or heartbeats and are no reason to sync: each member syncs once a write.
#[test]
fn with_three_members_each_syncs_once_a_write() {
    let directories: Vec<_> = (0..3)
        .map(|_| tempfile::tempdir().expect("writable"))
        .collect();
    let paths: Vec<_> = directories.iter().map(|it| it.path().to_owned()).collect();
    let (nodes, _) = cluster(&paths);
    let first = write(&nodes, 0);
    for node in &nodes {
        // It has counted the sync, too.
        crate::tests::hash_at(node, first);
    }
    let counts = || nodes.iter().map(|node| node.metrics().log);
    let before: Vec<_> = counts().collect();
    let mut last = 0;
    for id in 1..=30 {
        last = write(&nodes, id);
    }
    for node in &nodes {
        crate::tests::hash_at(node, last);
    }
    for (before, after) in before.iter().zip(counts()) {
        let (entries, syncs) = (after.entries - before.entries, after.syncs - before.syncs);
        // A slow member may be sent several entries at once, and sync them as one.
        assert!(
            syncs <= entries && entries >= 30,
            "{syncs} syncs for {entries} entries"
        );
    }
    for node in &nodes {
        node.stop();
    }
}
