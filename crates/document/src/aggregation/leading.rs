//! Which leading stages are a find, and how many rows a stage has to give.

use std::sync::Arc;

use bson::RawDocumentBuf;

use super::stages::Stage;
use super::{LeadingFind, Pipeline};
use crate::DocumentError;
use crate::filter::Filter;
use crate::raw::DocumentWriter;

/// Takes leading `$match`, `$sort`, `$skip` and `$limit` stages, as far as one find can stand for them, and a count
/// behind them.
pub(super) fn split(pipeline: &Pipeline) -> Result<(LeadingFind, Pipeline), DocumentError> {
    let mut filters: Vec<&RawDocumentBuf> = Vec::new();
    let mut sort = None;
    let mut skip = 0u64;
    let mut limit = None;
    let mut count = None;
    let mut taken = 0;
    for stage in &pipeline.stages {
        let sliced = skip > 0 || limit.is_some();
        match stage.as_ref() {
            // Filtering before the sort gives the same rows in the same order.
            Stage::Match { specification, .. } if !sliced => filters.push(specification),
            Stage::Sort(fields) if !sliced && sort.is_none() => sort = Some(fields.clone()),
            Stage::Skip(rows) => {
                skip = skip.saturating_add(*rows);
                limit = limit.map(|limit: u64| limit.saturating_sub(*rows));
            }
            Stage::Limit(rows) => limit = Some(limit.unwrap_or(u64::MAX).min(*rows)),
            Stage::Other(other) => {
                count = other.count_shape();
                taken += usize::from(count.is_some());
                break;
            }
            _ => break,
        }
        taken += 1;
    }
    let needed = match pipeline.stages.get(taken).map(Arc::as_ref) {
        Some(Stage::Other(next)) => next.needed_fields(),
        _ => None,
    };
    let filter_document = conjunction(&filters);
    let leading = LeadingFind {
        filter: Filter::parse_in(&filter_document, &pipeline.context)?,
        filter_document,
        sort,
        skip,
        limit,
        count,
        needed,
    };
    let rest = Pipeline {
        stages: pipeline.stages[taken..].to_vec(),
        context: pipeline.context.clone(),
    };
    Ok((leading, rest))
}

fn conjunction(filters: &[&RawDocumentBuf]) -> RawDocumentBuf {
    match filters {
        [] => RawDocumentBuf::new(),
        [single] => (*single).clone(),
        several => {
            let mut writer = DocumentWriter::with_capacity(256);
            let begun = writer.begin_array("$and");
            for (index, filter) in several.iter().enumerate() {
                let filter: &bson::RawDocument = filter;
                writer.append(&index.to_string(), filter.into());
            }
            writer.end(begun);
            writer.finish()
        }
    }
}

/// How many rows the stages that follow will pull at most, where they say so at once.
pub(super) fn rows_wanted(following: &[Arc<Stage>]) -> Option<usize> {
    let mut skipped = 0u64;
    for stage in following {
        match stage.as_ref() {
            Stage::Skip(rows) => skipped = skipped.saturating_add(*rows),
            Stage::Limit(rows) => {
                return usize::try_from(skipped.saturating_add(*rows)).ok();
            }
            _ => return None,
        }
    }
    None
}
