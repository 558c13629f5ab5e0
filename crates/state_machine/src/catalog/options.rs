//! What a collection's options say: its validator, whether it is a view, and what it fills in by itself. The options stay
//! the document they came as; this is the same, understood. Unknown options have no effect here: they are refused before
//! they are replicated.

use bson::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf};

/// Under this name of `create` and `collMod` stand the options that MongoDB does not have.
pub const OWN_OPTIONS: &str = "cstore";

/// To which writes a validator applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ValidationLevel {
    /// None.
    Off,
    /// Inserts, and updates of documents that satisfied it before.
    Moderate,
    /// All.
    #[default]
    Strict,
}

/// A rule for documents.
#[derive(Debug, Clone)]
pub struct Validator {
    /// What documents must match.
    pub filter: RawDocumentBuf,
    /// When it is asked.
    pub level: ValidationLevel,
    /// Whether a document that does not match is refused; otherwise it passes.
    pub refuses: bool,
}

/// A collection that is a question about another one.
#[derive(Debug, Clone)]
pub struct View {
    /// The collection or view it reads, in the same database.
    pub on: String,
    /// What it does with those documents.
    pub pipeline: RawArrayBuf,
}

/// A field that counts up by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// A top-level field, given to documents that come without it.
    pub field: String,
    /// The first number.
    pub start: i64,
    /// From one number to the next; greater than 0.
    pub step: i64,
}

/// Fields that hold when a document was made and when it was changed last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timestamps {
    /// Set by the insert, kept by updates.
    pub created: Option<String>,
    /// Set by the insert and by every update that changes something.
    pub updated: Option<String>,
}

/// The options, understood.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// A validator that is not off.
    pub validator: Option<Validator>,
    /// Set when this is a view: it has no documents of its own.
    pub view: Option<View>,
    /// A field that counts up.
    pub sequence: Option<Sequence>,
    /// Fields of times.
    pub timestamps: Option<Timestamps>,
    /// Fields every document must have.
    pub required: Vec<String>,
}

impl Rules {
    /// What `options` say.
    pub fn of(options: &RawDocument) -> Rules {
        let mut rules = Rules {
            validator: validator(options),
            view: view(options),
            ..Rules::default()
        };
        if let Ok(Some(RawBsonRef::Document(own))) = options.get(OWN_OPTIONS) {
            rules.sequence = sequence(own);
            rules.timestamps = timestamps(own);
            rules.required = required(own);
        }
        rules
    }

    /// Whether writes change more than they say, or are refused for what they say.
    pub fn touch_documents(&self) -> bool {
        self.validator.is_some()
            || self.sequence.is_some()
            || self.timestamps.is_some()
            || !self.required.is_empty()
    }
}

fn text<'a>(options: &'a RawDocument, name: &str) -> Option<&'a str> {
    match options.get(name) {
        Ok(Some(RawBsonRef::String(text))) => Some(text),
        _ => None,
    }
}

fn validator(options: &RawDocument) -> Option<Validator> {
    let Ok(Some(RawBsonRef::Document(filter))) = options.get("validator") else {
        return None;
    };
    let level = match text(options, "validationLevel") {
        Some("off") => ValidationLevel::Off,
        Some("moderate") => ValidationLevel::Moderate,
        _ => ValidationLevel::Strict,
    };
    let off = filter.is_empty() || level == ValidationLevel::Off;
    (!off).then(|| Validator {
        filter: filter.to_owned(),
        level,
        refuses: text(options, "validationAction") != Some("warn"),
    })
}

fn view(options: &RawDocument) -> Option<View> {
    let pipeline = match options.get("pipeline") {
        Ok(Some(RawBsonRef::Array(pipeline))) => pipeline.to_owned(),
        _ => RawArrayBuf::new(),
    };
    Some(View {
        on: text(options, "viewOn")?.to_owned(),
        pipeline,
    })
}

fn whole(options: &RawDocument, name: &str) -> Option<i64> {
    match options.get(name) {
        Ok(Some(RawBsonRef::Int32(number))) => Some(i64::from(number)),
        Ok(Some(RawBsonRef::Int64(number))) => Some(number),
        Ok(Some(RawBsonRef::Double(number))) if number.fract() == 0.0 => Some(number as i64),
        _ => None,
    }
}

fn sequence(own: &RawDocument) -> Option<Sequence> {
    let Ok(Some(RawBsonRef::Document(sequence))) = own.get("autoIncrement") else {
        return None;
    };
    Some(Sequence {
        field: text(sequence, "field")?.to_owned(),
        start: whole(sequence, "start").unwrap_or(1),
        step: whole(sequence, "step").unwrap_or(1).max(1),
    })
}

fn timestamps(own: &RawDocument) -> Option<Timestamps> {
    let Ok(Some(RawBsonRef::Document(names))) = own.get("timestamps") else {
        return None;
    };
    let found = Timestamps {
        created: text(names, "createdAt").map(str::to_owned),
        updated: text(names, "updatedAt").map(str::to_owned),
    };
    (found != Timestamps::default()).then_some(found)
}

fn required(own: &RawDocument) -> Vec<String> {
    let Ok(Some(RawBsonRef::Array(names))) = own.get("required") else {
        return Vec::new();
    };
    let text = |name| match name {
        Ok(RawBsonRef::String(name)) => Some(name.to_owned()),
        _ => None,
    };
    names.into_iter().filter_map(text).collect()
}
