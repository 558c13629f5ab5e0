//! `$replaceRoot` and `$replaceWith`: an expression gives the whole new document.

use std::sync::Arc;

use bson::raw::RawBsonRef;

use super::{DocumentStream, RunStage, Stage, map};
use crate::expression::{Expression, Value};
use crate::{Context, DocumentError, display, raw};

#[derive(Debug)]
struct ReplaceRoot {
    root: Arc<Expression>,
}

pub(super) fn parse(argument: RawBsonRef<'_>, context: &Context) -> Result<Stage, DocumentError> {
    let RawBsonRef::Document(specification) = argument else {
        return Err(DocumentError::location(
            40229,
            format!(
                "expected an object as specification for $replaceRoot stage, got {}",
                display::type_name(argument.element_type())
            ),
        ));
    };
    let mut root = None;
    for option in raw::elements(specification) {
        if option.name != "newRoot" {
            return Err(DocumentError::location(
                40230,
                format!("unrecognized option to $replaceRoot stage: {}", option.name),
            ));
        }
        root = Some(option.value());
    }
    let root = root.ok_or_else(|| {
        DocumentError::location(40231, "no newRoot specified for the $replaceRoot stage")
    })?;
    parse_with(root, context)
}

pub(super) fn parse_with(
    argument: RawBsonRef<'_>,
    context: &Context,
) -> Result<Stage, DocumentError> {
    Ok(Stage::Other(Box::new(ReplaceRoot {
        root: Arc::new(Expression::parse(argument, context)?),
    })))
}

impl RunStage for ReplaceRoot {
    fn run(&self, input: DocumentStream) -> DocumentStream {
        let root = Arc::clone(&self.root);
        map(input, move |document| {
            let value = root.evaluate(&document)?;
            match value.as_ref().map(Value::as_ref) {
                Some(RawBsonRef::Document(new_root)) => Ok(new_root.to_owned()),
                other => Err(DocumentError::location(
                    40228,
                    format!(
                        "'newRoot' expression must evaluate to an object, but resulting value was: {}. Type of \
                         resulting value: '{}'. Input document: {}",
                        other.map_or("MISSING".to_owned(), display::value),
                        other.map_or("missing", |value| display::type_name(value.element_type())),
                        display::document(&document)
                    ),
                )),
            }
        })
    }
}
