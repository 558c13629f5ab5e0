//! `$pull` and `$pullAll`: members that match a condition, or equal one of the values, go away.

use std::cmp::Ordering;

use bson::RawDocumentBuf;
use bson::raw::{RawBson, RawBsonRef, RawDocument};

use super::{Change, NonViable, Operator, ParseResult, PathChange, Target, require_array, type_of};
use crate::filter::Filter;
use crate::{DocumentError, order, raw};

/// Field that carries a member while a predicate on bare values looks at it.
const MEMBER: &str = "member";

#[derive(Debug)]
enum Pull {
    /// Members that are documents and match.
    Documents(Filter),
    /// Members of any type; the filter is on the field [`MEMBER`].
    Values(Filter),
    /// Members equal to one of these.
    Equal(Vec<RawBson>),
}

pub(super) fn parse(
    path: &str,
    argument: RawBsonRef<'_>,
    changes: &mut Vec<PathChange>,
) -> ParseResult {
    let pull = match argument {
        RawBsonRef::Document(condition) if !is_value_predicate(condition) => {
            Pull::Documents(Filter::parse(condition)?)
        }
        RawBsonRef::Document(_) | RawBsonRef::RegularExpression(_) => {
            Pull::Values(Filter::parse(&wrap(argument))?)
        }
        value => Pull::Equal(vec![raw::owned(value)]),
    };
    changes.push(PathChange::new(path, pull));
    Ok(())
}

pub(super) fn parse_all(
    path: &str,
    argument: RawBsonRef<'_>,
    changes: &mut Vec<PathChange>,
) -> ParseResult {
    let values = argument.as_array().ok_or_else(|| {
        DocumentError::bad_value(format!(
            "$pullAll requires an array argument but was given a {}",
            type_of(argument)
        ))
    })?;
    let values = raw::members(values).map(raw::owned).collect();
    changes.push(PathChange::new(path, Pull::Equal(values)));
    Ok(())
}

/// `{$gt: 5}` speaks of the member itself; `{a: 5}` and `{$or: [...]}` of its fields.
fn is_value_predicate(condition: &RawDocument) -> bool {
    raw::elements(condition).next().is_some_and(|first| {
        first.name.starts_with('$')
            && !matches!(
                first.name,
                "$and" | "$or" | "$nor" | "$expr" | "$where" | "$comment" | "$jsonSchema" | "$text"
            )
    })
}

fn wrap(value: RawBsonRef<'_>) -> RawDocumentBuf {
    let mut writer = raw::DocumentWriter::with_capacity(64);
    writer.append(MEMBER, value);
    writer.finish()
}

impl Pull {
    fn takes(&self, member: RawBsonRef<'_>) -> bool {
        match self {
            Pull::Documents(filter) => member
                .as_document()
                .is_some_and(|document| filter.matches(document)),
            Pull::Values(filter) => filter.matches(&wrap(member)),
            Pull::Equal(values) => values
                .iter()
                .any(|value| order::compare(value.as_raw_bson_ref(), member) == Ordering::Equal),
        }
    }
}

impl Operator for Pull {
    fn update<'a>(
        &'a self,
        existing: RawBsonRef<'a>,
        _target: &Target<'a>,
    ) -> Result<Change<'a>, DocumentError> {
        let array = require_array(existing, || {
            DocumentError::bad_value("Cannot apply $pull to a non-array value")
        })?;
        let mut taken = false;
        let remaining = raw::array_of(raw::members(array).filter(|member| {
            let take = self.takes(*member);
            taken |= take;
            !take
        }));
        Ok(if taken {
            Change::Owned(RawBson::Array(remaining))
        } else {
            Change::Keep
        })
    }

    fn create<'a>(&'a self, _target: &Target<'a>) -> Result<Change<'a>, DocumentError> {
        Ok(Change::Keep)
    }

    fn non_viable(&self, _document: &RawDocument) -> NonViable {
        NonViable::RefuseTraversal
    }
}
