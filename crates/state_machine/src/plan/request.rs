//! Writes as clients ask for them.

use bson::{RawBson, RawDocumentBuf};

use crate::query::{Hint, Interrupt};
use crate::{Namespace, SessionStamp, WriteTerms};

/// What holds for every statement of one write command.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// The collection.
    pub namespace: Namespace,
    /// Set for retryable writes: makes each statement happen at most once.
    pub session: Option<SessionStamp>,
    /// The client's `stmtIds`, one per statement; empty means 0, 1, 2 …
    pub statement_ids: Vec<i32>,
    /// Stop at the first statement that fails.
    pub ordered: bool,
    /// What else holds for all statements.
    pub terms: WriteTerms,
    /// Asked while candidates are searched.
    pub interrupt: Interrupt,
}

impl WriteOptions {
    /// Ordered, without a session, never interrupted.
    pub fn new(namespace: Namespace) -> Self {
        WriteOptions {
            namespace,
            session: None,
            statement_ids: Vec::new(),
            ordered: true,
            terms: WriteTerms::default(),
            interrupt: Interrupt::never(),
        }
    }
}

/// `insert`.
#[derive(Debug, Clone)]
pub struct InsertRequest {
    /// The documents as they came; those without `_id` get one.
    pub documents: Vec<RawDocumentBuf>,
}

/// One element of `update`'s `updates`.
#[derive(Debug, Clone)]
pub struct UpdateStatement {
    /// `q`.
    pub filter: RawDocumentBuf,
    /// `u`: update operators, a replacement, or a pipeline.
    pub update: RawBson,
    /// `arrayFilters`.
    pub array_filters: Vec<RawDocumentBuf>,
    /// `multi`.
    pub multi: bool,
    /// `upsert`.
    pub upsert: bool,
    /// `hint`.
    pub hint: Option<Hint>,
    /// `sort`: which document a single update takes first.
    pub sort: Option<RawDocumentBuf>,
    /// `collation`; the collection's own when missing or empty.
    pub collation: Option<RawDocumentBuf>,
}

/// One element of `delete`'s `deletes`.
#[derive(Debug, Clone)]
pub struct DeleteStatement {
    /// `q`.
    pub filter: RawDocumentBuf,
    /// `limit: 0` is true, `limit: 1` is false.
    pub multi: bool,
    /// `hint`.
    pub hint: Option<Hint>,
    /// `collation`; the collection's own when missing or empty.
    pub collation: Option<RawDocumentBuf>,
}

/// One of several statements of any kind on one collection.
#[derive(Debug, Clone)]
pub enum BulkStatement {
    /// Puts a document in.
    Insert(RawDocumentBuf),
    /// Changes documents; with values for its pipeline, empty for none.
    Update(UpdateStatement, RawDocumentBuf),
    /// Removes documents.
    Delete(DeleteStatement),
}

/// What `findAndModify` does with the document it finds.
#[derive(Debug, Clone)]
pub enum FindAndModifyOperation {
    /// `remove: true`.
    Remove,
    /// `update`, with its companions.
    Update {
        /// Update operators, a replacement, or a pipeline.
        update: RawBson,
        /// `arrayFilters`.
        array_filters: Vec<RawDocumentBuf>,
        /// `upsert`.
        upsert: bool,
        /// `new`: give back the document after the change instead of before.
        return_new: bool,
    },
}

/// `findAndModify`.
#[derive(Debug, Clone)]
pub struct FindAndModifyRequest {
    /// `query`.
    pub filter: RawDocumentBuf,
    /// `sort`: which of several matches is taken.
    pub sort: Option<RawDocumentBuf>,
    /// `fields`: a projection of the document given back.
    pub projection: Option<RawDocumentBuf>,
    /// What to do.
    pub operation: FindAndModifyOperation,
    /// `hint`.
    pub hint: Option<Hint>,
    /// `collation`; the collection's own when missing or empty.
    pub collation: Option<RawDocumentBuf>,
}
