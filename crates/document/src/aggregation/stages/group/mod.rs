//! `$group`: one document per distinct key, with accumulators over the documents of the group.
//!
//! Keys are equal when their values are (`1` and `1.0` are one group); the first one seen is given. Groups come in
//! the order of their keys.
//!
//! What does not fit in memory waits on disk, where there is room: groups that are begun go on growing for a while, the
//! documents of others are put away by their key. Both are then given together, in the order of the keys.

mod fields;
mod memo;

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::sync::Arc;

use bson::raw::{RawBson, RawBsonRef, RawDocument};
use bson::{Bson, RawDocumentBuf};

use super::super::accumulators::{self, Accumulator};
use super::super::{LentDocuments, stoppable};
use super::{CountShape, DocumentStream, RunStage, Stage, blocking, bounded};
use crate::collation::{Collation, collated};
use crate::expression::{Expression, Scope, Value};
use crate::key_encoding::{self, Direction};
use crate::raw::{self, DocumentWriter};
use crate::spill::{DocumentSorter, Keyed, KeyedStream, Share};
use crate::{Context, DocumentError, ErrorKind};
use fields::{Field, Found, Input, Names};
use memo::Memo;

#[derive(Debug, Clone)]
pub(super) struct Group {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: Input,
    fields: Vec<Field>,
    /// What they look at.
    names: Names,
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
        let mut names = Names::default();
        let mut fields = Vec::new();
        for field in raw::elements(specification) {
            if field.name == "_id" {
                if id.is_some() {
                    return Err(DocumentError::location(
                        15948,
                        "a group's _id may only be specified once",
                    ));
                }
                let expression = Expression::parse(field.value(), context)?;
                id = Some(Input::new(expression, &mut names));
                continue;
            }
            let accumulator = accumulators::parse(field.name, field.value(), &scope)?;
            fields.push(Field::new(field.name, accumulator, &mut names));
        }
        let id = id.ok_or_else(|| {
            DocumentError::location(15955, "a group specification must include an _id")
        })?;
        Ok(Group {
            inner: Arc::new(Inner {
                id,
                fields,
                names,
                context: context.clone(),
            }),
        })
    }
}

impl RunStage for Group {
    fn run(&self, input: DocumentStream) -> DocumentStream {
        self.run_lent(input.into())
    }

    fn run_lent(&self, input: LentDocuments) -> DocumentStream {
        let inner = Arc::clone(&self.inner);
        blocking(input, move |input| Inner::collect(&inner, input))
    }

    fn needed_fields(&self) -> Option<BTreeSet<String>> {
        let mut fields = BTreeSet::new();
        let mut accumulators = self.inner.fields.iter().map(|field| &field.specification);
        let known = self.inner.id.expression.add_needs(&mut fields)
            && accumulators.all(|accumulator| accumulator.add_needs(&mut fields));
        known.then_some(fields)
    }

    fn count_shape(&self) -> Option<CountShape> {
        let id = self.inner.id.expression.as_constant()?;
        match &self.inner.fields[..] {
            [field] if field.specification.counts() => Some(CountShape {
                id: Some(Bson::try_from(id.clone()).ok()?),
                field: field.name.clone(),
            }),
            _ => None,
        }
    }
}

impl Inner {
    /// All groups.
    fn collect(inner: &Arc<Inner>, mut input: LentDocuments) -> Result<Groups, DocumentError> {
        let room = inner.context.room();
        let bytes_max = room.bytes_max();
        // What groups that are begun may still grow by, and what waits to be put away.
        let (growth, waiting) = (bytes_max / 8, bytes_max / 4);
        let mut share = room.share_of(bytes_max + growth);
        // Nothing that is held grows any more.
        let mut is_full = false;
        let mut away: Option<DocumentSorter> = None;
        let mut held = Held::new();
        let mut bytes = 0usize;
        let keeping = input.keeping();
        while let Some(document) = input.lend() {
            let document = document?;
            let found = inner.names.find(document);
            let id = inner.id.of(document, &found)?;
            let id = id.as_ref().map_or(RawBsonRef::Null, Value::as_ref);
            let collation = inner.context.collation();
            let entry = if is_full {
                held.encode(id, collation);
                None
            } else {
                held.find(id, collation)
            };
            if let Some(entry) = entry {
                bytes = inner.feed(entry, document, &found, bytes)?;
            } else if let Some(away) = &mut away {
                // From its first document here on, all of a group come here.
                away.push(held.key.clone(), keeping.copy(document))?;
                continue;
            } else {
                let mut entry = inner.begin(id)?;
                bytes += 2 * held.key.len() + entry_bytes(&entry);
                bytes = inner.feed(&mut entry, document, &found, bytes)?;
                held.insert(entry);
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
        let accumulators = self
            .fields
            .iter()
            .map(|field| field.specification.start(id));
        Ok(Entry {
            id: raw::owned(id),
            accumulators: accumulators.collect::<Result<_, _>>()?,
        })
    }

    /// Adds a document, in which fields were found, to its group; `bytes`, with what that takes.
    fn feed(
        &self,
        entry: &mut Entry,
        document: &RawDocument,
        found: &Found<'_>,
        mut bytes: usize,
    ) -> Result<usize, DocumentError> {
        for (field, accumulator) in self.fields.iter().zip(&mut entry.accumulators) {
            let growth = field.feed(document, found, accumulator.as_mut())?;
            bytes = growth.added_to(bytes);
        }
        Ok(bytes)
    }

    fn output(&self, entry: Entry) -> Result<RawDocumentBuf, DocumentError> {
        let mut out = DocumentWriter::with_capacity(64);
        out.append("_id", entry.id.as_raw_bson_ref());
        for (field, accumulator) in self.fields.iter().zip(entry.accumulators) {
            out.append(&field.name, accumulator.finish().as_raw_bson_ref());
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

/// Groups that are begun.
struct Held {
    /// Where the entry of a key stands.
    places: BTreeMap<Vec<u8>, usize>,
    entries: Vec<Entry>,
    memo: Memo,
    /// The key that was looked up last, unless its group was found.
    key: Vec<u8>,
}

impl Held {
    fn new() -> Held {
        Held {
            places: BTreeMap::new(),
            entries: Vec::new(),
            memo: Memo::new(),
            key: Vec::new(),
        }
    }

    /// The entry of the group with this `_id`.
    fn find(&mut self, id: RawBsonRef<'_>, collation: Option<&Collation>) -> Option<&mut Entry> {
        let kept = memo::Key::of(id);
        if let Some(kept) = &kept
            && let Some(place) = self.memo.group(kept)
        {
            return Some(&mut self.entries[place]);
        }
        self.encode(id, collation);
        let place = *self.places.get(&self.key)?;
        if let Some(kept) = kept {
            self.memo.keep(kept, place);
        }
        Some(&mut self.entries[place])
    }

    /// Makes the key of this `_id`, without looking for its group.
    fn encode(&mut self, id: RawBsonRef<'_>, collation: Option<&Collation>) {
        self.key.clear();
        let seen = collated(collation, id);
        key_encoding::encode(seen.as_ref(), Direction::Ascending, &mut self.key);
    }

    /// Adds the entry of the key that was looked up last.
    fn insert(&mut self, entry: Entry) {
        self.places.insert(self.key.clone(), self.entries.len());
        self.entries.push(entry);
    }

    /// In the order of their keys.
    fn into_ordered(self) -> Ordered {
        let mut entries: Vec<Option<Entry>> = self.entries.into_iter().map(Some).collect();
        let places = self.places.into_iter();
        Box::new(places.map(move |(key, place)| {
            let entry = entries[place].take().expect("each stands under one key");
            (key, entry)
        }))
    }
}

/// Keys and entries.
type Ordered = Box<dyn Iterator<Item = (Vec<u8>, Entry)> + Send>;

/// Groups in the order of their keys: those in memory, and those whose documents, some or all, were put away.
struct Groups {
    inner: Arc<Inner>,
    held: Peekable<Ordered>,
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
        held: Held,
        away: Option<KeyedStream>,
        share: Share,
    ) -> Result<Groups, DocumentError> {
        let away = away.map(|away| stoppable(away, &inner.context));
        let bytes_max = inner.context.room().bytes_max();
        let mut groups = Groups {
            inner,
            held: held.into_ordered().peekable(),
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
                let id = self.inner.id.expression.evaluate(&away.document)?;
                let id = id.as_ref().map_or(RawBsonRef::Null, Value::as_ref);
                (away.key.clone(), self.inner.begin(id)?)
            }
            (None, None) => return Ok(None),
        };
        let mut bytes = entry_bytes(&entry);
        while let Some(away) = self.next_away.take_if(|away| away.key == key) {
            let found = self.inner.names.find(&away.document);
            bytes = self.inner.feed(&mut entry, &away.document, &found, bytes)?;
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
