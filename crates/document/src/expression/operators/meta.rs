//! `{$meta: "textScore"}`: how well the document fits the search that found it.

use std::sync::Arc;

use bson::raw::{RawBson, RawBsonRef};

use super::operands::fail;
use super::{Compute, Computed, Node};
use crate::context::Scores;
use crate::expression::{Environment, Expression, Scope};
use crate::text::TextSearch;
use crate::{DocumentError, ErrorKind};

/// What MongoDB knows of documents besides the score.
const OTHERS: &[&str] = &[
    "geoNearDistance",
    "geoNearPoint",
    "indexKey",
    "randVal",
    "recordId",
    "searchHighlights",
    "searchScore",
    "searchScoreDetails",
    "sortKey",
    "vectorSearchScore",
];

#[derive(Debug)]
struct Score(Arc<TextSearch>);

pub(super) fn parse(
    name: &str,
    argument: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<Expression, DocumentError> {
    let RawBsonRef::String(what) = argument else {
        return fail(17307, format!("{name} only supports strings as arguments"));
    };
    if what != "textScore" {
        return match OTHERS.contains(&what) {
            true => Err(DocumentError::new(
                ErrorKind::CommandNotSupported,
                format!("{name}: \"{what}\" is not supported"),
            )),
            false => fail(17308, format!("Unsupported argument to {name}: {what}")),
        };
    }
    match scope.context().scores() {
        Scores::Of(search) => Ok(Node::Prepared(Arc::new(Score(Arc::clone(search)))).into()),
        Scores::Unbound => Ok(Expression::missing()),
        Scores::None => fail(
            40218,
            "query requires text score metadata, but it is not available",
        ),
        Scores::Passed => Err(DocumentError::new(
            ErrorKind::CommandNotSupported,
            format!(
                "{name}: \"textScore\" behind a stage that changes documents is not supported: put the score into a field \
                 in the first such stage"
            ),
        )),
    }
}

impl Compute for Score {
    fn compute(&self, environment: Environment<'_>) -> Computed {
        Ok(Some(RawBson::Double(self.0.score(environment.root)?)))
    }
}
