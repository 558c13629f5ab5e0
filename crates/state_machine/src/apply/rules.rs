//! What a collection's options do to documents that are written: fields filled in, validators asked. Under the same log
//! index as the write itself, from nothing but the command and the state: the same on every member, and once only.

use bson::raw::CString;
use bson::{DateTime, RawBson, RawBsonRef, RawDocument, RawDocumentBuf};
use document::filter::{Filter, why_not};
use document::{Context, DocumentError};

use super::overlay::Overlay;
use super::{OrFault, Stop};
use crate::catalog::{CollectionEntry, Rules, Sequence, Timestamps, ValidationLevel, Validator};
use crate::command::{Input, Output};
use crate::error::CommandError;
use crate::keyspace;

/// What the command says besides its documents.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances {
    pub(super) now_ms: i64,
    pub(super) bypass_validation: bool,
}

/// The document that goes in for the one that came.
pub(super) fn inserted(
    overlay: &mut Overlay<'_>,
    collection: &CollectionEntry,
    mut document: RawDocumentBuf,
    circumstances: Circumstances,
) -> Result<RawDocumentBuf, Stop> {
    let rules = &*collection.rules;
    if !rules.touch_documents() {
        return Ok(document);
    }
    if let Some(times) = &rules.timestamps {
        for name in times.created.iter().chain(&times.updated) {
            if !has(&document, name) {
                document = with_field(&document, name, time(circumstances))?;
            }
        }
    }
    if let Some(sequence) = &rules.sequence {
        document = numbered(overlay, collection.id, sequence, document)?;
    }
    check(rules, &document, None, circumstances)?;
    Ok(document)
}

/// The document that takes the place of `before` for the one that the update made.
pub(super) fn replaced(
    overlay: &mut Overlay<'_>,
    collection: &CollectionEntry,
    before: &RawDocument,
    mut document: RawDocumentBuf,
    circumstances: Circumstances,
) -> Result<RawDocumentBuf, Stop> {
    let rules = &*collection.rules;
    if !rules.touch_documents() {
        return Ok(document);
    }
    if let Some(Timestamps { created, updated }) = &rules.timestamps {
        if let Some(name) = created
            && let Some(first) = field(before, name)
        {
            document = with_field(&document, name, first)?;
        }
        if let Some(name) = updated {
            document = with_field(&document, name, time(circumstances))?;
        }
    }
    if let Some(sequence) = &rules.sequence {
        if !has(&document, &sequence.field)
            && let Some(number) = field(before, &sequence.field)
        {
            document = with_field(&document, &sequence.field, number)?;
        }
        document = numbered(overlay, collection.id, sequence, document)?;
    }
    check(rules, &document, Some(before), circumstances)?;
    Ok(document)
}

fn field<'d>(document: &'d RawDocument, name: &str) -> Option<RawBsonRef<'d>> {
    document.get(name).ok().flatten()
}

/// Null counts as missing: drivers send it for what the application left out.
fn has(document: &RawDocument, name: &str) -> bool {
    field(document, name).is_some_and(|value| value != RawBsonRef::Null)
}

fn time(circumstances: Circumstances) -> RawBsonRef<'static> {
    RawBsonRef::DateTime(DateTime::from_millis(circumstances.now_ms))
}

/// The document with a field of this value: in the place it has, or at the end.
fn with_field(
    document: &RawDocument,
    name: &str,
    value: RawBsonRef<'_>,
) -> Result<RawDocumentBuf, DocumentError> {
    let mut changed = RawDocumentBuf::new();
    let mut found = false;
    for element in document {
        let (field, old) = element?;
        let same = field == name;
        found |= same;
        changed.append(field, if same { value } else { old });
    }
    if !found && let Ok(name) = CString::try_from(name) {
        changed.append(name, value);
    }
    Ok(changed)
}

/// Gives the next number to a document that has none. A number that the document brings moves the sequence past it.
fn numbered(
    overlay: &mut Overlay<'_>,
    collection_id: u32,
    sequence: &Sequence,
    document: RawDocumentBuf,
) -> Result<RawDocumentBuf, Stop> {
    let key = keyspace::sequence_key(collection_id);
    let next = match overlay.get(&key).or_fault()? {
        Some(bytes) => read_next(&bytes)?,
        None => sequence.start,
    };
    let brought = match field(&document, &sequence.field) {
        Some(RawBsonRef::Int32(number)) => Some(i64::from(number)),
        Some(RawBsonRef::Int64(number)) => Some(number),
        Some(RawBsonRef::Null) | None => None,
        Some(_) => {
            return Err(CommandError::from(DocumentError::type_mismatch(format!(
                "the field '{}' of this collection counts up: it holds whole numbers only",
                sequence.field
            )))
            .into());
        }
    };
    let used = brought.unwrap_or(next);
    if used < next && brought.is_some() {
        return Ok(document);
    }
    let after = used.checked_add(sequence.step).ok_or_else(|| {
        DocumentError::new(
            document::ErrorKind::Overflow,
            format!("the field '{}' has no further number", sequence.field),
        )
    })?;
    let mut record = Output::default();
    record.u8(SEQUENCE_VERSION);
    record.i64(after);
    overlay.put(key, record.bytes);
    match brought {
        Some(_) => Ok(document),
        None => Ok(with_field(
            &document,
            &sequence.field,
            RawBsonRef::Int64(used),
        )?),
    }
}

const SEQUENCE_VERSION: u8 = 1;

fn read_next(record: &[u8]) -> Result<i64, Stop> {
    let damaged = |error: crate::command::DecodeError| {
        Stop::Fault(crate::catalog::damaged("reading a sequence", error))
    };
    let mut input = Input::new(record);
    match input.u8("version").map_err(damaged)? {
        SEQUENCE_VERSION => input.i64("next number").map_err(damaged),
        newer => Err(damaged(crate::command::DecodeError::Version(newer))),
    }
}

/// Asks what documents must satisfy.
fn check(
    rules: &Rules,
    document: &RawDocument,
    before: Option<&RawDocument>,
    circumstances: Circumstances,
) -> Result<(), Stop> {
    if circumstances.bypass_validation {
        return Ok(());
    }
    if let Some(name) = rules.required.iter().find(|name| !has(document, name)) {
        return Err(refusal(document, missing(&rules.required, document, name)).into());
    }
    let Some(validator) = &rules.validator else {
        return Ok(());
    };
    let context = Context::at(circumstances.now_ms, 0).without_random();
    let filter = Filter::parse_in(&validator.filter, &context)?;
    if filter.matches(document) || is_excused(validator, &filter, before) || !validator.refuses {
        return Ok(());
    }
    let details = why_not(&validator.filter, document, &context);
    Err(refusal(document, details).into())
}

/// A moderate validator leaves documents alone that did not satisfy it before.
fn is_excused(validator: &Validator, filter: &Filter, before: Option<&RawDocument>) -> bool {
    validator.level == ValidationLevel::Moderate
        && before.is_some_and(|before| !filter.matches(before))
}

fn missing(required: &[String], document: &RawDocument, first: &str) -> RawDocumentBuf {
    let mut schema = bson::RawDocumentBuf::new();
    let mut names = bson::RawArrayBuf::new();
    required.iter().for_each(|name| names.push(name.as_str()));
    schema.append(bson::raw::cstr!("required"), names);
    let mut filter = bson::RawDocumentBuf::new();
    filter.append(bson::raw::cstr!("$jsonSchema"), schema);
    // A null is there for a schema, but not for us.
    match field(document, first) {
        Some(_) => {
            let mut details = RawDocumentBuf::new();
            details.append(bson::raw::cstr!("operatorName"), "required");
            details.append(bson::raw::cstr!("reason"), format!("'{first}' is null"));
            details
        }
        None => why_not(&filter, document, &Context::none()),
    }
}

fn refusal(document: &RawDocument, details: RawDocumentBuf) -> CommandError {
    let id = field(document, "_id").map_or(RawBson::Null, RawBson::from);
    let mut info = RawDocumentBuf::new();
    info.append(bson::raw::cstr!("failingDocumentId"), id);
    info.append(bson::raw::cstr!("details"), details);
    CommandError::DocumentValidation { info }
}
