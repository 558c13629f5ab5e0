//! The planner's memory: the index that was best for a query of some shape is looked at first when the next comes, and the
//! others not at all while it does about as well as it did. Only what the probe found is remembered, so a hit costs the
//! few keys that tell whether it still holds; `explain` neither asks nor adds.

use bson::raw::cstr;
use bson::{Document, RawDocumentBuf, doc};
use document::key_encoding::Direction;

use super::candidate::Candidate;
use super::find::ParsedFind;
use super::planner::Wanted;
use super::probe;
use super::query_shape::{self, QueryShape};
use super::request::{FindRequest, QueryError};
use crate::catalog::{CachedPlan, CollectionEntry};
use crate::{Namespace, Snapshot};

/// A remembered plan is given up when it comes to so many times the keys that it had.
const GROWTH_MAX: u64 = 10;

/// Moves the best of the candidates to the front; whether it is known to have few keys.
pub(super) fn prefer_best(
    snapshot: &Snapshot,
    collection: &CollectionEntry,
    wanted: &Wanted<'_>,
    candidates: &mut [Candidate],
) -> Result<bool, QueryError> {
    let Some(shape) = &wanted.remembered_by else {
        let shortest = probe::prefer_shortest(snapshot, candidates)?;
        return Ok(shortest.is_some());
    };
    let cache = &collection.plan_cache;
    let shape_key = shape.encode();
    let shape_bytes = shape_key.len();
    let indexes = candidates.iter().map(|candidate| candidate.scan.index.id);
    let key = query_shape::cache_key(shape_key, indexes.collect());
    if let Some((index_id, keys)) = cache.best(&key) {
        let most = keys.max(1).saturating_mul(GROWTH_MAX);
        let is_it = |one: &Candidate| one.scan.index.id == index_id && one.is_bounded();
        if let Some(position) = candidates.iter().position(is_it)
            && probe::ends_within(snapshot, &candidates[position], most)?
        {
            candidates[..=position].rotate_right(1);
            return Ok(true);
        }
        cache.forget(&key);
    }
    let shortest = probe::prefer_shortest(snapshot, candidates)?;
    if let Some(keys) = shortest {
        let plan = CachedPlan {
            index_id: candidates[0].scan.index.id,
            keys,
            shape_hash: query_shape::hash(&key[..shape_bytes]),
            key_hash: query_shape::hash(&key),
            created_from: created_from(shape),
        };
        cache.remember(key, shape_bytes, plan);
    }
    Ok(shortest.is_some())
}

fn created_from(shape: &QueryShape<'_>) -> RawDocumentBuf {
    let mut sort = RawDocumentBuf::new();
    for field in shape.sort.iter().flat_map(|sort| sort.fields()) {
        let sign = match field.direction {
            Direction::Ascending => 1i32,
            Direction::Descending => -1,
        };
        if let Ok(path) = bson::raw::CString::try_from(field.path.as_str()) {
            sort.append(path, sign);
        }
    }
    let mut query = RawDocumentBuf::new();
    query.append(cstr!("query"), shape.filter);
    query.append(cstr!("sort"), sort);
    query.append(cstr!("projection"), shape.projection);
    if let Some(collation) = shape.collation {
        query.append(cstr!("collation"), collation.document());
    }
    query
}

impl Snapshot {
    /// What this member remembers of the plans for a collection's queries, in the shape of MongoDB's `$planCacheStats`
    /// as far as it can be told without a clock or a host. `None` if there is no such collection.
    pub fn cached_plans(&self, namespace: &Namespace) -> Result<Option<Vec<Document>>, QueryError> {
        let Some(collection) = self.collection(namespace) else {
            return Ok(None);
        };
        let plans = collection.plan_cache.list().into_iter();
        let rows = plans.map(|(plan, bytes)| describe(collection, &plan, bytes));
        rows.collect::<Result<_, _>>().map(Some)
    }

    /// Forgets the plans for queries of the shape of `like`, or all.
    pub fn forget_plans(
        &self,
        namespace: &Namespace,
        like: Option<FindRequest>,
    ) -> Result<(), QueryError> {
        let parsed: Option<ParsedFind> = like.map(|find| self.parse_find(find)).transpose()?;
        let Some(collection) = self.collection(namespace) else {
            return Ok(());
        };
        match parsed {
            Some(find) => collection.plan_cache.forget_shape(&find.shape().encode()),
            None => collection.plan_cache.clear(),
        }
        Ok(())
    }
}

fn describe(
    collection: &CollectionEntry,
    plan: &CachedPlan,
    bytes: usize,
) -> Result<Document, QueryError> {
    let to_document =
        |raw: &bson::RawDocument| Document::try_from(raw).map_err(document::DocumentError::from);
    let mut scan = doc! { "stage": "IXSCAN" };
    if let Some(index) = collection.index_by_id(plan.index_id) {
        scan.insert("keyPattern", to_document(&index.key)?);
        scan.insert("indexName", index.name.as_str());
        scan.insert("isMultiKey", index.multikey);
    }
    Ok(doc! {
        "version": "1",
        "queryHash": plan.shape_hash.as_str(),
        "planCacheShapeHash": plan.shape_hash.as_str(),
        "planCacheKey": plan.key_hash.as_str(),
        "isActive": true,
        "works": plan.keys as i64,
        "cachedPlan": { "stage": "FETCH", "inputStage": scan },
        "createdFromQuery": to_document(&plan.created_from)?,
        "indexFilterSet": false,
        "estimatedSizeBytes": bytes as i64,
    })
}
