//! Which fields of a document an expression looks at, as far as that can be told without evaluating it.

use std::collections::BTreeSet;

use super::{Expression, Node};

impl Expression {
    /// Adds the top-level fields that the value depends on. False where it may depend on anything: the other fields may be
    /// left out only if this is true.
    pub(crate) fn add_needs(&self, fields: &mut BTreeSet<String>) -> bool {
        match &self.node {
            Node::Constant(_) | Node::Missing => true,
            // What binds a variable is prepared, and so not looked into.
            Node::Variable { .. } | Node::Prepared(_) => false,
            Node::Path(names) | Node::RootPath(names) => match names.first() {
                Some(name) => {
                    fields.insert(name.clone());
                    true
                }
                None => false,
            },
            Node::Object(members) => members.iter().all(|(_, value)| value.add_needs(fields)),
            Node::Array(items) => items.iter().all(|item| item.add_needs(fields)),
            Node::Operator { operands, .. } => {
                operands.iter().all(|operand| operand.add_needs(fields))
            }
        }
    }
}
