//! How much of what the tables hold nobody can see any more: by how much compaction would shrink them.
//!
//! An estimate: of the keys that a flush writes, every few-th is looked up in the tables, where it supersedes a value.
//! Tombstones are counted in the tables. What compaction drops is known exactly.

use lsm_tree::{InternalValue, Slice};

use crate::lsm::view::Tables;

/// One key of so many is looked up.
const SAMPLED_ONE_IN: u64 = 64;
/// Garbage is worth a compaction of its own when it makes up more than this share (in percent) of the tables.
const GARBAGE_PERCENT_MAX: u64 = 40;

/// Looks up some of the keys that a flush writes.
#[derive(Default)]
pub(crate) struct Sampler {
    keys: u64,
    hits: u64,
    last: Option<Slice>,
    failed: Option<lsm_tree::Error>,
}

impl Sampler {
    /// `key` is flushed; keys come in order.
    pub fn flushed(
        &mut self,
        key: &Slice,
        look_up: impl FnOnce(&[u8]) -> lsm_tree::Result<Option<InternalValue>>,
    ) {
        if self.failed.is_some() || self.last.as_ref() == Some(key) {
            return;
        }
        self.last = Some(key.clone());
        self.keys += 1;
        if !self.keys.is_multiple_of(SAMPLED_ONE_IN) {
            return;
        }
        match look_up(key) {
            Ok(found) => self.hits += u64::from(found.is_some_and(|entry| !entry.is_tombstone())),
            Err(error) => self.failed = Some(error),
        }
    }

    /// About how many values in tables have been superseded.
    pub fn superseded(self) -> lsm_tree::Result<u64> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok(self.hits * SAMPLED_ONE_IN),
        }
    }
}

/// What is known since the start.
#[derive(Default)]
pub(crate) struct Garbage {
    /// Values in tables that newer ones hide.
    hidden: u64,
    /// Tombstones that squeezing everything has left.
    kept_tombstones: u64,
}

impl Garbage {
    pub fn superseded(&mut self, values: u64) {
        self.hidden += values;
    }

    /// A compaction wrote so many entries less than it read.
    pub fn dropped(&mut self, entries: u64) {
        self.hidden = self.hidden.saturating_sub(entries);
    }

    /// Nothing more can be dropped: the estimate was too high.
    pub fn squeezed(&mut self, tables: &Tables) {
        self.hidden = 0;
        self.kept_tombstones = tables.tombstones;
    }

    /// Entries that could be dropped.
    pub fn entries(&self, tables: &Tables) -> u64 {
        let tombstones = tables.tombstones.saturating_sub(self.kept_tombstones);
        // A tombstone hides a value, which was counted when it was flushed in this life of the process, and goes itself.
        self.hidden.max(tombstones) + tombstones
    }

    pub fn is_high(&self, tables: &Tables) -> bool {
        self.entries(tables) * 100 > tables.entries * GARBAGE_PERCENT_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_so_many_th_key_stands_for_the_others() {
        let mut sampler = Sampler::default();
        let mut looked_up = 0;
        for number in 0..640_u64 {
            for _version in 0..2 {
                sampler.flushed(&Slice::from(number.to_be_bytes()), |key| {
                    looked_up += 1;
                    let value = lsm_tree::ValueType::Value;
                    let entry = InternalValue::from_components(key, b"", 1, value);
                    Ok((looked_up > 5).then_some(entry))
                });
            }
        }
        assert_eq!(looked_up, 10);
        assert_eq!(sampler.superseded().unwrap(), 5 * SAMPLED_ONE_IN);
    }
}
