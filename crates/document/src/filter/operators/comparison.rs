//! `$eq $ne $gt $gte $lt $lte`.
//!
//! A comparison holds only between values of one class, save that null, undefined and a missing field are one to
//! it and that MinKey and MaxKey compare with everything. NaN equals NaN and is neither below nor above anything.

use super::Operand;
use crate::error::DocumentError;
use crate::filter::bounds::{self, IndexBounds};
use crate::filter::{Node, Predicate};
use crate::order::{self, Number, type_class};
use crate::path::Path;
use bson::raw::{RawBson, RawBsonRef};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug)]
struct Comparison {
    operator: Operator,
    operand: RawBson,
}

pub(super) fn parse_eq(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    equality(operand.path, operand.value)
}

pub(super) fn parse_ne(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    if let RawBsonRef::RegularExpression(_) = operand.value {
        return Err(DocumentError::bad_value("Can't have regex as arg to $ne."));
    }
    equality(operand.path, operand.value).map(Node::not)
}

pub(super) fn parse_gt(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    comparison(operand.path, Operator::Greater, operand.value)
}

pub(super) fn parse_gte(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    comparison(operand.path, Operator::GreaterOrEqual, operand.value)
}

pub(super) fn parse_lt(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    comparison(operand.path, Operator::Less, operand.value)
}

pub(super) fn parse_lte(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    comparison(operand.path, Operator::LessOrEqual, operand.value)
}

/// `{path: value}` and `{path: {$eq: value}}`.
pub(in crate::filter) fn equality(
    path: &Path,
    value: RawBsonRef<'_>,
) -> Result<Node, DocumentError> {
    comparison(path, Operator::Equal, value)
}

fn comparison(
    path: &Path,
    operator: Operator,
    value: RawBsonRef<'_>,
) -> Result<Node, DocumentError> {
    match value {
        RawBsonRef::Undefined => Err(DocumentError::bad_value("cannot compare to undefined")),
        RawBsonRef::RegularExpression(_) if operator != Operator::Equal => {
            Err(DocumentError::bad_value(format!(
                "Can't have RegEx as arg to predicate over field '{}'.",
                path.as_str()
            )))
        }
        _ => Ok(Node::Test(
            path.clone(),
            Box::new(Comparison {
                operator,
                operand: value.into(),
            }),
        )),
    }
}

impl Operator {
    fn includes_equal(self) -> bool {
        matches!(
            self,
            Operator::Equal | Operator::LessOrEqual | Operator::GreaterOrEqual
        )
    }

    fn includes_less(self) -> bool {
        matches!(self, Operator::Less | Operator::LessOrEqual)
    }

    fn includes_greater(self) -> bool {
        matches!(self, Operator::Greater | Operator::GreaterOrEqual)
    }
}

impl Predicate for Comparison {
    fn matches(&self, value: Option<RawBsonRef<'_>>) -> bool {
        let operand = self.operand.as_raw_bson_ref();
        match operand {
            RawBsonRef::Null => {
                return self.operator.includes_equal()
                    && matches!(value, None | Some(RawBsonRef::Null | RawBsonRef::Undefined));
            }
            RawBsonRef::MinKey if value != Some(RawBsonRef::MinKey) => {
                return self.operator.includes_greater();
            }
            RawBsonRef::MaxKey if value != Some(RawBsonRef::MaxKey) => {
                return self.operator.includes_less();
            }
            _ => {}
        }
        let Some(value) = value else {
            return false;
        };
        if type_class(value) != type_class(operand) {
            return false;
        }
        let ordering = order::compare(value, operand);
        if ordering.is_eq() {
            return self.operator.includes_equal();
        }
        let is_nan = |value| Number::of(value).is_some_and(|number| number.is_nan());
        if is_nan(value) || is_nan(operand) {
            return false;
        }
        if ordering.is_lt() {
            self.operator.includes_less()
        } else {
            self.operator.includes_greater()
        }
    }

    fn index_bounds(&self) -> Option<IndexBounds> {
        let operand = self.operand.as_raw_bson_ref();
        let is_nan = Number::of(operand).is_some_and(|number| number.is_nan());
        match (operand, self.operator) {
            (_, Operator::Equal) => Some(bounds::equal_to(operand)),
            (_, Operator::Less | Operator::Greater) if is_nan => None,
            (RawBsonRef::Null, Operator::LessOrEqual | Operator::GreaterOrEqual) => {
                Some(bounds::equal_to(operand))
            }
            (_, Operator::Less) => bounds::below(operand, false),
            (_, Operator::LessOrEqual) => bounds::below(operand, true),
            (_, Operator::Greater) => bounds::above(operand, false),
            (_, Operator::GreaterOrEqual) => bounds::above(operand, true),
        }
    }

    fn equality(&self) -> Option<RawBsonRef<'_>> {
        (self.operator == Operator::Equal).then(|| self.operand.as_raw_bson_ref())
    }
}
