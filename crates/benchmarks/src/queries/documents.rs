//! The documents that are queried, made from their numbers, so that every answer is known.

use bson::raw::RawDocumentBuf;
use bson::spec::BinarySubtype;
use bson::{Binary, rawdoc};

use crate::load::Values;

/// Groups that the documents fall into, one after the other.
pub(super) const GROUPS: u64 = 100;
/// Amounts are quarters, which doubles add up exactly.
const AMOUNTS: u64 = 1_000;
/// Odd, so that multiplication modulo a power of two is a permutation.
const SCATTER: u32 = 0x9e37_79b1;

/// A set of documents `{_id, n, group, amount, v}`; about 300 bytes each.
#[derive(Debug)]
pub(super) struct Documents {
    count: u64,
    values: Values,
}

impl Documents {
    pub fn new(count: u64) -> Self {
        Documents {
            count,
            values: Values::new(5),
        }
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn document(&self, number: u64) -> RawDocumentBuf {
        let value = Binary {
            subtype: BinarySubtype::Generic,
            bytes: self.values.for_client(number as usize).next().to_vec(),
        };
        rawdoc! {
            "_id": number as i64, "n": scattered(number), "group": group(number % GROUPS), "amount": amount(number), "v": value,
        }
    }

    /// The sum of all amounts.
    pub fn total(&self) -> f64 {
        (0..self.count).map(amount).sum()
    }

    /// How many documents a group has.
    pub fn in_group(&self, number: u64) -> u64 {
        (self.count + GROUPS - 1 - number) / GROUPS
    }
}

/// A number of its own for each document, in no order.
pub(super) fn scattered(number: u64) -> i64 {
    i64::from((number as u32).wrapping_mul(SCATTER))
}

pub(super) fn group(number: u64) -> String {
    format!("group-{number:02}")
}

fn amount(number: u64) -> f64 {
    (number % AMOUNTS) as f64 / 4.0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_document_has_a_number_of_its_own() {
        let numbers: BTreeSet<i64> = (0..10_000).map(scattered).collect();
        assert_eq!(numbers.len(), 10_000);
    }

    #[test]
    fn groups_together_hold_all_documents() {
        let documents = Documents::new(1_234);
        let together: u64 = (0..GROUPS).map(|group| documents.in_group(group)).sum();
        assert_eq!(together, 1_234);
        assert_eq!(documents.in_group(33), 13);
        assert_eq!(documents.in_group(34), 12);
    }

    #[test]
    fn amounts_add_up_exactly() {
        assert_eq!(Documents::new(1_000).total(), 999.0 * 1_000.0 / 8.0);
    }
}
