//! One asynchronous connection of the load, and the shared knowledge of which member is primary.

use std::rc::Rc;
use std::time::Duration;

use bson::RawDocument;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::client::{Client, ClientError, ConnectionString, message, reply_error};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// No answer for so long: the connection counts as lost.
const REPLY_TIMEOUT: Duration = Duration::from_secs(20);

/// Which member is primary; shared by the connections of one thread, so that only one of them asks after a fail-over.
pub(super) struct Primary {
    uri: ConnectionString,
    known: Mutex<Known>,
}

struct Known {
    address: String,
    /// Grows with every new finding.
    generation: u64,
}

impl Primary {
    pub fn new(uri: ConnectionString, address: String) -> Rc<Primary> {
        Rc::new(Primary {
            uri,
            known: Mutex::new(Known {
                address,
                generation: 0,
            }),
        })
    }

    /// A connection to the primary, found anew when `lost` is the generation known last.
    pub async fn connect(&self, lost: Option<u64>) -> Result<Connection, ClientError> {
        let (address, generation) = {
            let mut known = self.known.lock().await;
            if lost == Some(known.generation) {
                known.address = self.find().await?;
                known.generation += 1;
            }
            (known.address.clone(), known.generation)
        };
        Connection::open(address, generation).await
    }

    async fn find(&self) -> Result<String, ClientError> {
        let uri = self.uri.clone();
        let found = tokio::task::spawn_blocking(move || {
            Client::new(&uri)
                .primary()
                .map(|connection| connection.address().to_owned())
        });
        found.await.map_err(|error| ClientError::Network {
            address: "the cluster".to_owned(),
            reason: error.to_string(),
        })?
    }
}

/// One connection, with at most one operation under way.
pub(super) struct Connection {
    address: String,
    /// The finding of the primary that this connection came from.
    pub generation: u64,
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: String, generation: u64) -> Result<Connection, ClientError> {
        let opened = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&address)).await;
        let opened = opened.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        match opened.and_then(|stream| stream.set_nodelay(true).map(|()| stream)) {
            Ok(stream) => Ok(Connection {
                address,
                generation,
                stream,
                buffer: Vec::with_capacity(4096),
            }),
            Err(error) => Err(ClientError::Network {
                address,
                reason: error.to_string(),
            }),
        }
    }

    /// Sends one message and judges its reply.
    pub async fn exchange(&mut self, message: &[u8]) -> Result<(), ClientError> {
        let exchanged = tokio::time::timeout(REPLY_TIMEOUT, self.send_and_receive(message)).await;
        let exchanged = exchanged.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        exchanged.map_err(|error| ClientError::Network {
            address: self.address.clone(),
            reason: error.to_string(),
        })?;
        let protocol = |reason| ClientError::Protocol {
            address: self.address.clone(),
            reason,
        };
        let (_, reply) = message::decode(&self.buffer).map_err(protocol)?;
        judge(&self.address, reply)
    }

    async fn send_and_receive(&mut self, message: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(message).await?;
        self.buffer.clear();
        loop {
            let count = self.stream.read_buf(&mut self.buffer).await?;
            if count == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            match message::length(&self.buffer) {
                Ok(Some(length)) if self.buffer.len() >= length => return Ok(()),
                Ok(_) => {}
                Err(length) => {
                    let reason = format!("a reply of {length} bytes");
                    return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, reason));
                }
            }
        }
    }
}

/// An operation has succeeded if the command has, nothing of it was refused, and a read found its document.
fn judge(address: &str, reply: &RawDocument) -> Result<(), ClientError> {
    if let Some(error) = reply_error(address, reply) {
        return Err(error);
    }
    let refused = |message: String| {
        Err(ClientError::Command {
            address: address.to_owned(),
            code: 0,
            message,
            retryable: false,
        })
    };
    if let Ok(errors) = reply.get_array("writeErrors") {
        return refused(format!("a write was refused: {errors:?}"));
    }
    if let Ok(cursor) = reply.get_document("cursor")
        && cursor
            .get_array("firstBatch")
            .is_ok_and(|batch| batch.is_empty())
    {
        return refused("a read did not find its document".to_owned());
    }
    Ok(())
}
