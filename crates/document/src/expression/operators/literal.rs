//! `$literal`: the argument as it is.

use bson::raw::RawBsonRef;

use crate::expression::Expression;

pub(super) fn parse(argument: RawBsonRef<'_>) -> Expression {
    Expression::constant(argument)
}
