//! Aggregation expressions.

pub(crate) mod decimal;
pub(crate) mod number;

use bson::{RawBson, RawBsonRef, RawDocument};

use crate::DocumentError;

/// A value an expression gave: borrowed from the document where possible.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// Part of the document or of the expression.
    Borrowed(RawBsonRef<'a>),
    /// Computed.
    Owned(RawBson),
}

/// A parsed expression.
#[derive(Debug, Clone)]
pub struct Expression {}

impl Expression {
    /// Parses an expression.
    pub fn parse(specification: RawBsonRef<'_>) -> Result<Expression, DocumentError> {
        let _ = specification;
        Err(DocumentError::failed_to_parse("unfinished"))
    }

    /// The value for `document`; `None` is "missing".
    pub fn evaluate<'a>(
        &'a self,
        document: &'a RawDocument,
    ) -> Result<Option<Value<'a>>, DocumentError> {
        let _ = document;
        Err(DocumentError::failed_to_parse("unfinished"))
    }
}
