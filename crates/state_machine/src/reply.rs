//! What applying a command gives back. Deterministic: every member computes the same reply.

use bson::{Bson, RawDocumentBuf};

use crate::CommandError;

/// The result of one applied command.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Of [`crate::Command::Write`].
    Write(WriteReply),
    /// Of commands on the catalog.
    Catalog(CatalogReply),
    /// Of [`crate::Command::ExpireSessions`].
    SessionsExpired {
        /// Sessions forgotten.
        expired: u32,
        /// Where to go on; `None` when all were looked at.
        next: Option<Vec<u8>>,
    },
    /// Of [`crate::Command::Reclaim`].
    Reclaimed {
        /// Whether dropped data is left.
        more: bool,
    },
    /// Of [`crate::Command::ExpireDocuments`].
    DocumentsExpired {
        /// Documents deleted.
        deleted: u32,
    },
    /// The command as a whole was refused; nothing changed.
    Failed(CommandError),
}

/// Results per statement, in order. Statements after the one at which execution stopped are missing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WriteReply {
    /// Statement id and result.
    pub results: Vec<(i32, StatementResult)>,
}

/// The result of one statement.
#[derive(Debug, Clone, PartialEq)]
pub enum StatementResult {
    /// The document is in.
    Inserted,
    /// An update ran.
    Updated {
        /// Documents that matched; 0 when one was upserted.
        matched: u64,
        /// Documents that changed.
        modified: u64,
        /// The `_id` of the document inserted instead.
        upserted: Option<Bson>,
        /// The document asked for.
        image: Option<RawDocumentBuf>,
    },
    /// A delete ran.
    Deleted {
        /// Documents removed.
        n: u64,
        /// The document removed, when asked for.
        image: Option<RawDocumentBuf>,
    },
    /// Refused. A `multi` statement may have changed documents before the one that failed.
    Failed(CommandError),
    /// The candidates no longer match: plan again.
    Stale,
}

/// How far an index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexBuildProgress {
    /// Propose another `IndexBuildChunk`.
    More,
    /// All documents are indexed: propose `IndexBuildFinish`.
    Complete,
    /// The index is in use.
    Ready,
}

/// What a changed index was like before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexBefore {
    /// Whether queries could not choose it.
    pub hidden: bool,
    /// Seconds after its field's date at which documents expired.
    pub expire_after_seconds: Option<i32>,
}

/// Results of commands on the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogReply {
    /// The collection exists now.
    Created,
    /// The collection has its new options.
    Modified {
        /// What the named index was like before.
        index_before: Option<IndexBefore>,
    },
    /// The collection is gone.
    Dropped {
        /// Indexes it had.
        indexes: u32,
    },
    /// The database is gone (it may not have existed).
    DatabaseDropped {
        /// Collections it had.
        collections: u32,
    },
    /// The collection has its new name.
    Renamed,
    /// The indexes exist now.
    IndexesCreated {
        /// Whether the collection had to be created.
        created_collection: bool,
        /// Indexes before.
        indexes_before: u32,
        /// Indexes after.
        indexes_after: u32,
        /// Those of the asked-for indexes that still have to be built, by id.
        building: Vec<u32>,
    },
    /// Of `IndexBuildChunk` and `IndexBuildFinish`.
    IndexBuild(IndexBuildProgress),
    /// The indexes are gone.
    IndexesDropped {
        /// Indexes the collection had before.
        indexes_before: u32,
    },
}
