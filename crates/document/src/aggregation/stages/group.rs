//! `$group`: one document per distinct key, with accumulators over the documents of the group.
//!
//! Keys are equal when their values are (`1` and `1.0` are one group); the first one seen is given. Groups come in
//! the order of their keys.
//!
//! What does not fit in memory waits on disk, where there is room: groups that are begun go on growing for a while, the
//! documents of others are put away by their key. Both are then given together, in the order of the keys.

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::iter::Peekable;
use std::sync::Arc;

use bson::raw::{RawBson, RawBsonRef, RawDocument};
use bson::{Bson, RawDocumentBuf};

use super::super::accumulators::{self, Accumulator, Specification};
use super::super::stoppable;
use super::{CountShape, DocumentStream, RunStage, Stage, blocking, bounded};
use crate::collation::collated;
use crate::expression::{Expression, Scope, Value};
use crate::key_encoding::{self, Direction};
use crate::raw::{self, DocumentWriter};
use crate::spill::{DocumentSorter, Keyed, KeyedStream, Share};
use crate::{Context, DocumentError, ErrorKind};

#[derive(Debug, Clone)]
pub(super) struct Group {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: Expression,
    fields: Vec<(String, Specification)>,
    context: Context,
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
                context: context.clone(),
            }),
        })
    }
}

impl RunStage for Group {
    fn run(&self, input: DocumentStream) -> DocumentStream {
        let inner = Arc::clone(&self.inner);
        blocking(input, move |input| Inner::collect(&inner, input))
    }

    fn needed_fields(&self) -> Option<BTreeSet<String>> {
        let mut fields = BTreeSet::new();
        let known = self.inner.id.add_needs(&mut fields)
            && self
                .inner
                .fields
                .iter()
                .all(|(_, accumulator)| accumulator.add_needs(&mut fields));
        known.then_some(fields)
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
    /// All groups.
    fn collect(inner: &Arc<Inner>, input: DocumentStream) -> Result<Groups, DocumentError> {
        let room = inner.context.room();
        let bytes_max = room.bytes_max();
        // What groups that are begun may still grow by, and what waits to be put away.
        let (growth, waiting) = (bytes_max / 8, bytes_max / 4);
        let mut share = room.share_of(bytes_max + growth);
        // Nothing that is held grows any more.
        let mut is_full = false;
        let mut away: Option<DocumentSorter> = None;
        let mut held: BTreeMap<Vec<u8>, Entry> = BTreeMap::new();
        let mut bytes = 0usize;
        let mut key = Vec::new();
        for document in input {
            let document = document?;
            let id = inner.id.evaluate(&document)?;
            let id = id.as_ref().map_or(RawBsonRef::Null, Value::as_ref);
            key.clear();
            let seen = collated(inner.context.collation(), id);
            key_encoding::encode(seen.as_ref(), Direction::Ascending, &mut key);
            if let Some(entry) = held.get_mut(&key).filter(|_| !is_full) {
                bytes = inner.feed(entry, &document, bytes)?;
            } else if let Some(away) = &mut away {
                // From its first document here on, all of a group come here.
                away.push(key.clone(), document)?;
                continue;
            } else {
                let mut entry = inner.begin(id)?;
                bytes += 2 * key.len() + entry_bytes(&entry);
                bytes = inner.feed(&mut entry, &document, bytes)?;
                held.insert(key.clone(), entry);
            }
            is_full = !share.hold(bytes);
            if away.is_none() && (is_full || bytes > bytes_max) {
                if room.disk().is_none() {
                    return Err(too_much());
                }
                away = Some(DocumentSorter::with_memory(None, room, waiting));
            }
        }
        let away = away.map(|away| away.finish_keyed()).transpose()?;
        Groups::new(Arc::clone(inner), held, away, share)
    }

    fn begin(&self, id: RawBsonRef<'_>) -> Result<Entry, DocumentError> {
        let accumulators = self.fields.iter().map(|(_, s)| s.start(id));
        Ok(Entry {
            id: raw::owned(id),
            accumulators: accumulators.collect::<Result<_, _>>()?,
        })
    }

    /// Adds a document to its group; `bytes`, with what that takes.
    fn feed(
        &self,
        entry: &mut Entry,
        document: &RawDocument,
        mut bytes: usize,
    ) -> Result<usize, DocumentError> {
        for ((_, specification), accumulator) in self.fields.iter().zip(&mut entry.accumulators) {
            let before = accumulator.bytes();
            specification.feed(document, accumulator.as_mut())?;
            bytes = bytes + accumulator.bytes() - before;
        }
        Ok(bytes)
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

fn too_much() -> DocumentError {
    DocumentError::new(
        ErrorKind::QueryExceededMemoryLimitNoDiskUseAllowed,
        "Exceeded memory limit for $group, but didn't allow external sort. Pass allowDiskUse:true to opt in.",
    )
}

/// Groups in the order of their keys: those in memory, and those whose documents, some or all, were put away.
struct Groups {
    inner: Arc<Inner>,
    held: Peekable<btree_map::IntoIter<Vec<u8>, Entry>>,
    away: Option<KeyedStream>,
    /// The next document that was put away.
    next_away: Option<Keyed>,
    /// What one group may hold.
    bytes_max: usize,
    /// Given back at the end.
    _share: Share,
}

impl Groups {
    fn new(
        inner: Arc<Inner>,
        held: BTreeMap<Vec<u8>, Entry>,
        away: Option<KeyedStream>,
        share: Share,
    ) -> Result<Groups, DocumentError> {
        let away = away.map(|away| stoppable(away, &inner.context));
        let bytes_max = inner.context.room().bytes_max();
        let mut groups = Groups {
            inner,
            held: held.into_iter().peekable(),
            away,
            next_away: None,
            bytes_max,
            _share: share,
        };
        groups.advance()?;
        Ok(groups)
    }

    fn advance(&mut self) -> Result<(), DocumentError> {
        self.next_away = match &mut self.away {
            Some(away) => away.next().transpose()?,
            None => None,
        };
        Ok(())
    }

    fn next_group(&mut self) -> Result<Option<RawDocumentBuf>, DocumentError> {
        let away = self.next_away.as_ref();
        let held = self
            .held
            .next_if(|(key, _)| away.is_none_or(|away| *key <= away.key));
        let (key, mut entry) = match (held, away) {
            (Some(held), _) => held,
            (None, Some(away)) => {
                let id = self.inner.id.evaluate(&away.document)?;
                let id = id.as_ref().map_or(RawBsonRef::Null, Value::as_ref);
                (away.key.clone(), self.inner.begin(id)?)
            }
            (None, None) => return Ok(None),
        };
        let mut bytes = entry_bytes(&entry);
        while let Some(away) = self.next_away.take_if(|away| away.key == key) {
            bytes = self.inner.feed(&mut entry, &away.document, bytes)?;
            if bytes > self.bytes_max {
                return Err(DocumentError::new(
                    ErrorKind::QueryExceededMemoryLimitNoDiskUseAllowed,
                    format!(
                        "Exceeded memory limit for $group: a group alone holds more than {} bytes",
                        self.bytes_max
                    ),
                ));
            }
            self.advance()?;
        }
        self.inner.output(entry).map(Some)
    }
}

impl Iterator for Groups {
    type Item = Result<RawDocumentBuf, DocumentError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_group().transpose()
    }
}

/// A rough measure, on the high side.
fn entry_bytes(entry: &Entry) -> usize {
    let accumulators: usize = entry.accumulators.iter().map(|a| a.bytes()).sum();
    size_of::<Entry>() + 64 + accumulators
}
