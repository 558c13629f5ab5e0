//! `$mod`: fractions are cut off on both sides, the sign of the remainder is the dividend's.

use super::Operand;
use crate::error::DocumentError;
use crate::filter::{Node, Predicate};
use crate::order::Number;
use bson::raw::RawBsonRef;

#[derive(Debug)]
struct Modulo {
    divisor: i64,
    remainder: i64,
}

pub(super) fn parse(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    let malformed = |why: &str| DocumentError::bad_value(format!("malformed mod, {why}"));
    let RawBsonRef::Array(array) = operand.value else {
        return Err(malformed("needs to be an array"));
    };
    let numbers = array.into_iter().collect::<Result<Vec<_>, _>>()?;
    let (divisor, remainder) = match numbers.as_slice() {
        [] | [_] => return Err(malformed("not enough elements")),
        [divisor, remainder] => (*divisor, *remainder),
        _ => return Err(malformed("too many elements")),
    };
    let integer = |value, what: &str| {
        let number = Number::of(value).ok_or_else(|| malformed(&format!("{what} not a number")))?;
        number
            .truncate_to_i64()
            .ok_or_else(|| malformed(&format!("{what} value is invalid")))
    };
    let divisor = integer(divisor, "divisor")?;
    let remainder = integer(remainder, "remainder")?;
    if divisor == 0 {
        return Err(DocumentError::bad_value("divisor cannot be 0"));
    }
    Ok(Node::Test(
        operand.path.clone(),
        Box::new(Modulo { divisor, remainder }),
    ))
}

impl Predicate for Modulo {
    fn matches(&self, value: Option<RawBsonRef<'_>>) -> bool {
        value
            .and_then(Number::of)
            .and_then(|number| number.truncate_to_i64())
            .is_some_and(|dividend| dividend.wrapping_rem(self.divisor) == self.remainder)
    }
}
