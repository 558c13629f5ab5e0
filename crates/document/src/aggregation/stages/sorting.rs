//! `$sort`: in memory, then on disk where there is room for it; with a limit behind it only the first rows are held.

use bson::raw::RawBsonRef;

use super::{DocumentStream, Stage, blocking};
use crate::sort::SortSpec;
use crate::spill::{DocumentSorter, Room};
use crate::{Context, DocumentError};

pub(super) fn parse(argument: RawBsonRef<'_>, context: &Context) -> Result<Stage, DocumentError> {
    let RawBsonRef::Document(fields) = argument else {
        return Err(DocumentError::location(
            15973,
            "the $sort key specification must be an object",
        ));
    };
    let sort = SortSpec::parse_in(fields, context)?.with_collation(context.collation());
    if sort.natural().is_some() {
        return Err(DocumentError::location(
            16410,
            "FieldPath field names may not start with '$'. Consider using $getField or $setField.",
        ));
    }
    if sort.is_empty() {
        return Err(DocumentError::location(
            15976,
            "$sort stage must have at least one sort key",
        ));
    }
    Ok(Stage::Sort(sort))
}

pub(super) fn run(
    sort: SortSpec,
    limit: Option<usize>,
    room: Room,
    input: DocumentStream,
) -> DocumentStream {
    blocking(input, move |input| {
        let mut sorter = DocumentSorter::new(limit, &room);
        for document in input {
            let document = document?;
            sorter.push(sort.key(&document)?, document)?;
        }
        sorter.finish()
    })
}
