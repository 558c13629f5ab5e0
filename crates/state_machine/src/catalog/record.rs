//! The catalog in the engine: one record per collection, one for the next ids. First byte: format version.

use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use storage_engine::{Engine, StorageFault};

use super::spec::parse_fields;
use super::{
    Catalog, CollectionEntry, CountersCell, IndexEntry, IndexKind, IndexState, Namespace,
    PartialFilter, Rules, collation, expiry,
};
use crate::command::{DecodeError, Input, Output};
use crate::keyspace;
use crate::reader::CollectionCounts;

const VERSION: u8 = 1;
/// A collection with an index that programs of the first version would keep wrongly: a partial or collated one. Only the
/// byte differs: it makes them stop.
const VERSION_OF_PARTIAL_INDEXES: u8 = 2;
/// The same for programs that know no index but those in the order of values.
const VERSION_OF_KINDS: u8 = 3;

/// What this machine stored cannot be what was written.
pub(crate) fn damaged(action: &'static str, detail: impl ToString) -> StorageFault {
    StorageFault::Damaged {
        dir: PathBuf::from("engine"),
        action,
        detail: detail.to_string(),
    }
}

pub(crate) fn encode_collection(collection: &CollectionEntry) -> Vec<u8> {
    let mut output = Output::default();
    let versions = collection.indexes.iter().map(|index| version_for(index));
    output.u8(versions.max().unwrap_or(VERSION));
    output.namespace(&collection.namespace);
    output.bytes.extend_from_slice(&collection.uuid);
    output.document(&collection.options);
    output.count(collection.indexes.len());
    for index in &collection.indexes {
        encode_index(&mut output, index);
    }
    output.bytes
}

/// The oldest version whose programs keep `index` rightly.
fn version_for(index: &IndexEntry) -> u8 {
    if !index.kind.is_ordered() {
        VERSION_OF_KINDS
    } else if index.partial.is_some() || index.collation.is_some() {
        VERSION_OF_PARTIAL_INDEXES
    } else {
        VERSION
    }
}

fn encode_index(output: &mut Output, index: &IndexEntry) {
    output.u32(index.id);
    output.str(&index.name);
    output.document(&index.key);
    output.document(&index.spec);
    output.bool(index.unique);
    output.bool(index.sparse);
    output.bool(index.hidden);
    output.bool(index.multikey);
    match &index.state {
        IndexState::Ready => output.u8(0),
        IndexState::Building { scanned, complete } => {
            output.u8(1);
            output.optional(scanned.as_deref(), Output::bytes);
            output.bool(*complete);
        }
    }
}

pub(crate) fn decode_collection(
    id: u32,
    bytes: &[u8],
    counts: CollectionCounts,
) -> Result<CollectionEntry, DecodeError> {
    let mut input = Input::new(bytes);
    let version = input.u8("version")?;
    if !(VERSION..=VERSION_OF_KINDS).contains(&version) {
        return Err(DecodeError::Version(version));
    }
    let namespace: Namespace = input.namespace()?;
    let uuid = input.take(16, "uuid")?;
    let options = input.document("options")?.to_owned();
    let count = input.count(1, "indexes")?;
    let indexes = (0..count)
        .map(|_| Ok(Arc::new(decode_index(&mut input)?)))
        .collect::<Result<_, DecodeError>>()?;
    input.finish()?;
    Ok(CollectionEntry {
        id,
        namespace,
        uuid: uuid.try_into().expect("16 bytes were taken"),
        rules: Arc::new(Rules::of(&options)),
        collation: collation::of_options(&options),
        options,
        indexes,
        counters: Arc::new(CountersCell::new(counts)),
        plan_cache: Arc::default(),
    })
}

fn decode_index(input: &mut Input<'_>) -> Result<IndexEntry, DecodeError> {
    let id = input.u32("index id")?;
    let name = input.str("index name")?.to_owned();
    let key = input.document("index key")?.to_owned();
    let damaged = |_| DecodeError::Damaged("index key");
    let fields = parse_fields(&key).map_err(damaged)?;
    let spec = input.document("index specification")?.to_owned();
    let kind = IndexKind::parse(&key, &spec).map_err(damaged)?;
    let collation = collation::of_specification(&spec)?;
    Ok(IndexEntry {
        id,
        name,
        key,
        fields,
        kind,
        expire_after_seconds: expiry::of_specification(&spec),
        partial: PartialFilter::of_specification(&spec, collation.as_ref()),
        collation,
        spec,
        usage: Arc::default(),
        unique: input.bool("unique")?,
        sparse: input.bool("sparse")?,
        hidden: input.bool("hidden")?,
        multikey: input.bool("multikey")?,
        state: match input.u8("index state")? {
            0 => IndexState::Ready,
            1 => IndexState::Building {
                scanned: input.optional("scanned", |input| Ok(input.bytes("scanned")?.to_vec()))?,
                complete: input.bool("complete")?,
            },
            value => {
                return Err(DecodeError::UnknownValue {
                    field: "index state",
                    value,
                });
            }
        },
    })
}

pub(crate) fn encode_next_ids(catalog: &Catalog) -> Vec<u8> {
    let mut output = Output::default();
    output.u8(VERSION);
    output.u32(catalog.next_collection_id);
    output.u32(catalog.next_index_id);
    output.bytes
}

fn decode_next_ids(bytes: &[u8]) -> Result<(u32, u32), DecodeError> {
    let mut input = Input::new(bytes);
    let version = input.u8("version")?;
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    let ids = (input.u32("collection id")?, input.u32("index id")?);
    input.finish()?;
    Ok(ids)
}

/// Reads the catalog as of a version. Counters are those last written, see [`crate::StateMachine::before_rotate`].
pub(crate) fn load(engine: &dyn Engine, as_of: u64) -> Result<Catalog, StorageFault> {
    const ACTION: &str = "reading the catalog";
    let mut catalog = Catalog::empty();
    let from = [keyspace::CATALOG];
    let to = [keyspace::CATALOG + 1];
    for entry in engine.range(Bound::Included(&from), Bound::Excluded(&to), as_of) {
        let (key, value) = entry?;
        let id = keyspace::catalog_id(&key)
            .ok_or_else(|| damaged(ACTION, "a key that is none of the catalog's"))?;
        let counts = match engine.get(&keyspace::counters_key(id), as_of)? {
            Some(bytes) => decode_counts(&bytes).map_err(|error| damaged(ACTION, error))?,
            None => CollectionCounts::default(),
        };
        let collection =
            decode_collection(id, &value, counts).map_err(|error| damaged(ACTION, error))?;
        catalog.put(Arc::new(collection));
    }
    if let Some(bytes) = engine.get(&keyspace::next_ids_key(), as_of)? {
        let (collection_id, index_id) =
            decode_next_ids(&bytes).map_err(|error| damaged(ACTION, error))?;
        catalog.next_collection_id = collection_id;
        catalog.next_index_id = index_id;
    }
    Ok(catalog)
}

pub(crate) fn encode_counts(counts: CollectionCounts) -> Vec<u8> {
    let mut output = Output::default();
    output.u8(VERSION);
    output.u64(counts.documents);
    output.u64(counts.bytes);
    output.bytes
}

fn decode_counts(bytes: &[u8]) -> Result<CollectionCounts, DecodeError> {
    let mut input = Input::new(bytes);
    let version = input.u8("version")?;
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    Ok(CollectionCounts {
        documents: input.u64("documents")?,
        bytes: input.u64("bytes")?,
    })
}
