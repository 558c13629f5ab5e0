//! Pipelines as updates: the stages that make one document of one, `_id` kept.

use bson::RawDocumentBuf;
use bson::raw::{RawArray, RawBsonRef, RawDocument};

use crate::aggregation::Pipeline;
use crate::raw::{self, DocumentWriter, elements};
use crate::{Context, DocumentError, ErrorKind, display, order, validate};

/// Stages an update may have.
const STAGES: &[&str] = &[
    "$addFields",
    "$project",
    "$replaceRoot",
    "$replaceWith",
    "$set",
    "$unset",
];

pub(super) fn parse(stages: &RawArray, context: &Context) -> Result<Pipeline, DocumentError> {
    let pipeline = Pipeline::parse(stages, context)?;
    for stage in raw::members(stages) {
        let name = match stage {
            RawBsonRef::Document(stage) => elements(stage).next().map(|field| field.name),
            _ => None,
        };
        if let Some(name) = name
            && !STAGES.contains(&name)
        {
            return Err(DocumentError::new(
                ErrorKind::InvalidOptions,
                format!("{name} is not allowed to be used within an update"),
            ));
        }
    }
    Ok(pipeline)
}

pub(super) fn apply(
    stages: &Pipeline,
    document: &RawDocument,
) -> Result<RawDocumentBuf, DocumentError> {
    let input = Box::new(std::iter::once(Ok(document.to_owned())));
    let updated = stages
        .run(input)
        .next()
        .expect("every stage of an update gives one document for one")?;
    let updated = keep_id(document, updated)?;
    validate::well_formed(&updated, validate::NESTING_MAX)?;
    Ok(updated)
}

/// `_id` comes back when a stage took it away; it must not change.
fn keep_id(before: &RawDocument, after: RawDocumentBuf) -> Result<RawDocumentBuf, DocumentError> {
    let Some(old) = elements(before).find(|element| element.name == "_id") else {
        return Ok(after);
    };
    if let Ok(Some(new)) = after.get("_id")
        && order::compare(old.value(), new).is_ne()
    {
        return Err(DocumentError::new(
            ErrorKind::ImmutableField,
            format!(
                "After applying the update, the (immutable) field '_id' was found to have been altered to {}",
                display::element("_id", new)
            ),
        ));
    }
    let mut writer = DocumentWriter::with_capacity(after.as_bytes().len() + 32);
    writer.copy(&old);
    for element in elements(&after).filter(|element| element.name != "_id") {
        writer.copy(&element);
    }
    Ok(writer.finish())
}
