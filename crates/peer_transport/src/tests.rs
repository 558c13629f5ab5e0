//! Transports talking over loopback sockets. Nothing sleeps: each test waits for what it claims.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use consensus::{
    Entry, EntryKind, Envelope, GroupId, LogIndex, LogPosition, Message, NodeId, SnapshotMeta,
    Term, bootstrap,
};
use parking_lot::{Condvar, Mutex};

use crate::*;

mod links;

const PATIENCE: Duration = Duration::from_secs(10);
const GROUP: GroupId = GroupId(3);

/// Records everything; answers like a leader named "leader:1".
#[derive(Default)]
struct Recorder {
    seen: Mutex<Seen>,
    changed: Condvar,
    /// While true, `received` does not return.
    stalled: Mutex<bool>,
    unstalled: Condvar,
}

#[derive(Default)]
struct Seen {
    envelopes: Vec<Envelope>,
    heard: Vec<NodeId>,
    introduced: Vec<(NodeId, PeerAddress)>,
    disconnected: Vec<NodeId>,
    snapshot: Vec<u8>,
    progress: Vec<u8>,
    snapshots_finished: usize,
    refuse_snapshots: bool,
    redirect_to: Option<PeerAddress>,
    joins: Vec<JoinRequest>,
    unreadable: Vec<String>,
}

impl Recorder {
    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock());
        self.changed.notify_all();
    }

    fn wait_for<T>(&self, what: &str, condition: impl Fn(&Seen) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = self.seen.lock();
        loop {
            if let Some(found) = condition(&seen) {
                return found;
            }
            let timed_out = self.changed.wait_until(&mut seen, deadline).timed_out();
            assert!(!timed_out, "waited in vain for: {what}");
        }
    }

    fn stall(&self, stalled: bool) {
        *self.stalled.lock() = stalled;
        self.unstalled.notify_all();
    }
}

struct Host(Arc<Recorder>);

impl Handler for Host {
    fn received(&self, group: GroupId, envelopes: Vec<Envelope>) {
        self.0.wait_while_stalled();
        assert_eq!(group, GROUP);
        self.0.note(|seen| seen.envelopes.extend(envelopes));
    }

    fn heard(&self, peer: NodeId) {
        self.0.note(|seen| seen.heard.push(peer));
    }

    fn introduced(&self, peer: NodeId, address: PeerAddress) {
        self.0.note(|seen| seen.introduced.push((peer, address)));
    }

    fn disconnected(&self, peer: NodeId) {
        self.0.note(|seen| seen.disconnected.push(peer));
    }

    fn unreadable(&self, what: String) {
        self.0.note(|seen| seen.unreadable.push(what));
    }

    fn join(&self, request: JoinRequest) -> JoinReply {
        self.0.note(|seen| seen.joins.push(request));
        match &self.0.seen.lock().redirect_to {
            Some(leader) => JoinReply::Redirect {
                leader: leader.clone(),
            },
            None => JoinReply::Accepted {
                cluster_id: [1; 16],
                node_id: NodeId(9),
                context: b"members".to_vec(),
            },
        }
    }

    fn request(&self, kind: u8, body: &[u8]) -> Result<Vec<u8>, String> {
        match kind {
            1 => Ok(body.iter().rev().copied().collect()),
            _ => Err(format!("unknown request kind {kind}")),
        }
    }

    fn snapshot_begin(
        &self,
        _: GroupId,
        _: NodeId,
        meta: SnapshotMeta,
    ) -> Result<Box<dyn SnapshotSink>, String> {
        assert_eq!(meta, snapshot_meta());
        if self.0.seen.lock().refuse_snapshots {
            return Err("the disk is full".to_owned());
        }
        self.0.note(|seen| seen.snapshot.clear());
        Ok(Box::new(Sink(Arc::clone(&self.0))))
    }
}

struct Sink(Arc<Recorder>);

impl Recorder {
    fn wait_while_stalled(&self) {
        let mut stalled = self.stalled.lock();
        while *stalled {
            self.unstalled.wait(&mut stalled);
        }
    }
}

impl SnapshotSink for Sink {
    fn progress(&self) -> Vec<u8> {
        self.0.seen.lock().progress.clone()
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.0.wait_while_stalled();
        self.0.note(|seen| seen.snapshot.extend_from_slice(bytes));
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), String> {
        self.0.note(|seen| seen.snapshots_finished += 1);
        Ok(())
    }
}

struct Node {
    transport: Transport,
    recorder: Arc<Recorder>,
    address: PeerAddress,
}

fn node_at(listen: &str, cluster: u8, id: u64, limits: Limits) -> Node {
    node_on(bind(listen).expect("a free port"), cluster, id, limits)
}

fn node_on(listener: TcpListener, cluster: u8, id: u64, limits: Limits) -> Node {
    let recorder = Arc::new(Recorder::default());
    let config = Config {
        cluster_id: [cluster; 16],
        node_id: NodeId(id),
        advertise: PeerAddress(
            listener
                .local_addr()
                .expect("a bound socket has an address")
                .to_string(),
        ),
        listener,
        feature_level: 7,
        entropy: Arc::new(platform::OsEntropy),
        limits,
    };
    let transport =
        Transport::start(config, Arc::new(Host(Arc::clone(&recorder)))).expect("starts");
    let address = PeerAddress(transport.local_address().to_string());
    Node {
        transport,
        recorder,
        address,
    }
}

fn node(cluster: u8, id: u64) -> Node {
    node_at("127.0.0.1:0", cluster, id, Limits::default())
}

impl Node {
    fn knows(&self, id: u64, address: &PeerAddress) {
        self.transport
            .set_peers(BTreeMap::from([(NodeId(id), address.clone())]));
    }

    fn wait_for_health(
        &self,
        id: u64,
        what: &str,
        condition: impl Fn(&PeerHealth) -> bool,
    ) -> PeerHealth {
        wait_until(what, || {
            self.transport
                .health()
                .remove(&NodeId(id))
                .filter(&condition)
        })
    }
}

/// For conditions nobody signals: yields between looks.
fn wait_until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::yield_now();
    }
}

fn heartbeat(from: u64, to: u64, read_round: u64) -> Envelope {
    let message = Message::Heartbeat {
        commit: LogIndex(1),
        read_round,
    };
    Envelope {
        from: NodeId(from),
        to: NodeId(to),
        term: Term(1),
        message,
    }
}

fn append(from: u64, to: u64, bytes: usize) -> Envelope {
    let entry = Entry {
        index: LogIndex(2),
        term: Term(1),
        kind: EntryKind::Command(vec![7; bytes].into()),
    };
    let previous = LogPosition {
        index: LogIndex(1),
        term: Term(1),
    };
    let message = Message::AppendRequest {
        previous,
        entries: vec![entry],
        commit: LogIndex(1),
    };
    Envelope {
        from: NodeId(from),
        to: NodeId(to),
        term: Term(1),
        message,
    }
}

fn snapshot_meta() -> SnapshotMeta {
    SnapshotMeta {
        leader: NodeId(1),
        leader_term: Term(4),
        position: LogPosition {
            index: LogIndex(10),
            term: Term(3),
        },
        membership: bootstrap(NodeId(1), b"context".to_vec().into()),
    }
}

fn rounds(seen: &Seen) -> Vec<u64> {
    seen.envelopes
        .iter()
        .filter_map(|envelope| match envelope.message {
            Message::Heartbeat { read_round, .. } => Some(read_round),
            _ => None,
        })
        .collect()
}

fn split(envelopes: Vec<Envelope>) -> (Vec<Envelope>, Vec<Envelope>) {
    envelopes
        .into_iter()
        .partition(|envelope| matches!(envelope.message, Message::AppendRequest { .. }))
}

#[test]
fn appends_arrive_in_order_and_so_does_the_rest() {
    let (a, b) = (node(1, 1), node(1, 2));
    a.knows(2, &b.address);
    let mut expected = Vec::new();
    for round in 0..200 {
        let envelope = if round % 20 == 19 {
            append(1, 2, 300_000)
        } else if round % 2 == 1 {
            append(1, 2, round as usize)
        } else {
            heartbeat(1, 2, round)
        };
        expected.push(envelope.clone());
        a.transport.send(GROUP, vec![envelope]);
    }
    let received = b.recorder.wait_for("all messages", |seen| {
        (seen.envelopes.len() == expected.len()).then(|| seen.envelopes.clone())
    });
    assert!(
        split(received) == split(expected),
        "order or content differs"
    );
    let health = a.wait_for_health(2, "all counted", |health| health.messages_sent == 200);
    assert_eq!(
        (health.messages_dropped, health.feature_level),
        (0, Some(7))
    );
    assert!(health.connected && health.bytes_sent > 3_000_000);
}

#[test]
fn a_peers_end_is_reported_at_once_on_both_kinds_of_connection() {
    // 1 dials 2 and only writes; 3 is dialled by 2 and only reads. Both notice that 2 is gone.
    let (one, two, three) = (node(1, 1), node(1, 2), node(1, 3));
    one.knows(2, &two.address);
    two.knows(3, &three.address);
    one.wait_for_health(2, "connected", |health| health.connected);
    two.wait_for_health(3, "connected", |health| health.connected);
    two.transport.send(GROUP, vec![heartbeat(2, 3, 1)]);
    three
        .recorder
        .wait_for("a message", |seen| seen.envelopes.first().map(|_| ()));
    let ended = Instant::now();
    drop(two);
    one.recorder.wait_for("the dialler notices", |seen| {
        seen.disconnected.contains(&NodeId(2)).then_some(())
    });
    three.recorder.wait_for("the reader notices", |seen| {
        seen.disconnected.contains(&NodeId(2)).then_some(())
    });
    assert!(
        ended.elapsed() < Duration::from_secs(2),
        "noticed late: {:?}",
        ended.elapsed()
    );
    let health = one.wait_for_health(2, "not connected", |health| !health.connected);
    assert!(health.last_error.is_some());
}

#[test]
fn a_restarted_peer_is_found_again() {
    let again = loopback_ports::reserve_address();
    let (a, b) = (node(1, 1), node_at(&again, 1, 2, Limits::default()));
    a.knows(2, &b.address);
    a.wait_for_health(2, "connected", |health| health.connected);
    let address = b.address.clone();
    drop(b);
    a.wait_for_health(2, "disconnected", |health| !health.connected);
    let listener = wait_until("the port is free", || bind(&address.0).ok());
    let b = node_on(listener, 1, 2, Limits::default());
    a.wait_for_health(2, "connected again", |health| {
        health.connected && health.last_error.is_none()
    });
    a.transport.send(GROUP, vec![heartbeat(1, 2, 5)]);
    b.recorder
        .wait_for("a message", |seen| (rounds(seen) == [5]).then_some(()));
}

#[test]
fn being_heard_from_cuts_a_long_pause_short() {
    let slow = Limits {
        back_off_min: Duration::from_millis(40),
        back_off_max: Duration::from_secs(3600),
        ..Limits::default()
    };
    let a = node_at("127.0.0.1:0", 1, 1, slow);
    // A port that refuses until the peer starts; meanwhile the pauses grow.
    let free = loopback_ports::reserve_address();
    a.knows(2, &PeerAddress(free.clone()));
    a.wait_for_health(2, "a failure", |health| health.last_error.is_some());
    let started = Instant::now();
    wait_until("some more failures", || {
        (started.elapsed() > Duration::from_millis(1500)).then_some(())
    });
    let listener = wait_until("the port is free", || bind(&free).ok());
    let b = node_on(listener, 1, 2, Limits::default());
    b.knows(1, &a.address);
    let started = Instant::now();
    a.wait_for_health(2, "connected", |health| health.connected);
    assert!(
        started.elapsed() < Duration::from_millis(700),
        "paused on for {:?}",
        started.elapsed()
    );
}

#[test]
fn a_peer_of_another_cluster_is_refused_with_both_names() {
    let (ours, theirs) = (node(1, 1), node(2, 2));
    ours.knows(2, &theirs.address);
    let health = ours.wait_for_health(2, "an error", |health| health.last_error.is_some());
    let error = health.last_error.expect("checked");
    let expected = format!(
        "peer {} belongs to another cluster (theirs {}, ours {})",
        theirs.address,
        "02".repeat(16),
        "01".repeat(16)
    );
    assert_eq!(error, expected);
    assert!(!health.connected);
    assert!(theirs.recorder.seen.lock().disconnected.is_empty());
}

#[test]
fn a_member_at_the_wrong_address_is_refused() {
    let (one, three) = (node(1, 1), node(1, 3));
    one.knows(2, &three.address);
    let health = one.wait_for_health(2, "an error", |health| health.last_error.is_some());
    assert!(
        health
            .last_error
            .expect("checked")
            .contains("this is node 3, not node 2")
    );
    let copy = node(1, 3);
    copy.transport
        .set_peers(BTreeMap::from([(NodeId(1), three.address.clone())]));
    let health = copy.wait_for_health(1, "an error", |health| health.last_error.is_some());
    assert!(health.last_error.expect("checked").contains("node"));
}

#[test]
fn a_full_queue_drops_the_newest_and_counts_them() {
    let small = Limits {
        queue_messages_max: 50,
        queue_bytes_max: 4 << 20,
        ..Limits::default()
    };
    let (a, b) = (node_at("127.0.0.1:0", 1, 1, small), node(1, 2));
    a.knows(2, &b.address);
    a.wait_for_health(2, "connected", |health| health.connected);
    b.recorder.stall(true);
    let mut sent = 0_u64;
    while a.transport.health()[&NodeId(2)].messages_dropped < 10 {
        a.transport.send(GROUP, vec![append(1, 2, 200_000)]);
        sent += 1;
        assert!(sent < 10_000, "memory is not bounded");
    }
    b.recorder.stall(false);
    let health = a.wait_for_health(2, "the rest sent", |health| {
        health.messages_sent + health.messages_dropped == sent && health.messages_sent > 0
    });
    b.recorder.wait_for("what was kept", |seen| {
        (seen.envelopes.len() as u64 == health.messages_sent).then_some(())
    });
    assert!(
        b.recorder.seen.lock().disconnected.is_empty(),
        "a full queue is no reason to disconnect"
    );
}

#[test]
fn a_snapshot_of_some_megabytes_arrives_whole() {
    let (a, b) = (node(1, 1), node(1, 2));
    a.knows(2, &b.address);
    let chunks: Vec<Vec<u8>> = (0..40_u8)
        .map(|k| vec![k; 256 << 10])
        .chain([vec![1; 5 << 20], vec![]])
        .collect();
    b.recorder.note(|seen| seen.progress = b"so far".to_vec());
    let (tell, told) = std::sync::mpsc::channel();
    let sent = chunks.clone();
    a.transport.send_snapshot(
        GROUP,
        NodeId(2),
        snapshot_meta(),
        Box::new(|progress| {
            assert_eq!(progress, b"so far");
            Ok(Box::new(sent.into_iter().map(Ok)))
        }),
        Box::new(move |delivered| tell.send(delivered).expect("awaited")),
    );
    assert!(told.recv_timeout(PATIENCE).expect("told"));
    let seen = b.recorder.seen.lock();
    assert!(seen.snapshot == chunks.concat());
    assert_eq!(seen.snapshots_finished, 1);
    assert!(
        seen.disconnected.is_empty(),
        "the end of a snapshot's connection is not the end of a peer"
    );
}

#[test]
fn a_snapshot_refused_or_broken_off_is_reported() {
    let (a, b) = (node(1, 1), node(1, 2));
    a.knows(2, &b.address);
    let send = |chunks: SnapshotChunks, to: u64| {
        let (tell, told) = std::sync::mpsc::channel();
        let done = Box::new(move |delivered| tell.send(delivered).expect("awaited"));
        a.transport.send_snapshot(
            GROUP,
            NodeId(to),
            snapshot_meta(),
            Box::new(|_| Ok(chunks)),
            done,
        );
        told.recv_timeout(PATIENCE).expect("told")
    };
    let broken: Vec<Result<Vec<u8>, String>> =
        vec![Ok(vec![1; 1000]), Err("damaged table".to_owned())];
    assert!(!send(Box::new(broken.into_iter()), 2));
    assert_eq!(b.recorder.seen.lock().snapshots_finished, 0);
    assert!(
        !send(Box::new(std::iter::empty()), 5),
        "an unknown peer gets none"
    );
    b.recorder.note(|seen| seen.refuse_snapshots = true);
    assert!(!send(
        Box::new(std::iter::repeat_n(Ok(vec![0; 1 << 20]), 30)),
        2
    ));
    a.wait_for_health(2, "the reason", |health| {
        health
            .last_error
            .as_ref()
            .is_some_and(|error| error.contains("the disk is full"))
    });
}

#[test]
fn garbage_and_strangers_harm_nobody() {
    let (a, b) = (node(1, 1), node(1, 2));
    a.knows(2, &b.address);
    a.wait_for_health(2, "connected", |health| health.connected);
    let lying = {
        let mut bytes = Vec::new();
        frame::encode(&mut bytes, frame::Kind::Hello, GroupId(0), |_| {});
        bytes[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        bytes
    };
    let premature = {
        let mut bytes = Vec::new();
        frame::encode(&mut bytes, frame::Kind::Messages, GroupId(0), |_| {});
        bytes
    };
    for garbage in [
        b"GET / HTTP/1.1\r\n\r\n.............".to_vec(),
        vec![0xff; 4096],
        lying,
        premature,
    ] {
        let mut stream = TcpStream::connect(&b.address.0).expect("connects");
        let _ = stream.write_all(&garbage);
        // Closed by the other side, at the latest when it has waited long enough.
        stream.set_read_timeout(Some(PATIENCE)).expect("sets");
        let mut rest = Vec::new();
        let closed = stream.read_to_end(&mut rest);
        assert!(
            closed.is_ok()
                || closed.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
        );
        let _ = stream.shutdown(Shutdown::Both);
    }
    a.transport.send(GROUP, vec![heartbeat(1, 2, 8)]);
    b.recorder
        .wait_for("a message", |seen| (rounds(seen) == [8]).then_some(()));
    assert!(b.recorder.seen.lock().disconnected.is_empty());
}

#[test]
fn joining_follows_a_redirect_and_unreachable_members_are_passed_over() {
    let (follower, leader) = (node(1, 1), node(1, 2));
    follower
        .recorder
        .note(|seen| seen.redirect_to = Some(leader.address.clone()));
    let request = JoinRequest::fresh([5; 16], b"addresses".to_vec());
    let nobody = loopback_ports::reserve_address();
    let addresses = [PeerAddress(nobody), follower.address.clone()];
    let reply = request_join(&addresses, &request, PATIENCE).expect("joins");
    let expected = JoinReply::Accepted {
        cluster_id: [1; 16],
        node_id: NodeId(9),
        context: b"members".to_vec(),
    };
    assert_eq!(reply, expected);
    assert_eq!(leader.recorder.seen.lock().joins, [request]);
}

#[test]
fn joining_nobody_times_out_with_the_last_error() {
    let nobody = loopback_ports::reserve_address();
    let request = JoinRequest::fresh([5; 16], Vec::new());
    let error = request_join(
        &[PeerAddress(nobody.clone())],
        &request,
        Duration::from_millis(300),
    )
    .expect_err("nobody");
    assert!(error.to_string().contains(&nobody), "{error}");
}

#[test]
fn small_requests_are_answered_or_refused_with_a_reason() {
    let a = node(1, 1);
    assert_eq!(
        peer_request(&a.address, 1, b"abc", PATIENCE).expect("answered"),
        b"cba"
    );
    let refused = peer_request(&a.address, 2, b"", PATIENCE).expect_err("refused");
    assert!(
        refused
            .to_string()
            .ends_with("refused: unknown request kind 2"),
        "{refused}"
    );
}

#[test]
fn a_taken_port_is_named() {
    let a = node(1, 1);
    let error = bind(&a.address.0).expect_err("taken");
    assert!(error.to_string().contains(&a.address.0));
}

#[test]
fn a_peer_let_go_or_moved_is_not_reported_as_dead() {
    let (a, b, c) = (node(1, 1), node(1, 2), node(1, 2));
    a.knows(2, &b.address);
    a.wait_for_health(2, "connected", |health| health.connected);
    a.knows(2, &c.address);
    a.wait_for_health(2, "moved", |health| {
        health.connected && health.address == c.address
    });
    b.recorder.wait_for("the old place sees it go", |seen| {
        (seen.disconnected == [NodeId(1); 2]).then_some(())
    });
    a.transport.set_peers(BTreeMap::new());
    assert!(a.transport.health().is_empty());
    assert!(a.recorder.seen.lock().disconnected.is_empty());
}
