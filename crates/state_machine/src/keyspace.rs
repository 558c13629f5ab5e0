//! Where everything lies in the one ordered tree. A key starts with a byte that names its space:
//!
//! | space | key after the first byte | value |
//! |---|---|---|
//! | `0x01` sequences | collection id, u32 BE | the next number of a field that counts up |
//! | `0x02` catalog | collection id, u32 BE | the collection's record |
//! | `0x03` documents | collection id, u32 BE · key encoding of `_id` | the document, raw BSON |
//! | `0x04` index entries | index id, u32 BE · encoded fields [· key encoding of `_id`] | see [`IndexEntryValue`] |
//! | `0x05` sessions | lsid | the session's record |
//! | `0x06` session details | lsid length u8 · lsid · u32 BE | results that outgrew the record |
//! | `0x07` dropped | kind · id, u32 BE | last key reclaimed, or empty |
//! | `0x08` counters | collection id, u32 BE | documents and bytes |
//! | `0x09` meta | name | next ids, applied position |
//!
//! Ids of collections and indexes are never reused, so dropping is forgetting the id and reclaiming the range later.
//! Counters and meta stand last: an export computes them from what it has streamed.

use std::ops::Bound;

use bson::RawBsonRef;
use document::key_encoding;

pub(crate) const SEQUENCES: u8 = 0x01;
pub(crate) const CATALOG: u8 = 0x02;
pub(crate) const DOCUMENTS: u8 = 0x03;
pub(crate) const INDEX_ENTRIES: u8 = 0x04;
pub(crate) const SESSIONS: u8 = 0x05;
pub(crate) const SESSION_DETAILS: u8 = 0x06;
pub(crate) const DROPPED: u8 = 0x07;
pub(crate) const COUNTERS: u8 = 0x08;
pub(crate) const META: u8 = 0x09;

/// The prefix of an id's keys: space byte and id.
pub const PREFIX_BYTES: usize = 5;

fn prefix(space: u8, id: u32) -> [u8; PREFIX_BYTES] {
    let [a, b, c, d] = id.to_be_bytes();
    [space, a, b, c, d]
}

/// What all documents' keys of a collection start with.
pub fn documents_prefix(collection_id: u32) -> [u8; PREFIX_BYTES] {
    prefix(DOCUMENTS, collection_id)
}

/// The key of the document with this `_id`.
pub fn document_key(collection_id: u32, id: RawBsonRef<'_>) -> Vec<u8> {
    let mut key = Vec::with_capacity(PREFIX_BYTES + 16);
    key.extend_from_slice(&documents_prefix(collection_id));
    key_encoding::encode(id, key_encoding::Direction::Ascending, &mut key);
    key
}

/// The part of a document's key that encodes its `_id`.
pub fn id_part(document_key: &[u8]) -> &[u8] {
    document_key.get(PREFIX_BYTES..).unwrap_or_default()
}

/// What all entries' keys of an index start with.
pub fn index_prefix(index_id: u32) -> [u8; PREFIX_BYTES] {
    prefix(INDEX_ENTRIES, index_id)
}

/// The key of an index entry. `fields` is the concatenation of the encoded fields; `id` is [`id_part`] of the
/// document's key, and is part of the key only where several documents may share the fields.
pub fn index_entry_key(index_id: u32, unique: bool, fields: &[u8], id: &[u8]) -> Vec<u8> {
    let id = if unique { &[][..] } else { id };
    let mut key = Vec::with_capacity(PREFIX_BYTES + fields.len() + id.len());
    key.extend_from_slice(&index_prefix(index_id));
    key.extend_from_slice(fields);
    key.extend_from_slice(id);
    key
}

/// The value of an index entry: for a unique index the [`id_part`] itself; otherwise how many of the key's last bytes
/// are the [`id_part`], u16 BE.
pub fn index_entry_value(unique: bool, id: &[u8]) -> Vec<u8> {
    if unique {
        id.to_vec()
    } else {
        let length = u16::try_from(id.len()).expect("keys are at most KEY_BYTES_MAX long");
        length.to_be_bytes().to_vec()
    }
}

/// An index entry taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntryParts<'a> {
    /// The encoded fields.
    pub fields: &'a [u8],
    /// The document's [`id_part`].
    pub id: &'a [u8],
}

/// Takes an entry of an index apart; `None` if it is not one.
pub fn index_entry_parts<'a>(
    unique: bool,
    key: &'a [u8],
    value: &'a [u8],
) -> Option<IndexEntryParts<'a>> {
    let rest = key.get(PREFIX_BYTES..)?;
    if unique {
        return Some(IndexEntryParts {
            fields: rest,
            id: value,
        });
    }
    let id_bytes = u16::from_be_bytes(value.try_into().ok()?) as usize;
    let (fields, id) = rest.split_at(rest.len().checked_sub(id_bytes)?);
    Some(IndexEntryParts { fields, id })
}

/// The key of the document an entry points to.
pub fn document_key_from_id_part(collection_id: u32, id: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(PREFIX_BYTES + id.len());
    key.extend_from_slice(&documents_prefix(collection_id));
    key.extend_from_slice(id);
    key
}

/// The first key after all keys that start with `prefix`; unbounded if there is none.
pub fn prefix_end(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}

pub(crate) fn catalog_key(collection_id: u32) -> Vec<u8> {
    prefix(CATALOG, collection_id).to_vec()
}

pub(crate) fn sequence_key(collection_id: u32) -> Vec<u8> {
    prefix(SEQUENCES, collection_id).to_vec()
}

pub(crate) fn counters_key(collection_id: u32) -> Vec<u8> {
    prefix(COUNTERS, collection_id).to_vec()
}

pub(crate) fn session_key(lsid: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + lsid.len());
    key.push(SESSIONS);
    key.extend_from_slice(lsid);
    key
}

/// Keys of the results of `lsid` that stand outside its record.
pub(crate) fn session_detail_key(lsid: &[u8], sequence: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(6 + lsid.len());
    key.push(SESSION_DETAILS);
    key.push(lsid.len() as u8);
    key.extend_from_slice(lsid);
    key.extend_from_slice(&sequence.to_be_bytes());
    key
}

/// What was dropped and waits for `Reclaim`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DroppedSpace {
    /// Documents and counters of a collection.
    Collection(u32),
    /// Entries of an index.
    Index(u32),
}

pub(crate) fn dropped_key(dropped: DroppedSpace) -> Vec<u8> {
    let (kind, id) = match dropped {
        DroppedSpace::Collection(id) => (0u8, id),
        DroppedSpace::Index(id) => (1u8, id),
    };
    let mut key = vec![DROPPED, kind];
    key.extend_from_slice(&id.to_be_bytes());
    key
}

pub(crate) fn dropped_of_key(key: &[u8]) -> Option<DroppedSpace> {
    let [DROPPED, kind, id @ ..] = key else {
        return None;
    };
    let id = u32::from_be_bytes(id.try_into().ok()?);
    match kind {
        0 => Some(DroppedSpace::Collection(id)),
        1 => Some(DroppedSpace::Index(id)),
        _ => None,
    }
}

pub(crate) fn next_ids_key() -> Vec<u8> {
    vec![META, b'n']
}

pub(crate) fn applied_key() -> Vec<u8> {
    vec![META, b'a']
}

/// The id in a key of one of the spaces that start with an id.
pub(crate) fn catalog_id(key: &[u8]) -> Option<u32> {
    let bytes: [u8; 4] = key.get(1..PREFIX_BYTES)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes))
}
