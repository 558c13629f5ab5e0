//! The etcd side: just enough protobuf and gRPC to put, to read linearizably and to find the leader.

mod client;
pub(crate) mod grpc;
pub(crate) mod protobuf;
#[cfg(test)]
mod tests;

pub(crate) use client::{Operation, Streams, ask_status, put_once};
