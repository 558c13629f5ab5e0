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
        let (key, _) = entry.or_fault()?;
        let space = keyspace::dropped_of_key(&key).ok_or_else(|| {
            Stop::Fault(damaged("reclaiming dropped data", "a key of no known kind"))
        })?;
        if !reclaim_space(overlay, space, &mut left)? {
            overlay.set_reclaim_pending(true);
            return Ok(Reply::Reclaimed { more: true });
        }
        overlay.delete(key.to_vec());
    }
    overlay.set_reclaim_pending(false);
    Ok(Reply::Reclaimed { more: false })
}

/// Whether the space is empty afterwards.
fn reclaim_space(
    overlay: &mut Overlay<'_>,
    space: DroppedSpace,
    left: &mut u32,
) -> Result<bool, Stop> {
    let prefix = match space {
        DroppedSpace::Collection(id) => keyspace::documents_prefix(id),
        DroppedSpace::Index(id) => keyspace::index_prefix(id),
    };
    let end = keyspace::prefix_end(&prefix);
    let entries = overlay.range_before(
        Bound::Included(&prefix[..]),
        end.as_ref().map(Vec::as_slice),
    );
    for entry in entries {
        if *left == 0 {
            return Ok(false);
        }
        let (key, _) = entry.or_fault()?;
        overlay.delete(key.to_vec());
        *left -= 1;
    }
    Ok(true)
}
