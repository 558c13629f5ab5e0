//! `$bit`: bitwise and, or, xor on integers; a missing field counts as zero.

use bson::raw::{RawBson, RawBsonRef};

use super::{Change, Operator, ParseResult, PathChange, Target, shown_id, type_of};
use crate::{DocumentError, display, raw};

#[derive(Debug)]
struct Bit {
    /// Applied in order.
    operations: Vec<(Operation, Operand)>,
}

type Operation = fn(i64, i64) -> i64;

#[derive(Debug, Clone, Copy)]
enum Operand {
    Int32(i32),
    Int64(i64),
}

impl Operand {
    fn of(value: RawBsonRef<'_>) -> Option<Operand> {
        match value {
            RawBsonRef::Int32(integer) => Some(Operand::Int32(integer)),
            RawBsonRef::Int64(integer) => Some(Operand::Int64(integer)),
            _ => None,
        }
    }

    fn wide(self) -> i64 {
        match self {
            Operand::Int32(integer) => i64::from(integer),
            Operand::Int64(integer) => integer,
        }
    }
}

pub(super) fn parse(
    path: &str,
    argument: RawBsonRef<'_>,
    changes: &mut Vec<PathChange>,
) -> ParseResult {
    let specification = argument.as_document().ok_or_else(|| {
        DocumentError::bad_value(format!(
            "The $bit modifier is not compatible with a {}. You must pass in an embedded document: {{$bit: {{field: \
             {{and/or/xor: #}}}}",
            type_of(argument)
        ))
    })?;
    let mut operations = Vec::new();
    for clause in raw::elements(specification) {
        let operation: Operation = match clause.name {
            "and" => |field, mask| field & mask,
            "or" => |field, mask| field | mask,
            "xor" => |field, mask| field ^ mask,
            unknown => {
                return Err(DocumentError::bad_value(format!(
                    "The $bit modifier only supports 'and', 'or', and 'xor', not '{unknown}' which is an unknown \
                     operator: {{{}}}",
                    display::element(unknown, clause.value())
                )));
            }
        };
        let operand = Operand::of(clause.value()).ok_or_else(|| {
            DocumentError::bad_value(format!(
                "The $bit modifier field must be an Integer(32/64 bit); a '{}' is not supported here: {{{}}}",
                type_of(clause.value()),
                display::element(clause.name, clause.value())
            ))
        })?;
        operations.push((operation, operand));
    }
    if operations.is_empty() {
        return Err(DocumentError::bad_value(format!(
            "You must pass in at least one bitwise operation. The format is: {{$bit: {{field: {{and/or/xor: #}}}}, \
             found {{{}}}",
            display::element(path, argument)
        )));
    }
    changes.push(PathChange::new(path, Bit { operations }));
    Ok(())
}

impl Bit {
    fn apply(&self, start: Operand) -> RawBson {
        let result = self
            .operations
            .iter()
            .fold(start, |field, (operation, operand)| {
                let bits = operation(field.wide(), operand.wide());
                match (field, operand) {
                    // Both are sign-extended: so is the result.
                    (Operand::Int32(_), Operand::Int32(_)) => Operand::Int32(bits as i32),
                    _ => Operand::Int64(bits),
                }
            });
        match result {
            Operand::Int32(integer) => RawBson::Int32(integer),
            Operand::Int64(integer) => RawBson::Int64(integer),
        }
    }
}

impl Operator for Bit {
    fn update<'a>(
        &'a self,
        existing: RawBsonRef<'a>,
        target: &Target<'a>,
    ) -> Result<Change<'a>, DocumentError> {
        let field = Operand::of(existing).ok_or_else(|| {
            DocumentError::bad_value(format!(
                "Cannot apply $bit to a value of non-integral type.{} has the field {} of non-integer type {}",
                shown_id(target.document),
                target.field,
                type_of(existing)
            ))
        })?;
        Ok(Change::Owned(self.apply(field)))
    }

    fn create<'a>(&'a self, _target: &Target<'a>) -> Result<Change<'a>, DocumentError> {
        Ok(Change::Owned(self.apply(Operand::Int32(0))))
    }
}
