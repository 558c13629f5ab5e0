//! Building an index on a collection that has documents, in bounded commands between which writes go on. Writes
//! maintain the index from its creation, so indexing a document that is indexed already changes nothing.
//!
//! A build that meets a duplicate or a document that cannot be indexed fails: the index is dropped, and the command
//! that met it is answered with the reason.

use std::ops::Bound;
use std::sync::Arc;

use bson::RawDocument;
use document::DocumentError;

use super::overlay::Overlay;
use super::{OrFault, Stop, ddl, documents};
use crate::catalog::{CollectionEntry, IndexEntry, IndexState};
use crate::error::CommandError;
use crate::keyspace;
use crate::limits::INDEX_BUILD_CHUNK_MAX;
use crate::reply::{CatalogReply, IndexBuildProgress, Reply};

/// A chunk ends early once it has read this much.
const CHUNK_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How far a chunk came.
struct Scanned {
    last: Option<Vec<u8>>,
    complete: bool,
}

pub(super) fn chunk(overlay: &mut Overlay<'_>, index_id: u32, limit: u32) -> Result<Reply, Stop> {
    let (collection, index) = find(overlay, index_id)?;
    let IndexState::Building { scanned, complete } = index.state.clone() else {
        return Ok(progress(IndexBuildProgress::Ready));
    };
    if complete {
        return Ok(progress(IndexBuildProgress::Complete));
    }
    let limit = limit.clamp(1, INDEX_BUILD_CHUNK_MAX);
    match scan(overlay, &collection, &index, scanned, limit) {
        Ok(Scanned { last, complete }) => {
            advance(overlay, index_id, last, complete)?;
            Ok(progress(if complete {
                IndexBuildProgress::Complete
            } else {
                IndexBuildProgress::More
            }))
        }
        Err(Stop::Refused(error)) => {
            let (collection, _) = find(overlay, index_id)?;
            ddl::drop_index(overlay, &collection, index_id);
            Ok(Reply::Failed(error))
        }
        Err(fault) => Err(fault),
    }
}

pub(super) fn finish(overlay: &mut Overlay<'_>, index_id: u32) -> Result<CatalogReply, Stop> {
    let (collection, index) = find(overlay, index_id)?;
    match index.state {
        IndexState::Ready => Ok(CatalogReply::IndexBuild(IndexBuildProgress::Ready)),
        IndexState::Building {
            complete: false, ..
        } => Ok(CatalogReply::IndexBuild(IndexBuildProgress::More)),
        IndexState::Building { complete: true, .. } => {
            let ready = IndexEntry {
                state: IndexState::Ready,
                ..IndexEntry::clone(&index)
            };
            overlay.put_collection(collection.with_index(ready));
            Ok(CatalogReply::IndexBuild(IndexBuildProgress::Ready))
        }
    }
}

fn progress(progress: IndexBuildProgress) -> Reply {
    Reply::Catalog(CatalogReply::IndexBuild(progress))
}

fn find(
    overlay: &Overlay<'_>,
    index_id: u32,
) -> Result<(Arc<CollectionEntry>, Arc<IndexEntry>), CommandError> {
    overlay
        .catalog()
        .collections()
        .find_map(|collection| {
            let index = collection
                .index_by_id(index_id)
                .filter(|index| !index.is_id())?;
            Some((collection.clone(), index.clone()))
        })
        .ok_or_else(|| CommandError::IndexNotFound {
            message: format!(
                "index {index_id} no longer exists: it was dropped, or its build failed"
            ),
        })
}

fn advance(
    overlay: &mut Overlay<'_>,
    index_id: u32,
    last: Option<Vec<u8>>,
    complete: bool,
) -> Result<(), Stop> {
    // Looked up anew: the scan may have set the multikey flag.
    let (collection, index) = find(overlay, index_id)?;
    let advanced = IndexEntry {
        state: IndexState::Building {
            scanned: last,
            complete,
        },
        ..IndexEntry::clone(&index)
    };
    overlay.put_collection(collection.with_index(advanced));
    Ok(())
}

fn scan(
    overlay: &mut Overlay<'_>,
    collection: &CollectionEntry,
    index: &IndexEntry,
    scanned: Option<Vec<u8>>,
    limit: u32,
) -> Result<Scanned, Stop> {
    let prefix = keyspace::documents_prefix(collection.id);
    let from = match &scanned {
        Some(last) => Bound::Excluded(last.as_slice()),
        None => Bound::Included(&prefix[..]),
    };
    let end = keyspace::prefix_end(&prefix);
    let entries = overlay.range_before(from, end.as_ref().map(Vec::as_slice));
    let (mut last, mut count, mut bytes) = (scanned, 0, 0);
    for entry in entries {
        if count == limit || bytes > CHUNK_BYTES_MAX {
            return Ok(Scanned {
                last,
                complete: false,
            });
        }
        let (key, stored) = entry.or_fault()?;
        let document = RawDocument::from_bytes(&stored).map_err(DocumentError::from)?;
        let (keys, multikey) = index.keys(document)?;
        for fields in &keys {
            let (entry, value) =
                documents::entry_for(overlay, collection, index, fields, &key, Some(document))?;
            if let Some(value) = value {
                overlay.put(entry, value);
            }
        }
        if multikey {
            documents::set_multikey(overlay, collection.id, index.id);
        }
        last = Some(key.to_vec());
        count += 1;
        bytes += stored.len();
    }
    Ok(Scanned {
        last,
        complete: true,
    })
}
