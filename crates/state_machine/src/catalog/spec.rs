//! Index specifications as clients write them: parsing, names, what is not supported, and how two of them collide.

use std::cmp::Ordering;
use std::sync::Arc;

use bson::raw::{CString, cstr};
use bson::{RawBsonRef, RawDocument, RawDocumentBuf};
use document::Collation;
use document::key_encoding::Direction;
use document::path::Path;

use super::{
    CollectionEntry, IndexEntry, IndexKind, IndexState, Namespace, PartialFilter, collation,
    expiry, kind, partial, text, wildcard,
};
use crate::CommandError;
use crate::limits::INDEX_FIELDS_MAX;

/// Options MongoDB knows and this version does not serve: refused by name, never ignored.
const UNSUPPORTED: &[&str] = &[
    "storageEngine",
    "2dsphereIndexVersion",
    "bits",
    "min",
    "max",
    "bucketSize",
    "prepareUnique",
    "clustered",
];

/// Options that came with the second format of `CreateIndexes`. A command of the first format that has one was refused by
/// the members that applied it when it was new, and is refused for ever.
const OF_FORMAT_2: &[&str] = &[collation::OPTION, expiry::OPTION, partial::OPTION];

/// The oldest command format whose members do not refuse what `spec` asks for.
pub(crate) fn format_of(spec: &RawDocument) -> u8 {
    let mut names = spec.iter().flatten().map(|(name, _)| name);
    if kind::is_of_format_3(spec) {
        3
    } else if names.any(|name| OF_FORMAT_2.contains(&name.as_str())) {
        2
    } else {
        1
    }
}

/// A parsed specification.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct IndexRequest {
    pub(crate) name: String,
    pub(crate) key: RawDocumentBuf,
    pub(crate) fields: Vec<(Path, Direction)>,
    pub(crate) kind: IndexKind,
    /// As given.
    pub(crate) wildcard_projection: Option<RawDocumentBuf>,
    pub(crate) unique: bool,
    pub(crate) sparse: bool,
    pub(crate) partial: Option<PartialFilter>,
    pub(crate) collation: Option<Collation>,
    /// Otherwise it is the collection's.
    pub(crate) collation_given: bool,
    pub(crate) hidden: bool,
    /// Shown again by `listIndexes`, without effect: no build blocks writes.
    pub(crate) background: Option<bool>,
    /// Documents expire so long after the field's date.
    pub(crate) expire_after_seconds: Option<i32>,
}

/// How a specification stands to the indexes there are.
#[derive(Debug, PartialEq)]
pub(crate) enum Standing {
    /// The same index exists: nothing to do. Its id.
    Exists(u32),
    /// Nothing like it exists.
    New,
}

/// Reads one element of `createIndexes`' `indexes`.
pub(crate) fn parse_index_spec(spec: &RawDocument) -> Result<IndexRequest, CommandError> {
    let mut key = None;
    let mut name = None;
    let (mut unique, mut sparse, mut hidden) = (false, false, false);
    let mut background = None;
    let mut expire_after_seconds = None;
    let mut partial = None;
    let mut wildcard_projection = None;
    let (mut collation, mut collation_given) = (None, false);
    for element in spec {
        let (field, value) = element.map_err(document::DocumentError::from)?;
        match (field.as_str(), value) {
            ("key", RawBsonRef::Document(pattern)) => key = Some(pattern.to_owned()),
            ("name", RawBsonRef::String(given)) => name = Some(given.to_owned()),
            ("unique", value) => unique = truth(value, "unique")?,
            ("sparse", value) => sparse = truth(value, "sparse")?,
            ("hidden", value) => hidden = truth(value, "hidden")?,
            ("background", value) => background = Some(truth(value, "background")?),
            (expiry::OPTION, value) => expire_after_seconds = Some(expiry::parse_seconds(value)?),
            (collation::OPTION, value) => {
                collation = collation::parse(value)?;
                collation_given = true;
            }
            // Understood together with the key.
            (option, _) if text::OPTIONS.contains(&option) => {}
            (wildcard::PROJECTION, value) => {
                wildcard_projection = value.as_document().map(ToOwned::to_owned);
            }
            (partial::OPTION, value) => partial = Some(PartialFilter::parse(value)?),
            // The version is ours to choose; dropDups and ns are MongoDB's past.
            ("v" | "dropDups" | "ns", _) => {}
            (option, _) if UNSUPPORTED.contains(&option) => {
                return Err(CommandError::NotSupported {
                    what: format!("the index option '{option}'"),
                });
            }
            (option @ ("key" | "name"), _) => {
                return Err(document::DocumentError::type_mismatch(format!(
                    "The field '{option}' of an index specification has the wrong type"
                ))
                .into());
            }
            (option, _) => {
                return Err(CommandError::InvalidIndexSpecificationOption {
                    message: format!(
                        "The field '{option}' is not valid for an index specification. Specification: {}",
                        describe(spec)
                    ),
                });
            }
        }
    }
    let key = key.ok_or_else(|| missing("key", spec))?;
    let kind = IndexKind::parse(&key, spec)?;
    let key = match &kind {
        IndexKind::Text(text) => text.key().to_owned(),
        _ => key,
    };
    let fields = parse_fields(&key)?;
    kind.check_options(unique, expire_after_seconds.is_some())?;
    let name = name.ok_or_else(|| missing("name", spec))?;
    if name.is_empty() || name.contains('\0') {
        return Err(cannot_create(
            "index names cannot be empty or contain the null character",
        ));
    }
    if sparse && partial.is_some() {
        return Err(cannot_create(format!(
            "cannot mix \"{}\" and \"sparse\" options",
            partial::OPTION
        )));
    }
    let request = IndexRequest {
        name,
        key,
        fields,
        kind,
        wildcard_projection,
        unique,
        sparse,
        partial,
        collation,
        collation_given,
        hidden,
        background,
        expire_after_seconds,
    };
    if expire_after_seconds.is_some() {
        expiry::check(request.fields.len(), request.is_id(), spec)?;
    }
    Ok(request)
}

fn missing(field: &str, spec: &RawDocument) -> CommandError {
    document::DocumentError::failed_to_parse(format!(
        "The '{field}' field is a required property of an index specification, but is missing: {}",
        describe(spec)
    ))
    .into()
}

pub(super) fn cannot_create(message: impl Into<String>) -> CommandError {
    CommandError::CannotCreateIndex {
        message: message.into(),
    }
}

fn truth(value: RawBsonRef<'_>, option: &str) -> Result<bool, CommandError> {
    match value {
        RawBsonRef::Boolean(value) => Ok(value),
        RawBsonRef::Int32(number) => Ok(number != 0),
        RawBsonRef::Int64(number) => Ok(number != 0),
        RawBsonRef::Double(number) => Ok(number != 0.0),
        _ => Err(document::DocumentError::type_mismatch(format!(
            "The field '{option}' must be a boolean"
        ))
        .into()),
    }
}

pub(super) fn parse_fields(key: &RawDocument) -> Result<Vec<(Path, Direction)>, CommandError> {
    let mut fields: Vec<(Path, Direction)> = Vec::new();
    let mut has_terms = false;
    for element in key {
        let (name, value) = element.map_err(document::DocumentError::from)?;
        let name = name.as_str();
        if let Some(terms) = text::stands_for(name, value, has_terms) {
            has_terms = true;
            fields.extend(terms.map(|terms| (Path::parse(terms), Direction::Ascending)));
            continue;
        }
        let path = match wildcard::is_wildcard(name) {
            true => name.strip_suffix(".$**").unwrap_or("all"),
            false => name,
        };
        if path
            .split('.')
            .any(|part| part.is_empty() || part.starts_with('$'))
        {
            return Err(cannot_create(format!(
                "Index keys cannot contain an empty field or one that starts with '$': '{name}'"
            )));
        }
        if fields.iter().any(|(path, _)| path.as_str() == name) {
            return Err(cannot_create(format!(
                "the field '{name}' appears twice in the key"
            )));
        }
        fields.push((Path::parse(name), direction(name, value)?));
    }
    if fields.is_empty() {
        return Err(cannot_create("Index keys cannot be an empty object"));
    }
    if fields.len() > INDEX_FIELDS_MAX {
        return Err(cannot_create(format!(
            "at most {INDEX_FIELDS_MAX} fields in a compound index"
        )));
    }
    Ok(fields)
}

fn direction(name: &str, value: RawBsonRef<'_>) -> Result<Direction, CommandError> {
    let number = match value {
        RawBsonRef::Int32(number) => f64::from(number),
        RawBsonRef::Int64(number) => number as f64,
        RawBsonRef::Double(number) => number,
        RawBsonRef::String(kind::HASHED) => return Ok(Direction::Ascending),
        RawBsonRef::String(kind) => {
            return Err(CommandError::NotSupported {
                what: format!("an index of type '{kind}'"),
            });
        }
        _ => {
            return Err(cannot_create(format!(
                "Values in the index key pattern must be numbers, the one of '{name}' is not"
            )));
        }
    };
    match number.partial_cmp(&0.0) {
        Some(Ordering::Greater) => Ok(Direction::Ascending),
        Some(Ordering::Less) => Ok(Direction::Descending),
        _ => Err(cannot_create(format!(
            "Values in the index key pattern cannot be 0, the one of '{name}' is"
        ))),
    }
}

impl IndexRequest {
    /// The index `_id_` of every collection.
    pub(crate) fn of_id() -> IndexRequest {
        let mut key = RawDocumentBuf::new();
        key.append(cstr!("_id"), 1i32);
        IndexRequest {
            name: "_id_".to_owned(),
            key,
            fields: vec![(Path::parse("_id"), Direction::Ascending)],
            kind: IndexKind::Ordered,
            wildcard_projection: None,
            unique: true,
            sparse: false,
            partial: None,
            collation: None,
            collation_given: true,
            hidden: false,
            background: None,
            expire_after_seconds: None,
        }
    }

    /// Whether this asks for `_id_`, under whatever name.
    pub(crate) fn is_id(&self) -> bool {
        self.kind.is_ordered()
            && matches!(&self.fields[..], [(path, Direction::Ascending)] if path.as_str() == "_id")
    }

    /// What `listIndexes` shows.
    fn spec(&self) -> RawDocumentBuf {
        let mut spec = RawDocumentBuf::new();
        spec.append(cstr!("v"), 2i32);
        spec.append(cstr!("key"), &*self.key);
        spec.append(cstr!("name"), self.name.as_str());
        if self.unique && !self.is_id() {
            spec.append(cstr!("unique"), true);
        }
        if self.sparse {
            spec.append(cstr!("sparse"), true);
        }
        if self.hidden {
            spec.append(cstr!("hidden"), true);
        }
        if let Some(projection) = &self.wildcard_projection {
            spec.append(cstr!("wildcardProjection"), &**projection);
        }
        if let IndexKind::Text(text) = &self.kind {
            for (name, value) in text.options().iter().flatten() {
                spec.append(CString::from(name), value);
            }
        }
        if let Some(partial) = &self.partial {
            spec.append(cstr!("partialFilterExpression"), partial.document());
        }
        if let Some(collation) = &self.collation {
            spec.append(cstr!("collation"), collation.document());
        }
        if let Some(background) = self.background {
            spec.append(cstr!("background"), background);
        }
        if let Some(seconds) = self.expire_after_seconds {
            spec.append(cstr!("expireAfterSeconds"), seconds);
        }
        spec
    }

    /// The catalog's entry for this.
    pub(crate) fn into_entry(self, id: u32, state: IndexState) -> IndexEntry {
        IndexEntry {
            id,
            spec: self.spec(),
            name: self.name,
            key: self.key,
            fields: self.fields,
            kind: self.kind,
            unique: self.unique,
            sparse: self.sparse,
            partial: self.partial,
            collation: self.collation,
            hidden: self.hidden,
            expire_after_seconds: self.expire_after_seconds,
            state,
            multikey: false,
            usage: Arc::default(),
        }
    }

    /// The same with all that it leaves to its collection.
    pub(crate) fn of_collection(
        mut self,
        collection: &CollectionEntry,
    ) -> Result<IndexRequest, CommandError> {
        if !self.collation_given && !self.is_id() {
            self.collation = collection.collation.clone();
        }
        if let (IndexKind::Text(_), Some(collation)) = (&self.kind, &self.collation) {
            return Err(cannot_create(format!(
                "Index type 'text' does not support collation: {}; {{locale: \"simple\"}} has to be given in a \
                 collection that has one",
                describe(collation.document())
            )));
        }
        let collation = self.collation.as_ref();
        let partial = self.partial.take();
        self.partial = partial
            .map(|partial| partial.in_collation(collation))
            .transpose()?;
        Ok(self)
    }

    /// Compares with the indexes of `collection`.
    pub(crate) fn standing(&self, collection: &CollectionEntry) -> Result<Standing, CommandError> {
        if self.is_id() {
            return self.standing_of_id();
        }
        if self.name == "_id_" {
            return Err(cannot_create(
                "the index name '_id_' is reserved for the _id index",
            ));
        }
        for index in &collection.indexes {
            if index.is_id() {
                continue;
            }
            let both_text = matches!(
                (&index.kind, &self.kind),
                (IndexKind::Text(_), IndexKind::Text(_))
            );
            let same_kind = index.kind == self.kind;
            let same_key = index.fields == self.fields && (same_kind || both_text);
            let same_options = same_kind
                && index.unique == self.unique
                && index.sparse == self.sparse
                && index.partial == self.partial
                && index.collation == self.collation;
            match (index.name == self.name, same_key, same_options) {
                (true, true, true)
                    if index.hidden != self.hidden
                        || index.expire_after_seconds != self.expire_after_seconds =>
                {
                    return Err(CommandError::IndexOptionsConflict {
                        message: format!(
                            "An equivalent index already exists with the same name but different options. Requested \
                             index: {}, existing index: {}",
                            describe(&self.spec()),
                            describe(&index.spec)
                        ),
                    });
                }
                (true, true, true) => return Ok(Standing::Exists(index.id)),
                (true, false, _) | (true, true, false) => {
                    return Err(CommandError::IndexKeySpecsConflict {
                        message: format!(
                            "An existing index has the same name as the requested index. When index names are not \
                             specified, they are auto generated and can cause conflicts. Please refer to our \
                             documentation. Requested index: {}, existing index: {}",
                            describe(&self.spec()),
                            describe(&index.spec)
                        ),
                    });
                }
                (false, true, true) => {
                    return Err(CommandError::IndexOptionsConflict {
                        message: format!(
                            "Index already exists with a different name: {}",
                            index.name
                        ),
                    });
                }
                // Same key, other options, other name: MongoDB too lets both be, if uniqueness or sparseness differ.
                (false, true, false) | (false, false, _) => {}
            }
        }
        text::check_only_one(self, collection, &self.spec())?;
        Ok(Standing::New)
    }

    fn standing_of_id(&self) -> Result<Standing, CommandError> {
        let options = [
            ("sparse", self.sparse),
            ("hidden", self.hidden),
            (partial::OPTION, self.partial.is_some()),
        ];
        if let Some((option, _)) = options.iter().find(|(_, given)| *given) {
            return Err(cannot_create(format!(
                "the option '{option}' is not allowed for the _id index"
            )));
        }
        Ok(Standing::Exists(0))
    }
}

/// The fields of `index` with the values they have in `key_pattern`'s order, for error replies.
pub(crate) fn duplicate_key(
    namespace: &Namespace,
    index: &IndexEntry,
    values: &[RawBsonRef<'_>],
) -> CommandError {
    let mut key_value = RawDocumentBuf::new();
    for ((path, _), value) in index.fields.iter().zip(values) {
        if let Ok(name) = CString::try_from(path.as_str()) {
            key_value.append(name, *value);
        }
    }
    CommandError::DuplicateKey {
        namespace: namespace.clone(),
        index: index.name.clone(),
        key_pattern: index.key.clone(),
        key_value,
    }
}

/// A document in the shell's notation, for messages.
pub fn describe(document: &RawDocument) -> String {
    let mut text = String::from("{");
    for (position, element) in document.iter().enumerate() {
        let Ok((name, value)) = element else {
            text.push_str(" ...");
            break;
        };
        text.push_str(if position == 0 { " " } else { ", " });
        text.push_str(name.as_str());
        text.push_str(": ");
        describe_value(value, &mut text);
    }
    text.push_str(" }");
    text
}

fn describe_value(value: RawBsonRef<'_>, text: &mut String) {
    match value {
        RawBsonRef::Document(document) => text.push_str(&describe(document)),
        RawBsonRef::String(string) => {
            text.push_str(&format!("{string:?}"));
        }
        RawBsonRef::ObjectId(id) => text.push_str(&format!("ObjectId('{id}')")),
        RawBsonRef::Double(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
            text.push_str(&format!("{number:.1}"));
        }
        other => match bson::Bson::try_from(other) {
            Ok(value) => text.push_str(&value.to_string()),
            Err(_) => text.push_str("..."),
        },
    }
}
