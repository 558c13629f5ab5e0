//! `$graphLookup`: follows references through another collection, breadth first, each document once.

use std::collections::BTreeMap;
use std::sync::Arc;

use bson::raw::{RawBson, RawBsonRef, RawDocument};
use bson::{RawArrayBuf, RawDocumentBuf};

use super::super::assign::Assignments;
use super::super::{Collections, MEMORY_BYTES_MAX};
use super::foreign::{collections, write_any_of};
use super::options::Options;
use super::{DocumentStream, RunStage, Stage, map};
use crate::expression::{Expression, Value, follow};
use crate::filter::Filter;
use crate::key_encoding::{self, Direction};
use crate::path::Path;
use crate::raw::{self, DocumentWriter};
use crate::sort::check_path;
use crate::{Context, DocumentError, ErrorKind};

#[derive(Debug)]
struct GraphLookup {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    collections: Arc<dyn Collections>,
    context: Context,
    from: String,
    start_with: Expression,
    connect_from: Path,
    connect_to: String,
    max_depth: Option<u64>,
    depth_field: Option<String>,
    restriction: Option<RawDocumentBuf>,
    target: Assignments<()>,
}

pub(super) fn parse(argument: RawBsonRef<'_>, context: &Context) -> Result<Stage, DocumentError> {
    let mut options = Options::of("$graphLookup", argument, 40327)?;
    let from = options.text("from")?;
    let start_with = options.take("startWith");
    let connect_from = options.text("connectFromField")?;
    let connect_to = options.text("connectToField")?;
    let target_path = options.text("as")?;
    let max_depth = options.count("maxDepth")?;
    let depth_field = options.text("depthField")?.map(str::to_owned);
    let restriction = options
        .document("restrictSearchWithMatch")?
        .map(ToOwned::to_owned);
    options.finish(40104)?;
    let (Some(from), Some(start_with), Some(connect_from), Some(connect_to), Some(target_path)) =
        (from, start_with, connect_from, connect_to, target_path)
    else {
        return Err(DocumentError::location(
            40105,
            "$graphLookup requires 'from', 'as', 'startWith', 'connectFromField', and 'connectToField' to be specified.",
        ));
    };
    for path in [connect_from, connect_to, target_path] {
        check_path(path)?;
    }
    if let Some(restriction) = &restriction {
        Filter::parse_in(restriction, context)?.check_no_text()?;
    }
    let mut target = Assignments::new();
    target.insert(target_path, ())?;
    Ok(Stage::Other(Box::new(GraphLookup {
        inner: Arc::new(Inner {
            collections: collections(context, "$graphLookup")?,
            context: context.clone(),
            from: from.to_owned(),
            start_with: Expression::parse(start_with, context)?,
            connect_from: Path::parse(connect_from),
            connect_to: connect_to.to_owned(),
            max_depth,
            depth_field,
            restriction,
            target,
        }),
    })))
}

impl RunStage for GraphLookup {
    fn run(&self, input: DocumentStream) -> DocumentStream {
        let inner = Arc::clone(&self.inner);
        map(input, move |document| {
            let found = RawBson::Array(inner.search(&document)?);
            let mut out = DocumentWriter::with_capacity(document.as_bytes().len() + 256);
            let mut value = |_: &()| Ok(Some(Value::Owned(found.clone())));
            inner.target.write(&document, &mut value, &mut out)?;
            Ok(out.finish())
        })
    }
}

fn key(value: RawBsonRef<'_>) -> Vec<u8> {
    let mut key = Vec::new();
    key_encoding::encode(value, Direction::Ascending, &mut key);
    key
}

/// Adds a value, or the members of an array.
fn add_values(frontier: &mut BTreeMap<Vec<u8>, RawBson>, value: RawBsonRef<'_>) {
    match value {
        RawBsonRef::Array(array) => {
            for member in raw::members(array) {
                frontier.insert(key(member), raw::owned(member));
            }
        }
        other => {
            frontier.insert(key(other), raw::owned(other));
        }
    }
}

impl Inner {
    fn search(&self, document: &RawDocument) -> Result<RawArrayBuf, DocumentError> {
        let mut frontier = BTreeMap::new();
        let start = self.start_with.evaluate(document)?;
        if let Some(start) = &start {
            add_values(&mut frontier, start.as_ref());
        }
        let mut asked: BTreeMap<Vec<u8>, ()> = BTreeMap::new();
        let mut found: BTreeMap<Vec<u8>, RawDocumentBuf> = BTreeMap::new();
        let mut bytes = 0usize;
        let mut depth = 0u64;
        while !frontier.is_empty() && self.max_depth.is_none_or(|max| depth <= max) {
            let values: Vec<RawBsonRef<'_>> =
                frontier.values().map(RawBson::as_raw_bson_ref).collect();
            let stages = self.stages(&values);
            let mut next = BTreeMap::new();
            for row in self
                .collections
                .aggregate(Some(&self.from), &stages, &self.context)?
            {
                let row = row?;
                let id = key(row.get("_id").ok().flatten().unwrap_or(RawBsonRef::Null));
                if found.contains_key(&id) {
                    continue;
                }
                let names: Vec<String> =
                    self.connect_from.components().map(str::to_owned).collect();
                if let Some(value) = follow(RawBsonRef::Document(&row), &names) {
                    add_values(&mut next, value.as_ref());
                }
                let row = self.with_depth(row, depth);
                bytes += row.as_bytes().len() + 2 * id.len();
                if bytes > MEMORY_BYTES_MAX {
                    return Err(DocumentError::new(
                        ErrorKind::Location(40099),
                        "$graphLookup reached maximum memory consumption",
                    ));
                }
                found.insert(id, row);
            }
            asked.extend(
                std::mem::take(&mut frontier)
                    .into_keys()
                    .map(|key| (key, ())),
            );
            next.retain(|key, _| !asked.contains_key(key));
            frontier = next;
            depth += 1;
        }
        let mut all = RawArrayBuf::new();
        for row in found.into_values() {
            all.push(row);
        }
        Ok(all)
    }

    fn with_depth(&self, row: RawDocumentBuf, depth: u64) -> RawDocumentBuf {
        let Some(field) = &self.depth_field else {
            return row;
        };
        let mut assignments = Assignments::new();
        let depth = RawBson::Int64(i64::try_from(depth).unwrap_or(i64::MAX));
        let mut out = DocumentWriter::with_capacity(row.as_bytes().len() + 32);
        let written = assignments.insert(field, ()).and_then(|()| {
            let mut value = |_: &()| Ok(Some(Value::Borrowed(depth.as_raw_bson_ref())));
            assignments.write(&row, &mut value, &mut out)
        });
        match written {
            Ok(()) => out.finish(),
            Err(_) => row,
        }
    }

    fn stages(&self, values: &[RawBsonRef<'_>]) -> RawArrayBuf {
        let mut out = DocumentWriter::with_capacity(256);
        let stage = out.begin_document("$match");
        let both = out.begin_array("$and");
        let clause = out.begin_document("0");
        write_any_of(&mut out, &self.connect_to, values);
        out.end(clause);
        if let Some(restriction) = &self.restriction {
            let restriction: &RawDocument = restriction;
            out.append("1", RawBsonRef::Document(restriction));
        }
        out.end(both);
        out.end(stage);
        let mut stages = RawArrayBuf::new();
        stages.push(out.finish());
        stages
    }
}
