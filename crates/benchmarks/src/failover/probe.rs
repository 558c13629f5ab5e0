//! Writes at the wire, without a driver: the first one that any of some members acknowledges after a moment.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use bson::raw::{RawDocument, RawDocumentBuf};
use bson::rawdoc;

const OP_MSG: i32 = 2013;
const HEADER_BYTES: usize = 16;
const BODY_AT: usize = HEADER_BYTES + 5;
const REPLY_BYTES_MAX: usize = 1 << 20;
/// Between a refusal and the next attempt.
const PERIOD: Duration = Duration::from_micros(500);
/// How long one answer, and all of them, may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections that stand ready to write.
pub(crate) struct Probes {
    begin: Vec<mpsc::Sender<Instant>>,
    done: mpsc::Receiver<Duration>,
    threads: Vec<JoinHandle<()>>,
}

impl Probes {
    /// Connects to each of `members`.
    pub(crate) fn ready(members: &[SocketAddr]) -> io::Result<Probes> {
        let found = Arc::new(AtomicBool::new(false));
        let (report, done) = mpsc::channel();
        let mut begin = Vec::new();
        let mut threads = Vec::new();
        for member in members {
            let mut connection = Connection::open(*member)?;
            let (sender, started) = mpsc::channel::<Instant>();
            begin.push(sender);
            let (found, report) = (found.clone(), report.clone());
            threads.push(std::thread::spawn(move || {
                // The fault may never come: then the sender is gone.
                let Ok(start) = started.recv() else { return };
                while !found.load(Ordering::Acquire) && start.elapsed() < PROBE_TIMEOUT {
                    if connection.insert().is_ok() {
                        found.store(true, Ordering::Release);
                        let _ = report.send(start.elapsed());
                        return;
                    }
                    std::thread::sleep(PERIOD);
                }
            }));
        }
        Ok(Probes {
            begin,
            done,
            threads,
        })
    }

    /// The fault happens now.
    pub(crate) fn begin(&self) -> Instant {
        let start = Instant::now();
        for sender in &self.begin {
            let _ = sender.send(start);
        }
        start
    }

    /// How long it took until a member acknowledged a write; `None` when none did in time.
    pub(crate) fn finish(self) -> Option<Duration> {
        let first = self.done.recv_timeout(PROBE_TIMEOUT).ok();
        drop(self.begin);
        for thread in self.threads {
            let _ = thread.join();
        }
        first
    }
}

struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Connection {
    fn open(address: SocketAddr) -> io::Result<Connection> {
        Ok(Connection {
            address,
            stream: Some(connect(address)?),
        })
    }

    fn insert(&mut self) -> io::Result<()> {
        let command = rawdoc! {
            "insert": "probes",
            "documents": [rawdoc! { "_id": ObjectId::new() }],
            "$db": "failover",
        };
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(connect(self.address)?),
        };
        match exchange(stream, &command) {
            Ok(reply) if matches!(reply.get_i32("n"), Ok(1)) => Ok(()),
            Ok(_) => Err(io::Error::other("refused")),
            Err(error) => {
                self.stream = None;
                Err(error)
            }
        }
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    Ok(stream)
}

fn exchange(stream: &mut TcpStream, command: &RawDocument) -> io::Result<RawDocumentBuf> {
    let body = command.as_bytes();
    let mut message = Vec::with_capacity(BODY_AT + body.len());
    let length = i32::try_from(BODY_AT + body.len()).map_err(io::Error::other)?;
    for number in [length, 1, 0, OP_MSG, 0] {
        message.extend_from_slice(&number.to_le_bytes());
    }
    message.push(0);
    message.extend_from_slice(body);
    stream.write_all(&message)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_le_bytes(length)).unwrap_or(0);
    if !(BODY_AT..REPLY_BYTES_MAX).contains(&length) {
        return Err(io::Error::other("not a reply"));
    }
    let mut reply = vec![0; length - 4];
    stream.read_exact(&mut reply)?;
    RawDocumentBuf::from_bytes(reply.split_off(BODY_AT - 4)).map_err(io::Error::other)
}
