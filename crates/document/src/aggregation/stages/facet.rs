//! `$facet`: several pipelines over the same input, each result an array of the one output document.

use bson::raw::{RawBsonRef, RawDocument};

use super::super::{MEMORY_BYTES_MAX, Pipeline};
use super::{DocumentStream, RunStage, Stage, blocking, bounded, text_not_first};
use crate::raw::{self, DocumentWriter};
use crate::spill::Room;
use crate::{Context, DocumentError, display};

/// Stages that look at more than their input, or write.
const NOT_INSIDE: &[&str] = &[
    "$collStats",
    "$facet",
    "$geoNear",
    "$indexStats",
    "$out",
    "$merge",
    "$planCacheStats",
];

#[derive(Debug)]
struct Facet {
    facets: Vec<(String, Pipeline)>,
    room: Room,
}

pub(super) fn parse(argument: RawBsonRef<'_>, context: &Context) -> Result<Stage, DocumentError> {
    let RawBsonRef::Document(specification) = argument else {
        return refused(argument);
    };
    if specification.is_empty() {
        return refused(argument);
    }
    let mut facets = Vec::new();
    for facet in raw::elements(specification) {
        if facet.name.starts_with('$') || facet.name.contains('.') || facet.name.is_empty() {
            return Err(DocumentError::location(
                16410,
                "FieldPath field names may not start with '$' or contain '.'.",
            ));
        }
        let RawBsonRef::Array(stages) = facet.value() else {
            return Err(DocumentError::location(
                40170,
                format!(
                    "arguments to $facet must be arrays, {} is type {}",
                    facet.name,
                    display::type_name(facet.kind())
                ),
            ));
        };
        for stage in raw::members(stages) {
            check_stage(stage)?;
        }
        let pipeline = Pipeline::parse(stages, context)?;
        if pipeline.begins_with_text() {
            return Err(text_not_first());
        }
        facets.push((facet.name.to_owned(), pipeline));
    }
    let room = context.room().clone();
    Ok(Stage::Other(Box::new(Facet { facets, room })))
}

fn refused(argument: RawBsonRef<'_>) -> Result<Stage, DocumentError> {
    Err(DocumentError::location(
        40169,
        format!(
            "the $facet specification must be a non-empty object, but found: {}",
            display::value(argument)
        ),
    ))
}

fn check_stage(stage: RawBsonRef<'_>) -> Result<(), DocumentError> {
    let name = match stage {
        RawBsonRef::Document(stage) => raw::elements(stage).next().map(|field| field.name),
        _ => None,
    };
    match name {
        Some(name) if NOT_INSIDE.contains(&name) => Err(DocumentError::location(
            40600,
            format!("{name} is not allowed to be used within a $facet stage"),
        )),
        _ => Ok(()),
    }
}

impl RunStage for Facet {
    fn run(&self, input: DocumentStream) -> DocumentStream {
        let facets = self.facets.clone();
        let room = self.room.clone();
        blocking(input, move |input| {
            let mut documents = Vec::new();
            let mut share = room.share_of(MEMORY_BYTES_MAX);
            let mut bytes = 0;
            for document in input {
                let document = document?;
                bytes += document.as_bytes().len();
                if !share.hold(bytes) {
                    return Err(share.refusal("$facet", bytes));
                }
                documents.push(document);
            }
            let documents = std::sync::Arc::new(documents);
            let mut out = DocumentWriter::with_capacity(1024);
            for (name, pipeline) in &facets {
                let documents = std::sync::Arc::clone(&documents);
                let count = documents.len();
                let input = (0..count).map(move |index| Ok(documents[index].clone()));
                let begun = out.begin_array(name);
                for (index, document) in pipeline.run(Box::new(input)).enumerate() {
                    let document = document?;
                    let document: &RawDocument = &document;
                    out.append(&index.to_string(), RawBsonRef::Document(document));
                    if out.len() > MEMORY_BYTES_MAX {
                        break;
                    }
                }
                out.end(begun);
            }
            Ok(Some(bounded(out.finish())))
        })
    }
}
