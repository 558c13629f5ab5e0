//! `$exists`.

use super::Operand;
use crate::error::DocumentError;
use crate::filter::{Node, Predicate};
use crate::order::Number;
use bson::raw::RawBsonRef;

#[derive(Debug)]
struct Exists;

pub(super) fn parse(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    let exists = Node::Test(operand.path.clone(), Box::new(Exists));
    Ok(if is_true(operand.value) {
        exists
    } else {
        Node::not(exists)
    })
}

/// What counts as true where MongoDB takes any value for a flag.
fn is_true(value: RawBsonRef<'_>) -> bool {
    match value {
        RawBsonRef::Boolean(flag) => flag,
        RawBsonRef::Null | RawBsonRef::Undefined => false,
        _ => match Number::of(value) {
            Some(number) => number.compare(&Number::Integer(0)).is_ne(),
            None => true,
        },
    }
}

impl Predicate for Exists {
    fn matches(&self, value: Option<RawBsonRef<'_>>) -> bool {
        value.is_some()
    }

    fn is_existence(&self) -> bool {
        true
    }
}
