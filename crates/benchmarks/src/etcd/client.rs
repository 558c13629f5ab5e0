//! Closed-loop clients that share HTTP/2 connections, as etcd's own client library does.

use std::net::SocketAddr;
use std::ops::Range;

use http::Request;
use tokio::runtime;
use tokio::task::LocalSet;

use super::grpc::{self, Connection};
use super::protobuf::{self, Status};
use crate::load::{Client, Connector, Ids, LoadError, Random, VALUE_BYTES, Values};

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const STATUS: &str = "/etcdserverpb.Maintenance/Status";

/// What each client does, over and over.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    /// A put of a key never used before.
    Put(Ids),
    /// A linearizable read of one of `keys` keys, chosen at random.
    Read { ids: Ids, keys: u64 },
}

/// Clients over a number of connections to one member.
#[derive(Debug)]
pub(crate) struct Streams {
    pub member: SocketAddr,
    /// Over all threads; each thread opens its share, but at least one.
    pub connections: usize,
    pub operation: Operation,
    pub values: Values,
}

impl Connector for Streams {
    type Client = StreamClient;

    async fn connect(
        &self,
        clients: Range<usize>,
        total: usize,
    ) -> Result<Vec<StreamClient>, LoadError> {
        let share = (self.connections * clients.len()).div_ceil(total.max(1));
        let mut connections = Vec::new();
        for _ in 0..share.clamp(1, clients.len().max(1)) {
            connections.push(grpc::connect(self.member).await?);
        }
        let method = match self.operation {
            Operation::Put(_) => PUT,
            Operation::Read { .. } => RANGE,
        };
        let head = grpc::request(self.member, method);
        let made = clients.map(|client| StreamClient {
            connection: connections[client % connections.len()].clone(),
            head: head.clone(),
            operation: self.operation.clone(),
            values: self.values.for_client(client),
            random: Random::new(client as u64),
        });
        Ok(made.collect())
    }
}

/// One closed-loop client.
pub(crate) struct StreamClient {
    connection: Connection,
    head: Request<()>,
    operation: Operation,
    values: Values,
    random: Random,
}

impl Client for StreamClient {
    async fn operate(&mut self) -> Result<u64, LoadError> {
        let head = self.head.clone();
        match &self.operation {
            Operation::Put(ids) => {
                let key = ids.take();
                let value = self.values.next();
                let message = grpc::frame(|buffer| protobuf::put_request(buffer, &key, value));
                grpc::call(&self.connection, head, message).await?;
            }
            Operation::Read { ids, keys } => {
                let key = ids.at(self.random.below(*keys));
                let message = grpc::frame(|buffer| protobuf::range_request(buffer, &key));
                let response = grpc::call(&self.connection, head, message).await?;
                if !protobuf::holds_pair(&response, &key, VALUE_BYTES) {
                    return Err(LoadError::Protocol(
                        "a range response without the key asked for".to_owned(),
                    ));
                }
            }
        }
        Ok(1)
    }
}

/// What one member says of itself.
pub(crate) fn ask_status(member: SocketAddr) -> Result<Status, LoadError> {
    let response = call_once(member, STATUS, |_| {})?;
    Ok(Status::decode(&response))
}

/// One put, to see that the cluster takes writes.
pub(crate) fn put_once(member: SocketAddr, key: &[u8], value: &[u8]) -> Result<(), LoadError> {
    call_once(member, PUT, |buffer| {
        protobuf::put_request(buffer, key, value)
    })?;
    Ok(())
}

fn call_once(
    member: SocketAddr,
    method: &str,
    encode: impl FnOnce(&mut Vec<u8>),
) -> Result<bytes::Bytes, LoadError> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        let connection = grpc::connect(member).await?;
        let head = grpc::request(member, method);
        let called = grpc::call(&connection, head, grpc::frame(encode));
        tokio::time::timeout(crate::cluster::ANSWER_TIMEOUT, called)
            .await
            .map_err(|_| LoadError::Hung(crate::cluster::ANSWER_TIMEOUT))?
    })
}
