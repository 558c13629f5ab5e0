//! Which versions of a key somebody may still read.

use lsm_tree::{InternalValue, Slice};

use crate::engine::Version;

/// Looks at entries sorted by key, the newest version first, and tells which are needed: those above the oldest reader, and of
/// the others the newest.
pub(crate) struct Needed {
    oldest_reader: Version,
    /// The key whose newest version at or below the oldest reader has passed.
    settled: Option<Slice>,
}

impl Needed {
    pub fn by(oldest_reader: Version) -> Self {
        Self {
            oldest_reader,
            settled: None,
        }
    }

    /// Whether a reader may see the entry.
    pub fn keeps(&mut self, entry: &InternalValue) -> bool {
        let key = &entry.key.user_key;
        if self.settled.as_ref() == Some(key) {
            return false;
        }
        if self.is_settled(entry) {
            self.settled = Some(key.clone());
        }
        true
    }

    /// Whether every reader sees this entry or a newer one: as a deletion it says nothing, if there is nothing older.
    pub fn is_settled(&self, entry: &InternalValue) -> bool {
        entry.key.seqno <= self.oldest_reader
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lsm_tree::ValueType;

    #[test]
    fn of_what_the_oldest_reader_has_passed_only_the_newest_is_needed() {
        let mut needed = Needed::by(5);
        let mut kept = Vec::new();
        for (key, version) in [
            (b"a", 9),
            (b"a", 6),
            (b"a", 5),
            (b"a", 4),
            (b"b", 3),
            (b"b", 1),
            (b"c", 7),
        ] {
            let entry = InternalValue::from_components(key, b"", version, ValueType::Value);
            if needed.keeps(&entry) {
                kept.push((key, version));
            }
        }
        assert_eq!(
            kept,
            [(b"a", 9), (b"a", 6), (b"a", 5), (b"b", 3), (b"c", 7)]
        );
    }
}
