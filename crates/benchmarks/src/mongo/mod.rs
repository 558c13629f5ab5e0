//! Our side: OP_MSG as drivers send it, over one connection per client.

mod client;
mod command;
mod exchange;
mod message;
mod mixed;
mod reply;
pub(crate) mod stub;
#[cfg(test)]
mod tests;

/// Where writes go.
pub(crate) const WRITE_COLLECTION: &str = "written";
/// Where the documents that are read lie.
pub(crate) const READ_COLLECTION: &str = "points";

pub(crate) use client::{Connections, Operation};
pub(crate) use command::Control;
pub(crate) use exchange::Exchange;
pub(crate) use message::DATABASE;
pub(crate) use mixed::{Kind, Mixed, MixedClient};
pub(crate) use reply::number;
