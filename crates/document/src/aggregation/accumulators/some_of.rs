//! A bounded number of values: the first, the last, the least or the greatest, by themselves or by a sort.

use bson::raw::{RawBson, RawBsonRef};

use super::{Accumulator, value_bytes};
use crate::key_encoding::{self, Direction};
use crate::{DocumentError, raw};

/// Which values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// In the order of arrival.
    First,
    Last,
    /// In the order of the key; the least first.
    Least,
    /// The greatest: by themselves the greatest first, by a sort in its order.
    Greatest,
}

struct SomeOf {
    which: Which,
    n: usize,
    sorted: bool,
    single: bool,
    /// In the order of the key, then of arrival.
    kept: Vec<(Vec<u8>, RawBson)>,
    bytes: usize,
}

/// `{n, input}`.
pub(super) fn start(which: Which, n: usize, single: bool) -> Box<dyn Accumulator> {
    Box::new(SomeOf {
        which,
        n,
        sorted: false,
        single,
        kept: Vec::new(),
        bytes: 0,
    })
}

/// `{n, sortBy, output}`, or without `n` for the one value.
pub(super) fn start_sorted(which: Which, n: usize, single: bool) -> Box<dyn Accumulator> {
    Box::new(SomeOf {
        which,
        n,
        sorted: true,
        single,
        kept: Vec::new(),
        bytes: 0,
    })
}

impl SomeOf {
    fn remove(&mut self, position: usize) {
        let (key, value) = self.kept.remove(position);
        self.bytes -= key.len() + value_bytes(value.as_raw_bson_ref());
    }

    fn insert(&mut self, key: Vec<u8>, value: RawBsonRef<'_>) {
        let position = match self.which {
            Which::First | Which::Last => self.kept.len(),
            Which::Least | Which::Greatest => self.kept.partition_point(|(known, _)| *known <= key),
        };
        let full = self.kept.len() == self.n;
        match self.which {
            Which::First | Which::Least if full && position == self.n => return,
            Which::Greatest if full && position == 0 => return,
            _ => {}
        }
        self.bytes += key.len() + value_bytes(value);
        self.kept.insert(position, (key, raw::owned(value)));
        if full {
            match self.which {
                Which::First | Which::Least => self.remove(self.n),
                Which::Last | Which::Greatest => self.remove(0),
            }
        }
    }
}

impl Accumulator for SomeOf {
    fn add(&mut self, value: Option<RawBsonRef<'_>>) -> Result<(), DocumentError> {
        let value = match (self.which, value) {
            (Which::First | Which::Last, value) => value.unwrap_or(RawBsonRef::Null),
            // The least and greatest are of what is there.
            (_, None | Some(RawBsonRef::Null | RawBsonRef::Undefined)) => return Ok(()),
            (_, Some(value)) => value,
        };
        let mut key = Vec::new();
        if matches!(self.which, Which::Least | Which::Greatest) {
            key_encoding::encode(value, Direction::Ascending, &mut key);
        }
        self.insert(key, value);
        Ok(())
    }

    fn add_at(&mut self, key: Vec<u8>, value: Option<RawBsonRef<'_>>) -> Result<(), DocumentError> {
        self.insert(key, value.unwrap_or(RawBsonRef::Null));
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> RawBson {
        if self.which == Which::Greatest && !self.sorted {
            self.kept.reverse();
        }
        if self.single {
            return match self.kept.pop() {
                Some((_, value)) => value,
                None => RawBson::Null,
            };
        }
        let values = self.kept.iter().map(|(_, value)| value.as_raw_bson_ref());
        RawBson::Array(raw::array_of(values))
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.bytes
    }
}
