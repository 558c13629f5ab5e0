//! A TCP connection that carries frames: socket options, whole frames in, whole buffers out. No policy.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use socket2::{Domain, Protocol, Socket, Type};

use crate::PeerAddress;
use crate::frame::{self, Frame, FrameError};

/// Bytes asked of the system in one read.
const READ_BYTES: usize = 128 << 10;
/// Keep-alive finds a peer machine that vanished while nothing was being sent.
const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// How long, and for how many bytes, a refused sender is listened to so that it gets to read the reason.
const LINGER_MAX: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 16 << 20;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The other side closed it.
    #[error("the peer closed the connection")]
    Closed,
    /// The other side declined.
    #[error("{0}")]
    Refused(String),
    /// What was to be sent could not be read.
    #[error("{0}")]
    Source(String),
    /// From the system.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is not what a peer sends.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Dials `HOST:PORT`, trying each address the name stands for.
pub fn dial(address: &PeerAddress, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for socket_address in address.0.to_socket_addrs()? {
        match dial_one(socket_address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn dial_one(address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // The default peer ports lie in the range from which the system draws source ports. Without this, a connection that
    // happens to use such a port keeps a restarting member from listening on it.
    socket.set_reuse_address(true)?;
    socket.connect_timeout(&address.into(), timeout)?;
    let stream = TcpStream::from(socket);
    if stream.local_addr()? == stream.peer_addr()? {
        // Nobody listens, and the system drew the very port we dial: TCP then connects a socket to itself.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// Sets what every peer connection has: no delay, keep-alive, and a bound on unacknowledged bytes.
pub fn set_options(stream: &TcpStream, unacknowledged_timeout: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    let keep_alive = socket2::TcpKeepalive::new()
        .with_time(KEEP_ALIVE_IDLE)
        .with_interval(KEEP_ALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keep_alive)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(unacknowledged_timeout))?;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = unacknowledged_timeout;
    Ok(())
}

/// Sends as much as the system takes without waiting; `Ok(0)` when it takes nothing now.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn send_without_waiting(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    /// MSG_DONTWAIT | MSG_NOSIGNAL, the same numbers on every Linux architecture.
    const FLAGS: i32 = 0x40 | 0x4000;
    match socket2::SockRef::from(stream).send_with_flags(bytes, FLAGS) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ) =>
        {
            Ok(0)
        }
        other => other,
    }
}

/// Elsewhere everything goes through the writer thread.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn send_without_waiting(_stream: &TcpStream, _bytes: &[u8]) -> io::Result<usize> {
    Ok(0)
}

/// Reads frames off one connection.
pub struct FrameReader {
    stream: TcpStream,
    buffer: BytesMut,
    scratch: Box<[u8]>,
    body_bytes_max: usize,
}

impl FrameReader {
    /// Reads from `stream`; bodies above `body_bytes_max` are an error.
    pub fn new(stream: TcpStream, body_bytes_max: usize) -> Self {
        FrameReader {
            stream,
            buffer: BytesMut::new(),
            scratch: vec![0; READ_BYTES].into(),
            body_bytes_max,
        }
    }

    /// Allows larger bodies, once the other side has introduced itself.
    pub fn allow(&mut self, body_bytes_max: usize) {
        self.body_bytes_max = body_bytes_max;
    }

    /// Waits for bytes; `Closed` at the end of the stream.
    pub fn wait(&mut self) -> Result<(), ConnectionError> {
        loop {
            match (&self.stream).read(&mut self.scratch) {
                Ok(0) => return Err(ConnectionError::Closed),
                Ok(count) => {
                    self.buffer.extend_from_slice(&self.scratch[..count]);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Bytes that arrived and were not taken as frames yet.
    pub fn waiting_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// A frame that has arrived whole, if any.
    pub fn arrived(&mut self) -> Result<Option<Frame>, FrameError> {
        frame::decode(&mut self.buffer, self.body_bytes_max)
    }

    /// Waits for a whole frame, at most until `deadline` in all: a drip of single bytes does not extend it.
    pub fn next_before(&mut self, deadline: Instant) -> Result<Frame, ConnectionError> {
        let frame = loop {
            if let Some(frame) = self.arrived()? {
                break frame;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time").into());
            }
            self.stream.set_read_timeout(Some(left))?;
            self.wait().map_err(timed_out)?;
        };
        self.stream.set_read_timeout(None)?;
        Ok(frame)
    }

    /// Waits for a whole frame for as long as the connection stands.
    pub fn next(&mut self) -> Result<Frame, ConnectionError> {
        loop {
            if let Some(frame) = self.arrived()? {
                return Ok(frame);
            }
            self.wait()?;
        }
    }
}

/// Writes the whole buffer, waiting for the peer as TCP asks.
pub fn write_all(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)
}

/// Closes after a refusal was written: reads on for a moment, since closing with unread bytes would reset the
/// connection and lose the reason.
pub fn close_after_refusal(mut stream: &TcpStream) {
    let deadline = Instant::now() + LINGER_MAX;
    let mut drained = 0;
    let mut scratch = [0; 16 << 10];
    let _ = stream.shutdown(std::net::Shutdown::Write);
    while drained < LINGER_BYTES_MAX {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            return;
        }
        match stream.read(&mut scratch) {
            Ok(0) | Err(_) => return,
            Ok(count) => drained += count,
        }
    }
}

/// Linux reports a read time-out as "resource temporarily unavailable", which says nothing to a reader.
fn timed_out(error: ConnectionError) -> ConnectionError {
    match error {
        ConnectionError::Io(io)
            if matches!(
                io.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ) =>
        {
            io::Error::new(io::ErrorKind::TimedOut, "no answer in time").into()
        }
        other => other,
    }
}
