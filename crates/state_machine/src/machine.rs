//! The state machine itself: one writer, driven by the log. Opens at the engine's durable version, applies entries
//! one by one, and says what must become durable together with the memtable.
//!
//! Duties of the host: entries come in log order without gaps, from `applied().index + 1` on; `before_rotate` is called
//! directly before `Engine::rotate` or `Engine::flush_all`, between entries; after a [`StorageFault`] the machine is
//! not used again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use storage_engine::{Engine, StorageFault};

use crate::apply::{self, Effect, SessionCache};
use crate::catalog::{damaged, encode_counts, load};
use crate::command::{Command, DecodeError, Input, Output};
use crate::error::CommandError;
use crate::keyspace;
use crate::reader::{Published, Reader, Shared};
use crate::reply::Reply;

/// Version of the applied record, and so of everything in the tree.
const FORMAT_VERSION: u8 = 1;
/// How often the engine is told which versions may go.
const RELEASE_INTERVAL: u64 = 256;

/// The position up to which the state includes the log, and the membership as of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// The last applied log index; 0 before the first.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// The latest membership applied, opaque here; empty before the first.
    pub membership: Vec<u8>,
}

/// One group's replicated state.
pub struct StateMachine {
    engine: Arc<dyn Engine>,
    shared: Arc<Shared>,
    applied: Published,
    sessions: SessionCache,
    /// Collections whose counters changed since they were last written.
    dirty_counters: BTreeSet<u32>,
    /// The log index at which the applied record was last written.
    meta_written_at: u64,
}

impl StateMachine {
    /// Takes up where the engine's durable state ends. The next entry to apply is `applied().index + 1`.
    pub fn open(engine: Arc<dyn Engine>) -> Result<StateMachine, StorageFault> {
        let durable = engine.durable_version().unwrap_or(0);
        let position = match engine.get(&keyspace::applied_key(), durable)? {
            Some(bytes) => decode_applied(&bytes)
                .map_err(|error| damaged("reading the applied position", error))?,
            None => Applied::default(),
        };
        if position.index != durable {
            return Err(damaged(
                "reading the applied position",
                format!("position {} at version {durable}", position.index),
            ));
        }
        let applied = Published {
            index: position.index,
            term: position.term,
            membership: position.membership.into(),
            catalog: Arc::new(load(&*engine, durable)?),
            catalog_since: durable,
            reclaim_pending: apply::reclaim_pending(&*engine, durable)?,
        };
        Ok(StateMachine {
            shared: Arc::new(Shared::new(engine.clone(), applied.clone())),
            engine,
            meta_written_at: applied.index,
            applied,
            sessions: SessionCache::default(),
            dirty_counters: BTreeSet::new(),
        })
    }

    /// How far the log is applied.
    pub fn applied(&self) -> Applied {
        Applied {
            index: self.applied.index,
            term: self.applied.term,
            membership: self.applied.membership.to_vec(),
        }
    }

    /// Applies a command of the log. Panics unless `index` is the next one.
    pub fn apply(&mut self, index: u64, term: u64, command: &[u8]) -> Result<Reply, StorageFault> {
        self.advance(index, term);
        let command = match Command::decode(command) {
            Ok(command) => command,
            Err(error) => {
                self.publish(BTreeMap::new());
                return Ok(Reply::Failed(CommandError::Malformed(error)));
            }
        };
        let position = (index, term);
        let effect = apply::run(
            &*self.engine,
            &self.applied.catalog,
            &mut self.sessions,
            position,
            command,
        )?;
        let Effect {
            reply,
            batch,
            catalog,
            counts,
            reclaim_pending,
        } = effect;
        if !batch.is_empty() {
            self.engine.write(index, &batch);
        }
        if let Some(catalog) = catalog {
            self.applied.catalog = Arc::new(catalog);
            self.applied.catalog_since = index;
        }
        if let Some(pending) = reclaim_pending {
            self.applied.reclaim_pending = pending;
        }
        self.publish(counts);
        Ok(reply)
    }

    /// Passes an entry that holds no command.
    pub fn apply_noop(&mut self, index: u64, term: u64) {
        self.advance(index, term);
        self.publish(BTreeMap::new());
    }

    /// Passes a membership entry; the bytes come back from [`StateMachine::applied`].
    pub fn apply_membership(&mut self, index: u64, term: u64, membership: &[u8]) {
        self.advance(index, term);
        self.applied.membership = membership.into();
        self.publish(BTreeMap::new());
    }

    /// Writes, at the applied index, what has to become durable with the memtable: the applied position and the
    /// counters that changed. To be followed by the engine's `rotate` or `flush_all` before the next entry.
    pub fn before_rotate(&mut self) {
        let index = self.applied.index;
        if index == self.meta_written_at {
            return;
        }
        let mut batch: Vec<(Vec<u8>, Option<Vec<u8>>)> = Vec::new();
        for id in std::mem::take(&mut self.dirty_counters) {
            let counts = self
                .applied
                .catalog
                .collection_by_id(id)
                .map(|collection| encode_counts(collection.counters.get()));
            batch.push((keyspace::counters_key(id), counts));
        }
        batch.push((
            keyspace::applied_key(),
            Some(encode_applied(&self.applied())),
        ));
        self.engine.write(index, &batch);
        self.meta_written_at = index;
    }

    /// Whether it is time for `before_rotate` and the engine's `rotate`.
    pub fn wants_rotate(&self) -> bool {
        self.engine.wants_rotation()
    }

    /// The reading side.
    pub fn reader(&self) -> Reader {
        Reader::new(self.shared.clone())
    }

    fn advance(&mut self, index: u64, term: u64) {
        assert_eq!(
            index,
            self.applied.index + 1,
            "log entries are applied in order, without gaps"
        );
        assert!(term >= self.applied.term, "terms never go back in the log");
        self.applied.index = index;
        self.applied.term = term;
    }

    fn publish(&mut self, counts: BTreeMap<u32, crate::catalog::CountsChange>) {
        {
            let mut published = self.shared.published.write();
            for (id, change) in counts {
                if let Some(collection) = self.applied.catalog.collection_by_id(id) {
                    collection.counters.change(change);
                }
                self.dirty_counters.insert(id);
            }
            *published = self.applied.clone();
        }
        if self.applied.index.is_multiple_of(RELEASE_INTERVAL) {
            self.shared.release_old_versions(self.applied.index);
        }
    }
}

pub(crate) fn encode_applied(applied: &Applied) -> Vec<u8> {
    let mut output = Output::default();
    output.u8(FORMAT_VERSION);
    output.u64(applied.index);
    output.u64(applied.term);
    output.bytes(&applied.membership);
    output.bytes
}

pub(crate) fn decode_applied(bytes: &[u8]) -> Result<Applied, DecodeError> {
    let mut input = Input::new(bytes);
    let version = input.u8("version")?;
    if version != FORMAT_VERSION {
        return Err(DecodeError::Version(version));
    }
    let applied = Applied {
        index: input.u64("applied index")?,
        term: input.u64("applied term")?,
        membership: input.bytes("membership")?.to_vec(),
    };
    input.finish()?;
    Ok(applied)
}
