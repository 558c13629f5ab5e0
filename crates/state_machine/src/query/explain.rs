//! `explain`, in the shape of MongoDB's `queryPlanner`, `executionStats` and `allPlansExecution`. The caller adds what only
//! it knows: the command, the server, and how long it took.

use std::collections::BTreeSet;
use std::ops::Bound;

use bson::{Bson, Document, RawArrayBuf, doc};
use bson::{RawBson, RawDocument};
use document::filter::{Interval, TextCondition};
use document::key_encoding::Direction;
use document::path::Path;
use document::text::TextSearch;

use super::aggregate::{ParsedPipeline, Stopped};
use super::count::count_matches;
use super::distinct::DistinctScan;
use super::find::{ParsedFind, PlannedFind};
use super::planner::{Access, IndexScan, UnionScan};
use super::query_shape;
use super::request::{ExplainRequest, Explained, QueryError, ScanDirection, Verbosity};
use super::scan::Touched;
use crate::Snapshot;

impl Snapshot {
    /// The plan of a read, and, when asked for, what running it touches.
    pub fn explain(&self, request: ExplainRequest) -> Result<Document, QueryError> {
        let verbosity = request.verbosity;
        match self.over_views(request.explained)? {
            Explained::Find(find) => {
                self.explain_find(self.parse_find(find)?, Above::Nothing, verbosity)
            }
            Explained::Count(count) => {
                if count.filter.is_empty() && count.hint.is_none() {
                    return Ok(explain_fast_count(&count.namespace.to_string(), verbosity));
                }
                self.explain_find(self.parse_find(count.into_find())?, Above::Count, verbosity)
            }
            Explained::Distinct(distinct) => {
                let path = Path::parse(distinct.key.as_str());
                let find = self.parse_find(distinct.into_find())?;
                self.explain_distinct(find, &path, verbosity)
            }
            Explained::Update(find) => {
                self.explain_find(self.parse_find(find)?, Above::Stage("UPDATE"), verbosity)
            }
            Explained::Delete(find) => {
                self.explain_find(self.parse_find(find)?, Above::Stage("DELETE"), verbosity)
            }
            Explained::Aggregate(aggregate) => {
                let aggregate = self.behind_view(aggregate)?;
                let stages = aggregate.pipeline.clone();
                let ParsedPipeline { find, count, rest } = {
                    let aggregate = self.with_collections(aggregate, &Stopped::default());
                    ParsedPipeline::parse(aggregate)?
                };
                let above = match count {
                    Some(_) => Above::Count,
                    None => Above::Nothing,
                };
                let cursor = self.explain_find(find, above, verbosity)?;
                Ok(if rest.is_empty() {
                    cursor
                } else {
                    explain_pipeline(cursor, &stages)
                })
            }
        }
    }

    /// Reads of a view are pipelines.
    fn over_views(&self, explained: Explained) -> Result<Explained, QueryError> {
        Ok(match explained {
            Explained::Find(find) if self.is_view(&find.namespace) => {
                find.check_on_view()?;
                Explained::Aggregate(find.into_aggregate())
            }
            Explained::Count(count) if self.is_view(&count.namespace) => {
                Explained::Aggregate(count.into_find().into_aggregate())
            }
            Explained::Distinct(distinct) if self.is_view(&distinct.namespace) => {
                Explained::Aggregate(distinct.into_find().into_aggregate())
            }
            other => other,
        })
    }

    fn explain_find(
        &self,
        find: ParsedFind,
        above: Above,
        verbosity: Verbosity,
    ) -> Result<Document, QueryError> {
        let planned = find.plan_afresh(self)?;
        let counts_entries = above == Above::Count && planned.plan.covers_filter;
        let winning_plan = above.stage(winning_plan(&planned, counts_entries)?);
        let mut explained = query_planner(&planned, &winning_plan, above)?;
        if verbosity >= Verbosity::ExecutionStats {
            let trials = match verbosity {
                Verbosity::AllPlansExecution => {
                    let trial = || self.try_winner(&planned, &winning_plan, above);
                    Some(self.try_all(&planned, above, trial)?)
                }
                _ => None,
            };
            let executed = if above == Above::Count {
                self.execute_count(planned)?
            } else {
                self.execute_find(planned)?
            };
            explained.insert("executionStats", executed.describe(winning_plan, trials));
        }
        Ok(explained)
    }

    fn explain_distinct(
        &self,
        find: ParsedFind,
        path: &Path,
        verbosity: Verbosity,
    ) -> Result<Document, QueryError> {
        let planned = find.plan_afresh(self)?;
        let scan = DistinctScan::of(&planned, path);
        let winning_plan = match &scan {
            Some(scan) => doc! {
                "stage": "PROJECTION_COVERED",
                "transformBy": { path.as_str(): 1 },
                "inputStage": index_stage(&scan.0, "DISTINCT_SCAN")?,
            },
            None => winning_plan(&planned, false)?,
        };
        let mut explained = query_planner(&planned, &winning_plan, Above::Nothing)?;
        if verbosity >= Verbosity::ExecutionStats {
            let trials = match (verbosity, &scan) {
                (Verbosity::AllPlansExecution, None) => {
                    let trial = || self.try_winner(&planned, &winning_plan, Above::Nothing);
                    Some(self.try_all(&planned, Above::Nothing, trial)?)
                }
                // One entry for each value is no plan for the find: there is nothing to compare it with.
                (Verbosity::AllPlansExecution, Some(_)) => Some(Vec::new()),
                _ => None,
            };
            let (values, touched) = self.distinct_values(planned, scan, path)?;
            let executed = Executed {
                returned: values.count() as u64,
                counted: None,
                touched,
                used_disk: false,
            };
            explained.insert("executionStats", executed.describe(winning_plan, trials));
        }
        Ok(explained)
    }

    fn execute_find(&self, planned: PlannedFind) -> Result<Executed, QueryError> {
        let mut rows = planned.rows(self);
        let mut returned = 0;
        for row in rows.by_ref() {
            row?;
            returned += 1;
        }
        Ok(Executed {
            returned,
            counted: None,
            touched: rows.touched(),
            used_disk: rows.has_used_disk(),
        })
    }

    fn execute_count(&self, planned: PlannedFind) -> Result<Executed, QueryError> {
        let (counted, touched) = count_matches(planned, self)?;
        Ok(Executed {
            returned: 0,
            counted: Some(counted),
            touched,
            used_disk: false,
        })
    }
}

/// What was chosen, and what would have done, too.
fn query_planner(
    planned: &PlannedFind,
    winning_plan: &Document,
    above: Above,
) -> Result<Document, QueryError> {
    let mut planner = doc! {
        "namespace": planned.find.namespace.to_string(),
        "indexFilterSet": false,
        "parsedQuery": to_document(&planned.find.filter_document)?,
    };
    // Without a collection, or for one `_id`, nothing is ever chosen.
    if planned.collection.is_some() && !matches!(planned.plan.access, Access::Id(_)) {
        let shape = planned.find.shape().encode();
        let shape_hash = query_shape::hash(&shape);
        let key = query_shape::cache_key(shape, planned.plan.index_ids());
        planner.insert("queryHash", shape_hash.as_str());
        planner.insert("planCacheShapeHash", shape_hash);
        planner.insert("planCacheKey", query_shape::hash(&key));
    }
    planner.insert("winningPlan", winning_plan.clone());
    planner.insert("rejectedPlans", rejected_plans(planned, above)?);
    Ok(doc! { "explainVersion": "1", "queryPlanner": planner })
}

/// What running a plan came to.
pub(super) struct Executed {
    pub returned: u64,
    pub counted: Option<u64>,
    pub touched: Touched,
    pub used_disk: bool,
}

impl Executed {
    fn describe(&self, winning_plan: Document, trials: Option<Vec<Bson>>) -> Document {
        let mut stages = winning_plan;
        self.fill(&mut stages);
        stages.insert("nReturned", self.returned as i64);
        if let Some(counted) = self.counted {
            stages.insert("nCounted", counted as i64);
        }
        let mut statistics = doc! {
            "executionSuccess": true,
            "nReturned": self.returned as i64,
            "totalKeysExamined": self.touched.keys as i64,
            "totalDocsExamined": self.touched.documents as i64,
            "executionStages": stages,
        };
        if let Some(trials) = trials {
            statistics.insert("allPlansExecution", trials);
        }
        statistics
    }

    /// Writes into each stage what is known of its part in the work.
    pub fn fill(&self, stage: &mut Document) {
        let (keys, documents) = (self.touched.keys as i64, self.touched.documents as i64);
        let name = stage.get_str("stage").unwrap_or_default().to_owned();
        let returned = match name.as_str() {
            "IXSCAN" | "COUNT_SCAN" | "DISTINCT_SCAN" | "IDHACK" => {
                stage.insert("keysExamined", keys);
                keys
            }
            "FETCH" | "COLLSCAN" | "TEXT_MATCH" => self.touched.matched as i64,
            _ => self.returned as i64,
        };
        if matches!(name.as_str(), "FETCH" | "COLLSCAN" | "IDHACK") {
            stage.insert("docsExamined", documents);
        }
        stage.insert("nReturned", returned);
        if name == "SORT" {
            stage.insert("usedDisk", self.used_disk);
        }
        if let Ok(input) = stage.get_document_mut("inputStage") {
            self.fill(input);
        }
    }
}

/// What stands above the find in the tree of stages.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Above {
    Nothing,
    /// Counts; needs no documents where the plan covers the filter.
    Count,
    Stage(&'static str),
}

impl Above {
    fn stage(self, input: Document) -> Document {
        match self {
            Above::Nothing => input,
            Above::Count => doc! { "stage": "COUNT", "inputStage": input },
            Above::Stage(name) => doc! { "stage": name, "inputStage": input },
        }
    }
}

fn explain_fast_count(namespace: &str, verbosity: Verbosity) -> Document {
    let winning_plan = doc! { "stage": "RECORD_STORE_FAST_COUNT" };
    let mut explained = doc! {
        "explainVersion": "1",
        "queryPlanner": {
            "namespace": namespace,
            "indexFilterSet": false,
            "winningPlan": winning_plan.clone(),
            "rejectedPlans": [],
        },
    };
    if verbosity >= Verbosity::ExecutionStats {
        explained.insert(
            "executionStats",
            doc! {
                "executionSuccess": true,
                "nReturned": 0_i64,
                "totalKeysExamined": 0_i64,
                "totalDocsExamined": 0_i64,
                "executionStages": winning_plan,
            },
        );
    }
    explained
}

/// The find as `$cursor`, then every stage as it was written: those the find took over are shown by its plan, too.
fn explain_pipeline(cursor: Document, stages: &RawArrayBuf) -> Document {
    let mut explained = vec![Bson::Document(doc! { "$cursor": cursor })];
    for stage in stages.into_iter().map_while(Result::ok) {
        if let Ok(stage) = Bson::try_from(RawBson::from(stage)) {
            explained.push(stage);
        }
    }
    doc! { "explainVersion": "1", "stages": explained }
}

/// The plans that would have done, too.
pub(super) fn rejected_plans(
    planned: &PlannedFind,
    above: Above,
) -> Result<Vec<Document>, QueryError> {
    let trees = planned.plan.rejected.iter().map(|(access, must_sort)| {
        let filter = to_document(&planned.find.filter_document)?;
        let filter = Some(filter).filter(|filter| !filter.is_empty());
        let stage = access_stage(&planned.find, access, filter, false)?;
        let tree = stages_above(&planned.find, *must_sort, false, stage);
        Ok(above.stage(tree))
    });
    trees.collect()
}

/// The tree of stages of a find; without its documents when only entries are counted.
fn winning_plan(planned: &PlannedFind, counts_entries: bool) -> Result<Document, QueryError> {
    let find = &planned.find;
    let filter = match planned.plan.covers_filter || find.filter.is_always_true() {
        true => None,
        false => Some(to_document(&find.filter_document)?),
    };
    if let (Access::Index(scan), Some(_)) = (&planned.plan.access, &planned.plan.covering) {
        let stage = index_stage(scan, "IXSCAN")?;
        return Ok(stages_above(find, planned.plan.must_sort, true, stage));
    }
    let stage = access_stage(find, &planned.plan.access, filter, counts_entries)?;
    Ok(stages_above(find, planned.plan.must_sort, false, stage))
}

fn sort_pattern(find: &ParsedFind) -> Document {
    let fields = find.sort.iter().flat_map(|sort| sort.fields());
    fields
        .map(|field| {
            let order = match field.by_score {
                true => bson::bson!({ "$meta": "textScore" }),
                false => Bson::Int32(sign(field.direction)),
            };
            (field.path.clone(), order)
        })
        .collect()
}

/// Sorting, skipping, projecting and limiting, as far as `find` asks for it; `covered` says that rows are made of entries.
fn stages_above(
    find: &ParsedFind,
    must_sort: bool,
    covered: bool,
    mut stage: Document,
) -> Document {
    if must_sort {
        let mut sorted = doc! { "stage": "SORT", "sortPattern": sort_pattern(find) };
        if let Some(limit) = find.limit {
            sorted.insert("limitAmount", limit.saturating_add(find.skip) as i64);
        }
        sorted.insert("inputStage", stage);
        stage = sorted;
    }
    if find.skip > 0 {
        stage = doc! { "stage": "SKIP", "skipAmount": find.skip as i64, "inputStage": stage };
    }
    if covered || find.projection.is_some() {
        let name = match covered {
            true => "PROJECTION_COVERED",
            false => "PROJECTION_SIMPLE",
        };
        stage = doc! { "stage": name, "inputStage": stage };
    }
    if let Some(limit) = find.limit.filter(|_| !must_sort || find.skip > 0) {
        stage = doc! { "stage": "LIMIT", "limitAmount": limit as i64, "inputStage": stage };
    }
    stage
}

fn access_stage(
    find: &ParsedFind,
    access: &Access,
    filter: Option<Document>,
    counts_entries: bool,
) -> Result<Document, QueryError> {
    let filtered = |mut stage: Document| {
        if let Some(filter) = filter {
            stage.insert("filter", filter);
        }
        stage
    };
    Ok(match access {
        Access::Nothing => doc! { "stage": "EOF" },
        Access::Id(_) => filtered(doc! { "stage": "IDHACK" }),
        Access::Collection(direction) => {
            let mut stage = filtered(doc! { "stage": "COLLSCAN" });
            stage.insert("direction", direction_name(*direction));
            stage
        }
        Access::Index(scan) if counts_entries => index_stage(scan, "COUNT_SCAN")?,
        Access::Index(scan) => {
            let mut stage = filtered(doc! { "stage": "FETCH" });
            stage.insert("inputStage", index_stage(scan, "IXSCAN")?);
            match find.filter.text().and_then(TextCondition::search) {
                Some(search) => text_stage(scan, search, stage),
                None => stage,
            }
        }
        Access::Intersection(scan) => {
            let mut stage = filtered(doc! { "stage": "FETCH" });
            let sides = scan.sides.iter();
            let inputs: Result<Vec<Document>, QueryError> =
                sides.map(|side| index_stage(side, "IXSCAN")).collect();
            let both = doc! { "stage": "AND_SORTED", "inputStages": inputs? };
            stage.insert("inputStage", both);
            stage
        }
        Access::Union(scan) => {
            let mut stage = filtered(doc! { "stage": "FETCH" });
            stage.insert("inputStage", union_stage(find, scan)?);
            stage
        }
    })
}

/// The stage of MongoDB that tests the documents of a search.
fn text_stage(scan: &IndexScan, search: &TextSearch, fetch: Document) -> Document {
    let query = search.query();
    let terms = |terms: &BTreeSet<String>| terms.iter().cloned().collect::<Vec<String>>();
    doc! {
        "stage": "TEXT_MATCH",
        "indexPrefix": {},
        "indexName": scan.index.name.as_str(),
        "parsedTextQuery": {
            "terms": terms(query.terms()),
            "negatedTerms": terms(query.negated_terms()),
            "phrases": query.phrases().to_vec(),
            "negatedPhrases": query.negated_phrases().to_vec(),
        },
        "textIndexVersion": 3,
        "inputStage": fetch,
    }
}

fn union_stage(find: &ParsedFind, scan: &UnionScan) -> Result<Document, QueryError> {
    let mut stage = match scan.merge {
        true => doc! { "stage": "SORT_MERGE", "sortPattern": sort_pattern(find) },
        false => doc! { "stage": "OR" },
    };
    let branches = scan.branches.iter();
    let inputs: Result<Vec<Document>, QueryError> =
        branches.map(|scan| index_stage(scan, "IXSCAN")).collect();
    stage.insert("inputStages", inputs?);
    Ok(stage)
}

fn index_stage(scan: &IndexScan, name: &str) -> Result<Document, QueryError> {
    let index = &scan.index;
    let mut bounds = Document::new();
    for (position, (path, field_direction)) in index.fields.iter().enumerate() {
        // What the ranges do not take into account is not a bound of the scan.
        let intervals = scan
            .bounds
            .get(position)
            .filter(|_| position < scan.seeking_fields || scan.check.is_some());
        let backward = (*field_direction == Direction::Descending)
            != (scan.direction == ScanDirection::Backward);
        bounds.insert(
            path.as_str(),
            describe_bounds(intervals.map(Vec::as_slice), backward),
        );
    }
    Ok(doc! {
        "stage": name,
        "keyPattern": to_document(&index.key)?,
        "indexName": index.name.as_str(),
        "isMultiKey": index.multikey,
        "isUnique": index.unique,
        "isSparse": index.sparse,
        "isPartial": index.partial.is_some(),
        "indexVersion": 2,
        "direction": direction_name(scan.direction),
        "indexBounds": bounds,
    })
}

/// Intervals as text, in the order in which the scan meets them.
fn describe_bounds(intervals: Option<&[Interval]>, backward: bool) -> Vec<String> {
    let Some(intervals) = intervals else {
        return vec![
            if backward {
                "[MaxKey, MinKey]"
            } else {
                "[MinKey, MaxKey]"
            }
            .to_owned(),
        ];
    };
    let describe = |interval: &Interval| {
        let lower = describe_end(&interval.lower, "MinKey", ['[', '(']);
        let upper = describe_end(&interval.upper, "MaxKey", [']', ')']);
        if backward {
            let open = if upper.0 == ')' { '(' } else { '[' };
            let close = if lower.0 == '(' { ')' } else { ']' };
            format!("{open}{}, {}{close}", upper.1, lower.1)
        } else {
            format!("{}{}, {}{}", lower.0, lower.1, upper.1, upper.0)
        }
    };
    if backward {
        intervals.iter().rev().map(describe).collect()
    } else {
        intervals.iter().map(describe).collect()
    }
}

/// The bracket and the value of one end of an interval; `brackets` for an end that is included and one that is not.
fn describe_end(
    bound: &Bound<RawBson>,
    unbounded: &str,
    [included, excluded]: [char; 2],
) -> (char, String) {
    match bound {
        Bound::Unbounded => (included, unbounded.to_owned()),
        Bound::Included(value) => (included, describe_value(value)),
        Bound::Excluded(value) => (excluded, describe_value(value)),
    }
}

fn describe_value(value: &RawBson) -> String {
    match value {
        RawBson::Double(number) if number.is_infinite() => {
            if *number > 0.0 { "inf.0" } else { "-inf.0" }.to_owned()
        }
        RawBson::Double(number) if number.is_nan() => "nan.0".to_owned(),
        RawBson::Double(number) if number.fract() == 0.0 => format!("{number:.1}"),
        RawBson::Double(number) => number.to_string(),
        RawBson::Int32(number) => number.to_string(),
        RawBson::Int64(number) => number.to_string(),
        RawBson::String(text) => format!("{text:?}"),
        RawBson::Boolean(value) => value.to_string(),
        RawBson::Null => "null".to_owned(),
        RawBson::Undefined => "undefined".to_owned(),
        RawBson::MinKey => "MinKey".to_owned(),
        RawBson::MaxKey => "MaxKey".to_owned(),
        RawBson::ObjectId(id) => format!("ObjectId('{id}')"),
        RawBson::DateTime(date) => format!("new Date({})", date.timestamp_millis()),
        RawBson::RegularExpression(regex) => format!("/{}/{}", regex.pattern, regex.options),
        other => match Bson::try_from(other.clone()) {
            Ok(value) => value.to_string(),
            Err(_) => "…".to_owned(),
        },
    }
}

fn direction_name(direction: ScanDirection) -> &'static str {
    match direction {
        ScanDirection::Forward => "forward",
        ScanDirection::Backward => "backward",
    }
}

fn sign(direction: Direction) -> i32 {
    match direction {
        Direction::Ascending => 1,
        Direction::Descending => -1,
    }
}

fn to_document(raw: &RawDocument) -> Result<Document, QueryError> {
    Ok(Document::try_from(raw).map_err(document::DocumentError::from)?)
}
