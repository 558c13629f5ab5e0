//! A command that fails: code, message, labels, and what the failure carries besides; and how the deterministic
//! errors of the state machine become MongoDB's.

mod codes;

use bson::RawDocumentBuf;
use document::{DocumentError, ErrorKind};
use state_machine::CommandError;
use state_machine::query::{InterruptReason, QueryError};

use super::document_writer::DocumentWriter;
pub(crate) use codes::Code;

pub(crate) const RETRYABLE_WRITE: &str = "RetryableWriteError";
pub(crate) const NO_WRITES_PERFORMED: &str = "NoWritesPerformed";
pub(crate) const SYSTEM_OVERLOADED: &str = "SystemOverloadedError";
pub(crate) const RETRYABLE: &str = "RetryableError";

/// Why a command failed.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub code: Code,
    pub message: String,
    /// Nothing of the command took effect, as far as this member knows.
    pub nothing_written: bool,
    /// Labels beyond those that follow from code and request.
    pub labels: Vec<&'static str>,
    /// Set by a fail point: the labels that replace the computed ones, if it names any. Nothing changed here, so such a
    /// failure carries no `topologyVersion`.
    pub injected: Option<Option<Vec<String>>>,
    /// A unique index's key pattern and value.
    pub duplicate: Option<Box<Duplicate>>,
    /// What a refused document does not satisfy.
    pub info: Option<Box<RawDocumentBuf>>,
}

/// What a duplicate-key error tells of the index.
#[derive(Debug, Clone)]
pub(crate) struct Duplicate {
    pub key_pattern: RawDocumentBuf,
    pub key_value: RawDocumentBuf,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Failure {
            code,
            message: message.into(),
            nothing_written: false,
            labels: Vec::new(),
            injected: None,
            duplicate: None,
            info: None,
        }
    }

    pub(crate) fn bad_value(message: impl Into<String>) -> Self {
        Self::new(Code::BadValue, message)
    }

    pub(crate) fn type_mismatch(message: impl Into<String>) -> Self {
        Self::new(Code::TypeMismatch, message)
    }

    /// An option or feature that MongoDB has and this server does not.
    pub(crate) fn not_supported(what: impl std::fmt::Display) -> Self {
        Self::new(
            Code::CommandNotSupported,
            format!("{what} is not supported"),
        )
    }

    pub(crate) fn max_time_expired() -> Self {
        Self::new(Code::MaxTimeMSExpired, "operation exceeded time limit")
    }

    /// This member does not lead and nothing was proposed.
    /// `killOp` named the command.
    pub(crate) fn interrupted() -> Self {
        Self::new(Code::Interrupted, "operation was interrupted")
    }

    pub(crate) fn not_primary() -> Self {
        Failure {
            nothing_written: true,
            ..Self::new(Code::NotWritablePrimary, "not primary")
        }
    }

    /// Leadership was lost after proposing: whether the write takes effect is not known here.
    pub(crate) fn outcome_unknown() -> Self {
        Self::new(
            Code::InterruptedDueToReplStateChange,
            "operation was interrupted: this member lost its leadership while the write was being replicated",
        )
    }

    pub(crate) fn shutting_down() -> Self {
        Failure {
            nothing_written: true,
            ..Self::new(Code::ShutdownInProgress, "The server is shutting down")
        }
    }

    pub(crate) fn overloaded() -> Self {
        Failure {
            nothing_written: true,
            labels: vec![SYSTEM_OVERLOADED, RETRYABLE],
            ..Self::new(
                Code::IngressRequestRateLimitExceeded,
                "the server is overloaded: too many operations wait already; try again after a pause",
            )
        }
    }

    /// Nothing was proposed: there is no room for it.
    pub(crate) fn out_of_disk_space(what: String) -> Self {
        Failure {
            nothing_written: true,
            ..Self::new(Code::OutOfDiskSpace, what)
        }
    }

    /// Writes `code`, `codeName`, `errmsg` and details. Labels and `ok` are the dispatcher's.
    pub(crate) fn write_to(&self, writer: &mut DocumentWriter) {
        writer.string("errmsg", &self.message);
        self.write_code(writer);
    }

    /// Writes `code` and `codeName` and a duplicate's details.
    fn write_code(&self, writer: &mut DocumentWriter) {
        writer.i32("code", self.code.number());
        writer.string("codeName", &self.code.name());
        self.write_details(writer);
    }

    fn write_details(&self, writer: &mut DocumentWriter) {
        if let Some(duplicate) = &self.duplicate {
            writer.document("keyPattern", &duplicate.key_pattern);
            writer.document("keyValue", &duplicate.key_value);
        }
        if let Some(info) = &self.info {
            writer.document("errInfo", info);
        }
    }

    /// Writes the failure's fields into the row of an operation.
    pub(crate) fn write_as_row(&self, writer: &mut DocumentWriter) {
        writer.i32("code", self.code.number());
        writer.string("errmsg", &self.message);
        self.write_details(writer);
    }

    /// Writes the failure as one element of `writeErrors`.
    pub(crate) fn write_as_write_error(&self, writer: &mut DocumentWriter, index: usize) {
        writer.push_begin_document();
        writer.i32("index", i32::try_from(index).expect("batches are bounded"));
        writer.i32("code", self.code.number());
        self.write_details(writer);
        writer.string("errmsg", &self.message);
        writer.end();
    }
}

impl From<DocumentError> for Failure {
    fn from(error: DocumentError) -> Self {
        Failure::new(Code::from_number(error.kind.code()), error.message)
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        let message = error.to_string();
        let code = match &error {
            CommandError::Document(inner) => Code::from_number(inner.kind.code()),
            CommandError::DuplicateKey { .. } => Code::DuplicateKey,
            CommandError::NamespaceNotFound { .. } => Code::NamespaceNotFound,
            CommandError::NamespaceExists { .. } => Code::NamespaceExists,
            CommandError::InvalidNamespace { .. } => Code::InvalidNamespace,
            CommandError::IndexOptionsConflict { .. } => Code::IndexOptionsConflict,
            CommandError::IndexKeySpecsConflict { .. } => Code::IndexKeySpecsConflict,
            CommandError::IndexNotFound { .. } => Code::IndexNotFound,
            CommandError::CannotCreateIndex { .. } => Code::CannotCreateIndex,
            CommandError::InvalidIndexSpecificationOption { .. } => {
                Code::InvalidIndexSpecificationOption
            }
            CommandError::NotSupported { .. } => Code::CommandNotSupported,
            CommandError::InvalidOptions { .. } => Code::InvalidOptions,
            CommandError::IllegalOperation { .. } => Code::IllegalOperation,
            CommandError::TransactionTooOld { .. } => Code::TransactionTooOld,
            // MongoDB's number for keys that do not fit an index.
            CommandError::KeyTooLong { .. } => Code::Location(17280),
            CommandError::DocumentValidation { .. } => Code::DocumentValidationFailure,
            CommandError::NotOnView { .. } => Code::CommandNotSupportedOnView,
            CommandError::ViewCycle { .. } => Code::GraphContainsCycle,
            CommandError::ViewTooDeep => Code::ViewDepthLimitExceeded,
            CommandError::Malformed(_) => Code::InternalError,
        };
        let mut failure = Failure::new(code, message);
        match error {
            CommandError::DuplicateKey {
                key_pattern,
                key_value,
                ..
            } => {
                failure.duplicate = Some(Box::new(Duplicate {
                    key_pattern,
                    key_value,
                }));
            }
            CommandError::DocumentValidation { info } => failure.info = Some(Box::new(info)),
            _ => {}
        }
        failure
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Command(error) => error.into(),
            QueryError::Interrupted(InterruptReason::TimeLimit) => Failure::max_time_expired(),
            QueryError::Interrupted(InterruptReason::Killed) => Failure::new(
                Code::CursorKilled,
                "operation was interrupted: it was killed",
            ),
            QueryError::Storage(fault) => fault.into(),
        }
    }
}

impl From<state_machine::StorageFault> for Failure {
    /// This member's storage failed; the node leaves by itself, the client goes elsewhere.
    fn from(fault: state_machine::StorageFault) -> Self {
        Failure::new(
            Code::InterruptedAtShutdown,
            format!("this member's storage failed: {fault}"),
        )
    }
}

/// Errors in bytes that should have been BSON.
impl From<bson::error::Error> for Failure {
    fn from(error: bson::error::Error) -> Self {
        DocumentError::new(ErrorKind::InvalidBson, error.to_string()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_mongodbs() {
        for (code, number, name) in [
            (Code::NotWritablePrimary, 10107, "NotWritablePrimary"),
            (Code::IDLUnknownField, 40415, "IDLUnknownField"),
            (Code::Location(16840), 16840, "Location16840"),
        ] {
            assert_eq!(code.number(), number);
            assert_eq!(code.name(), name);
            assert_eq!(Code::from_number(number), code);
        }
    }

    #[test]
    fn every_document_error_keeps_its_number_and_name() {
        for kind in [
            ErrorKind::BadValue,
            ErrorKind::FailedToParse,
            ErrorKind::PathNotViable,
            ErrorKind::ConflictingUpdateOperators,
            ErrorKind::ImmutableField,
            ErrorKind::InvalidBson,
            ErrorKind::BsonObjectTooLarge,
            ErrorKind::CannotIndexParallelArrays,
            ErrorKind::OutOfDiskSpace,
        ] {
            let failure = Failure::from(DocumentError::new(kind, "m"));
            assert_eq!(failure.code.number(), kind.code());
            assert_eq!(failure.code.name(), kind.name());
        }
    }
}
