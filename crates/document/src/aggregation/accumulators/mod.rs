//! The registry of accumulators of `$group` and of window functions: one entry each.

mod add_to_set;
mod average;
mod deviation;
mod first_last;
mod merge_objects;
mod min_max;
mod percentile;
mod push;
mod some_of;
mod specification;
mod sum;
mod total;

use bson::raw::{RawBson, RawBsonRef};

use crate::DocumentError;
pub(crate) use percentile::{check_method as check_percentile_method, percentiles};
pub(crate) use specification::{Specification, parse};

/// The running value of one accumulator in one group.
pub(crate) trait Accumulator: Send {
    /// Takes the value of the next document; `None` is "missing".
    fn add(&mut self, value: Option<RawBsonRef<'_>>) -> Result<(), DocumentError>;

    /// The same, with the document's place in the order the accumulator asked for.
    fn add_at(&mut self, key: Vec<u8>, value: Option<RawBsonRef<'_>>) -> Result<(), DocumentError> {
        drop(key);
        self.add(value)
    }

    /// The result so far, where telling it is cheap.
    fn so_far(&self) -> Option<RawBson> {
        None
    }

    /// The result.
    fn finish(self: Box<Self>) -> RawBson;

    /// Memory held, itself included.
    fn bytes(&self) -> usize;
}

/// An accumulator without parameters.
type Start = fn() -> Box<dyn Accumulator>;

/// What an accumulator takes.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// One expression.
    Unary(Start),
    /// `{}`.
    Count,
    /// `{n, input}`.
    Some(some_of::Which),
    /// `{sortBy, output}`.
    Top(some_of::Which),
    /// `{n, sortBy, output}`.
    TopN(some_of::Which),
    Percentile,
    Median,
    /// Known, and not offered.
    Refused(&'static str),
}

use some_of::Which;

/// Every accumulator that exists, and those that are refused by name.
const REGISTRY: &[(&str, Kind)] = &[
    ("$accumulator", Kind::Refused("there is no JavaScript here")),
    ("$addToSet", Kind::Unary(add_to_set::start)),
    ("$avg", Kind::Unary(average::start)),
    ("$bottom", Kind::Top(Which::Greatest)),
    ("$bottomN", Kind::TopN(Which::Greatest)),
    ("$count", Kind::Count),
    ("$first", Kind::Unary(first_last::start_first)),
    ("$firstN", Kind::Some(Which::First)),
    ("$last", Kind::Unary(first_last::start_last)),
    ("$lastN", Kind::Some(Which::Last)),
    ("$max", Kind::Unary(min_max::start_max)),
    ("$maxN", Kind::Some(Which::Greatest)),
    ("$median", Kind::Median),
    ("$mergeObjects", Kind::Unary(merge_objects::start)),
    ("$min", Kind::Unary(min_max::start_min)),
    ("$minN", Kind::Some(Which::Least)),
    ("$percentile", Kind::Percentile),
    ("$push", Kind::Unary(push::start)),
    ("$stdDevPop", Kind::Unary(deviation::start_population)),
    ("$stdDevSamp", Kind::Unary(deviation::start_sample)),
    ("$sum", Kind::Unary(sum::start)),
    ("$top", Kind::Top(Which::Least)),
    ("$topN", Kind::TopN(Which::Least)),
];

pub(crate) fn sum() -> Box<dyn Accumulator> {
    sum::start()
}

pub(crate) fn average() -> Box<dyn Accumulator> {
    average::start()
}

pub(crate) fn min() -> Box<dyn Accumulator> {
    min_max::start_min()
}

pub(crate) fn max() -> Box<dyn Accumulator> {
    min_max::start_max()
}

pub(crate) fn deviation_of_population() -> Box<dyn Accumulator> {
    deviation::start_population()
}

pub(crate) fn deviation_of_sample() -> Box<dyn Accumulator> {
    deviation::start_sample()
}

/// The list of the asked percentiles.
pub(crate) fn percentile(asked: Vec<f64>) -> Box<dyn Accumulator> {
    percentile::start(asked, false)
}

pub(crate) fn median() -> Box<dyn Accumulator> {
    percentile::start(vec![0.5], true)
}

/// Bytes of a value that an accumulator keeps.
fn value_bytes(value: RawBsonRef<'_>) -> usize {
    let content = match value {
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) | RawBsonRef::JavaScriptCode(text) => {
            text.len()
        }
        RawBsonRef::Document(document) => document.as_bytes().len(),
        RawBsonRef::Array(array) => array.as_bytes().len(),
        RawBsonRef::Binary(binary) => binary.bytes.len(),
        _ => 0,
    };
    content + size_of::<RawBson>()
}
