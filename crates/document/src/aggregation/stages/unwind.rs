//! `$unwind`: a document for each member of an array.

use std::sync::Arc;

use bson::RawDocumentBuf;
use bson::raw::{RawBson, RawBsonRef, RawDocument};

use super::super::assign::Assignments;
use super::{DocumentStream, RunStage, Stage, bounded};
use crate::expression::Value;
use crate::path::Path;
use crate::raw::{self, DocumentWriter};
use crate::sort::check_path;
use crate::{Context, DocumentError, display};

#[derive(Debug, Clone)]
struct Unwind {
    path: Path,
    /// Where the member and its index go.
    assignments: Arc<Assignments<Part>>,
    preserve_empty: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Member,
    Index,
}

#[derive(Default)]
struct Options<'a> {
    path: Option<&'a str>,
    index_path: Option<&'a str>,
    preserve_empty: bool,
}

pub(super) fn parse(argument: RawBsonRef<'_>, _: &Context) -> Result<Stage, DocumentError> {
    let options = match argument {
        RawBsonRef::String(path) => Options {
            path: Some(path),
            ..Options::default()
        },
        RawBsonRef::Document(options) => parse_options(options)?,
        other => {
            return Err(DocumentError::location(
                15981,
                format!(
                    "expected either a string or an object as specification for $unwind stage, got {}",
                    display::type_name(other.element_type())
                ),
            ));
        }
    };
    let path = options
        .path
        .ok_or_else(|| DocumentError::location(28812, "no path specified to $unwind stage"))?;
    let path = path.strip_prefix('$').ok_or_else(|| {
        DocumentError::location(
            28818,
            format!("path option to $unwind stage should be prefixed with a '$': {path}"),
        )
    })?;
    check_path(path)?;
    let mut assignments = Assignments::new();
    assignments.insert(path, Part::Member)?;
    if let Some(index_path) = options.index_path {
        check_path(index_path)?;
        assignments.insert(index_path, Part::Index)?;
    }
    Ok(Stage::Other(Box::new(Unwind {
        path: Path::parse(path),
        assignments: Arc::new(assignments),
        preserve_empty: options.preserve_empty,
    })))
}

fn parse_options(specification: &RawDocument) -> Result<Options<'_>, DocumentError> {
    let mut options = Options::default();
    for option in raw::elements(specification) {
        let shown = || display::type_name(option.kind());
        match (option.name, option.value()) {
            ("path", RawBsonRef::String(path)) => options.path = Some(path),
            ("path", _) => {
                return Err(DocumentError::location(
                    28808,
                    format!(
                        "expected a string as the path for $unwind stage, got {}",
                        shown()
                    ),
                ));
            }
            ("preserveNullAndEmptyArrays", RawBsonRef::Boolean(preserve)) => {
                options.preserve_empty = preserve;
            }
            ("preserveNullAndEmptyArrays", _) => {
                return Err(DocumentError::location(
                    28809,
                    format!(
                        "expected a boolean for the preserveNullAndEmptyArrays option to $unwind stage, got {}",
                        shown()
                    ),
                ));
            }
            ("includeArrayIndex", RawBsonRef::String(path)) if !path.is_empty() => {
                options.index_path = Some(path);
            }
            ("includeArrayIndex", _) => {
                return Err(DocumentError::location(
                    28810,
                    format!(
                        "expected a non-empty string for the includeArrayIndex  option to $unwind stage, got {}",
                        shown()
                    ),
                ));
            }
            (unknown, _) => {
                return Err(DocumentError::location(
                    28811,
                    format!("unrecognized option to $unwind stage: {unknown}"),
                ));
            }
        }
    }
    Ok(options)
}

impl RunStage for Unwind {
    fn run(&self, input: DocumentStream) -> DocumentStream {
        let unwind = self.clone();
        Box::new(input.flat_map(move |document| unwind.expand(document)))
    }
}

impl Unwind {
    /// The documents one document becomes, made as they are pulled.
    fn expand(
        &self,
        document: Result<RawDocumentBuf, DocumentError>,
    ) -> Box<dyn Iterator<Item = Result<RawDocumentBuf, DocumentError>> + Send> {
        let document = match document {
            Ok(document) => document,
            Err(error) => return Box::new(std::iter::once(Err(error))),
        };
        let members: Vec<RawBson> = match self.path.get(&document) {
            Some(RawBsonRef::Array(array)) if !array.is_empty() => {
                raw::members(array).map(raw::owned).collect()
            }
            // An empty array is left out altogether, null and missing stay what they are.
            None | Some(RawBsonRef::Null | RawBsonRef::Undefined | RawBsonRef::Array(_)) => {
                if !self.preserve_empty {
                    return Box::new(std::iter::empty());
                }
                let member = match self.path.get(&document) {
                    None | Some(RawBsonRef::Array(_)) => None,
                    Some(value) => Some(raw::owned(value)),
                };
                return Box::new(std::iter::once(self.with(&document, member.as_ref(), None)));
            }
            Some(single) => {
                let member = raw::owned(single);
                return Box::new(std::iter::once(self.with(&document, Some(&member), None)));
            }
        };
        let unwind = self.clone();
        let indexed = members.into_iter().zip(0i64..);
        Box::new(
            indexed.map(move |(member, index)| unwind.with(&document, Some(&member), Some(index))),
        )
    }

    fn with(
        &self,
        document: &RawDocument,
        member: Option<&RawBson>,
        index: Option<i64>,
    ) -> Result<RawDocumentBuf, DocumentError> {
        let index = index.map_or(RawBson::Null, RawBson::Int64);
        let mut out = DocumentWriter::with_capacity(document.as_bytes().len());
        let mut value = |part: &Part| {
            let value = match part {
                Part::Member => member,
                Part::Index => Some(&index),
            };
            Ok(value.map(|value| Value::Borrowed(value.as_raw_bson_ref())))
        };
        self.assignments.write(document, &mut value, &mut out)?;
        bounded(out.finish())
    }
}
