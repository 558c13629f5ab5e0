//! One blocking connection that tells how long each answer took: nothing of the caller's runs between the first byte of a
//! request and the last byte of its reply.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bson::raw::{RawDocument, RawDocumentBuf};
use bson::rawdoc;

use super::{message, reply};
use crate::load::LoadError;

/// Building an index over everything there is is one command.
const TIMEOUT: Duration = Duration::from_secs(600);
const BUFFER_BYTES: usize = 64 << 10;
const REPLY_BYTES_MAX: usize = 48 << 20;

/// The connection.
pub(crate) struct Exchange {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Exchange {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, LoadError> {
        let stream = TcpStream::connect(address).map_err(|error| LoadError::Connect {
            address,
            reason: error.to_string(),
        })?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Exchange {
            stream,
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    /// The reply to a command that names its database, and the time it took.
    pub(crate) fn run(
        &mut self,
        command: &RawDocument,
    ) -> Result<(&RawDocument, Duration), LoadError> {
        self.timed(&message::encode(command, None))
    }

    /// Inserts documents; all of them, or it is an error.
    pub(crate) fn insert(
        &mut self,
        collection: &str,
        documents: &[RawDocumentBuf],
    ) -> Result<(), LoadError> {
        let body = rawdoc! { "insert": collection, "ordered": false, "$db": message::DATABASE };
        let request = message::encode(&body, Some(("documents", documents)));
        let (answer, _) = self.timed(&request)?;
        if reply::number(answer, "n") == Some(documents.len() as f64) {
            Ok(())
        } else {
            Err(LoadError::Refused(format!("{answer:?}")))
        }
    }

    fn timed(&mut self, request: &[u8]) -> Result<(&RawDocument, Duration), LoadError> {
        let from = Instant::now();
        self.stream.write_all(request)?;
        let length = self.receive()?;
        let took = from.elapsed();
        Ok((reply::succeeded(&self.buffer[..length])?, took))
    }

    /// Reads one reply; its length.
    fn receive(&mut self) -> Result<usize, LoadError> {
        let mut filled = 0;
        loop {
            let count = self.stream.read(&mut self.buffer[filled..])?;
            if count == 0 {
                return Err(LoadError::Protocol(
                    "the server closed the connection".to_owned(),
                ));
            }
            filled += count;
            let Some(length) = message::length(&self.buffer[..filled]) else {
                continue;
            };
            if !(message::BODY_AT..REPLY_BYTES_MAX).contains(&length) || filled > length {
                return Err(LoadError::Protocol(format!(
                    "a reply of {length} bytes by its header, of which {filled} came"
                )));
            }
            if filled == length {
                return Ok(length);
            }
            if length > self.buffer.len() {
                self.buffer.resize(length, 0);
            }
        }
    }
}
