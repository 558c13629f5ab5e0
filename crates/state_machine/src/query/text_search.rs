//! Plans for filters with `$text`: the entries of the search's terms, alone or as one branch of a disjunction. There is no
//! other way to answer one, so what MongoDB refuses is refused here, too.

use std::cmp::Ordering;
use std::sync::Arc;

use bson::RawBson;
use document::filter::{Interval, PathBounds, TextCondition, no_text_index};
use document::sort::SortSpec;
use document::text::{TextSearch, key_of};
use document::{DocumentError, ErrorKind, order};

use super::bounds;
use super::candidate::{self, Candidate, Conjunction};
use super::index_kind;
use super::key_limits;
use super::planner::{self, Access, IndexScan, Plan, UnionScan, Wanted};
use super::request::QueryError;
use crate::catalog::{CollectionEntry, IndexEntry};

/// The plan for a filter with a search in it.
pub(super) fn plan(
    collection: &CollectionEntry,
    text: &TextCondition,
    wanted: &Wanted<'_>,
) -> Result<Plan, QueryError> {
    let search = text.search().ok_or_else(no_text_index)?;
    if wanted.hint.is_some() {
        return Err(DocumentError::bad_value("text and hint not allowed in same query").into());
    }
    if wanted.limits.is_some() {
        return Err(key_limits::without_hint().into());
    }
    if wanted.sort.and_then(SortSpec::natural).is_some() {
        return Err(DocumentError::bad_value(
            "text expression not allowed with $natural sort order",
        )
        .into());
    }
    let conjunction = Conjunction::of_filter(wanted.filter, wanted.collation);
    let access = if conjunction.is_void() {
        Access::Nothing
    } else if wanted.filter.needs_text() {
        match scan(collection, search, &conjunction)? {
            Some(scan) => Access::Index(scan),
            None => Access::Nothing,
        }
    } else {
        union(collection, search, wanted)?
    };
    if matches!(access, Access::Nothing) {
        return Ok(planner::nothing());
    }
    Ok(Plan {
        access,
        must_sort: wanted.sort.is_some_and(|sort| !sort.is_empty()),
        covers_filter: false,
        covering: None,
        rejected: Vec::new(),
    })
}

/// The entries of the terms; `None` when the search has none, and so finds nothing.
fn scan(
    collection: &CollectionEntry,
    search: &TextSearch,
    conjunction: &Conjunction<'_>,
) -> Result<Option<IndexScan>, QueryError> {
    let (index, text) = collection.text_index().ok_or_else(no_text_index)?;
    if index.partial.is_some() && !candidate::is_sound(index, conjunction) {
        return Err(no_plan());
    }
    let terms = search.query().terms().iter();
    let mut terms: Vec<RawBson> = terms.map(|term| RawBson::String(key_of(term))).collect();
    terms.sort_by(|left, right| order::compare(left.as_raw_bson_ref(), right.as_raw_bson_ref()));
    if terms.is_empty() {
        return Ok(None);
    }
    let mut all = Vec::with_capacity(index.fields.len());
    for (position, (field, _)) in index.fields.iter().enumerate() {
        all.push(match position.cmp(&text.terms_at()) {
            Ordering::Less => given(index, conjunction, field.as_str()).ok_or_else(no_plan)?,
            Ordering::Equal => terms.iter().cloned().map(Interval::point).collect(),
            Ordering::Greater => bounds::everything(),
        });
    }
    Ok(Some(candidate::index_scan(collection, index, all)))
}

/// The values that an equality gives a field before the terms.
fn given(index: &IndexEntry, conjunction: &Conjunction<'_>, field: &str) -> Option<Vec<Interval>> {
    let is_given = |bounds: &&PathBounds<'_>| {
        bounds.path == field
            && bounds::are_points(&bounds.intervals)
            && conjunction.suits(bounds, index)
    };
    let found = conjunction.bounds.iter().find(is_given)?;
    Some(found.intervals.clone())
}

fn no_plan() -> QueryError {
    DocumentError::new(
        ErrorKind::NoQueryExecutionPlans,
        "error processing query: planner returned error :: caused by :: failed to use text index to satisfy $text query \
         (if text index is compound, are equality predicates given for all prefix fields?)",
    )
    .into()
}

/// The search as one branch of a disjunction, of which every other needs an index.
fn union(
    collection: &CollectionEntry,
    search: &Arc<TextSearch>,
    wanted: &Wanted<'_>,
) -> Result<Access, QueryError> {
    let mut branches = Vec::new();
    let disjuncts = wanted.filter.disjuncts().ok_or_else(not_indexed)?;
    for disjunct in disjuncts {
        let needs_text = disjunct.needs_text();
        let conjunction = Conjunction::of_disjunct(disjunct, wanted.collation);
        if conjunction.is_void() {
            continue;
        }
        match needs_text {
            true => branches.extend(scan(collection, search, &conjunction)?),
            false => match best(collection, &conjunction) {
                Some(Access::Index(scan)) => branches.push(scan),
                Some(Access::Nothing) => {}
                _ => return Err(not_indexed()),
            },
        }
    }
    Ok(match branches.is_empty() {
        true => Access::Nothing,
        false => Access::Union(UnionScan {
            branches,
            merge: false,
        }),
    })
}

fn best(collection: &CollectionEntry, conjunction: &Conjunction<'_>) -> Option<Access> {
    let usable = index_kind::usable(collection, conjunction);
    let candidates = usable
        .iter()
        .map(|index| Candidate::new(collection, index, conjunction, None));
    let best = candidates
        .filter(|candidate| candidate.is_eligible() && candidate.is_bounded())
        .reduce(|best, next| match next.compare(&best, false) {
            Ordering::Greater => next,
            _ => best,
        })?;
    Some(best.into_access())
}

fn not_indexed() -> QueryError {
    DocumentError::new(
        ErrorKind::NoQueryExecutionPlans,
        "error processing query: planner returned error :: caused by :: Failed to produce a solution for TEXT under OR - \
         other non-TEXT clauses under OR have to be indexed as well.",
    )
    .into()
}
