//! One client connection: reads messages, runs their commands one after the other, writes the replies.
//!
//! Promises: replies come in request order; replies to requests that were read together go out in one write; the
//! read buffer is bounded by one message plus what the last read brought, and shrinks when idle; a frame that
//! cannot be trusted closes the connection and harms nobody else. A client that does not read is not read from.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::budget::Reservation;
use super::commands::hello::Watch;
use super::compression;
use super::dispatch::{self, Reply, Then};
use super::frame::{self, FrameError, HEADER_BYTES, Header, OP_COMPRESSED, OP_MSG, OP_QUERY};
use super::limits::{
    IDLE_BUFFER_BYTES_MAX, READ_BYTES_MIN, REPLY_BATCH_BYTES_MAX, STALL_TIMEOUT,
    UNCOUNTED_BYTES_MAX,
};
use super::operation::Operation;
use super::server::{Counters, Server};

/// What a command may know of the connection it came on.
#[derive(Debug)]
pub(crate) struct Session {
    pub id: i64,
    pub peer: SocketAddr,
    /// `client.application.name` of the handshake.
    pub app_name: parking_lot::Mutex<Option<String>>,
    /// What it is doing.
    pub operation: Arc<Operation>,
}

/// Why a connection ends.
enum Ending {
    /// Closed by the client, or told to.
    Closed,
    /// The socket failed or stalled.
    Io,
    /// The bytes are not the protocol.
    Protocol,
}

impl From<io::Error> for Ending {
    fn from(_: io::Error) -> Self {
        Ending::Io
    }
}

impl From<FrameError> for Ending {
    fn from(_: FrameError) -> Self {
        Ending::Protocol
    }
}

/// Serves one client until either side ends it.
pub(crate) async fn serve(server: &Arc<Server>, stream: &TcpStream, peer: SocketAddr, id: i64) {
    // Without it a reply would wait for the client's acknowledgement; a socket that refuses is just slower.
    let _ = stream.set_nodelay(true);
    let keep_alive = socket2::TcpKeepalive::new().with_time(std::time::Duration::from_secs(120));
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&keep_alive);
    let mut connection = Connection {
        server,
        stream,
        session: Session {
            id,
            peer,
            app_name: parking_lot::Mutex::new(None),
            operation: server.operations.open(id, peer),
        },
        output: Vec::new(),
        held: Vec::new(),
        next_request_id: 1,
        answered: None,
    };
    if let Err(Ending::Protocol) = connection.run().await {
        Counters::add(&server.counters.protocol_errors, 1);
    }
    server.operations.close(id);
}

struct Connection<'s> {
    server: &'s Arc<Server>,
    stream: &'s TcpStream,
    session: Session,
    output: Vec<u8>,
    /// Room taken by the replies in `output`.
    held: Vec<Reservation>,
    next_request_id: i32,
    /// The reply that the next one follows on, in place of the request.
    answered: Option<i32>,
}

impl Connection<'_> {
    async fn run(&mut self) -> Result<(), Ending> {
        let mut input = BytesMut::new();
        let mut expanded = Vec::new();
        loop {
            let header = self.next_message(&mut input).await?;
            let _room = header.1;
            let header = header.0;
            Counters::add(&self.server.counters.requests, 1);
            Counters::add(&self.server.counters.bytes_in, header.length as u64);
            let message = &input[..header.length];
            let compressed = header.opcode == OP_COMPRESSED;
            let (header, message, length) = if compressed {
                let inner = compression::expand(header, message, &mut expanded)?;
                (inner, &expanded[..], header.length)
            } else {
                (header, message, header.length)
            };
            let mut then = self.handle(header, message, compressed).await?;
            while let Then::Repeat(cursor) = then {
                then = self.repeat(header, message, compressed, cursor).await?;
            }
            input.advance(length);
            match then {
                Then::Continue | Then::Repeat(_) => {}
                Then::Close => {
                    self.flush().await?;
                    return Err(Ending::Closed);
                }
                Then::Stream(watch) => self.stream_hello(watch, &mut input).await?,
            }
            if self.output.len() >= REPLY_BATCH_BYTES_MAX {
                self.flush().await?;
            }
            if expanded.capacity() > IDLE_BUFFER_BYTES_MAX {
                expanded = Vec::new();
            }
        }
    }

    /// Waits until `input` starts with a whole message. Writes pending replies before it waits.
    async fn next_message(
        &mut self,
        input: &mut BytesMut,
    ) -> Result<(Header, Reservation), Ending> {
        let mut room = None;
        loop {
            let mut missing = READ_BYTES_MIN;
            if input.len() >= HEADER_BYTES {
                let header = Header::parse(input)?;
                if input.len() >= header.length {
                    return Ok((header, room.unwrap_or_default()));
                }
                missing = header.length - input.len();
                if room.is_none() && header.length > UNCOUNTED_BYTES_MAX {
                    self.flush().await?;
                    room = Some(self.server.budget.reserve(header.length).await);
                }
            }
            self.flush().await?;
            if input.is_empty() && input.capacity() > IDLE_BUFFER_BYTES_MAX {
                *input = BytesMut::new();
            }
            // Grows with what has arrived, not with what a header claims.
            input.reserve(missing.clamp(READ_BYTES_MIN, READ_BYTES_MIN.max(input.len())));
            self.read_some(input).await?;
        }
    }

    async fn read_some(&self, input: &mut BytesMut) -> Result<(), Ending> {
        loop {
            match self.stream.try_read_buf(input) {
                Ok(0) => return Err(Ending::Closed),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            if input.is_empty() {
                self.stream.readable().await?;
            } else {
                timeout(STALL_TIMEOUT, self.stream.readable())
                    .await
                    .map_err(|_| Ending::Io)??;
            }
        }
    }

    /// Writes all pending replies.
    async fn flush(&mut self) -> Result<(), Ending> {
        if self.output.is_empty() {
            return Ok(());
        }
        let mut written = 0;
        while written < self.output.len() {
            match self.stream.try_write(&self.output[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    timeout(STALL_TIMEOUT, self.stream.writable())
                        .await
                        .map_err(|_| Ending::Io)??;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Counters::add(&self.server.counters.bytes_out, written as u64);
        self.output.clear();
        self.held.clear();
        if self.output.capacity() > IDLE_BUFFER_BYTES_MAX {
            self.output = Vec::new();
        }
        Ok(())
    }

    /// Runs one message's command; its reply goes into `output`.
    async fn handle(
        &mut self,
        header: Header,
        message: &[u8],
        compressed: bool,
    ) -> Result<Then, Ending> {
        match header.opcode {
            OP_MSG => {
                let parsed = frame::parse_message(message)?;
                let silent = parsed.more_to_come();
                let answered = self.answered.take().unwrap_or(header.request_id);
                let mut reply = dispatch::message(self.server, &self.session, &parsed).await;
                let then = std::mem::replace(&mut reply.then, Then::Continue);
                if !silent && !matches!(then, Then::Close) {
                    let more = matches!(then, Then::Stream(_) | Then::Repeat(_));
                    let compress = compressed && reply.may_compress;
                    self.push_message(answered, reply, more, compress);
                }
                Ok(then)
            }
            OP_QUERY => {
                let parsed = frame::parse_query(message)?;
                let reply = dispatch::opening_query(self.server, &self.session, &parsed).await;
                if !matches!(reply.then, Then::Close) {
                    let id = self.take_request_id();
                    frame::write_reply(&mut self.output, id, header.request_id, &reply.body);
                }
                Ok(reply.then)
            }
            other => Err(FrameError::Opcode(other).into()),
        }
    }

    /// Writes the batch at hand and runs its `getMore` for the next one, which answers that batch. A client that
    /// has had enough closes the connection; nobody could ask for this cursor then.
    async fn repeat(
        &mut self,
        header: Header,
        message: &[u8],
        compressed: bool,
        cursor: i64,
    ) -> Result<Then, Ending> {
        if let Err(ending) = self.flush().await {
            self.server.cursors.close(cursor);
            return Err(ending);
        }
        self.answered = Some(self.next_request_id - 1);
        self.handle(header, message, compressed).await
    }

    fn take_request_id(&mut self) -> i32 {
        let id = self.next_request_id;
        self.next_request_id = id.checked_add(1).unwrap_or(1);
        id
    }

    /// Queues a reply and returns its request id.
    fn push_message(&mut self, response_to: i32, reply: Reply, more: bool, compress: bool) -> i32 {
        let id = self.take_request_id();
        let flags = if more { frame::MORE_TO_COME } else { 0 };
        if compress {
            let mut plain = Vec::new();
            frame::write_message(&mut plain, id, response_to, flags, &reply.body);
            compression::compress(&mut self.output, &plain, id, response_to);
        } else {
            frame::write_message(&mut self.output, id, response_to, flags, &reply.body);
        }
        self.held.extend(reply.reservation);
        id
    }

    /// Streams `hello` replies, one per topology change and at least one per interval, until the client sends
    /// something or leaves.
    async fn stream_hello(&mut self, mut watch: Watch, input: &mut BytesMut) -> Result<(), Ending> {
        // The reply that opened the stream is the last one queued.
        let mut response_to = self.next_request_id - 1;
        self.flush().await?;
        loop {
            input.reserve(READ_BYTES_MIN);
            let next = tokio::select! {
                biased;
                next = watch.next(self.server, &self.session) => next,
                readable = self.read_some(input) => {
                    readable?;
                    None
                }
            };
            let Some(reply) = next else { return Ok(()) };
            if matches!(reply.then, Then::Close) {
                return Err(Ending::Closed);
            }
            let more = matches!(reply.then, Then::Stream(_));
            response_to = self.push_message(response_to, reply, more, false);
            self.flush().await?;
            if !more {
                return Ok(());
            }
        }
    }
}
