//! What became of a client's write, per statement, in the shape the reply needs.

use bson::{Bson, RawDocumentBuf};

use crate::CommandError;

/// The end of one statement.
#[derive(Debug, Clone, PartialEq)]
pub enum StatementOutcome {
    /// The document is in.
    Inserted,
    /// An update ran.
    Updated {
        /// Documents the filter matched; 0 when one was upserted.
        matched: u64,
        /// Documents that changed.
        modified: u64,
        /// The `_id` of the document that was inserted instead.
        upserted: Option<Bson>,
    },
    /// A delete ran.
    Deleted {
        /// Documents removed.
        count: u64,
    },
    /// Refused; nothing of it happened, except chunks of a multi-document statement that went before.
    Failed(CommandError),
}

/// What became of a whole write command.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WriteOutcome {
    /// In statement order. Shorter than the request when an ordered one stopped at a failure.
    pub statements: Vec<StatementOutcome>,
    /// `findAndModify`: the document before or after, projected.
    pub value: Option<RawDocumentBuf>,
}

impl WriteOutcome {
    /// The reply's `n`: documents inserted, matched (or upserted), or deleted.
    pub fn n(&self) -> u64 {
        self.statements
            .iter()
            .map(|statement| match statement {
                StatementOutcome::Inserted => 1,
                StatementOutcome::Updated {
                    upserted: Some(_), ..
                } => 1,
                StatementOutcome::Updated { matched, .. } => *matched,
                StatementOutcome::Deleted { count } => *count,
                StatementOutcome::Failed(_) => 0,
            })
            .sum()
    }

    /// The reply's `nModified`.
    pub fn modified(&self) -> u64 {
        self.statements
            .iter()
            .map(|statement| match statement {
                StatementOutcome::Updated { modified, .. } => *modified,
                _ => 0,
            })
            .sum()
    }

    /// The reply's `upserted`: statement index and `_id`.
    pub fn upserted(&self) -> impl Iterator<Item = (usize, &Bson)> {
        self.statements
            .iter()
            .enumerate()
            .filter_map(|(index, statement)| match statement {
                StatementOutcome::Updated {
                    upserted: Some(id), ..
                } => Some((index, id)),
                _ => None,
            })
    }

    /// The reply's `writeErrors`: statement index and error.
    pub fn errors(&self) -> impl Iterator<Item = (usize, &CommandError)> {
        self.statements
            .iter()
            .enumerate()
            .filter_map(|(index, statement)| match statement {
                StatementOutcome::Failed(error) => Some((index, error)),
                _ => None,
            })
    }
}
