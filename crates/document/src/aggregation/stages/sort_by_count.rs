//! `$sortByCount`: groups by an expression, counts, and sorts by the count, greatest first.

use bson::raw::{RawBson, RawBsonRef};
use bson::rawdoc;

use super::{DocumentStream, LentDocuments, RunStage, Stage, group, sorting};
use crate::sort::SortSpec;
use crate::spill::Room;
use crate::{Context, DocumentError, raw};

#[derive(Debug)]
struct SortByCount {
    group: group::Group,
    sort: SortSpec,
    room: Room,
}

pub(super) fn parse(argument: RawBsonRef<'_>, context: &Context) -> Result<Stage, DocumentError> {
    let is_expression = match argument {
        RawBsonRef::String(path) => path.starts_with('$'),
        RawBsonRef::Document(object) => raw::elements(object)
            .next()
            .is_some_and(|first| first.name.starts_with('$')),
        _ => false,
    };
    if !is_expression {
        return Err(DocumentError::location(
            40149,
            "the sortByCount field must be specified as a string or as an object",
        ));
    }
    let id: RawBson = raw::owned(argument);
    let specification = rawdoc! { "_id": id, "count": { "$sum": 1 } };
    Ok(Stage::Other(Box::new(SortByCount {
        group: group::Group::parse(&specification, context)?,
        sort: SortSpec::parse(&rawdoc! { "count": -1 })?,
        room: context.room().clone(),
    })))
}

impl RunStage for SortByCount {
    fn run(&self, input: DocumentStream) -> DocumentStream {
        self.run_lent(input.into())
    }

    fn run_lent(&self, input: LentDocuments) -> DocumentStream {
        let groups = self.group.run_lent(input);
        sorting::run(self.sort.clone(), None, self.room.clone(), groups)
    }
}
