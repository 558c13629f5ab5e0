//! Comparisons under a collation: their operands are put through it, which is enough where the result holds none of them.

use std::sync::Arc;

use super::{Compute, Computed};
use crate::Collation;
use crate::expression::{Environment, Expression, Node};

/// Operators that only compare their operands.
pub(super) const COMPARING: &[&str] = &[
    "$cmp",
    "$eq",
    "$gt",
    "$gte",
    "$in",
    "$indexOfArray",
    "$lt",
    "$lte",
    "$ne",
    "$setEquals",
    "$setIsSubset",
];

/// An operand as a collation sees it.
#[derive(Debug)]
struct InCollation {
    operand: Expression,
    collation: Collation,
}

/// The operands as `collation` sees them.
pub(super) fn operands(operands: Vec<Expression>, collation: &Collation) -> Vec<Expression> {
    let seen = operands.into_iter().map(|operand| {
        Expression::from(Node::Prepared(Arc::new(InCollation {
            operand,
            collation: collation.clone(),
        })))
    });
    seen.collect()
}

impl Compute for InCollation {
    fn compute(&self, environment: Environment<'_>) -> Computed {
        let value = self.operand.evaluate_in(environment)?;
        Ok(value.map(|value| self.collation.of(value.as_ref()).into_owned()))
    }
}
