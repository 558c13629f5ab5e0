//! A document cut down to some of its top-level fields, for those who look at nothing else.

use std::collections::BTreeSet;

use bson::RawDocumentBuf;
use bson::raw::RawDocument;

use crate::raw;

/// Names beyond this cost more to look for than the copy of the whole document.
const NAMES_MAX: usize = 16;
/// Those found are marked in one word.
const _: () = assert!(NAMES_MAX <= u64::BITS as usize);

/// The names of some top-level fields.
#[derive(Debug, Clone)]
pub struct TopLevelFields {
    names: Vec<String>,
}

impl TopLevelFields {
    /// These names; `None` where they are so many that nothing is gained.
    pub fn new(names: &BTreeSet<String>) -> Option<TopLevelFields> {
        (names.len() <= NAMES_MAX).then(|| TopLevelFields {
            names: names.iter().cloned().collect(),
        })
    }

    /// A document with the fields of these names only, in their order; what is behind the last of them is not looked at. Of
    /// several fields of one name it has the first: no other is ever read. A damaged document is copied as it is.
    pub fn of(&self, document: &RawDocument) -> RawDocumentBuf {
        raw::first_fields(document, &self.names).unwrap_or_else(|| document.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::any_document;

    proptest! {
        #[test]
        fn the_named_fields_and_no_others_are_left(
            document in any_document(), names in prop::collection::btree_set("[a-d]", 0..4),
        ) {
            let narrow = TopLevelFields::new(&names).expect("few").of(&document);
            let mut expected: Vec<_> = raw::elements(&document)
                .filter(|element| names.contains(element.name))
                .map(|element| (element.name, element.bytes))
                .collect();
            let mut seen = BTreeSet::new();
            expected.retain(|(name, _)| seen.insert(*name));
            let found: Vec<_> = raw::elements(&narrow)
                .map(|element| (element.name, element.bytes))
                .collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn damage_is_survived(
            document in any_document(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
            names in prop::collection::btree_set("[a-d]", 0..4),
        ) {
            let mut bytes = document.as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(damaged) = RawDocument::from_bytes(&bytes) {
                TopLevelFields::new(&names).expect("few").of(damaged);
            }
        }
    }

    #[test]
    fn many_names_are_not_looked_for() {
        let names = |count: usize| (0..count).map(|number| number.to_string()).collect();
        assert!(TopLevelFields::new(&names(NAMES_MAX)).is_some());
        assert!(TopLevelFields::new(&names(NAMES_MAX + 1)).is_none());
    }
}
