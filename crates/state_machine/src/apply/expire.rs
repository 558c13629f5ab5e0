//! Deleting documents that have expired. The leader named index entries; each is looked at again: the index may be gone or
//! expire later now, the document may have been changed or deleted meanwhile.

use bson::RawDocument;
use document::DocumentError;

use super::overlay::Overlay;
use super::{OrFault, Stop, documents};
use crate::catalog::damaged;
use crate::expiry::ExpiredKeys;
use crate::keyspace;
use crate::reply::Reply;

pub(super) fn run(
    overlay: &mut Overlay<'_>,
    index_id: u32,
    now_ms: i64,
    entries: &[Vec<u8>],
) -> Result<Reply, Stop> {
    let mut deleted = 0;
    let found = overlay.catalog().collections().find_map(|collection| {
        let index = collection.index_by_id(index_id)?;
        Some((collection.clone(), index.clone()))
    });
    let Some((collection, index)) = found.filter(|(_, index)| index.is_ready() && !index.is_id())
    else {
        return Ok(Reply::DocumentsExpired { deleted });
    };
    let Some(expired) = ExpiredKeys::of(&index, now_ms) else {
        return Ok(Reply::DocumentsExpired { deleted });
    };
    for entry in entries {
        let mut key = keyspace::index_prefix(index_id).to_vec();
        key.extend_from_slice(entry);
        if !expired.contain(&key) {
            continue;
        }
        // Gone: deleted or changed since, or deleted by an earlier date of the same document.
        let Some(value) = overlay.get(&key).or_fault()? else {
            continue;
        };
        let parts = keyspace::index_entry_parts(index.unique, &key, &value)
            .ok_or_else(|| Stop::Fault(damaged("expiring documents", "no entry of an index")))?;
        let document_key = keyspace::document_key_from_id_part(collection.id, parts.id);
        let Some(stored) = overlay.get(&document_key).or_fault()? else {
            continue;
        };
        let document = RawDocument::from_bytes(&stored).map_err(DocumentError::from)?;
        documents::remove(overlay, &collection, &document_key, document)?;
        deleted += 1;
    }
    Ok(Reply::DocumentsExpired { deleted })
}
