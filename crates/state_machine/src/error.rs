//! The deterministic failures: the same on every member, part of a reply. The server maps them to wire numbers.

use bson::RawDocumentBuf;
use document::DocumentError;

use crate::catalog::Namespace;

/// A command, or one of its statements, was refused. The same on every replica that applies it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CommandError {
    /// Another document holds a unique index's key.
    #[error(
        "E11000 duplicate key error collection: {namespace} index: {index} dup key: {}",
        crate::catalog::describe(key_value)
    )]
    DuplicateKey {
        /// The collection.
        namespace: Namespace,
        /// The index's name.
        index: String,
        /// The index's key pattern.
        key_pattern: RawDocumentBuf,
        /// The fields of the pattern with the values that collide.
        key_value: RawDocumentBuf,
    },
    /// The collection does not exist.
    #[error("ns not found: {namespace}")]
    NamespaceNotFound {
        /// What was looked for.
        namespace: Namespace,
    },
    /// The collection exists already, and not as asked for.
    #[error("Collection {namespace} already exists.")]
    NamespaceExists {
        /// The name that is taken.
        namespace: Namespace,
    },
    /// The name is not acceptable.
    #[error("Invalid namespace specified '{namespace}': {reason}")]
    InvalidNamespace {
        /// The name.
        namespace: Namespace,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An index exists under another name or with other options (MongoDB's 85).
    #[error("{message}")]
    IndexOptionsConflict {
        /// What collides with what.
        message: String,
    },
    /// An index of this name exists with another key or other options (MongoDB's 86).
    #[error("{message}")]
    IndexKeySpecsConflict {
        /// What collides with what.
        message: String,
    },
    /// The index does not exist.
    #[error("{message}")]
    IndexNotFound {
        /// What was looked for.
        message: String,
    },
    /// The index cannot be created as specified (MongoDB's 67).
    #[error("{message}")]
    CannotCreateIndex {
        /// Why.
        message: String,
    },
    /// A field of an index specification is not known (MongoDB's 197).
    #[error("{message}")]
    InvalidIndexSpecificationOption {
        /// Which.
        message: String,
    },
    /// Known to MongoDB, not offered here.
    #[error("{what} is not supported")]
    NotSupported {
        /// What was asked for.
        what: String,
    },
    /// Options that do not go together or have the wrong shape (MongoDB's 72).
    #[error("{message}")]
    InvalidOptions {
        /// Why.
        message: String,
    },
    /// The operation makes no sense on this target (MongoDB's 20).
    #[error("{message}")]
    IllegalOperation {
        /// Why.
        message: String,
    },
    /// A retryable write carries a transaction number below the session's latest.
    #[error(
        "Retryable write with txnNumber {given} is prohibited on session because a newer retryable write with txnNumber {latest} has already started on this session."
    )]
    TransactionTooOld {
        /// The number that came.
        given: i64,
        /// The session's latest.
        latest: i64,
    },
    /// The collection's validator does not accept a document (MongoDB's 121).
    #[error("Document failed validation")]
    DocumentValidation {
        /// The document's `_id` and what it does not satisfy.
        info: RawDocumentBuf,
    },
    /// A view has no documents and no indexes of its own (MongoDB's 166).
    #[error("Namespace {namespace} is a view, not a collection")]
    NotOnView {
        /// The view.
        namespace: Namespace,
    },
    /// Views that read one another in a circle (MongoDB's 5).
    #[error("View cycle detected: {namespaces}")]
    ViewCycle {
        /// From one to the next.
        namespaces: String,
    },
    /// Views on views on views (MongoDB's 165).
    #[error(
        "View depth limit exceeded; maximum depth is {}",
        crate::limits::VIEW_DEPTH_MAX
    )]
    ViewTooDeep,
    /// An index or `_id` key is longer than [`crate::limits::KEY_BYTES_MAX`].
    #[error(
        "key of {bytes} bytes for index {index} of {namespace} is too long, at most {} bytes are allowed",
        crate::limits::KEY_BYTES_MAX
    )]
    KeyTooLong {
        /// The collection.
        namespace: Namespace,
        /// The index's name.
        index: String,
        /// The key's length.
        bytes: usize,
    },
    /// Values, paths, filters or updates were at fault.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The bytes of the command are not a command this version understands. Says where.
    #[error("malformed command: {0}")]
    Malformed(#[from] crate::command::DecodeError),
}
