//! Which keys a flushed table can hold, more closely than by its first and last.
//!
//! A memtable holds keys of every kind, so the tables of level 0 all reach from one end of the keys to the other, and a
//! look-up would have to ask the filter of each. But new keys of one kind mostly lie behind the older ones (identifiers
//! begin with the time), so first and last key *by kind* rule most tables out without touching their filters.
//!
//! Only in memory: of tables from before the start nothing is known, and they are asked as before.

use std::ops::Bound;

use lsm_tree::Slice;

/// Keys that agree in so many bytes are of one kind.
const KIND_BYTES: usize = 5;
/// Kinds beyond these are taken as one.
const KINDS_MAX: usize = 64;

/// First and last keys, kind by kind, in ascending order.
#[derive(Debug, Default)]
pub(crate) struct Extent {
    kinds: Vec<(Slice, Slice)>,
}

impl Extent {
    /// Adds a key, not below the ones before.
    pub fn push(&mut self, key: &Slice) {
        let is_full = self.kinds.len() >= KINDS_MAX;
        match self.kinds.last_mut() {
            Some((_, last)) if is_full || kind(last) == kind(key) => *last = key.clone(),
            _ => self.kinds.push((key.clone(), key.clone())),
        }
    }

    /// False only if the key was not among those that were added.
    pub fn may_contain(&self, key: &[u8]) -> bool {
        let after = self.kinds.partition_point(|(first, _)| first[..] <= *key);
        after > 0 && *key <= self.kinds[after - 1].1[..]
    }

    /// First and last keys of each kind.
    pub fn kinds(&self) -> &[(Slice, Slice)] {
        &self.kinds
    }

    /// Between which keys those lie that are within the bounds; `None` if there are none.
    pub fn within(&self, (from, to): &(Bound<Slice>, Bound<Slice>)) -> Option<(Slice, Slice)> {
        let begins = |key: &Slice| match from {
            Bound::Included(from) => key >= from,
            Bound::Excluded(from) => key > from,
            Bound::Unbounded => true,
        };
        let ends = |key: &Slice| match to {
            Bound::Included(to) => key <= to,
            Bound::Excluded(to) => key < to,
            Bound::Unbounded => true,
        };
        let met = || {
            self.kinds
                .iter()
                .filter(|(first, last)| begins(last) && ends(first))
        };
        let ((first, _), (_, last)) = (met().next()?, met().next_back()?);
        Some((first.clone(), last.clone()))
    }
}

/// What keys of one kind have in common.
pub(crate) fn kind(key: &[u8]) -> &[u8] {
    &key[..key.len().min(KIND_BYTES)]
}

#[cfg(test)]
mod tests {
    use std::ops::RangeBounds;

    use super::*;
    use proptest::prelude::*;

    fn of(keys: &[&[u8]]) -> Extent {
        let mut extent = Extent::default();
        for key in keys {
            extent.push(&Slice::from(*key));
        }
        extent
    }

    #[test]
    fn what_lies_between_kinds_or_behind_the_last_of_one_is_ruled_out() {
        let extent = of(&[b"kind1b", b"kind1d", b"kind2b", b"kind4"]);
        for inside in [&b"kind1b"[..], b"kind1c", b"kind1d", b"kind2b", b"kind4"] {
            assert!(extent.may_contain(inside));
        }
        for outside in [
            &b""[..],
            b"k",
            b"kind1a",
            b"kind1e",
            b"kind2c",
            b"kind3",
            b"kind5",
        ] {
            assert!(!extent.may_contain(outside));
        }
        assert!(!Extent::default().may_contain(b""));
    }

    fn any_bound() -> impl Strategy<Value = Bound<Slice>> {
        let key = prop::collection::vec(0u8..4, 0..8).prop_map(|key| Slice::from(&key[..]));
        prop_oneof![
            Just(Bound::Unbounded),
            key.clone().prop_map(Bound::Included),
            key.prop_map(Bound::Excluded),
        ]
    }

    proptest! {
        #[test]
        fn no_key_that_was_added_is_ruled_out(
            keys in prop::collection::btree_set(prop::collection::vec(0u8..4, 0..8), 0..400),
        ) {
            let mut extent = Extent::default();
            for key in &keys {
                extent.push(&Slice::from(&key[..]));
            }
            prop_assert!(extent.kinds.len() <= KINDS_MAX);
            prop_assert!(keys.iter().all(|key| extent.may_contain(key)));
        }

        #[test]
        fn no_key_within_bounds_is_beyond_those_that_are_told(
            keys in prop::collection::btree_set(prop::collection::vec(0u8..4, 0..8), 0..400),
            from in any_bound(), to in any_bound(),
        ) {
            let mut extent = Extent::default();
            for key in &keys {
                extent.push(&Slice::from(&key[..]));
            }
            let within = extent.within(&(from.clone(), to.clone()));
            let slices = keys.iter().map(|key| Slice::from(&key[..]));
            for key in slices.filter(|key| (from.clone(), to.clone()).contains(key)) {
                let (first, last) = within.as_ref().expect("a key is within the bounds");
                prop_assert!(*first <= key && key <= *last);
            }
        }
    }
}
