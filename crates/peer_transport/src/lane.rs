//! One of the two connections to a peer: dialled, kept, and written by one thread.
//!
//! A small batch on an idle connection is written by the thread that sends it, without waiting, which saves two thread
//! switches per message; everything else goes through the bounded queue to the writer thread, which drains the queue and
//! writes it with one call. A second thread waits for the connection to end, so that a reset is noticed at once, and reads
//! the answers to pings; nothing else ever comes.
//!
//! While dialling, messages queue; while pausing between attempts they are dropped: Raft's would be stale by then.

use std::collections::VecDeque;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use consensus::{Envelope, GroupId, NodeId};
use parking_lot::{Condvar, Mutex};

use crate::back_off::BackOff;
use crate::connection::{self, ConnectionError, FrameReader};
use crate::frame::{self, BATCH_BYTES_TARGET, BODY_BYTES_MAX, Frame, FrameError, Kind};
use crate::transport::{Shared, spawn};
use crate::wire::{self, Purpose};
use crate::{Limits, PeerAddress, codec, handshake};

/// Batches up to this size are encoded and written by the sending thread.
const DIRECT_BYTES_MAX: usize = 64 << 10;
/// What one wake-up of the writer takes at most, so that one write does not hold the whole queue twice.
const DRAIN_BYTES_MAX: usize = 4 << 20;
/// A buffer that grew beyond this is given back.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

/// How often a lane that measures asks for an answer.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// One connection to a peer, as dialled from here.
pub struct Lane {
    id: NodeId,
    address: PeerAddress,
    purpose: Purpose,
    limits: Limits,
    state: Mutex<State>,
    wake: Condvar,
    counters: Counters,
}

/// What is known of a lane at one moment.
pub struct LaneHealth {
    pub phase: LanePhase,
    pub since: Instant,
    pub last_error: Option<String>,
    pub feature_level: Option<u32>,
    pub bytes_sent: u64,
    pub messages_sent: u64,
    pub messages_dropped: u64,
    pub round_trip: Option<Duration>,
}

/// What a lane is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LanePhase {
    Dialling,
    Connected,
    Pausing,
}

struct State {
    phase: Phase,
    queue: VecDeque<Queued>,
    queued_bytes: usize,
    /// Bytes a direct write could not hand over; they go before the queue.
    unsent: Vec<u8>,
    /// The writer thread is in a write: direct writes would overtake it.
    writing: bool,
    direct_buffer: Vec<u8>,
    removed: bool,
    /// The peer was heard from while pausing: dial soon.
    dial_soon: bool,
    since: Instant,
    last_error: Option<String>,
    feature_level: Option<u32>,
}

struct Queued {
    group: GroupId,
    bytes: usize,
    envelope: Envelope,
}

enum Phase {
    Dialling,
    Connected(Arc<TcpStream>),
    Pausing,
}

#[derive(Default)]
struct Counters {
    bytes_sent: AtomicU64,
    messages_sent: AtomicU64,
    messages_dropped: AtomicU64,
    /// Of the last ping answered; 0 = none yet.
    round_trip_nanos: AtomicU64,
    pausing: AtomicBool,
}

impl Lane {
    pub fn new(id: NodeId, address: PeerAddress, purpose: Purpose, limits: Limits) -> Arc<Lane> {
        Arc::new(Lane {
            id,
            address,
            purpose,
            limits,
            state: Mutex::new(State {
                phase: Phase::Dialling,
                queue: VecDeque::new(),
                queued_bytes: 0,
                unsent: Vec::new(),
                writing: false,
                direct_buffer: Vec::new(),
                removed: false,
                dial_soon: false,
                since: Instant::now(),
                last_error: None,
                feature_level: None,
            }),
            wake: Condvar::new(),
            counters: Counters::default(),
        })
    }

    /// Takes messages for this peer. Never blocks: writes them at once, queues them, or drops and counts them.
    pub fn send(&self, group: GroupId, envelopes: Vec<Envelope>) {
        let bytes: usize = envelopes.iter().map(codec::envelope_bytes).sum();
        let mut state = self.state.lock();
        if state.removed || matches!(state.phase, Phase::Pausing) {
            self.count_dropped(envelopes.len());
            return;
        }
        match &state.phase {
            Phase::Connected(stream) if state.idle() && bytes <= DIRECT_BYTES_MAX => {
                let stream = Arc::clone(stream);
                self.send_directly(&mut state, &stream, group, envelopes);
            }
            _ => {
                for envelope in envelopes {
                    self.queue(&mut state, group, envelope);
                }
                self.wake.notify_one();
            }
        }
    }

    fn send_directly(
        &self,
        state: &mut State,
        stream: &TcpStream,
        group: GroupId,
        envelopes: Vec<Envelope>,
    ) {
        let count = envelopes.len();
        let mut buffer = std::mem::take(&mut state.direct_buffer);
        buffer.clear();
        frame::encode(&mut buffer, Kind::Messages, group, |body| {
            codec::encode_messages(body, envelopes)
        });
        match connection::send_without_waiting(stream, &buffer) {
            Ok(sent) => {
                self.counters
                    .messages_sent
                    .fetch_add(count as u64, Ordering::Relaxed);
                self.counters
                    .bytes_sent
                    .fetch_add(sent as u64, Ordering::Relaxed);
                if sent < buffer.len() {
                    state.unsent.extend_from_slice(&buffer[sent..]);
                    self.wake.notify_one();
                }
            }
            Err(_) => {
                // The watching thread sees the end and reports it; this one may be the host's core.
                self.count_dropped(count);
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        state.direct_buffer = buffer;
    }

    fn queue(&self, state: &mut State, group: GroupId, envelope: Envelope) {
        let bytes = codec::envelope_bytes(&envelope);
        let full = state.queue.len() >= self.limits.queue_messages_max
            || (!state.queue.is_empty()
                && state.queued_bytes + bytes > self.limits.queue_bytes_max);
        if bytes > BODY_BYTES_MAX {
            state.last_error = Some(format!(
                "a message of {bytes} bytes exceeds the frame bound and was dropped"
            ));
        }
        if full || bytes > BODY_BYTES_MAX {
            self.count_dropped(1);
            return;
        }
        state.queued_bytes += bytes;
        state.queue.push_back(Queued {
            group,
            bytes,
            envelope,
        });
    }

    /// The peer was heard from: if its dialler pauses, it need not pause longer.
    pub fn heard(&self) {
        if self.counters.pausing.load(Ordering::Relaxed) {
            self.state.lock().dial_soon = true;
            self.wake.notify_all();
        }
    }

    /// Ends the connection and the threads of this peer.
    pub fn remove(&self) {
        let mut state = self.state.lock();
        state.removed = true;
        if let Phase::Connected(stream) = &state.phase {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.wake.notify_all();
    }

    /// Notes what went wrong with this peer outside its message connection.
    pub fn note_error(&self, error: String) {
        self.state.lock().last_error = Some(error);
    }

    pub fn health(&self) -> LaneHealth {
        let state = self.state.lock();
        let round_trip = self.counters.round_trip_nanos.load(Ordering::Relaxed);
        LaneHealth {
            phase: match state.phase {
                Phase::Dialling => LanePhase::Dialling,
                Phase::Connected(_) => LanePhase::Connected,
                Phase::Pausing => LanePhase::Pausing,
            },
            since: state.since,
            last_error: state.last_error.clone(),
            feature_level: state.feature_level,
            bytes_sent: self.counters.bytes_sent.load(Ordering::Relaxed),
            messages_sent: self.counters.messages_sent.load(Ordering::Relaxed),
            messages_dropped: self.counters.messages_dropped.load(Ordering::Relaxed),
            round_trip: (round_trip > 0).then(|| Duration::from_nanos(round_trip)),
        }
    }

    /// The writer thread: dials, writes until the connection ends, pauses, dials again; until removed.
    pub fn run(self: Arc<Self>, shared: Arc<Shared>) {
        let mut back_off = BackOff::new(self.limits.back_off_min, self.limits.back_off_max);
        while self.start_dialling() {
            match self.connect(&shared) {
                Ok((stream, reader, feature_level)) => {
                    let stream = Arc::new(stream);
                    if !self.connected(&stream, feature_level) {
                        return;
                    }
                    back_off.reset();
                    let watcher = self.watch(&shared, &stream, reader);
                    if watcher.is_some() {
                        self.write_until_ended(&shared, &stream);
                    }
                    let _ = stream.shutdown(Shutdown::Both);
                    // Joined so that an old connection's end is reported before the next one starts.
                    if let Some(watcher) = watcher {
                        let _ = watcher.join();
                    }
                }
                Err(error) => self.note_error(error.to_string()),
            }
            self.pause(back_off.pause(shared.entropy.next_u64()));
        }
    }

    fn start_dialling(&self) -> bool {
        let mut state = self.state.lock();
        state.phase = Phase::Dialling;
        state.dial_soon = false;
        self.counters.pausing.store(false, Ordering::Relaxed);
        !state.removed
    }

    fn connect(&self, shared: &Shared) -> Result<(TcpStream, FrameReader, u32), ConnectionError> {
        let stream = connection::dial(&self.address, self.limits.connect_timeout)?;
        connection::set_options(&stream, self.limits.unacknowledged_timeout)?;
        let (reader, feature_level) = handshake::dialler(
            &stream,
            &self.address,
            &shared.identity,
            self.id,
            self.purpose,
            self.limits.connect_timeout,
        )?;
        Ok((stream, reader, feature_level))
    }

    fn connected(&self, stream: &Arc<TcpStream>, feature_level: u32) -> bool {
        let mut state = self.state.lock();
        state.phase = Phase::Connected(Arc::clone(stream));
        state.since = Instant::now();
        state.last_error = None;
        state.feature_level = Some(feature_level);
        !state.removed
    }

    fn watch(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        stream: &Arc<TcpStream>,
        mut reader: FrameReader,
    ) -> Option<std::thread::JoinHandle<()>> {
        let (lane, shared, stream) = (Arc::clone(self), Arc::clone(shared), Arc::clone(stream));
        spawn(format!("peer-{}-watch", self.id.0), move || {
            let error = lane.read_until_ended(&shared, &mut reader);
            lane.ended(&shared, &stream, &error);
        })
        .ok()
    }

    fn read_until_ended(&self, shared: &Shared, reader: &mut FrameReader) -> ConnectionError {
        loop {
            match reader.next() {
                Ok(frame) if frame.kind == Kind::Pong => match self.ponged(shared, frame) {
                    Ok(()) => {}
                    Err(error) => return error.into(),
                },
                Ok(frame) if frame.kind == Kind::Refused => {
                    return handshake::refusal(frame, &self.address, &shared.identity);
                }
                Ok(frame) => {
                    return FrameError::Unexpected {
                        found: frame.kind,
                        expected: "the answer to a ping",
                    }
                    .into();
                }
                Err(error) => return error,
            }
        }
    }

    fn ponged(&self, shared: &Shared, frame: Frame) -> Result<(), FrameError> {
        let pong: wire::Ping = codec::decode_body(Kind::Pong, frame.body)?;
        let now = nanos(shared.uptime());
        let round_trip = now.saturating_sub(pong.sent_nanos).max(1);
        self.counters
            .round_trip_nanos
            .store(round_trip, Ordering::Relaxed);
        shared.heard(self.id);
        Ok(())
    }

    /// Called once per connection, by its watching thread.
    fn ended(&self, shared: &Shared, stream: &Arc<TcpStream>, error: &ConnectionError) {
        let removed = {
            let mut state = self.state.lock();
            let _ = stream.shutdown(Shutdown::Both);
            state.phase = Phase::Pausing;
            state.since = Instant::now();
            state.last_error = Some(error.to_string());
            self.drop_waiting(&mut state);
            self.wake.notify_all();
            state.removed
        };
        if !removed && !shared.stopping() {
            shared.handler.disconnected(self.id);
        }
    }

    fn write_until_ended(&self, shared: &Shared, stream: &Arc<TcpStream>) {
        let mut buffer = Vec::new();
        let mut batch = Vec::new();
        let mut next_ping = (self.purpose == Purpose::Messages).then(Instant::now);
        loop {
            {
                let mut state = self.state.lock();
                state.writing = false;
                while state.idle() && state.carries(stream) {
                    match next_ping {
                        Some(at) if at <= Instant::now() => break,
                        Some(at) => drop(self.wake.wait_until(&mut state, at)),
                        None => self.wake.wait(&mut state),
                    }
                }
                if !state.carries(stream) {
                    return;
                }
                buffer.clear();
                buffer.append(&mut state.unsent);
                state.take_batch(&mut batch);
                state.writing = true;
            }
            let count = batch.len();
            if next_ping.is_some_and(|at| at <= Instant::now()) {
                next_ping = Some(Instant::now() + PING_INTERVAL);
                encode_ping(&mut buffer, shared);
            }
            encode_batch(&mut buffer, &mut batch);
            if connection::write_all(stream, &buffer).is_err() {
                self.count_dropped(count);
                let _ = stream.shutdown(Shutdown::Both);
                self.state.lock().writing = false;
                return;
            }
            self.counters
                .messages_sent
                .fetch_add(count as u64, Ordering::Relaxed);
            self.counters
                .bytes_sent
                .fetch_add(buffer.len() as u64, Ordering::Relaxed);
            buffer.shrink_to(BUFFER_BYTES_KEPT);
        }
    }

    fn pause(&self, pause: Duration) {
        let failed_at = Instant::now();
        let mut state = self.state.lock();
        state.phase = Phase::Pausing;
        self.counters.pausing.store(true, Ordering::Relaxed);
        self.drop_waiting(&mut state);
        loop {
            let wanted = if state.dial_soon {
                pause.min(self.limits.back_off_min)
            } else {
                pause
            };
            let deadline = failed_at + wanted;
            if state.removed || Instant::now() >= deadline {
                return;
            }
            self.wake.wait_until(&mut state, deadline);
        }
    }

    fn drop_waiting(&self, state: &mut State) {
        self.count_dropped(state.queue.len());
        state.queue.clear();
        state.queued_bytes = 0;
        state.unsent.clear();
    }

    fn count_dropped(&self, count: usize) {
        self.counters
            .messages_dropped
            .fetch_add(count as u64, Ordering::Relaxed);
    }
}

impl State {
    fn idle(&self) -> bool {
        self.queue.is_empty() && self.unsent.is_empty() && !self.writing
    }

    fn carries(&self, stream: &Arc<TcpStream>) -> bool {
        !self.removed
            && matches!(&self.phase, Phase::Connected(current) if Arc::ptr_eq(current, stream))
    }

    fn take_batch(&mut self, batch: &mut Vec<Queued>) {
        let mut bytes = 0;
        while let Some(queued) = self.queue.front() {
            if bytes > 0 && bytes + queued.bytes > DRAIN_BYTES_MAX {
                return;
            }
            bytes += queued.bytes;
            self.queued_bytes -= queued.bytes;
            batch.extend(self.queue.pop_front());
        }
    }
}

/// Encodes the batch as few frames: one per run of the same group, split at about [`BATCH_BYTES_TARGET`].
fn encode_batch(buffer: &mut Vec<u8>, batch: &mut Vec<Queued>) {
    buffer.reserve(batch.iter().map(|queued| queued.bytes).sum());
    let mut waiting = batch.drain(..).peekable();
    while let Some(first) = waiting.next() {
        let group = first.group;
        let mut bytes = first.bytes;
        let mut envelopes = vec![first.envelope];
        while let Some(next) =
            waiting.next_if(|next| next.group == group && bytes + next.bytes <= BATCH_BYTES_TARGET)
        {
            bytes += next.bytes;
            envelopes.push(next.envelope);
        }
        frame::encode(buffer, Kind::Messages, group, |body| {
            codec::encode_messages(body, envelopes)
        });
    }
}

fn encode_ping(buffer: &mut Vec<u8>, shared: &Shared) {
    let ping = wire::Ping {
        sent_nanos: nanos(shared.uptime()),
    };
    frame::encode(buffer, Kind::Ping, GroupId(0), |body| {
        codec::encode_body(body, &ping)
    });
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
