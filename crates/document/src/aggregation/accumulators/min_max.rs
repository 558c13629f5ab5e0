//! `$min` and `$max` in the order of all values; null and missing do not take part.

use std::cmp::Ordering;

use bson::raw::{RawBson, RawBsonRef};

use super::{Accumulator, value_bytes};
use crate::{DocumentError, order, raw};

struct MinMax {
    /// How a value must compare to the best one to replace it.
    replaces_when: Ordering,
    best: Option<RawBson>,
}

pub(super) fn start_min() -> Box<dyn Accumulator> {
    start(Ordering::Less)
}

pub(super) fn start_max() -> Box<dyn Accumulator> {
    start(Ordering::Greater)
}

fn start(replaces_when: Ordering) -> Box<dyn Accumulator> {
    Box::new(MinMax {
        replaces_when,
        best: None,
    })
}

impl Accumulator for MinMax {
    fn add(&mut self, value: Option<RawBsonRef<'_>>) -> Result<(), DocumentError> {
        let Some(value) = value else {
            return Ok(());
        };
        if matches!(value, RawBsonRef::Null | RawBsonRef::Undefined) {
            return Ok(());
        }
        let replaces = self
            .best
            .as_ref()
            .is_none_or(|best| order::compare(value, best.as_raw_bson_ref()) == self.replaces_when);
        if replaces {
            self.best = Some(raw::owned(value));
        }
        Ok(())
    }

    fn so_far(&self) -> Option<RawBson> {
        Some(self.best.clone().unwrap_or(RawBson::Null))
    }

    fn finish(self: Box<Self>) -> RawBson {
        self.best.unwrap_or(RawBson::Null)
    }

    fn bytes(&self) -> usize {
        let best = self.best.as_ref().map(RawBson::as_raw_bson_ref);
        size_of::<Self>() + best.map_or(0, value_bytes)
    }
}
