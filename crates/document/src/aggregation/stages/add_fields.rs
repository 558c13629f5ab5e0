//! `$addFields` and its other name `$set`.

use std::sync::Arc;

use bson::raw::{RawBsonRef, RawDocument};

use super::super::assign::Assignments;
use super::{DocumentStream, RunStage, Stage, map};
use crate::expression::Expression;
use crate::raw::{self, DocumentWriter};
use crate::sort::check_path;
use crate::{Context, DocumentError, display};

#[derive(Debug)]
struct AddFields {
    fields: Arc<Assignments<Expression>>,
}

pub(super) fn parse(argument: RawBsonRef<'_>, context: &Context) -> Result<Stage, DocumentError> {
    parse_named(argument, "$addFields", context)
}

pub(super) fn parse_set(
    argument: RawBsonRef<'_>,
    context: &Context,
) -> Result<Stage, DocumentError> {
    parse_named(argument, "$set", context)
}

fn parse_named(
    argument: RawBsonRef<'_>,
    stage: &str,
    context: &Context,
) -> Result<Stage, DocumentError> {
    let RawBsonRef::Document(specification) = argument else {
        return Err(DocumentError::location(
            40272,
            format!(
                "{stage} specification stage must be an object, got {}",
                display::type_name(argument.element_type())
            ),
        ));
    };
    let mut fields = Assignments::new();
    let inserted = insert_all(specification, "", &mut fields, context);
    inserted.map_err(|error| {
        let message = format!("Invalid {stage} :: caused by :: {}", error.message);
        DocumentError::new(error.kind, message)
    })?;
    Ok(Stage::Other(Box::new(AddFields {
        fields: Arc::new(fields),
    })))
}

/// A nested object that is no expression adds to the document at its path.
fn insert_all(
    specification: &RawDocument,
    prefix: &str,
    fields: &mut Assignments<Expression>,
    context: &Context,
) -> Result<(), DocumentError> {
    for field in raw::elements(specification) {
        let path = match prefix {
            "" => field.name.to_owned(),
            prefix => format!("{prefix}.{}", field.name),
        };
        check_path(&path)?;
        if let RawBsonRef::Document(nested) = field.value()
            && raw::elements(nested)
                .next()
                .is_some_and(|first| !first.name.starts_with('$'))
        {
            insert_all(nested, &path, fields, context)?;
            continue;
        }
        fields.insert(&path, Expression::parse(field.value(), context)?)?;
    }
    Ok(())
}

impl RunStage for AddFields {
    fn run(&self, input: DocumentStream) -> DocumentStream {
        let fields = Arc::clone(&self.fields);
        map(input, move |document| {
            let mut out = DocumentWriter::with_capacity(document.as_bytes().len() + 64);
            fields.write(
                &document,
                &mut |expression| expression.evaluate(&document),
                &mut out,
            )?;
            Ok(out.finish())
        })
    }
}
