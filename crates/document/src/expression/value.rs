//! Values of expressions.

use std::cmp::Ordering;

use bson::raw::{RawBson, RawBsonRef};

use crate::{order, raw};

/// A value an expression gave: borrowed from the document where possible.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// Part of the document or of the expression.
    Borrowed(RawBsonRef<'a>),
    /// Computed.
    Owned(RawBson),
}

impl Value<'_> {
    /// The value itself.
    #[allow(clippy::should_implement_trait)]
    pub fn as_ref(&self) -> RawBsonRef<'_> {
        match self {
            Value::Borrowed(value) => *value,
            Value::Owned(value) => value.as_raw_bson_ref(),
        }
    }

    /// A value that outlives the document.
    pub fn into_owned(self) -> RawBson {
        match self {
            Value::Borrowed(value) => raw::owned(value),
            Value::Owned(value) => value,
        }
    }

    /// What counts as true: all but false, null, undefined and zeros.
    pub fn is_true(&self) -> bool {
        let value = self.as_ref();
        match value {
            RawBsonRef::Boolean(boolean) => boolean,
            RawBsonRef::Null | RawBsonRef::Undefined => false,
            _ => !super::number::Numeric::of(value).is_some_and(|number| number.is_zero()),
        }
    }
}

/// Whether the value is missing, null or undefined.
pub(crate) fn is_nullish(value: &Option<Value<'_>>) -> bool {
    match value {
        None => true,
        Some(value) => matches!(value.as_ref(), RawBsonRef::Null | RawBsonRef::Undefined),
    }
}

/// The order of expressions: "missing" stands with undefined, below null.
pub(crate) fn compare(left: Option<RawBsonRef<'_>>, right: Option<RawBsonRef<'_>>) -> Ordering {
    order::compare(
        left.unwrap_or(RawBsonRef::Undefined),
        right.unwrap_or(RawBsonRef::Undefined),
    )
}
