//! What the parser of an expression knows of the variables around it.

use super::EXPRESSION_DEPTH_MAX;
use crate::context::Context;
use crate::{DocumentError, ErrorKind};

/// The names bound around an expression, innermost first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'p> {
    context: &'p Context,
    innermost: Option<Bound<'p>>,
    depth: usize,
}

#[derive(Debug, Clone, Copy)]
struct Bound<'p> {
    name: &'p str,
    around: &'p Scope<'p>,
}

impl<'p> Scope<'p> {
    /// No variables but those of `context`.
    pub fn new(context: &'p Context) -> Scope<'p> {
        Scope {
            context,
            innermost: None,
            depth: 0,
        }
    }

    /// The collation of comparisons.
    pub fn collation(&self) -> Option<&'p crate::Collation> {
        self.context.collation()
    }

    /// The scope with one more variable.
    pub fn bind(&'p self, name: &'p str) -> Scope<'p> {
        Scope {
            innermost: Some(Bound { name, around: self }),
            ..*self
        }
    }

    /// One level of nesting further down.
    pub fn deeper(&self) -> Result<Scope<'p>, DocumentError> {
        if self.depth == EXPRESSION_DEPTH_MAX {
            return Err(DocumentError::new(
                ErrorKind::Overflow,
                format!("Exceeded maximum nested expression depth: {EXPRESSION_DEPTH_MAX}"),
            ));
        }
        Ok(Scope {
            depth: self.depth + 1,
            ..*self
        })
    }

    /// How many variables were bound after `name`.
    pub fn position(&self, name: &str) -> Option<usize> {
        let mut scope = self;
        let mut above = 0;
        while let Some(bound) = &scope.innermost {
            if bound.name == name {
                return Some(above);
            }
            above += 1;
            scope = bound.around;
        }
        None
    }

    pub fn context(&self) -> &'p Context {
        self.context
    }
}
