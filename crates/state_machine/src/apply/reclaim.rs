//! Removal of what dropped collections and indexes left behind, in bounded commands.

use std::ops::Bound;

use storage_engine::{Engine, StorageFault};

use super::overlay::Overlay;
use super::{OrFault, Stop};
use crate::catalog::damaged;
use crate::keyspace::{self, DROPPED, DroppedSpace};
use crate::limits::RECLAIM_KEYS_MAX;
use crate::reply::Reply;

const FROM: [u8; 1] = [DROPPED];
const TO: [u8; 1] = [DROPPED + 1];

/// Whether anything waits to be reclaimed.
pub(crate) fn pending(engine: &dyn Engine, as_of: u64) -> Result<bool, StorageFault> {
    let mut dropped = engine.range(Bound::Included(&FROM), Bound::Excluded(&TO), as_of);
    dropped.next().transpose().map(|first| first.is_some())
}

pub(super) fn run(overlay: &mut Overlay<'_>, limit: u32) -> Result<Reply, Stop> {
    let mut left = limit.clamp(1, RECLAIM_KEYS_MAX);
    let dropped = overlay.range_before(Bound::Included(&FROM), Bound::Excluded(&TO));
    for entry in dropped {
        let (key, resume) = entry.or_fault()?;
        let space = keyspace::dropped_of_key(&key).ok_or_else(|| {
            Stop::Fault(damaged("reclaiming dropped data", "a key of no known kind"))
        })?;
        if let Some(last) = reclaim_space(overlay, space, &resume, &mut left)? {
            overlay.put(key.to_vec(), last);
            overlay.set_reclaim_pending(true);
            return Ok(Reply::Reclaimed { more: true });
        }
        overlay.delete(key.to_vec());
    }
    overlay.set_reclaim_pending(false);
    Ok(Reply::Reclaimed { more: false })
}

/// Removes from the key after `resume` on, so that no command passes over what earlier ones removed. Returns the last key
/// removed when there is more; `None` when the space is empty.
fn reclaim_space(
    overlay: &mut Overlay<'_>,
    space: DroppedSpace,
    resume: &[u8],
    left: &mut u32,
) -> Result<Option<Vec<u8>>, Stop> {
    let prefix = match space {
        DroppedSpace::Collection(id) => keyspace::documents_prefix(id),
        DroppedSpace::Index(id) => keyspace::index_prefix(id),
    };
    let end = keyspace::prefix_end(&prefix);
    let from = match resume {
        [] => Bound::Included(&prefix[..]),
        last => Bound::Excluded(last),
    };
    let entries = overlay.range_before(from, end.as_ref().map(Vec::as_slice));
    let mut last = resume.to_vec();
    for entry in entries {
        if *left == 0 {
            return Ok(Some(last));
        }
        let (key, _) = entry.or_fault()?;
        last = key.to_vec();
        overlay.delete(last.clone());
        *left -= 1;
    }
    Ok(None)
}
