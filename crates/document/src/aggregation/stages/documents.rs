//! `$documents`: the input is given with the pipeline.

use bson::RawDocumentBuf;
use bson::raw::{RawBsonRef, RawDocument};

use super::{DocumentStream, RunStage, Stage};
use crate::expression::{Expression, Value};
use crate::raw;
use crate::{Context, DocumentError};

#[derive(Debug)]
struct Documents {
    documents: Vec<RawDocumentBuf>,
}

pub(super) fn parse(argument: RawBsonRef<'_>, context: &Context) -> Result<Stage, DocumentError> {
    let nothing = RawDocumentBuf::new();
    let expression = Expression::parse(argument, context)?;
    let listed = expression.evaluate(&nothing)?;
    let Some(RawBsonRef::Array(array)) = listed.as_ref().map(Value::as_ref) else {
        return refused();
    };
    let mut documents = Vec::new();
    for member in raw::members(array) {
        match member {
            RawBsonRef::Document(document) => documents.push(RawDocument::to_owned(document)),
            _ => return refused(),
        }
    }
    Ok(Stage::Other(Box::new(Documents { documents })))
}

fn refused() -> Result<Stage, DocumentError> {
    Err(DocumentError::location(
        5_858_203,
        "error during aggregation :: caused by :: an array of objects is expected in $documents",
    ))
}

impl RunStage for Documents {
    fn run(&self, _: DocumentStream) -> DocumentStream {
        Box::new(self.documents.clone().into_iter().map(Ok))
    }

    fn makes_documents(&self) -> bool {
        true
    }
}
