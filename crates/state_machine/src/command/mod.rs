//! The replicated command: what the log carries. Logical (filters and updates, not resulting bytes), and complete:
//! the time, generated ids and candidate documents were all chosen when it was planned.

mod codec;
mod fields;
#[cfg(test)]
mod tests;

use bson::{Bson, RawBson, RawDocumentBuf};

use crate::catalog::{Namespace, format_of};

pub use fields::DecodeError;
pub(crate) use fields::{Input, Output};

/// Which retryable write of which session this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionStamp {
    /// The session's id as the client gave it: 16 bytes.
    pub lsid: Vec<u8>,
    /// The client's `txnNumber`.
    pub txn_number: i64,
}

/// Statements on one collection, evaluated in order under one log index.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteCommand {
    /// The collection; created by the first document that goes in.
    pub namespace: Namespace,
    /// Set for retryable writes: each statement then happens at most once.
    pub session: Option<SessionStamp>,
    /// Stop at the first statement that fails or is stale.
    pub ordered: bool,
    /// The planner's time, milliseconds since the epoch.
    pub now_ms: i64,
    /// What else holds for all statements.
    pub terms: WriteTerms,
    /// In order of execution; ids are unique within a session's transaction number.
    pub statements: Vec<Statement>,
}

/// What holds for all statements of a write command besides; the default for most. Read since version 2.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WriteTerms {
    /// The collection's validator is not asked.
    pub bypass_validation: bool,
    /// The values of the client's `let`, for filters and pipelines; empty for none.
    pub variables: RawDocumentBuf,
    /// Values for the pipeline of one update each, in the order of the statements; empty when no statement has any.
    pub constants: Vec<RawDocumentBuf>,
    /// The collation of each statement, in their order, empty where it names none; empty when no statement does.
    pub collations: Vec<RawDocumentBuf>,
    /// An upsert inserts the `new` of its constants, not what its filter and its pipeline make.
    pub supplied: bool,
}

impl WriteTerms {
    /// Whether this says nothing.
    pub fn is_default(&self) -> bool {
        *self == WriteTerms::default()
    }
}

/// One write and the id under which its result is remembered.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// The client's statement id.
    pub statement_id: i32,
    /// What to do.
    pub operation: Operation,
}

/// Which image of the document goes into the result (`findAndModify`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// None.
    None,
    /// As it was before.
    Before,
    /// As it is afterwards.
    After,
}

/// Insert when nothing matches.
#[derive(Debug, Clone, PartialEq)]
pub struct Upsert {
    /// The `_id` to use when neither filter nor update gives one.
    pub generated_id: Option<Bson>,
}

/// A write of one statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// Put one document in; it has its `_id` first.
    Insert {
        /// The document.
        document: RawDocumentBuf,
    },
    /// Change documents.
    ///
    /// `candidates` are the `_id`s that matched when the write was planned, in the order in which to try them. When
    /// the filter names its `_id`s exactly (`{_id: x}`, `{_id: {$in: […]}}`) the list may be empty: the filter's own
    /// ids are used, and nothing has to be read to plan.
    Update {
        /// Checked again on every candidate.
        filter: RawDocumentBuf,
        /// Modifiers or a replacement (a document), or a pipeline (an array).
        update: RawBson,
        /// For the update's filtered positional operators.
        array_filters: Vec<RawDocumentBuf>,
        /// `_id`s, see above.
        candidates: Vec<RawBson>,
        /// All candidates that match; otherwise the first one.
        multi: bool,
        /// Insert when nothing matches.
        upsert: Option<Upsert>,
        /// What to give back.
        image: Image,
    },
    /// Remove documents; `candidates` as for `Update`.
    Delete {
        /// Checked again on every candidate.
        filter: RawDocumentBuf,
        /// `_id`s, see `Update`.
        candidates: Vec<RawBson>,
        /// All candidates that match; otherwise the first one.
        multi: bool,
        /// What to give back; `After` gives nothing.
        image: Image,
    },
}

/// Which indexes to drop.
#[derive(Debug, Clone, PartialEq)]
pub enum IndexSelection {
    /// All but `_id_`.
    All,
    /// Those of these names.
    Names(Vec<String>),
    /// The one with this key pattern.
    Key(RawDocumentBuf),
}

/// A change of one index.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexChange {
    /// Its name.
    pub name: String,
    /// Whether queries may not choose it from now on.
    pub hidden: Option<bool>,
    /// Seconds after its field's date at which documents expire from now on.
    pub expire_after_seconds: Option<i32>,
}

/// Everything that can change the state.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Documents.
    Write(WriteCommand),
    /// Create a collection explicitly.
    CreateCollection {
        /// Its name.
        namespace: Namespace,
        /// The options it is listed with.
        options: RawDocumentBuf,
    },
    /// Change a collection's options or an index's. (Version 2.)
    ModifyCollection {
        /// Its name.
        namespace: Namespace,
        /// Options that replace those of the same name; null takes one away.
        changes: RawDocumentBuf,
        /// What becomes of one of its indexes.
        index: Option<IndexChange>,
    },
    /// Drop a collection; its data goes with later `Reclaim`s.
    DropCollection {
        /// Its name.
        namespace: Namespace,
    },
    /// Drop every collection of a database.
    DropDatabase {
        /// Its name.
        database: String,
    },
    /// Rename within one database.
    RenameCollection {
        /// The name it has.
        from: Namespace,
        /// The name it gets.
        to: Namespace,
        /// Drop the collection that has the new name.
        drop_target: bool,
    },
    /// Create indexes; on a collection with documents they start as building.
    CreateIndexes {
        /// The collection; created when missing.
        namespace: Namespace,
        /// As the client wrote them.
        specs: Vec<RawDocumentBuf>,
    },
    /// Index the next documents of a building index.
    IndexBuildChunk {
        /// Which index.
        index_id: u32,
        /// Documents at most; capped by [`crate::limits::INDEX_BUILD_CHUNK_MAX`].
        limit: u32,
    },
    /// Make a completely built index ready.
    IndexBuildFinish {
        /// Which index.
        index_id: u32,
    },
    /// Drop indexes.
    DropIndexes {
        /// The collection.
        namespace: Namespace,
        /// Which of its indexes.
        indexes: IndexSelection,
    },
    /// Forget sessions unused since a time; a bounded part of them per command.
    ExpireSessions {
        /// Milliseconds since the epoch; sessions last used before this go.
        last_used_before_ms: i64,
        /// Where the previous command stopped ([`crate::Reply::SessionsExpired`]); empty to start.
        after: Vec<u8>,
        /// Sessions to look at, at most.
        limit: u32,
    },
    /// Remove data of dropped collections and indexes.
    Reclaim {
        /// Keys at most.
        limit: u32,
    },
    /// Delete documents whose date in an index with `expireAfterSeconds` has passed.
    ExpireDocuments {
        /// Which index.
        index_id: u32,
        /// The time by which they have expired, milliseconds since the epoch.
        now_ms: i64,
        /// Entries of the index, without its prefix: those that have gone or do not expire by then are passed over.
        entries: Vec<Vec<u8>>,
    },
}

impl Command {
    /// The format this is written in: the first, unless it holds what members of that one would refuse or not read.
    pub fn format(&self) -> u8 {
        match self {
            Command::ExpireDocuments { .. } | Command::ModifyCollection { .. } => 2,
            Command::CreateCollection { options, .. } if !options.is_empty() => 2,
            Command::Write(write) if !write.terms.is_default() => 2,
            Command::CreateIndexes { specs, .. } => {
                let formats = specs.iter().map(|spec| format_of(spec));
                formats.max().unwrap_or(1)
            }
            _ => 1,
        }
    }
}
