//! Which documents of its partition a document's window holds.

use std::ops::Range;

use bson::raw::{RawBsonRef, RawDocument};

use super::Partition;
use crate::expression::number::Numeric;
use crate::expression::{TimeUnit, later_in_utc};
use crate::key_encoding::Direction;
use crate::raw;
use crate::sort::SortSpec;
use crate::{DocumentError, display};

/// One end of a window.
#[derive(Debug, Clone, Copy)]
pub(in crate::aggregation) enum End {
    Unbounded,
    Current,
    /// Documents or units of the sort field from the current document.
    Offset(f64),
}

/// A window.
#[derive(Debug, Clone, Copy)]
pub(in crate::aggregation) enum Bounds {
    Documents(End, End),
    Range {
        from: End,
        to: End,
        unit: Option<TimeUnit>,
    },
}

/// The whole partition.
pub(in crate::aggregation) const WHOLE: Bounds = Bounds::Documents(End::Unbounded, End::Unbounded);

fn fail<T>(message: impl Into<String>) -> Result<T, DocumentError> {
    Err(DocumentError::failed_to_parse(message))
}

impl Bounds {
    pub fn parse(window: &RawDocument) -> Result<Bounds, DocumentError> {
        let (mut documents, mut range, mut unit) = (None, None, None);
        for field in raw::elements(window) {
            match field.name {
                "documents" => documents = Some(ends(field.value(), true)?),
                "range" => range = Some(ends(field.value(), false)?),
                "unit" => unit = Some(TimeUnit::of(field.value())?),
                unknown => {
                    return fail(format!(
                        "'window' field can only contain 'documents' as the only argument or 'range' with an optional 'unit' \
                         field, but found '{unknown}'"
                    ));
                }
            }
        }
        match (documents, range, unit) {
            (Some((from, to)), None, None) => Ok(Bounds::Documents(from, to)),
            (None, Some((from, to)), unit) => Ok(Bounds::Range { from, to, unit }),
            (None, None, _) => Ok(WHOLE),
            _ => fail("Window bounds can specify either 'documents' or 'unit', not both."),
        }
    }

    /// Whether the window needs an order.
    pub fn needs_sort(&self) -> bool {
        match self {
            Bounds::Documents(End::Unbounded, End::Unbounded) => false,
            Bounds::Documents(_, _) | Bounds::Range { .. } => true,
        }
    }

    /// The positions in the window of the document at `index`.
    pub fn window(
        &self,
        index: usize,
        partition: &Partition,
        sort: Option<&SortSpec>,
    ) -> Result<Range<usize>, DocumentError> {
        let count = partition.documents.len();
        match self {
            Bounds::Documents(from, to) => {
                let at = |end: &End, unbounded: usize, past: i64| match end {
                    End::Unbounded => unbounded,
                    End::Current => index + past as usize,
                    End::Offset(offset) => {
                        let position = index as i64 + *offset as i64 + past;
                        position.clamp(0, count as i64) as usize
                    }
                };
                let (start, end) = (at(from, 0, 0), at(to, count, 1));
                Ok(start..end.max(start))
            }
            Bounds::Range { from, to, unit } => {
                let descending = sort.is_some_and(|sort| {
                    sort.fields()
                        .iter()
                        .any(|field| field.direction == Direction::Descending)
                });
                if descending || sort.is_none_or(|sort| sort.fields().len() != 1) {
                    return Err(DocumentError::location(
                        5_339_902,
                        "Range-based bounds require sortBy a single ascending field",
                    ));
                }
                let start = position(from, *unit, index, partition, 0, false)?;
                let end = position(to, *unit, index, partition, count, true)?;
                Ok(start..end.max(start))
            }
        }
    }
}

/// The first position at or after an end of a range; behind it for the upper end.
fn position(
    end: &End,
    unit: Option<TimeUnit>,
    index: usize,
    partition: &Partition,
    unbounded: usize,
    upper: bool,
) -> Result<usize, DocumentError> {
    let offset = match end {
        End::Unbounded => return Ok(unbounded),
        End::Current => 0.0,
        End::Offset(offset) => *offset,
    };
    let own = measure(partition.sort_values[index].as_raw_bson_ref(), unit)?;
    let bound = match unit {
        Some(unit) => {
            let moved = later_in_utc(own as i64, unit, offset as i64);
            moved.map_or(f64::INFINITY.copysign(offset), |millis| millis as f64)
        }
        None => own + offset,
    };
    let mut low = 0;
    let mut high = partition.documents.len();
    while low < high {
        let middle = usize::midpoint(low, high);
        let value = measure(partition.sort_values[middle].as_raw_bson_ref(), unit)?;
        let before = if upper { value <= bound } else { value < bound };
        if before {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// The sort value as a number, a date as milliseconds.
pub(super) fn measure(value: RawBsonRef<'_>, unit: Option<TimeUnit>) -> Result<f64, DocumentError> {
    match (value, unit) {
        (RawBsonRef::DateTime(date), Some(_)) => Ok(date.timestamp_millis() as f64),
        (_, None) if Numeric::of(value).is_some() => {
            Ok(Numeric::of(value).map_or(0.0, Numeric::as_double))
        }
        (_, Some(_)) => Err(DocumentError::location(
            5_429_513,
            format!(
                "PlanExecutor error during aggregation :: caused by :: Invalid range: Expected the sortBy field to be a \
                 Date, but it was {}",
                display::type_name(value.element_type())
            ),
        )),
        _ => Err(DocumentError::location(
            5_429_414,
            format!(
                "Invalid range: Expected the sortBy field to be a number, but it was {}",
                display::type_name(value.element_type())
            ),
        )),
    }
}

fn ends(value: RawBsonRef<'_>, whole: bool) -> Result<(End, End), DocumentError> {
    let members: Vec<RawBsonRef<'_>> = match value {
        RawBsonRef::Array(array) => raw::members(array).collect(),
        _ => Vec::new(),
    };
    let [from, to] = members[..] else {
        return fail(format!(
            "Window bounds must be a 2-element array: {}",
            display::value(value)
        ));
    };
    let (from, to) = (end(from, whole)?, end(to, whole)?);
    let place = |end: &End, unbounded: f64| match end {
        End::Unbounded => unbounded,
        End::Current => 0.0,
        End::Offset(offset) => *offset,
    };
    if place(&from, f64::NEG_INFINITY) > place(&to, f64::INFINITY) {
        return fail("Lower bound must not exceed upper bound");
    }
    Ok((from, to))
}

fn end(value: RawBsonRef<'_>, whole: bool) -> Result<End, DocumentError> {
    match value {
        RawBsonRef::String("unbounded") => Ok(End::Unbounded),
        RawBsonRef::String("current") => Ok(End::Current),
        _ => match Numeric::of(value) {
            Some(number) if !whole || number.as_whole().is_some() => {
                Ok(End::Offset(number.as_double()))
            }
            Some(_) => fail("Numeric document-based bounds must be an integer"),
            None => fail(format!(
                "Window bounds must be 'unbounded', 'current', or a number: {}",
                display::value(value)
            )),
        },
    }
}
