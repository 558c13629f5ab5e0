//! Clients that mix inserts, replacements, deletions and reads on a set of documents whose size stays about the same: what
//! is inserted is paid for by deletions of the oldest.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::client::{Link, handshake};
use super::message::{self, Prepared};
use super::reply;
use crate::load::{Client, Ids, LoadError, Random, Values};

/// Documents next to either end of the set that are not touched: others may be inserting or deleting them.
const MARGIN: u64 = 10_000;
/// Of a hundred operations, so many replace, insert and delete; the rest reads.
const REPLACEMENTS: u64 = 40;
const INSERTIONS: u64 = 20;
const DELETIONS: u64 = 20;

const _: () = assert!(INSERTIONS == DELETIONS && REPLACEMENTS + INSERTIONS + DELETIONS < 100);

/// What an operation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Write,
    Read,
}

/// The set, shared by all clients.
#[derive(Debug, Clone)]
pub(crate) struct Mixed {
    ids: Ids,
    /// Number of the oldest document.
    oldest: Arc<AtomicU64>,
    values: Values,
    collection: &'static str,
}

impl Mixed {
    /// Of the documents that were inserted with `ids`.
    pub(crate) fn new(ids: Ids, values: Values, collection: &'static str) -> Self {
        Mixed {
            ids,
            oldest: Arc::new(AtomicU64::new(0)),
            values,
            collection,
        }
    }

    /// Documents in the set.
    pub(crate) fn documents(&self) -> u64 {
        self.ids
            .taken()
            .saturating_sub(self.oldest.load(Ordering::Relaxed))
    }

    /// One client of a member.
    pub(crate) async fn connect(
        &self,
        member: SocketAddr,
        client: usize,
    ) -> Result<MixedClient, LoadError> {
        let mut link = Link::connect(member).await?;
        let time = handshake(&mut link).await?;
        let time = time.as_deref();
        let mut random = Random::new(0x5eed ^ (client as u64).rotate_left(40));
        let session = message::session(&mut random);
        Ok(MixedClient {
            insert: Prepared::insert(self.collection, &session, time, 1),
            replace: Prepared::replace(self.collection, &session, time),
            delete: Prepared::delete(self.collection, &session, time),
            find: Prepared::find(self.collection, &session, time),
            values: self.values.for_client(client),
            set: self.clone(),
            link,
            random,
            operations: 0,
        })
    }
}

/// One client.
pub(crate) struct MixedClient {
    set: Mixed,
    link: Link,
    insert: Prepared,
    replace: Prepared,
    delete: Prepared,
    find: Prepared,
    values: Values,
    random: Random,
    operations: i64,
}

impl MixedClient {
    /// Does one operation, chosen at random, and says which.
    pub(crate) async fn next(&mut self) -> Result<Kind, LoadError> {
        self.operations += 1;
        let drawn = self.random.below(100);
        let (message, kind) = if drawn < REPLACEMENTS {
            let number = self.any();
            let id = self.set.ids.at(number);
            self.replace.set_id(0, &id);
            self.replace.set_id(1, &id);
            self.replace.set_value(0, self.values.next());
            (&mut self.replace, Kind::Write)
        } else if drawn < REPLACEMENTS + INSERTIONS {
            self.insert.set_id(0, &self.set.ids.take());
            self.insert.set_value(0, self.values.next());
            (&mut self.insert, Kind::Write)
        } else if drawn < REPLACEMENTS + INSERTIONS + DELETIONS {
            let oldest = self.set.oldest.fetch_add(1, Ordering::Relaxed);
            self.delete.set_id(0, &self.set.ids.at(oldest));
            (&mut self.delete, Kind::Write)
        } else {
            let number = self.any();
            let id = self.set.ids.at(number);
            self.find.set_id(0, &id);
            (&mut self.find, Kind::Read)
        };
        message.set_request_id(self.operations as i32);
        message.set_number(self.operations);
        let answer = reply::succeeded(self.link.exchange(message.bytes()).await?)?;
        if let Ok(Some(errors)) = answer.get("writeErrors") {
            return Err(LoadError::Refused(format!("{errors:?}")));
        }
        Ok(kind)
    }

    /// The number of a document that is there.
    fn any(&mut self) -> u64 {
        let from = self.set.oldest.load(Ordering::Relaxed) + MARGIN;
        let to = self.set.ids.taken().saturating_sub(MARGIN);
        from + self.random.below(to.saturating_sub(from).max(1))
    }
}

impl Client for MixedClient {
    async fn operate(&mut self) -> Result<u64, LoadError> {
        self.next().await.map(|_| 1)
    }
}
