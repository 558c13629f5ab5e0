//! What clients ask of members, and what they are told.

use bson::RawDocumentBuf;
use state_machine::plan::{
    DeleteStatement, FindAndModifyRequest, InsertRequest, UpdateStatement, WriteOptions,
    WriteOutcome, WritePlanner,
};
use state_machine::{Command, Namespace, Reply, SessionStamp};

/// A request of a client.
#[derive(Clone, Debug)]
pub enum Request {
    /// A write that is planned on the member that leads.
    Write {
        /// The collection.
        namespace: Namespace,
        /// What to do.
        change: Change,
    },
    /// A command on the catalog, which may be repeated.
    Catalog(Command),
    /// The documents that match.
    Read {
        /// The collection.
        namespace: Namespace,
        /// Which documents.
        filter: RawDocumentBuf,
    },
}

/// A write, as the client says it.
#[derive(Clone, Debug)]
pub enum Change {
    /// `insert`.
    Insert(Vec<RawDocumentBuf>),
    /// `update`.
    Update(Vec<UpdateStatement>),
    /// `delete`.
    Delete(Vec<DeleteStatement>),
    /// `findAndModify`.
    FindAndModify(FindAndModifyRequest),
}

impl Change {
    pub(super) fn planner(
        &self,
        namespace: &Namespace,
        session: Option<SessionStamp>,
    ) -> WritePlanner {
        let options = WriteOptions {
            session,
            ..WriteOptions::new(namespace.clone())
        };
        match self.clone() {
            Change::Insert(documents) => WritePlanner::insert(options, InsertRequest { documents }),
            Change::Update(statements) => WritePlanner::update(options, statements),
            Change::Delete(statements) => WritePlanner::delete(options, statements),
            Change::FindAndModify(request) => WritePlanner::find_and_modify(options, request),
        }
    }
}

/// What a request gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Of a write.
    Written(WriteOutcome),
    /// Of a command on the catalog.
    Reply(Reply),
    /// Of a read, in the order of `_id`.
    Documents(Vec<RawDocumentBuf>),
}
