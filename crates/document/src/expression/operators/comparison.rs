//! `$eq $ne $gt $gte $lt $lte $cmp`: the order of all values; a missing value is below null.

use std::cmp::Ordering;

use bson::raw::RawBson;

use super::{Computed, Operands};
use crate::expression::compare;

fn ordering(operands: &Operands<'_>) -> Ordering {
    compare(
        operands[0].as_ref().map(|value| value.as_ref()),
        operands[1].as_ref().map(|value| value.as_ref()),
    )
}

fn boolean(value: bool) -> Computed {
    Ok(Some(RawBson::Boolean(value)))
}

pub(super) fn equal(operands: &Operands<'_>) -> Computed {
    boolean(ordering(operands).is_eq())
}

pub(super) fn not_equal(operands: &Operands<'_>) -> Computed {
    boolean(ordering(operands).is_ne())
}

pub(super) fn greater(operands: &Operands<'_>) -> Computed {
    boolean(ordering(operands).is_gt())
}

pub(super) fn greater_or_equal(operands: &Operands<'_>) -> Computed {
    boolean(ordering(operands).is_ge())
}

pub(super) fn less(operands: &Operands<'_>) -> Computed {
    boolean(ordering(operands).is_lt())
}

pub(super) fn less_or_equal(operands: &Operands<'_>) -> Computed {
    boolean(ordering(operands).is_le())
}

pub(super) fn compare_operands(operands: &Operands<'_>) -> Computed {
    Ok(Some(RawBson::Int32(ordering(operands) as i32)))
}
