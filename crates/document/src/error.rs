//! The one error of this crate: deterministic, named after MongoDB's error names, with the message a MongoDB
//! client expects. The server maps names to numbers through [`ErrorKind::code`] and [`ErrorKind::name`].

/// Which of MongoDB's named errors this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorKind {
    /// 2: a value is not acceptable where it stands.
    BadValue,
    /// 4: a field that has to be there is not.
    NoSuchKey,
    /// 9: a specification cannot be parsed.
    FailedToParse,
    /// 14: a value has the wrong BSON type.
    TypeMismatch,
    /// 15: an operation would leave the range of its type.
    Overflow,
    /// 16: a stored document would have an invalid length.
    InvalidLength,
    /// 22: bytes that are not BSON.
    InvalidBson,
    /// 27: there is no index for what was asked.
    IndexNotFound,
    /// 28: an update path goes through a value that has no fields.
    PathNotViable,
    /// 40: two update operators touch the same path.
    ConflictingUpdateOperators,
    /// 52: a stored field name starts with `$`.
    DollarPrefixedFieldName,
    /// 53: `_id` has a type that cannot identify a document.
    InvalidIdField,
    /// 54: a projection or update names `_id`'s part wrongly.
    NotSingleValueField,
    /// 56: an empty field name in a path.
    EmptyFieldName,
    /// 57: a field name with a dot where none may be.
    DottedFieldName,
    /// 66: an update would change `_id`.
    ImmutableField,
    /// 72: an option is not acceptable.
    InvalidOptions,
    /// 73: a namespace is not acceptable.
    InvalidNamespace,
    /// 115: known to MongoDB, not offered here.
    CommandNotSupported,
    /// 168: a pipeline operator is misused.
    InvalidPipelineOperator,
    /// 171: two arrays in one compound key.
    CannotIndexParallelArrays,
    /// 224: an operator may not stand here.
    QueryFeatureNotAllowed,
    /// 241: a value cannot be converted.
    ConversionFailure,
    /// 10334: a document above 16 MiB.
    BsonObjectTooLarge,
    /// 291: nothing can answer the query as it is asked.
    NoQueryExecutionPlans,
    /// 292: a stage needs more memory than it may use.
    QueryExceededMemoryLimitNoDiskUseAllowed,
    /// 14031: what does not fit in memory finds no room on disk.
    OutOfDiskSpace,
    /// Any error MongoDB knows by number only.
    Location(i32),
}

impl ErrorKind {
    /// MongoDB's number for this error.
    pub fn code(self) -> i32 {
        match self {
            ErrorKind::BadValue => 2,
            ErrorKind::NoSuchKey => 4,
            ErrorKind::FailedToParse => 9,
            ErrorKind::TypeMismatch => 14,
            ErrorKind::Overflow => 15,
            ErrorKind::InvalidLength => 16,
            ErrorKind::InvalidBson => 22,
            ErrorKind::IndexNotFound => 27,
            ErrorKind::PathNotViable => 28,
            ErrorKind::ConflictingUpdateOperators => 40,
            ErrorKind::DollarPrefixedFieldName => 52,
            ErrorKind::InvalidIdField => 53,
            ErrorKind::NotSingleValueField => 54,
            ErrorKind::EmptyFieldName => 56,
            ErrorKind::DottedFieldName => 57,
            ErrorKind::ImmutableField => 66,
            ErrorKind::InvalidOptions => 72,
            ErrorKind::InvalidNamespace => 73,
            ErrorKind::CommandNotSupported => 115,
            ErrorKind::InvalidPipelineOperator => 168,
            ErrorKind::CannotIndexParallelArrays => 171,
            ErrorKind::QueryFeatureNotAllowed => 224,
            ErrorKind::ConversionFailure => 241,
            ErrorKind::NoQueryExecutionPlans => 291,
            ErrorKind::QueryExceededMemoryLimitNoDiskUseAllowed => 292,
            ErrorKind::BsonObjectTooLarge => 10334,
            ErrorKind::OutOfDiskSpace => 14031,
            ErrorKind::Location(code) => code,
        }
    }

    /// MongoDB's name for this error; `Location<code>` when it has none.
    pub fn name(self) -> String {
        match self {
            ErrorKind::InvalidBson => "InvalidBSON".to_owned(),
            ErrorKind::BsonObjectTooLarge => "BSONObjectTooLarge".to_owned(),
            ErrorKind::Location(code) => format!("Location{code}"),
            named => format!("{named:?}"),
        }
    }
}

/// An operation on documents was refused. The same on every replica, save [`ErrorKind::OutOfDiskSpace`], which only reads
/// meet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DocumentError {
    /// Which of MongoDB's errors.
    pub kind: ErrorKind,
    /// What happened, worded as MongoDB words it where its wording is known.
    pub message: String,
}

impl DocumentError {
    /// An error of `kind` with `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        DocumentError {
            kind,
            message: message.into(),
        }
    }

    /// Code 2.
    pub fn bad_value(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadValue, message)
    }

    /// Code 9.
    pub fn failed_to_parse(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::FailedToParse, message)
    }

    /// Code 14.
    pub fn type_mismatch(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::TypeMismatch, message)
    }

    /// An error MongoDB knows by number only.
    pub fn location(code: i32, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Location(code), message)
    }
}

impl From<bson::error::Error> for DocumentError {
    fn from(error: bson::error::Error) -> Self {
        Self::new(ErrorKind::InvalidBson, error.to_string())
    }
}
