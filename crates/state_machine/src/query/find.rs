//! `find`: parse, choose a plan, and make the cursor that runs it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bson::RawDocumentBuf;
use document::filter::Filter;
use document::projection::Projection;
use document::sort::SortSpec;
use document::spill::Room;
use document::{Collation, Context};

use super::covering::Covering;
use super::cursor::{FindCursor, FindRows};
use super::key_limits::KeyLimits;
use super::planner::{self, Plan, Wanted};
use super::query_shape::QueryShape;
use super::request::{FindRequest, Hint, QueryError};
use super::row_shape::{KeyOf, RowShape, Shaping};
use super::scan::Scan;
use super::{Interrupt, planner::Access};
use crate::catalog::CollectionEntry;
use crate::{Namespace, Snapshot};

/// A find whose parts are understood.
pub(super) struct ParsedFind {
    pub namespace: Namespace,
    pub filter: Filter,
    pub filter_document: RawDocumentBuf,
    pub sort: Option<SortSpec>,
    pub skip: u64,
    pub limit: Option<u64>,
    pub projection: Option<Projection>,
    /// As it was given; empty if none was.
    pub projection_document: RawDocumentBuf,
    pub hint: Option<Hint>,
    pub min: Option<RawDocumentBuf>,
    pub max: Option<RawDocumentBuf>,
    pub shape: RowShape,
    pub collation: Option<Collation>,
    /// The top-level fields that are asked for, where no projection says it; `None` if that may be anything.
    pub needed: Option<BTreeSet<String>>,
    /// Room outside memory for a sort.
    pub room: Room,
    pub interrupt: Interrupt,
}

/// A find with its plan; `collection` is `None` when there is nothing to read.
pub(super) struct PlannedFind {
    pub collection: Option<Arc<CollectionEntry>>,
    pub plan: Plan,
    pub find: ParsedFind,
}

impl ParsedFind {
    pub fn parse(request: FindRequest) -> Result<ParsedFind, QueryError> {
        let filter = Filter::parse_in(&request.filter, &request.context)?;
        let collation = request.context.collation().cloned();
        let context = request.context.scored_by(&filter);
        let sort = request.sort.as_deref();
        let sort = sort
            .map(|sort| SortSpec::parse_in(sort, &context))
            .transpose()?;
        let sort = sort.map(|sort| sort.with_collation(collation.as_ref()));
        let projection = request
            .projection
            .as_deref()
            .map(|projection| Projection::parse_in(projection, &context))
            .transpose()?;
        Ok(ParsedFind {
            namespace: request.namespace,
            filter,
            filter_document: request.filter,
            sort,
            skip: request.skip,
            limit: request.limit,
            projection: projection.filter(|projection| !projection.is_identity()),
            projection_document: request.projection.unwrap_or_default(),
            hint: request.hint,
            min: request.min.filter(|limit| !limit.is_empty()),
            max: request.max.filter(|limit| !limit.is_empty()),
            shape: RowShape {
                return_key: request.return_key,
                show_record_id: request.show_record_id,
            },
            collation,
            needed: None,
            room: context.room().clone(),
            interrupt: request.interrupt,
        })
    }

    /// The top-level fields that rows are made of; `None` if that may be anything.
    fn needed_fields(&self) -> Option<BTreeSet<String>> {
        if self.shape.return_key || self.shape.show_record_id {
            return None;
        }
        match &self.projection {
            Some(projection) => {
                let included = projection.included_fields()?;
                Some(included.into_iter().map(str::to_owned).collect())
            }
            None => self.needed.clone(),
        }
    }

    /// What it is without its values.
    pub fn shape(&self) -> QueryShape<'_> {
        QueryShape {
            filter: &self.filter_document,
            sort: self.sort.as_ref(),
            projection: &self.projection_document,
            collation: self.collation.as_ref(),
        }
    }

    pub fn plan(self, snapshot: &Snapshot) -> Result<PlannedFind, QueryError> {
        self.plan_with(snapshot, true)
    }

    /// The plan that is found without asking what was found before.
    pub fn plan_afresh(self, snapshot: &Snapshot) -> Result<PlannedFind, QueryError> {
        self.plan_with(snapshot, false)
    }

    fn plan_with(self, snapshot: &Snapshot, remembers: bool) -> Result<PlannedFind, QueryError> {
        let Some(collection) = snapshot.collection(&self.namespace) else {
            return Ok(PlannedFind {
                collection: None,
                plan: planner::nothing(),
                find: self,
            });
        };
        let wanted = Wanted {
            filter: &self.filter,
            sort: self.sort.as_ref(),
            needed: self.needed_fields(),
            collation: self.collation.as_ref(),
            limited: self.limit.is_some(),
            hint: self.hint.as_ref(),
            limits: (self.min.is_some() || self.max.is_some()).then_some(KeyLimits {
                min: self.min.as_deref(),
                max: self.max.as_deref(),
            }),
            remembered_by: remembers.then(|| self.shape()),
        };
        let plan = planner::choose(snapshot, collection, &wanted)?;
        Ok(PlannedFind {
            collection: Some(Arc::clone(collection)),
            plan,
            find: self,
        })
    }
}

impl PlannedFind {
    /// The scan alone: matches in the order of the access.
    pub fn scan(self, snapshot: &Snapshot) -> Scan {
        let (access, collection_id) = match self.collection {
            Some(collection) => (self.plan.access, collection.id),
            None => (Access::Nothing, 0),
        };
        let find = self.find;
        Scan::new(
            snapshot,
            collection_id,
            access,
            find.sort.as_ref(),
            find.filter,
            find.interrupt,
        )
        .covered_by(self.plan.covering)
    }

    /// All of the find: matches sorted, skipped, limited and projected.
    pub fn rows(mut self, snapshot: &Snapshot) -> FindRows {
        let sort = self.find.sort.clone().filter(|_| self.plan.must_sort);
        let (skip, limit) = (self.find.skip, self.find.limit);
        // Rows that have nothing else need not be projected.
        let is_all = |covering: &Covering| covering.is_all();
        let projected = self.plan.covering.as_ref().is_some_and(is_all);
        let projection = self.find.projection.take().filter(|_| !projected);
        let query = match &projection {
            Some(projection) if projection.is_positional() => self.find.filter_document.clone(),
            _ => RawDocumentBuf::new(),
        };
        let sort = sort.map(|sort| (sort, self.find.room.clone()));
        let shaping = Shaping {
            projection: projection.map(|projection| (projection, query)),
            key: self
                .find
                .shape
                .return_key
                .then(|| KeyOf::access(&self.plan.access)),
            record_id: self.find.shape.show_record_id,
        };
        FindRows::new(self.scan(snapshot), sort, skip, limit, shaping)
    }
}

impl Snapshot {
    /// Whether this name is a view's.
    pub fn is_view(&self, namespace: &Namespace) -> bool {
        self.collection(namespace)
            .is_some_and(|collection| collection.is_view())
    }

    /// The context of a request on a collection, whose own collation holds where the request names none.
    pub(super) fn in_collation_of(&self, namespace: &Namespace, context: Context) -> Context {
        if context.is_collation_given() {
            return context;
        }
        let collection = self.collection(namespace);
        context.with_collation(collection.and_then(|found| found.collation.clone()))
    }

    /// The context of a request on a collection, whose text index is the one that is searched.
    pub(super) fn in_text_of(&self, namespace: &Namespace, context: Context) -> Context {
        let collection = self.collection(namespace);
        context.with_text(collection.and_then(|found| found.text_rules()))
    }

    /// Parses a find on a collection.
    pub(super) fn parse_find(&self, mut request: FindRequest) -> Result<ParsedFind, QueryError> {
        request.context = self.in_collation_of(&request.namespace, request.context);
        request.context = self.in_text_of(&request.namespace, request.context);
        ParsedFind::parse(request)
    }

    /// Starts a find. A missing collection is an empty one. Errors of the request come at once, errors of the data
    /// with the rows.
    pub fn find(&self, request: FindRequest) -> Result<FindCursor, QueryError> {
        if self.is_view(&request.namespace) {
            request.check_on_view()?;
            return self.aggregate(request.into_aggregate());
        }
        let planned = self.parse_find(request)?.plan(self)?.noted();
        Ok(FindCursor::of_find(planned.rows(self)))
    }
}
