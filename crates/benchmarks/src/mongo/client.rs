//! Closed-loop clients with a connection each, as drivers have under load.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use bson::raw::RawDocumentBuf;
use bson::rawdoc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::message::{self, Prepared};
use super::reply::{self, FindCheck, InsertCheck};
use crate::load::{Client, Connector, Id, Ids, LoadError, Random, Values};

const READ_BYTES: usize = 16 << 10;

/// What each client does, over and over.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    /// A retryable insert of new documents, `batch` at a time.
    Insert { ids: Ids, batch: usize },
    /// A read by `_id` of one of `documents` documents, chosen at random.
    Find { ids: Ids, documents: u64 },
}

/// Clients of one member.
#[derive(Debug)]
pub(crate) struct Connections {
    pub member: SocketAddr,
    pub collection: &'static str,
    pub operation: Operation,
    pub values: Values,
}

impl Connector for Connections {
    type Client = ConnectionClient;

    async fn connect(
        &self,
        clients: Range<usize>,
        _total: usize,
    ) -> Result<Vec<ConnectionClient>, LoadError> {
        let mut made = Vec::with_capacity(clients.len());
        for client in clients {
            made.push(self.connect_one(client).await?);
        }
        Ok(made)
    }
}

impl Connections {
    async fn connect_one(&self, client: usize) -> Result<ConnectionClient, LoadError> {
        let mut link = Link::connect(self.member).await?;
        let cluster_time = handshake(&mut link).await?;
        let cluster_time = cluster_time.as_deref();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let mut random = Random::new(now.as_nanos() as u64 ^ (client as u64).rotate_left(40));
        let session = message::session(&mut random);
        let (message, work) = match &self.operation {
            Operation::Insert { ids, batch } => (
                Prepared::insert(self.collection, &session, cluster_time, *batch),
                Work::Insert {
                    ids: ids.clone(),
                    check: InsertCheck::new(*batch as i32),
                },
            ),
            Operation::Find { ids, documents } => (
                Prepared::find(self.collection, &session, cluster_time),
                Work::Find {
                    ids: ids.clone(),
                    documents: *documents,
                    check: FindCheck::new(),
                },
            ),
        };
        let mut values = self.values.for_client(client);
        let mut made = ConnectionClient {
            link,
            message,
            work,
            random,
            operations: 0,
            values: values.clone(),
        };
        for which in 0..made.message.values() {
            made.message.set_value(which, values.next());
        }
        Ok(made)
    }
}

/// The opening `hello`. Returns the cluster time, which drivers send back with every command.
pub(super) async fn handshake(link: &mut Link) -> Result<Option<RawDocumentBuf>, LoadError> {
    let hello = rawdoc! { "hello": 1, "helloOk": true, "$db": "admin" };
    let reply = link.exchange(&message::encode(&hello, None)).await?;
    let body = reply::succeeded(reply)?;
    if reply::number(body, "isWritablePrimary") != Some(1.0) {
        return Err(LoadError::Refused(
            "the member is not the primary".to_owned(),
        ));
    }
    Ok(body
        .get_document("$clusterTime")
        .ok()
        .map(|time| time.to_owned()))
}

#[derive(Debug)]
enum Work {
    Insert {
        ids: Ids,
        check: InsertCheck,
    },
    Find {
        ids: Ids,
        documents: u64,
        check: FindCheck,
    },
}

/// One closed-loop client.
pub(crate) struct ConnectionClient {
    link: Link,
    message: Prepared,
    work: Work,
    values: Values,
    random: Random,
    operations: i64,
}

impl Client for ConnectionClient {
    async fn operate(&mut self) -> Result<u64, LoadError> {
        self.operations += 1;
        self.message.set_request_id(self.operations as i32);
        match &mut self.work {
            Work::Insert { ids, check } => {
                self.message.set_number(self.operations);
                let documents = self.message.ids();
                for which in 0..documents {
                    self.message.set_id(which, &ids.take());
                }
                // Batches keep the values they were built with: a thousand different ones.
                if documents == 1 {
                    self.message.set_value(0, self.values.next());
                }
                let reply = self.link.exchange(self.message.bytes()).await?;
                check.check(reply)?;
                Ok(documents as u64)
            }
            Work::Find {
                ids,
                documents,
                check,
            } => {
                let id: Id = ids.at(self.random.below(*documents));
                self.message.set_id(0, &id);
                let reply = self.link.exchange(self.message.bytes()).await?;
                check.check(reply, &id)?;
                Ok(1)
            }
        }
    }
}

/// One connection with one request under way.
pub(super) struct Link {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Link {
    pub(super) async fn connect(address: SocketAddr) -> Result<Self, LoadError> {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| LoadError::Connect {
                address,
                reason: error.to_string(),
            })?;
        stream.set_nodelay(true)?;
        Ok(Link {
            stream,
            buffer: vec![0; READ_BYTES],
            filled: 0,
        })
    }

    /// Sends a request and returns its whole reply.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> Result<&[u8], LoadError> {
        self.stream.write_all(request).await?;
        self.filled = 0;
        loop {
            let count = self.stream.read(&mut self.buffer[self.filled..]).await?;
            if count == 0 {
                return Err(LoadError::Protocol(
                    "the server closed the connection".to_owned(),
                ));
            }
            self.filled += count;
            if let Some(length) = message::length(&self.buffer[..self.filled]) {
                if self.filled > length {
                    return Err(LoadError::Protocol("more than one reply".to_owned()));
                }
                if self.filled == length {
                    return Ok(&self.buffer[..length]);
                }
                if length > self.buffer.len() {
                    self.buffer.resize(length, 0);
                }
            }
        }
    }
}
