//! `$redact`: keeps, prunes or looks into every embedded document, as an expression over it says.

use std::sync::Arc;

use bson::RawDocumentBuf;
use bson::raw::{RawArray, RawBson, RawBsonRef, RawDocument};

use super::{DocumentStream, RunStage, Stage};
use crate::expression::{Environment, Expression, Value};
use crate::raw::{self, DocumentWriter};
use crate::{Context, DocumentError};

#[derive(Debug)]
struct Redact {
    expression: Arc<Expression>,
}

/// What the variables hold; the expression gives one of them back.
const DECISIONS: [&str; 3] = ["DESCEND", "PRUNE", "KEEP"];

pub(super) fn parse(argument: RawBsonRef<'_>, context: &Context) -> Result<Stage, DocumentError> {
    let variables = DECISIONS.map(|name| (name.to_owned(), RawBson::String(name.to_lowercase())));
    let context = context.clone().with_variables(variables.to_vec());
    Ok(Stage::Other(Box::new(Redact {
        expression: Arc::new(Expression::parse(argument, &context)?),
    })))
}

impl RunStage for Redact {
    fn run(&self, input: DocumentStream) -> DocumentStream {
        let expression = Arc::clone(&self.expression);
        Box::new(input.filter_map(move |document| {
            let document = match document {
                Ok(document) => document,
                Err(error) => return Some(Err(error)),
            };
            redacted(&expression, &document, &document).transpose()
        }))
    }
}

/// What is left of `current`; `None` when it is pruned.
fn redacted(
    expression: &Expression,
    root: &RawDocument,
    current: &RawDocument,
) -> Result<Option<RawDocumentBuf>, DocumentError> {
    let environment = Environment::of(root).at(RawBsonRef::Document(current));
    let decision = expression.evaluate_in(environment)?;
    match decision.as_ref().map(Value::as_ref) {
        Some(RawBsonRef::String("keep")) => Ok(Some(current.to_owned())),
        Some(RawBsonRef::String("prune")) => Ok(None),
        Some(RawBsonRef::String("descend")) => {
            let mut out = DocumentWriter::with_capacity(current.as_bytes().len());
            for element in raw::elements(current) {
                match element.value() {
                    RawBsonRef::Document(embedded) => {
                        if let Some(left) = redacted(expression, root, embedded)? {
                            let left: &RawDocument = &left;
                            out.append(element.name, RawBsonRef::Document(left));
                        }
                    }
                    RawBsonRef::Array(array) => {
                        let left = redacted_members(expression, root, array)?;
                        out.append(element.name, RawBsonRef::Array(&left));
                    }
                    _ => out.copy(&element),
                }
            }
            Ok(Some(out.finish()))
        }
        _ => Err(DocumentError::location(
            17053,
            "$redact's expression should not return anything aside from the variables $$KEEP, $$DESCEND, and $$PRUNE, \
             but returned something else",
        )),
    }
}

fn redacted_members(
    expression: &Expression,
    root: &RawDocument,
    array: &RawArray,
) -> Result<bson::RawArrayBuf, DocumentError> {
    let mut left = bson::RawArrayBuf::new();
    for member in raw::members(array) {
        match member {
            RawBsonRef::Document(embedded) => {
                if let Some(kept) = redacted(expression, root, embedded)? {
                    left.push(kept);
                }
            }
            RawBsonRef::Array(inner) => left.push(redacted_members(expression, root, inner)?),
            other => left.push(other),
        }
    }
    Ok(left)
}
