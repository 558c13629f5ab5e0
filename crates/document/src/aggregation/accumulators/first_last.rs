//! `$first` and `$last`, in the order of arrival; a missing value is null.

use bson::raw::{RawBson, RawBsonRef};

use super::{Accumulator, value_bytes};
use crate::{DocumentError, raw};

struct FirstLast {
    keep_first: bool,
    value: Option<RawBson>,
}

pub(super) fn start_first() -> Box<dyn Accumulator> {
    Box::new(FirstLast {
        keep_first: true,
        value: None,
    })
}

pub(super) fn start_last() -> Box<dyn Accumulator> {
    Box::new(FirstLast {
        keep_first: false,
        value: None,
    })
}

impl Accumulator for FirstLast {
    fn add(&mut self, value: Option<RawBsonRef<'_>>) -> Result<(), DocumentError> {
        if !(self.keep_first && self.value.is_some()) {
            self.value = Some(raw::owned(value.unwrap_or(RawBsonRef::Null)));
        }
        Ok(())
    }

    fn so_far(&self) -> Option<RawBson> {
        Some(self.value.clone().unwrap_or(RawBson::Null))
    }

    fn finish(self: Box<Self>) -> RawBson {
        self.value.unwrap_or(RawBson::Null)
    }

    fn bytes(&self) -> usize {
        let value = self.value.as_ref().map(RawBson::as_raw_bson_ref);
        size_of::<Self>() + value.map_or(0, value_bytes)
    }
}
