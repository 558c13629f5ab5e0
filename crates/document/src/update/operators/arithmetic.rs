//! `$inc` and `$mul`: a missing field counts as zero.

use bson::raw::{RawBson, RawBsonRef};

use super::{Change, Operator, ParseResult, PathChange, Target, shown_id, type_of};
use crate::expression::number::{IntegerOverflow, Numeric};
use crate::{DocumentError, display};

#[derive(Debug)]
struct Arithmetic {
    operation: Operation,
    operand: Numeric,
}

#[derive(Debug, Clone, Copy)]
enum Operation {
    Increment,
    Multiply,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Increment => "$inc",
            Operation::Multiply => "$mul",
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Operation::Increment => "increment",
            Operation::Multiply => "multiply",
        }
    }
}

pub(super) fn parse_increment(
    path: &str,
    argument: RawBsonRef<'_>,
    changes: &mut Vec<PathChange>,
) -> ParseResult {
    push(Operation::Increment, path, argument, changes)
}

pub(super) fn parse_multiply(
    path: &str,
    argument: RawBsonRef<'_>,
    changes: &mut Vec<PathChange>,
) -> ParseResult {
    push(Operation::Multiply, path, argument, changes)
}

fn push(
    operation: Operation,
    path: &str,
    argument: RawBsonRef<'_>,
    changes: &mut Vec<PathChange>,
) -> ParseResult {
    let operand = Numeric::of(argument).ok_or_else(|| {
        DocumentError::type_mismatch(format!(
            "Cannot {} with non-numeric argument: {{{}}}",
            operation.verb(),
            display::element(path, argument)
        ))
    })?;
    changes.push(PathChange::new(path, Arithmetic { operation, operand }));
    Ok(())
}

impl Operator for Arithmetic {
    fn update<'a>(
        &'a self,
        existing: RawBsonRef<'a>,
        target: &Target<'a>,
    ) -> Result<Change<'a>, DocumentError> {
        let current = Numeric::of(existing).ok_or_else(|| {
            DocumentError::type_mismatch(format!(
                "Cannot apply {} to a value of non-numeric type. {} has the field '{}' of non-numeric type {}",
                self.operation.name(),
                shown_id(target.document),
                target.field,
                type_of(existing)
            ))
        })?;
        let result = match self.operation {
            Operation::Increment => current.add(self.operand),
            Operation::Multiply => current.multiply(self.operand),
        };
        result
            .map(|number| Change::Owned(number.into()))
            .map_err(|IntegerOverflow| {
                DocumentError::bad_value(format!(
                    "Failed to apply {} operations to current value ({}) for document {}",
                    self.operation.name(),
                    shown_integer(existing),
                    shown_id(target.document)
                ))
            })
    }

    fn create<'a>(&'a self, _target: &Target<'a>) -> Result<Change<'a>, DocumentError> {
        let value = match self.operation {
            Operation::Increment => self.operand,
            // Zero of the operand's type.
            Operation::Multiply => match self.operand {
                Numeric::Int32(_) => Numeric::Int32(0),
                Numeric::Int64(_) => Numeric::Int64(0),
                Numeric::Double(_) => Numeric::Double(0.0),
                Numeric::Decimal(_) => Numeric::Decimal(crate::order::Decimal::from_integer(0)),
            },
        };
        Ok(Change::Owned(RawBson::from(value)))
    }
}

fn shown_integer(value: RawBsonRef<'_>) -> String {
    let type_name = match value {
        RawBsonRef::Int64(_) => "NumberLong",
        _ => "NumberInt",
    };
    format!("({type_name}){}", display::value(value))
}
