//! `$project`: inclusion, exclusion and computed fields. Computed fields follow the included ones.

use std::collections::BTreeSet;
use std::sync::Arc;

use bson::RawDocumentBuf;
use bson::raw::{RawBson, RawBsonRef};

use super::super::assign::Assignments;
use super::{DocumentStream, RunStage, Stage, map};
use crate::expression::Expression;
use crate::projection::{Dialect, Projection, Specified, specified};
use crate::raw::DocumentWriter;
use crate::{Context, DocumentError};

#[derive(Debug)]
struct Project {
    projection: Projection,
    computed: Arc<Assignments<Expression>>,
}

pub(super) fn parse(argument: RawBsonRef<'_>, context: &Context) -> Result<Stage, DocumentError> {
    let RawBsonRef::Document(specification) = argument else {
        return Err(DocumentError::location(
            15969,
            "$project specification must be an object",
        ));
    };
    let invalid = |error: DocumentError| {
        let message = format!("Invalid $project :: caused by :: {}", error.message);
        DocumentError::new(error.kind, message)
    };
    if specification.is_empty() {
        return Err(invalid(DocumentError::location(
            51272,
            "projection specification must have at least one field",
        )));
    }
    let paths = specified(specification, Dialect::Pipeline).map_err(invalid)?;
    let projection = Projection::from_specified(&paths).map_err(invalid)?;
    let mut computed = Assignments::new();
    for (path, said) in &paths {
        if let Specified::Computed(expression) = said {
            let expression = Expression::parse(RawBson::as_raw_bson_ref(expression), context)
                .map_err(invalid)?;
            computed.insert(path, expression)?;
        }
    }
    Ok(Stage::Other(Box::new(Project {
        projection,
        computed: Arc::new(computed),
    })))
}

impl RunStage for Project {
    fn run(&self, input: DocumentStream) -> DocumentStream {
        let projection = self.projection.clone();
        let computed = Arc::clone(&self.computed);
        map(input, move |document| {
            let projected = projection.apply(&document);
            if computed.is_empty() {
                return Ok(projected);
            }
            compute(&computed, &document, projected)
        })
    }

    fn needed_fields(&self) -> Option<BTreeSet<String>> {
        let included = self.projection.included_fields()?;
        let mut fields: BTreeSet<String> = included.into_iter().map(str::to_owned).collect();
        let computed = self.computed.leaves();
        let known = computed.iter().all(|value| value.add_needs(&mut fields));
        known.then_some(fields)
    }
}

fn compute(
    computed: &Assignments<Expression>,
    document: &RawDocumentBuf,
    projected: RawDocumentBuf,
) -> Result<RawDocumentBuf, DocumentError> {
    let mut out = DocumentWriter::with_capacity(projected.as_bytes().len() + 64);
    computed.write(
        &projected,
        &mut |expression| expression.evaluate(document),
        &mut out,
    )?;
    Ok(out.finish())
}
