//! The named points of the write path, as they look from below: an operation on a kind of file.

use std::collections::BTreeMap;

/// What is asked of the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// A file is made.
    Create,
    /// A directory is made.
    MakeDirectory,
    /// Bytes are written.
    Write,
    /// A length is set.
    SetLength,
    /// A file is synced.
    Sync,
    /// A directory is synced.
    SyncDirectory,
    /// A name is changed; the kind of file is that of the new name.
    Rename,
    /// A file is removed.
    Remove,
    /// A directory is removed.
    RemoveDirectory,
}

/// A kind of file or directory in a data directory (`docs/file_format.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// `wal/<sequence>.wal`.
    Segment,
    /// `wal/spare-…`.
    Spare,
    /// `wal/prepare.tmp`.
    Prepared,
    /// `wal/`.
    Log,
    /// `engine/<n>/tables/<id>`.
    Table,
    /// `engine/<n>/tables/`.
    Tables,
    /// `engine/<n>/v<id>`.
    TableList,
    /// `engine/<n>/current`, and the temporary file it comes from.
    CurrentList,
    /// `engine/<n>/`.
    Generation,
    /// `engine/CURRENT`, and the temporary file it comes from.
    CurrentGeneration,
    /// `engine/installing-<index>`.
    Installing,
    /// `engine/incoming`.
    Incoming,
    /// `engine/pinned`.
    Pinned,
    /// `engine/`.
    Engine,
    /// `identity` and its copy.
    Identity,
    /// `peers`.
    Peers,
    /// The data directory.
    Data,
    /// Anything else.
    Other,
}

impl Place {
    /// The kind of what stands at this path below the mount, whose first part is the data directory.
    pub fn of(path: &str) -> Place {
        let mut parts = path.split('/').skip(1);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (None, ..) => Place::Data,
            (Some("wal"), None, ..) => Place::Log,
            (Some("wal"), Some(name), ..) => Self::in_log(name),
            (Some("engine"), None, ..) => Place::Engine,
            (Some("engine"), Some(name), None, _) => Self::in_engine(name),
            (Some("engine"), Some(_), Some("tables"), None) => Place::Tables,
            (Some("engine"), Some(_), Some("tables"), Some(_)) => Place::Table,
            (Some("engine"), Some(_), Some(name), None) if name.starts_with('v') => {
                Place::TableList
            }
            (Some("engine"), Some(_), Some(_), None) => Place::CurrentList,
            (Some(name), None, ..) if name.starts_with("identity") => Place::Identity,
            (Some(name), None, ..) if name.starts_with("peers") => Place::Peers,
            _ => Place::Other,
        }
    }

    fn in_log(name: &str) -> Place {
        match name {
            "prepare.tmp" => Place::Prepared,
            name if name.starts_with("spare-") => Place::Spare,
            _ => Place::Segment,
        }
    }

    fn in_engine(name: &str) -> Place {
        match name {
            "incoming" => Place::Incoming,
            name if name.starts_with("CURRENT") => Place::CurrentGeneration,
            name if name.starts_with("installing-") => Place::Installing,
            name if name.starts_with("pinned") => Place::Pinned,
            name if name.parse::<u64>().is_ok() => Place::Generation,
            _ => Place::Other,
        }
    }
}

/// A named point of the write path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// What it is in the program.
    pub name: &'static str,
    /// What it is from below.
    pub operation: Operation,
    /// On what.
    pub place: Place,
    /// Whether it happens only to a member that is sent a snapshot.
    pub of_install: bool,
}

const fn point(name: &'static str, operation: Operation, place: Place) -> Point {
    Point {
        name,
        operation,
        place,
        of_install: false,
    }
}

const fn install(name: &'static str, operation: Operation, place: Place) -> Point {
    Point {
        of_install: true,
        ..point(name, operation, place)
    }
}

use Operation::{
    Create, MakeDirectory, Remove, RemoveDirectory, Rename, SetLength, Sync, SyncDirectory, Write,
};

/// Every named point.
pub const POINTS: &[Point] = &[
    point("log: append", Write, Place::Segment),
    point("log: sync", Sync, Place::Segment),
    point("log: write a segment ahead", Write, Place::Prepared),
    point("log: sync a segment ahead", Sync, Place::Prepared),
    point("log: rotate to a named segment", Rename, Place::Segment),
    point("log: truncate, keep as a spare", Rename, Place::Spare),
    point("log: truncate, remove", Remove, Place::Segment),
    point("log: sync of names", SyncDirectory, Place::Log),
    point("flush, compact: make a table", Create, Place::Table),
    point("flush, compact: write a table", Write, Place::Table),
    point("flush, compact: sync a table", Sync, Place::Table),
    point(
        "flush, compact: sync of tables' names",
        SyncDirectory,
        Place::Tables,
    ),
    point("flush, compact: make the list", Create, Place::TableList),
    point("flush, compact: write the list", Write, Place::TableList),
    point("flush, compact: sync the list", Sync, Place::TableList),
    point("flush, compact: write current", Write, Place::CurrentList),
    point("flush, compact: sync current", Sync, Place::CurrentList),
    point("flush, compact: switch current", Rename, Place::CurrentList),
    point(
        "flush, compact: sync of the list's name",
        SyncDirectory,
        Place::Generation,
    ),
    point(
        "flush, compact: remove an old list",
        Remove,
        Place::TableList,
    ),
    point("compact: remove a merged table", Remove, Place::Table),
    point(
        "first start: make the data directory",
        MakeDirectory,
        Place::Data,
    ),
    point("first start: make the log", MakeDirectory, Place::Log),
    point("first start: make the engine", MakeDirectory, Place::Engine),
    point(
        "first start: make a generation",
        MakeDirectory,
        Place::Generation,
    ),
    point("first start: write the identity", Write, Place::Identity),
    point("first start: sync the identity", Sync, Place::Identity),
    point("first start: name the identity", Rename, Place::Identity),
    point("first start: sync of names", SyncDirectory, Place::Data),
    point("members: write peers", Write, Place::Peers),
    point("members: name peers", Rename, Place::Peers),
    point("generation: write CURRENT", Write, Place::CurrentGeneration),
    point("generation: sync CURRENT", Sync, Place::CurrentGeneration),
    point(
        "generation: switch CURRENT",
        Rename,
        Place::CurrentGeneration,
    ),
    point("generation: sync of names", SyncDirectory, Place::Engine),
    install("install: receive, make the file", Create, Place::Incoming),
    install("install: receive, write chunks", Write, Place::Incoming),
    install("install: receive, sync chunks", Sync, Place::Incoming),
    install("install: cut a broken stream", SetLength, Place::Incoming),
    install("install: drop the chunks", Remove, Place::Incoming),
    install("install: announce", Write, Place::Installing),
    install("install: announce, sync", Sync, Place::Installing),
    install("install: announce, name", Rename, Place::Installing),
    install("install: done", Remove, Place::Installing),
    install(
        "install: remove the old generation's tables",
        Remove,
        Place::Table,
    ),
    install(
        "install: remove the old generation",
        RemoveDirectory,
        Place::Generation,
    ),
];

/// When, relative to the operation, the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It was asked for and not done.
    Before,
    /// A part of the bytes is written; of other operations, the same as before.
    Amid,
    /// It was done, and nobody told.
    After,
}

/// How often each operation was seen on each kind of file.
pub type Counts = BTreeMap<(Operation, Place), u64>;
