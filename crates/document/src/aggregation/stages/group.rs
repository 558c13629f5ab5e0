//! `$group`: one document per distinct key, with accumulators over the documents of the group.
//!
//! Keys are equal when their values are (`1` and `1.0` are one group); the first one seen is given. Groups come in
//! the order of their keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use bson::raw::{RawBson, RawBsonRef, RawDocument};
use bson::{Bson, RawDocumentBuf};

use super::super::accumulators::{self, Accumulator, Specification};
use super::{CountShape, DocumentStream, MEMORY_BYTES_MAX, RunStage, Stage, blocking, bounded};
use crate::collation::{Collation, collated};
use crate::expression::{Expression, Scope, Value};
use crate::key_encoding::{self, Direction};
use crate::raw::{self, DocumentWriter};
use crate::{Context, DocumentError, ErrorKind};

#[derive(Debug, Clone)]
pub(super) struct Group {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: Expression,
    fields: Vec<(String, Specification)>,
    collation: Option<Collation>,
}

struct Entry {
    id: RawBson,
    accumulators: Vec<Box<dyn Accumulator>>,
}

pub(super) fn parse(argument: RawBsonRef<'_>, context: &Context) -> Result<Stage, DocumentError> {
    let RawBsonRef::Document(specification) = argument else {
        return Err(DocumentError::location(
            15947,
            "a group's fields must be specified in an object",
        ));
    };
    Ok(Stage::Other(Box::new(Group::parse(
        specification,
        context,
    )?)))
}

impl Group {
    pub fn parse(specification: &RawDocument, context: &Context) -> Result<Group, DocumentError> {
        let scope = Scope::new(context);
        let mut id = None;
        let mut fields: Vec<(String, Specification)> = Vec::new();
        for field in raw::elements(specification) {
            if field.name == "_id" {
                if id.is_some() {
                    return Err(DocumentError::location(
                        15948,
                        "a group's _id may only be specified once",
                    ));
                }
                id = Some(Expression::parse(field.value(), context)?);
                continue;
            }
            let accumulator = accumulators::parse(field.name, field.value(), &scope)?;
            fields.push((field.name.to_owned(), accumulator));
        }
        let id = id.ok_or_else(|| {
            DocumentError::location(15955, "a group specification must include an _id")
        })?;
        Ok(Group {
            inner: Arc::new(Inner {
                id,
                fields,
                collation: context.collation().cloned(),
            }),
        })
    }
}

impl RunStage for Group {
    fn run(&self, input: DocumentStream) -> DocumentStream {
        let inner = Arc::clone(&self.inner);
        blocking(input, move |input| {
            let groups = inner.collect(input)?;
            Ok(groups.into_values().map(move |entry| inner.output(entry)))
        })
    }

    fn count_shape(&self) -> Option<CountShape> {
        let id = self.inner.id.as_constant()?;
        match &self.inner.fields[..] {
            [(field, accumulator)] if accumulator.counts() => Some(CountShape {
                id: Some(Bson::try_from(id.clone()).ok()?),
                field: field.clone(),
            }),
            _ => None,
        }
    }
}

impl Inner {
    fn collect(&self, input: DocumentStream) -> Result<BTreeMap<Vec<u8>, Entry>, DocumentError> {
        let mut groups: BTreeMap<Vec<u8>, Entry> = BTreeMap::new();
        let mut bytes = 0usize;
        let mut key = Vec::new();
        for document in input {
            let document = document?;
            let id = self.id.evaluate(&document)?;
            let id = id.as_ref().map_or(RawBsonRef::Null, Value::as_ref);
            key.clear();
            let seen = collated(self.collation.as_ref(), id);
            key_encoding::encode(seen.as_ref(), Direction::Ascending, &mut key);
            if !groups.contains_key(&key) {
                let accumulators = self.fields.iter().map(|(_, s)| s.start(id));
                let entry = Entry {
                    id: raw::owned(id),
                    accumulators: accumulators.collect::<Result<_, _>>()?,
                };
                bytes += 2 * key.len() + entry_bytes(&entry);
                groups.insert(key.clone(), entry);
            }
            let entry = groups.get_mut(&key).expect("present or just inserted");
            for ((_, specification), accumulator) in self.fields.iter().zip(&mut entry.accumulators)
            {
                let before = accumulator.bytes();
                specification.feed(&document, accumulator.as_mut())?;
                bytes = bytes + accumulator.bytes() - before;
            }
            if bytes > MEMORY_BYTES_MAX {
                return Err(DocumentError::new(
                    ErrorKind::QueryExceededMemoryLimitNoDiskUseAllowed,
                    "Exceeded memory limit for $group, but didn't allow external sort. Pass allowDiskUse:true to \
                     opt in.",
                ));
            }
        }
        Ok(groups)
    }

    fn output(&self, entry: Entry) -> Result<RawDocumentBuf, DocumentError> {
        let mut out = DocumentWriter::with_capacity(64);
        out.append("_id", entry.id.as_raw_bson_ref());
        for ((name, _), accumulator) in self.fields.iter().zip(entry.accumulators) {
            out.append(name, accumulator.finish().as_raw_bson_ref());
        }
        bounded(out.finish())
    }
}

/// A rough measure, on the high side.
fn entry_bytes(entry: &Entry) -> usize {
    let accumulators: usize = entry.accumulators.iter().map(|a| a.bytes()).sum();
    size_of::<Entry>() + 64 + accumulators
}
