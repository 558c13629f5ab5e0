//! One blocking connection to one server: send a command, wait for its reply.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use bson::{RawDocument, RawDocumentBuf, rawdoc};

use super::{ClientError, message, reply_error};

/// A connection that is known to answer `hello`.
pub(crate) struct Connection {
    address: String,
    stream: TcpStream,
    request_id: i32,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects to `HOST:PORT`; a reply that takes longer than `reply_timeout` counts as a lost connection.
    pub(crate) fn open(
        address: &str,
        connect_timeout: Duration,
        reply_timeout: Duration,
    ) -> Result<Self, ClientError> {
        let network = |error: io::Error| network_error(address, &error);
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for socket_address in address.to_socket_addrs().map_err(network)? {
            match TcpStream::connect_timeout(&socket_address, connect_timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(network)?;
                    stream
                        .set_read_timeout(Some(reply_timeout))
                        .map_err(network)?;
                    stream
                        .set_write_timeout(Some(reply_timeout))
                        .map_err(network)?;
                    let address = address.to_owned();
                    return Ok(Connection {
                        address,
                        stream,
                        request_id: 0,
                        buffer: Vec::new(),
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(network(last))
    }

    /// From now on answers have this long to come.
    pub(crate) fn set_reply_timeout(&mut self, timeout: Duration) -> Result<(), ClientError> {
        self.stream
            .set_read_timeout(Some(timeout))
            .and_then(|()| self.stream.set_write_timeout(Some(timeout)))
            .map_err(|error| network_error(&self.address, &error))
    }

    /// Who is at the other end.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The server's own description: role, members, primary.
    pub(crate) fn hello(&mut self) -> Result<RawDocumentBuf, ClientError> {
        self.run("admin", rawdoc! { "hello": 1 })
    }

    /// Runs a command in `database`; a failed command is an error.
    pub(crate) fn run(
        &mut self,
        database: &str,
        command: RawDocumentBuf,
    ) -> Result<RawDocumentBuf, ClientError> {
        self.run_batch(database, command, None)
    }

    /// Runs a command with a document sequence (the batch of an insert).
    pub(crate) fn run_batch(
        &mut self,
        database: &str,
        mut command: RawDocumentBuf,
        sequence: Option<(&str, &[RawDocumentBuf])>,
    ) -> Result<RawDocumentBuf, ClientError> {
        command.append(bson::raw::cstr!("$db"), database);
        self.request_id = self.request_id.wrapping_add(1);
        self.buffer.clear();
        message::encode(&mut self.buffer, self.request_id, &command, sequence);
        let network = |error: io::Error| network_error(&self.address, &error);
        self.stream.write_all(&self.buffer).map_err(network)?;
        let reply = self.read_reply()?;
        match reply_error(&self.address, &reply) {
            Some(error) => Err(error),
            None => Ok(reply),
        }
    }

    fn read_reply(&mut self) -> Result<RawDocumentBuf, ClientError> {
        let network = |error: io::Error| network_error(&self.address, &error);
        let protocol = |reason: String| ClientError::Protocol {
            address: self.address.clone(),
            reason,
        };
        let mut header = [0; message::HEADER_BYTES];
        self.stream.read_exact(&mut header).map_err(network)?;
        let length = match message::length(&header) {
            Ok(Some(length)) => length,
            Ok(None) | Err(_) => {
                return Err(protocol("a reply with an impossible length".to_owned()));
            }
        };
        self.buffer.clear();
        self.buffer.extend_from_slice(&header);
        let rest = (length - header.len()) as u64;
        let got = (&mut self.stream)
            .take(rest)
            .read_to_end(&mut self.buffer)
            .map_err(network)?;
        if (got as u64) < rest {
            return Err(network(io::ErrorKind::UnexpectedEof.into()));
        }
        let (response_to, body): (i32, &RawDocument) =
            message::decode(&self.buffer).map_err(protocol)?;
        if response_to != self.request_id {
            return Err(protocol(format!(
                "a reply to request {response_to}, not {}",
                self.request_id
            )));
        }
        Ok(body.to_owned())
    }
}

fn network_error(address: &str, error: &io::Error) -> ClientError {
    let reason = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "connection refused; no server listens there".to_owned()
        }
        io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        _ => error.to_string(),
    };
    ClientError::Network {
        address: address.to_owned(),
        reason,
    }
}
