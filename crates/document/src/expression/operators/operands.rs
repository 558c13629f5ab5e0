//! Evaluated operands and what operators ask of them.

use std::ops::Deref;

use bson::DateTime;
use bson::raw::{RawArray, RawBson, RawBsonRef};

use super::Computed;
use crate::expression::number::Numeric;
use crate::expression::value::is_nullish;
use crate::expression::{Expression, Value};
use crate::{DocumentError, display};

/// The evaluated operands of one operator; `None` is "missing".
pub(in crate::expression) struct Operands<'a> {
    /// The operator.
    pub name: &'static str,
    values: &'a [Option<Value<'a>>],
    expressions: &'a [Expression],
}

impl<'a> Deref for Operands<'a> {
    type Target = [Option<Value<'a>>];

    fn deref(&self) -> &Self::Target {
        self.values
    }
}

impl<'a> Operands<'a> {
    pub fn new(
        name: &'static str,
        values: &'a [Option<Value<'a>>],
        expressions: &'a [Expression],
    ) -> Operands<'a> {
        Operands {
            name,
            values,
            expressions,
        }
    }

    /// The value; missing as undefined.
    pub fn value(&self, index: usize) -> RawBsonRef<'_> {
        self.values
            .get(index)
            .and_then(Option::as_ref)
            .map_or(RawBsonRef::Undefined, Value::as_ref)
    }

    /// Whether the operand was written at all.
    pub fn given(&self, index: usize) -> bool {
        self.expressions
            .get(index)
            .is_some_and(|expression| !expression.is_absent())
    }

    /// Missing, null or undefined.
    pub fn nullish(&self, index: usize) -> bool {
        self.values.get(index).is_none_or(is_nullish)
    }

    /// Whether any operand is missing, null or undefined.
    pub fn any_nullish(&self) -> bool {
        self.values.iter().any(is_nullish)
    }

    pub fn number(&self, index: usize) -> Option<Numeric> {
        Numeric::of(self.value(index))
    }

    pub fn text(&self, index: usize) -> Option<&str> {
        match self.value(index) {
            RawBsonRef::String(text) | RawBsonRef::Symbol(text) => Some(text),
            _ => None,
        }
    }

    pub fn array(&self, index: usize) -> Option<&RawArray> {
        self.value(index).as_array()
    }

    /// The type's name, as messages give it.
    pub fn type_name(&self, index: usize) -> &'static str {
        self.values.get(index).map_or("missing", type_name)
    }

    /// The value, as messages give it.
    pub fn shown(&self, index: usize) -> String {
        match self.values.get(index) {
            Some(Some(value)) => display::value(value.as_ref()),
            _ => "missing".to_owned(),
        }
    }

    /// A whole number in the range of int32.
    pub fn int32(&self, index: usize) -> Option<i32> {
        let whole = self.number(index)?.as_whole()?;
        i32::try_from(whole).ok()
    }
}

/// The type name of an operand, as messages give it.
pub(super) fn type_name(operand: &Option<Value<'_>>) -> &'static str {
    operand.as_ref().map_or("missing", |value| {
        display::type_name(value.as_ref().element_type())
    })
}

pub(super) fn null() -> Computed {
    Ok(Some(RawBson::Null))
}

pub(super) fn boolean(value: bool) -> Computed {
    Ok(Some(RawBson::Boolean(value)))
}

pub(super) fn text(value: impl Into<String>) -> Computed {
    Ok(Some(RawBson::String(value.into())))
}

pub(super) fn number(value: Numeric) -> Computed {
    Ok(Some(value.into()))
}

pub(super) fn date(millis: i64) -> Computed {
    Ok(Some(RawBson::DateTime(DateTime::from_millis(millis))))
}

/// A count or position: int32, or int64 where it does not fit.
pub(super) fn count(value: usize) -> Computed {
    Ok(Some(match i32::try_from(value) {
        Ok(value) => RawBson::Int32(value),
        Err(_) => RawBson::Int64(i64::try_from(value).unwrap_or(i64::MAX)),
    }))
}

pub(super) fn fail<T>(code: i32, message: impl Into<String>) -> Result<T, DocumentError> {
    Err(DocumentError::location(code, message))
}
