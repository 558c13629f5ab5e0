//! `$type`: the name of a value's type.

use bson::raw::RawBson;

use super::{Computed, Operands, type_name};

pub(super) fn type_of(operands: &Operands<'_>) -> Computed {
    Ok(Some(RawBson::String(type_name(&operands[0]).to_owned())))
}
