//! `$rand`: the next number of the context's sequence, in [0, 1).

use std::sync::Arc;

use bson::raw::{RawBson, RawBsonRef};

use super::operands::fail;
use super::{Compute, Computed, Node};
use crate::context::Draws;
use crate::expression::{Environment, Expression, Scope};
use crate::{DocumentError, ErrorKind, raw};

#[derive(Debug)]
struct Random(Arc<Draws>);

pub(super) fn parse(
    name: &str,
    argument: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<Expression, DocumentError> {
    let empty = match argument {
        RawBsonRef::Document(object) => object.is_empty(),
        RawBsonRef::Array(array) => raw::members(array).next().is_none(),
        _ => false,
    };
    if !empty {
        return fail(3_040_501, "$rand does not currently accept arguments");
    }
    match scope.context().draws() {
        Some(draws) => Ok(Node::Prepared(Arc::new(Random(Arc::clone(draws)))).into()),
        None => Err(DocumentError::new(
            ErrorKind::CommandNotSupported,
            format!(
                "{name} is not supported here: the expression is evaluated more than once and must not change"
            ),
        )),
    }
}

impl Compute for Random {
    fn compute(&self, _: Environment<'_>) -> Computed {
        Ok(Some(RawBson::Double(self.0.next_fraction())))
    }
}
