//! The catalog: which collections and indexes exist. An immutable value; a change makes a new one that shares what did
//! not change, and is published together with the applied index, so that a reader's catalog and data always agree.
//!
//! A database exists while it has a collection. Every collection has the index `_id_`, which is the order of the
//! documents themselves and has no entries of its own.

mod change;
mod collation;
mod counters;
mod expiry;
mod keys;
mod kind;
mod names;
mod options;
mod partial;
mod plan_cache;
mod record;
mod spec;
#[cfg(test)]
mod tests;
mod text;
mod usage;
mod views;
mod wildcard;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bson::RawDocumentBuf;
use document::Collation;
use document::key_encoding::Direction;
use document::path::Path;

pub use expiry::parse_seconds as parse_expire_after_seconds;
pub use kind::IndexKind;
pub use names::{validate_database_name, validate_namespace};
pub use options::{OWN_OPTIONS, Rules, Sequence, Timestamps, ValidationLevel, Validator, View};
pub use partial::PartialFilter;
pub use plan_cache::{CachedPlan, PLAN_CACHE_BYTES_MAX, PLAN_CACHE_ENTRIES_MAX, PlanCache};
pub use spec::describe;
pub use text::TextIndex;
pub use usage::IndexUsage;
pub use wildcard::Wildcard;

pub(crate) use change::new_collection;
pub(crate) use counters::{CountersCell, CountsChange};
pub(crate) use record::{
    damaged, decode_collection, encode_collection, encode_counts, encode_next_ids, load,
};
pub(crate) use spec::{IndexRequest, Standing, duplicate_key, format_of, parse_index_spec};

/// A database and a collection in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace {
    /// The database.
    pub database: String,
    /// The collection.
    pub collection: String,
}

impl Namespace {
    /// Both names; not validated, see [`validate_namespace`].
    pub fn new(database: impl Into<String>, collection: impl Into<String>) -> Self {
        Namespace {
            database: database.into(),
            collection: collection.into(),
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.database, self.collection)
    }
}

/// Whether an index can answer queries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexState {
    /// Complete; kept so by every write.
    Ready,
    /// Writes maintain it, but documents after `scanned` may be missing. Queries must not use it.
    Building {
        /// The last document key that was indexed; `None` before the first chunk.
        scanned: Option<Vec<u8>>,
        /// Whether every document has been indexed.
        complete: bool,
    },
}

/// One index.
#[derive(Debug, Clone)]
pub struct IndexEntry {
    /// Never reused; 0 for `_id_`, which has no entries.
    pub id: u32,
    /// Unique within the collection.
    pub name: String,
    /// The key pattern as given.
    pub key: RawDocumentBuf,
    /// Its fields in order: dotted path and direction.
    pub fields: Vec<(Path, Direction)>,
    /// What it holds of their values.
    pub kind: IndexKind,
    /// No two documents share a key. True for `_id_`.
    pub unique: bool,
    /// Documents that have none of the fields are not in it.
    pub sparse: bool,
    /// Only documents that it holds are in the index.
    pub partial: Option<PartialFilter>,
    /// How it orders strings; `None` by their bytes.
    pub collation: Option<Collation>,
    /// Not to be chosen by the planner.
    pub hidden: bool,
    /// Documents are deleted so many seconds after the date in its one field; never negative.
    pub expire_after_seconds: Option<i32>,
    /// Whether queries may use it.
    pub state: IndexState,
    /// Whether any document ever had an array along a field: one document may then have several entries, and bounds
    /// need care. Never goes back to false.
    pub multikey: bool,
    /// What `listIndexes` shows: `{v: 2, key, name, …}`.
    pub spec: RawDocumentBuf,
    /// How often it was used on this member.
    pub usage: Arc<IndexUsage>,
}

impl IndexEntry {
    /// Whether this is `_id_`: look in the documents themselves, by [`crate::keyspace::document_key`].
    pub fn is_id(&self) -> bool {
        self.id == 0
    }

    /// Whether queries may use it at all (a hidden one only when nothing else decides).
    pub fn is_ready(&self) -> bool {
        self.state == IndexState::Ready
    }
}

/// One collection.
#[derive(Debug, Clone)]
pub struct CollectionEntry {
    /// Never reused; what keys are made of.
    pub id: u32,
    /// Its name.
    pub namespace: Namespace,
    /// The id clients see; the same on every member.
    pub uuid: [u8; 16],
    /// The options it was created with.
    pub options: RawDocumentBuf,
    /// The same, understood.
    pub rules: Arc<Rules>,
    /// How strings are compared where a request does not say it; `None` by their bytes. `_id`s always are.
    pub collation: Option<Collation>,
    /// `_id_` first, then in order of creation.
    pub indexes: Vec<Arc<IndexEntry>>,
    pub(crate) counters: Arc<CountersCell>,
    /// What this member remembers of the plans for its queries, since its indexes are what they are.
    pub plan_cache: Arc<PlanCache>,
}

impl CollectionEntry {
    /// The index of this name.
    pub fn index(&self, name: &str) -> Option<&Arc<IndexEntry>> {
        self.indexes.iter().find(|index| index.name == name)
    }

    /// Whether this is a view: a question about another collection, without documents of its own.
    pub fn is_view(&self) -> bool {
        self.rules.view.is_some()
    }

    /// Indexes queries may use.
    pub fn ready_indexes(&self) -> impl Iterator<Item = &Arc<IndexEntry>> {
        self.indexes.iter().filter(|index| index.is_ready())
    }
}

/// All collections as of one log index.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    collections: BTreeMap<Namespace, Arc<CollectionEntry>>,
    names: BTreeMap<u32, Namespace>,
    /// Building indexes and their collections.
    building: BTreeMap<u32, u32>,
    pub(crate) next_collection_id: u32,
    pub(crate) next_index_id: u32,
}

impl Catalog {
    /// The collection of this name.
    pub fn collection(&self, namespace: &Namespace) -> Option<&Arc<CollectionEntry>> {
        self.collections.get(namespace)
    }

    /// The collection with this id.
    pub fn collection_by_id(&self, id: u32) -> Option<&Arc<CollectionEntry>> {
        self.collections.get(self.names.get(&id)?)
    }

    /// All collections in order of name.
    pub fn collections(&self) -> impl Iterator<Item = &Arc<CollectionEntry>> {
        self.collections.values()
    }

    /// The collections of one database in order of name.
    pub fn collections_of<'a>(
        &'a self,
        database: &'a str,
    ) -> impl Iterator<Item = &'a Arc<CollectionEntry>> {
        self.collections
            .range(Namespace::new(database, "")..)
            .map(|(_, collection)| collection)
            .take_while(move |collection| collection.namespace.database == database)
    }

    /// The names of all databases, in order.
    pub fn databases(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .collections
            .keys()
            .map(|namespace| namespace.database.as_str())
            .collect();
        names.dedup();
        names
    }

    /// Tells every index that has not been told yet since when it counts its use. To be called when there is a new
    /// catalog, soon.
    pub fn date_indexes(&self, now_ms: i64) {
        let indexes = self
            .collections()
            .flat_map(|collection| &collection.indexes);
        for index in indexes {
            index.usage.since_ms(now_ms);
        }
    }

    /// Indexes that are being built: index id and collection.
    pub fn building_indexes(&self) -> impl Iterator<Item = (u32, &Arc<CollectionEntry>)> {
        self.building
            .iter()
            .filter_map(|(index, collection)| Some((*index, self.collection_by_id(*collection)?)))
    }
}
