//! `$eq $ne $gt $gte $lt $lte`.
//!
//! A comparison holds only between values of one class, save that null, undefined and a missing field are one to
//! it and that MinKey and MaxKey compare with everything. NaN equals NaN and is neither below nor above anything.

use super::Operand;
use crate::collation::{Collation, collated, holds_strings};
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
    /// Where the operand has strings in it: the collation, and the operand as that sees it.
    collated: Option<(Collation, RawBson)>,
}

impl Comparison {
    /// What values are compared with.
    fn standard(&self) -> RawBsonRef<'_> {
        match &self.collated {
            Some((_, operand)) => operand.as_raw_bson_ref(),
            None => self.operand.as_raw_bson_ref(),
        }
    }
}

pub(super) fn parse_eq(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    equality(operand.path, operand.value, operand.collation)
}

pub(super) fn parse_ne(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    if let RawBsonRef::RegularExpression(_) = operand.value {
        return Err(DocumentError::bad_value("Can't have regex as arg to $ne."));
    }
    equality(operand.path, operand.value, operand.collation).map(Node::not)
}

pub(super) fn parse_gt(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    comparison(operand, Operator::Greater)
}

pub(super) fn parse_gte(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    comparison(operand, Operator::GreaterOrEqual)
}

pub(super) fn parse_lt(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    comparison(operand, Operator::Less)
}

pub(super) fn parse_lte(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    comparison(operand, Operator::LessOrEqual)
}

/// `{path: value}` and `{path: {$eq: value}}`.
pub(in crate::filter) fn equality(
    path: &Path,
    value: RawBsonRef<'_>,
    collation: Option<&Collation>,
) -> Result<Node, DocumentError> {
    compare_with(path, Operator::Equal, value, collation)
}

fn comparison(operand: &Operand<'_>, operator: Operator) -> Result<Node, DocumentError> {
    compare_with(operand.path, operator, operand.value, operand.collation)
}

fn compare_with(
    path: &Path,
    operator: Operator,
    value: RawBsonRef<'_>,
    collation: Option<&Collation>,
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
                collated: collation
                    .filter(|_| holds_strings(value))
                    .map(|collation| (collation.clone(), collation.of(value).into_owned())),
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
        let operand = self.standard();
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
        let collation = self.collated.as_ref().map(|(collation, _)| collation);
        let ordering = order::compare(collated(collation, value).as_ref(), operand);
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
        let operand = self.standard();
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

    fn one_of(&self) -> Option<Vec<RawBsonRef<'_>>> {
        // To a collation many strings may be equal.
        let operand = self.equality().filter(|_| self.collated.is_none())?;
        Some(vec![operand])
    }

    fn collation(&self) -> Option<&Collation> {
        self.collated.as_ref().map(|(collation, _)| collation)
    }
}
