//! Chooses how the documents of a find are reached.
//!
//! Candidates are the exact `_id`, every ready index, a union of index scans for the branches of a disjunction, and the
//! scan of the collection. They are ranked by what they are sure to save: the whole key of a unique index, then more
//! leading fields fixed to points, then a range, then an order that makes sorting unnecessary (which goes before a
//! range when the number of rows is limited), then the scan. Where several indexes narrow the search, a few keys of each
//! are counted first, and one that is sure to be short wins: see `probe`, and `remembered` for when not all are.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use bson::RawBson;
use document::filter::{Filter, Interval};
use document::key_encoding::Direction;
use document::sort::SortSpec;
use document::{Collation, DocumentError, order};

use super::bounds::KeyRange;
use super::candidate::{self as one_index, Candidate, Conjunction};
use super::covering::Covering;
use super::index_kind;
use super::intersection::{self, IntersectionScan};
use super::key_check::KeyCheck;
use super::key_limits::{self, KeyLimits};
use super::probe;
use super::query_shape::QueryShape;
use super::remembered;
use super::request::{Hint, QueryError, ScanDirection};
use super::text_search;
use crate::catalog::{CollectionEntry, IndexEntry};
use crate::{CommandError, Snapshot};

/// How documents are reached, and what is left to do with them.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub access: Access,
    /// Whether rows have to be sorted after they were found.
    pub must_sort: bool,
    /// Whether the access finds matches only, so that counting needs no documents.
    pub covers_filter: bool,
    /// How rows come out of the entries of the access alone, which then covers the filter.
    pub covering: Option<Covering>,
    /// What would have done, too: the access, and whether its rows would have to be sorted.
    pub rejected: Vec<(Access, bool)>,
}

impl Plan {
    /// The ids of all indexes that would do.
    pub fn index_ids(&self) -> Vec<u32> {
        let rejected = self.rejected.iter().map(|(access, _)| access);
        let accesses = std::iter::once(&self.access).chain(rejected);
        accesses.flat_map(Access::index_ids).collect()
    }
}

/// How documents are reached.
#[derive(Debug, Clone)]
pub(super) enum Access {
    /// Nothing can match.
    Nothing,
    /// The document with this `_id`.
    Id(RawBson),
    /// All documents in the order of their `_id`s.
    Collection(ScanDirection),
    /// Documents that entries of an index point to.
    Index(IndexScan),
    /// Documents that entries of several scans point to, each once.
    Union(UnionScan),
    /// Documents that entries of two scans both point to, in the order of their `_id`s.
    Intersection(IntersectionScan),
}

impl Access {
    /// The ids of the indexes it goes through.
    fn index_ids(&self) -> Vec<u32> {
        match self {
            Access::Nothing | Access::Collection(_) => Vec::new(),
            Access::Id(_) => vec![0],
            Access::Index(scan) => vec![scan.index.id],
            Access::Union(union) => union.branches.iter().map(|scan| scan.index.id).collect(),
            Access::Intersection(scan) => scan.sides.iter().map(|side| side.index.id).collect(),
        }
    }
}

/// A scan of parts of an index.
#[derive(Debug, Clone)]
pub(super) struct IndexScan {
    pub index: Arc<IndexEntry>,
    /// Intervals per field of the index, as far as they are known.
    pub bounds: Vec<Vec<Interval>>,
    /// The keys they come to, ascending.
    pub ranges: Vec<KeyRange>,
    pub direction: ScanDirection,
    /// Fields the ranges take into account.
    pub seeking_fields: usize,
    /// What the fields behind those have to lie in.
    pub check: Option<KeyCheck>,
}

impl IndexScan {
    /// Whether one document may come up more than once.
    pub fn may_repeat(&self) -> bool {
        self.index.multikey
    }
}

/// Several scans.
#[derive(Debug, Clone)]
pub(super) struct UnionScan {
    pub branches: Vec<IndexScan>,
    /// Each gives its rows in the wanted order: they are merged by it.
    pub merge: bool,
}

/// What a find wants, as far as choosing a plan is concerned.
pub(super) struct Wanted<'a> {
    pub filter: &'a Filter,
    pub sort: Option<&'a SortSpec>,
    /// The top-level fields that are asked for; `None` where it may be anything.
    pub needed: Option<BTreeSet<String>>,
    /// How strings are compared.
    pub collation: Option<&'a Collation>,
    pub limited: bool,
    pub hint: Option<&'a Hint>,
    /// From and up to which key of the hinted index.
    pub limits: Option<KeyLimits<'a>>,
    /// The shape by which what was best is remembered; `None` neither asks nor adds.
    pub remembered_by: Option<QueryShape<'a>>,
}

/// The plan for `wanted`. Fails for a hint that names no usable index.
pub(super) fn choose(
    snapshot: &Snapshot,
    collection: &CollectionEntry,
    wanted: &Wanted<'_>,
) -> Result<Plan, QueryError> {
    if let Some(text) = wanted.filter.text() {
        return text_search::plan(collection, text, wanted);
    }
    if let Some(limits) = &wanted.limits {
        return plan_between(collection, limits, wanted);
    }
    if let Some(plan) = plan_by_id(wanted) {
        return Ok(plan);
    }
    let conjunction = Conjunction::of_filter(wanted.filter, wanted.collation);
    match wanted.hint {
        Some(Hint::Natural(direction)) => return Ok(collection_scan(wanted, *direction)),
        Some(hint) => {
            let forms = index_kind::forms(hinted_index(collection, hint)?, &conjunction);
            let index = forms.first().ok_or_else(index_kind::no_plan)?;
            let candidate = candidate(collection, index, &conjunction, wanted);
            return Ok(plan_of(candidate, &conjunction, wanted));
        }
        None if conjunction.is_void() => return Ok(nothing()),
        None => {}
    }
    if let Some(direction) = wanted.sort.and_then(SortSpec::natural) {
        let direction = match direction {
            Direction::Ascending => ScanDirection::Forward,
            Direction::Descending => ScanDirection::Backward,
        };
        return Ok(collection_scan(wanted, direction));
    }
    let mut candidates = candidates(collection, &conjunction, wanted);
    // A stable sort: equal ones keep the order of creation.
    candidates.sort_by(|left, right| right.compare(left, wanted.limited));
    if probe::is_a_choice(&candidates) && !candidates[0].unique_key {
        let is_short = remembered::prefer_best(snapshot, collection, wanted, &mut candidates)?;
        if !is_short && let Some(scan) = intersection::worthwhile(snapshot, &candidates)? {
            return Ok(Plan {
                rejected: rejected(candidates, wanted),
                ..plan_of_intersection(scan, wanted)
            });
        }
    }
    if !candidates.iter().any(Candidate::is_bounded)
        && let Some(plan) = union(collection, wanted)
    {
        return Ok(plan);
    }
    let mut candidates = candidates.into_iter();
    let Some(best) = candidates.next() else {
        return Ok(collection_scan(wanted, ScanDirection::Forward));
    };
    let mut plan = plan_of(best, &conjunction, wanted);
    plan.rejected = rejected(candidates, wanted);
    Ok(plan)
}

/// What would have done, too.
fn rejected(
    candidates: impl IntoIterator<Item = Candidate>,
    wanted: &Wanted<'_>,
) -> Vec<(Access, bool)> {
    let others = candidates.into_iter().map(|other| {
        let sorts = wants_order(wanted.sort) && !other.gives_order;
        (other.into_access(), sorts)
    });
    others.collect()
}

fn plan_of_intersection(scan: IntersectionScan, wanted: &Wanted<'_>) -> Plan {
    Plan {
        access: Access::Intersection(scan),
        must_sort: wants_order(wanted.sort),
        covers_filter: false,
        covering: None,
        rejected: Vec::new(),
    }
}

/// The keys between `min` and `max` of the hinted index.
fn plan_between(
    collection: &CollectionEntry,
    limits: &KeyLimits<'_>,
    wanted: &Wanted<'_>,
) -> Result<Plan, QueryError> {
    let hint = wanted
        .hint
        .filter(|hint| !matches!(hint, Hint::Natural(_)))
        .ok_or_else(key_limits::without_hint)?;
    let index = hinted_index(collection, hint)?;
    let mut scan = limits.scan(collection, index)?;

    let sort = wanted
        .sort
        .filter(|sort| index.collation.as_ref() == wanted.collation && !sort.is_by_score());
    let order = sort.and_then(|sort| one_index::order_of(&scan, sort));

    if let Some(direction) = order {
        scan.direction = direction;
    }
    Ok(Plan {
        access: Access::Index(scan),
        must_sort: wants_order(wanted.sort) && order.is_none(),
        covers_filter: false,
        covering: None,
        rejected: Vec::new(),
    })
}

fn candidates(
    collection: &CollectionEntry,
    conjunction: &Conjunction<'_>,
    wanted: &Wanted<'_>,
) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for index in index_kind::usable(collection, conjunction) {
        if one_index::may_be_eligible(&index, conjunction, wanted.sort) {
            candidates.push(candidate(collection, &index, conjunction, wanted));
        } else {
            let made = || candidate(collection, &index, conjunction, wanted);
            debug_assert!(!made().is_eligible(), "an index was left out");
        }
    }
    candidates.retain(Candidate::is_eligible);
    candidates
}

fn candidate(
    collection: &CollectionEntry,
    index: &Arc<IndexEntry>,
    conjunction: &Conjunction<'_>,
    wanted: &Wanted<'_>,
) -> Candidate {
    let candidate = Candidate::new(collection, index, conjunction, wanted.sort);
    match &wanted.needed {
        Some(needed) if tests_all(conjunction, wanted) => candidate.covering(needed, wanted.sort),
        _ => candidate,
    }
}

/// Whether every condition of the filter has bounds.
fn tests_all(conjunction: &Conjunction<'_>, wanted: &Wanted<'_>) -> bool {
    wanted.filter.conjunct_count() == conjunction.bounds.len()
}

/// A scan for each branch of a disjunction, if every branch has an index that narrows it.
fn union(collection: &CollectionEntry, wanted: &Wanted<'_>) -> Option<Plan> {
    let conjunctions: Vec<Conjunction<'_>> = wanted
        .filter
        .disjuncts()?
        .into_iter()
        .map(|disjunct| Conjunction::of_disjunct(disjunct, wanted.collation))
        .filter(|conjunction| !conjunction.is_void())
        .collect();
    let best_of = |conjunction: &Conjunction<'_>, ordered: bool| {
        let bounded = candidates(collection, conjunction, wanted).into_iter();
        bounded
            .filter(|candidate| candidate.is_bounded() && (candidate.gives_order || !ordered))
            .reduce(|best, next| match next.compare(&best, wanted.limited) {
                Ordering::Greater => next,
                _ => best,
            })
    };
    let all = |ordered: bool| -> Option<Vec<IndexScan>> {
        let mut branches = Vec::new();
        for conjunction in &conjunctions {
            match best_of(conjunction, ordered)?.into_access() {
                Access::Index(scan) => branches.push(scan),
                Access::Union(scans) if ordered => branches.extend(scans.branches),
                Access::Union(_) => return None,
                _ => {}
            }
        }
        Some(branches)
    };
    let ordered = wants_order(wanted.sort).then(|| all(true)).flatten();
    let merge = ordered.is_some();
    let branches = match ordered {
        Some(branches) => branches,
        None => all(false)?,
    };
    Some(Plan {
        access: Access::Union(UnionScan { branches, merge }),
        must_sort: wants_order(wanted.sort) && !merge,
        covers_filter: false,
        covering: None,
        rejected: Vec::new(),
    })
}

fn plan_of(mut candidate: Candidate, conjunction: &Conjunction<'_>, wanted: &Wanted<'_>) -> Plan {
    let covers_filter = candidate.bounds_all && tests_all(conjunction, wanted);
    let covering = candidate.covering.take();
    let must_sort = wants_order(wanted.sort) && !candidate.gives_order;
    let access = candidate.into_access();
    if matches!(access, Access::Nothing) {
        return nothing();
    }
    Plan {
        must_sort,
        covers_filter,
        covering,
        access,
        rejected: Vec::new(),
    }
}

/// The most frequent find of all, so nothing else is worked out before it.
fn plan_by_id(wanted: &Wanted<'_>) -> Option<Plan> {
    if wanted.hint.is_some() {
        return None;
    }
    Some(Plan {
        access: Access::Id(wanted.filter.exact_id()?.into()),
        must_sort: false,
        covers_filter: wanted.filter.conjunct_count() == 1,
        covering: None,
        rejected: Vec::new(),
    })
}

pub(super) fn nothing() -> Plan {
    Plan {
        access: Access::Nothing,
        must_sort: false,
        covers_filter: true,
        covering: None,
        rejected: Vec::new(),
    }
}

fn collection_scan(wanted: &Wanted<'_>, direction: ScanDirection) -> Plan {
    Plan {
        access: Access::Collection(direction),
        must_sort: wants_order(wanted.sort),
        covers_filter: wanted.filter.is_always_true(),
        covering: None,
        rejected: Vec::new(),
    }
}

fn wants_order(sort: Option<&SortSpec>) -> bool {
    sort.is_some_and(|sort| !sort.is_empty())
}

fn hinted_index<'a>(
    collection: &'a CollectionEntry,
    hint: &Hint,
) -> Result<&'a Arc<IndexEntry>, CommandError> {
    let is_meant = |index: &&Arc<IndexEntry>| match hint {
        Hint::Name(name) => index.name == *name,
        Hint::KeyPattern(pattern) => {
            order::compare_documents(&index.key, pattern) == Ordering::Equal
        }
        Hint::Natural(_) => false,
    };
    let usable = collection.ready_indexes().filter(|index| !index.hidden);
    let mut found = usable.filter(is_meant);
    match (found.next(), found.next()) {
        (Some(index), None) => Ok(index),
        (None, _) => Err(DocumentError::bad_value(
            "hint provided does not correspond to an existing index",
        )
        .into()),
        (Some(_), Some(_)) => Err(DocumentError::bad_value(
            "hint matched several indexes, which differ in their options: hint by index name",
        )
        .into()),
    }
}
