//! `$unset`: an exclusion by a path or a list of paths.

use bson::raw::{RawBson, RawBsonRef};

use super::{DocumentStream, RunStage, Stage, map};
use crate::projection::{Projection, Specified};
use crate::sort::check_path;
use crate::{Context, DocumentError, raw};

#[derive(Debug)]
struct Unset {
    projection: Projection,
}

pub(super) fn parse(argument: RawBsonRef<'_>, _: &Context) -> Result<Stage, DocumentError> {
    let listed = match argument {
        RawBsonRef::String(_) => vec![raw::owned(argument)],
        RawBsonRef::Array(array) => raw::members(array).map(raw::owned).collect(),
        _ => {
            return Err(DocumentError::location(
                31002,
                "$unset specification must be a string or an array",
            ));
        }
    };
    if listed.is_empty() {
        return Err(DocumentError::location(
            31119,
            "$unset specification must be a string or an array with at least one field",
        ));
    }
    let mut paths = Vec::with_capacity(listed.len());
    for path in listed {
        let RawBson::String(path) = path else {
            return Err(DocumentError::location(
                31120,
                "$unset specification must be a string or an array containing only string values",
            ));
        };
        check_path(&path)?;
        paths.push((path, Specified::Exclude));
    }
    let projection = Projection::from_specified(&paths).map_err(|error| {
        let message = format!("Invalid $unset :: caused by :: {}", error.message);
        DocumentError::new(error.kind, message)
    })?;
    Ok(Stage::Other(Box::new(Unset { projection })))
}

impl RunStage for Unset {
    fn run(&self, input: DocumentStream) -> DocumentStream {
        let projection = self.projection.clone();
        map(input, move |document| Ok(projection.apply(&document)))
    }
}
