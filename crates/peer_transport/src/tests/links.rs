//! Transports with a link between them that a test can hold up or damage.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::*;

/// Passes bytes on from `address` to `target`, within what the test allows.
struct Link {
    address: PeerAddress,
    state: Arc<LinkState>,
}

struct LinkState {
    /// Bytes one connection may carry from the dialler before it stands still.
    allowed: AtomicUsize,
    /// Whether what comes back stands still.
    mute: AtomicBool,
    /// The byte of each connection to damage.
    damaged: AtomicU64,
    changed: (Mutex<()>, Condvar),
}

impl Link {
    fn to(target: &PeerAddress) -> Link {
        let listener = bind("127.0.0.1:0").expect("a free port");
        let address = PeerAddress(listener.local_addr().expect("bound").to_string());
        let state = Arc::new(LinkState {
            allowed: AtomicUsize::new(usize::MAX),
            mute: AtomicBool::new(false),
            damaged: AtomicU64::new(u64::MAX),
            changed: Default::default(),
        });
        let (target, shared) = (target.clone(), Arc::clone(&state));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let from = stream.expect("accepts");
                let to = TcpStream::connect(&target.0).expect("the target listens");
                let back = (
                    to.try_clone().expect("clones"),
                    from.try_clone().expect("clones"),
                );
                let (forward, backward) = (Arc::clone(&shared), Arc::clone(&shared));
                std::thread::spawn(move || forward.pass_on(from, to, true));
                std::thread::spawn(move || backward.pass_on(back.0, back.1, false));
            }
        });
        Link { address, state }
    }

    fn set(&self, change: impl FnOnce(&LinkState)) {
        let _held = self.state.changed.0.lock();
        change(&self.state);
        self.state.changed.1.notify_all();
    }
}

impl LinkState {
    fn pass_on(&self, mut from: TcpStream, mut to: TcpStream, forward: bool) {
        let mut passed = 0;
        let mut bytes = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            let mut held = self.changed.0.lock();
            while if forward {
                passed >= self.allowed.load(Ordering::Acquire)
            } else {
                self.mute.load(Ordering::Acquire)
            } {
                self.changed.1.wait(&mut held);
            }
            drop(held);
            let damaged = self.damaged.load(Ordering::Acquire) as usize;
            if forward && (passed..passed + count).contains(&damaged) {
                bytes[damaged - passed] ^= 1;
            }
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
            passed += count;
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }
}

fn patient() -> Limits {
    Limits {
        unacknowledged_timeout: Duration::from_secs(60),
        ..Limits::default()
    }
}

/// The link stands still in the middle of the large message until the test lets it go on, so what arrives before that
/// did not wait for it.
#[test]
fn heartbeats_pass_a_message_of_48_mib() {
    let (a, b) = (node_at("127.0.0.1:0", 1, 1, patient()), node(1, 2));
    let link = Link::to(&b.address);
    link.set(|state| state.allowed.store(1 << 20, Ordering::Release));
    a.knows(2, &link.address);
    a.wait_for_health(2, "connected", |health| health.connected);
    a.transport.send(GROUP, vec![append(1, 2, 48 << 20)]);
    b.recorder
        .wait_for("its beginning", |seen| seen.heard.first().copied());
    for round in 1..=100 {
        a.transport.send(GROUP, vec![heartbeat(1, 2, round)]);
        b.recorder.wait_for("a heartbeat", |seen| {
            (rounds(seen).last() == Some(&round)).then_some(())
        });
    }
    assert_eq!(b.recorder.seen.lock().envelopes.len(), 100);
    link.set(|state| state.allowed.store(usize::MAX, Ordering::Release));
    b.recorder.wait_for("the large message", |seen| {
        (seen.envelopes.len() == 101).then_some(())
    });
    assert!(b.recorder.seen.lock().disconnected.is_empty());
}

#[test]
fn a_peer_that_stops_answering_is_seen_to_be_silent() {
    let (a, b) = (node_at("127.0.0.1:0", 1, 1, patient()), node(1, 2));
    let link = Link::to(&b.address);
    a.knows(2, &link.address);
    a.wait_for_health(2, "both connections and an answer", |health| {
        let answered = health.round_trip.is_some() && health.last_heard.is_some();
        answered && health.state == PeerState::Connected
    });
    link.set(|state| state.mute.store(true, Ordering::Release));
    let health = a.wait_for_health(2, "silence", |health| health.state == PeerState::Silent);
    assert!(health.connected);
    link.set(|state| state.mute.store(false, Ordering::Release));
    a.wait_for_health(2, "answers", |health| health.state == PeerState::Connected);
}

#[test]
fn a_peer_that_is_gone_is_unreachable() {
    let (a, b) = (node(1, 1), node(1, 2));
    a.knows(2, &b.address);
    a.wait_for_health(2, "connected", |health| health.connected);
    drop(b);
    let health = a.wait_for_health(2, "gone", |health| health.state == PeerState::Unreachable);
    assert!(health.last_error.is_some());
}

fn stream_snapshot(from: &Node, chunks: SnapshotChunks) -> std::sync::mpsc::Receiver<bool> {
    let (tell, told) = std::sync::mpsc::channel();
    from.transport.send_snapshot(
        GROUP,
        NodeId(2),
        snapshot_meta(),
        Box::new(|_| Ok(chunks)),
        Box::new(move |delivered| tell.send(delivered).expect("awaited")),
    );
    told
}

#[test]
fn a_damaged_chunk_is_refused_and_named() {
    let (a, b) = (node(1, 1), node(1, 2));
    let link = Link::to(&b.address);
    a.knows(2, &link.address);
    a.wait_for_health(2, "connected", |health| health.connected);
    link.set(|state| state.damaged.store(700_000, Ordering::Release));
    let chunks = std::iter::repeat_n(Ok(vec![5; 100_000]), 20);
    let told = stream_snapshot(&a, Box::new(chunks));
    assert!(!told.recv_timeout(PATIENCE).expect("told"));
    assert_eq!(b.recorder.seen.lock().snapshots_finished, 0);
    assert_eq!(
        b.recorder.seen.lock().snapshot.len(),
        600_000,
        "what came before the damage was taken, nothing after it"
    );
    let health = a.wait_for_health(2, "the reason", |health| health.last_error.is_some());
    let error = health.last_error.expect("checked");
    assert!(
        error.contains("a frame's checksum does not match"),
        "{error}"
    );
}

#[test]
fn a_sender_stays_within_the_receivers_window() {
    let limits = Limits {
        snapshot_bytes_per_second: u64::MAX,
        ..patient()
    };
    let (a, b) = (node_at("127.0.0.1:0", 1, 1, limits), node(1, 2));
    a.knows(2, &b.address);
    b.recorder.stall(true);
    let produced = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&produced);
    let chunks = (0..64).map(move |_| {
        counter.fetch_add(1, Ordering::AcqRel);
        Ok(vec![1; 1 << 20])
    });
    let told = stream_snapshot(&a, Box::new(chunks));
    // The sink is stuck in its first chunk: four fit the window, the fifth waits in the sender's hands.
    wait_until("a full window", || {
        (produced.load(Ordering::Acquire) == 5).then_some(())
    });
    assert!(told.recv_timeout(Duration::from_millis(200)).is_err());
    assert_eq!(produced.load(Ordering::Acquire), 5);
    b.recorder.stall(false);
    assert!(told.recv_timeout(PATIENCE).expect("told"));
    assert_eq!(produced.load(Ordering::Acquire), 64);
}
