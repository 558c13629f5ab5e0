//! The command's bytes: a version byte, a kind byte, then fields in order. Integers are little-endian; byte strings and
//! documents are preceded by their length, u32. Raw BSON travels verbatim.
//!
//! A decoder of version n reads versions up to n. Fields are added at the end of a kind under a new version; numbers of
//! kinds are never reused. Decoding checks lengths and frames, never panics, and allocates no more than the input has.
//!
//! A command is written in the oldest version that can hold it ([`Command::format`]): a newer one is proposed only when
//! every member reads it.

use bson::RawBson;

use super::fields::{DecodeError, Input, Output};
use super::{
    Command, Image, IndexChange, IndexSelection, Operation, SessionStamp, Statement, Upsert,
    WriteCommand, WriteTerms,
};

/// The newest version this build reads and writes.
const VERSION: u8 = 3;
/// From here on a write may carry [`WriteTerms`].
const VERSION_OF_TERMS: u8 = 2;

mod kind {
    pub(super) const WRITE: u8 = 1;
    pub(super) const CREATE_COLLECTION: u8 = 2;
    pub(super) const DROP_COLLECTION: u8 = 3;
    pub(super) const DROP_DATABASE: u8 = 4;
    pub(super) const RENAME_COLLECTION: u8 = 5;
    pub(super) const CREATE_INDEXES: u8 = 6;
    pub(super) const INDEX_BUILD_CHUNK: u8 = 7;
    pub(super) const INDEX_BUILD_FINISH: u8 = 8;
    pub(super) const DROP_INDEXES: u8 = 9;
    pub(super) const EXPIRE_SESSIONS: u8 = 10;
    pub(super) const RECLAIM: u8 = 11;
    /// From version 2 on.
    pub(super) const EXPIRE_DOCUMENTS: u8 = 12;
    pub(super) const MODIFY_COLLECTION: u8 = 30;
}

mod operation {
    pub(super) const INSERT: u8 = 1;
    pub(super) const UPDATE: u8 = 2;
    pub(super) const DELETE: u8 = 3;
}

impl Command {
    /// The command's bytes; the first one is the format version.
    pub fn encode(&self) -> Vec<u8> {
        let mut output = Output::with_capacity(256);
        output.u8(self.format());
        match self {
            Command::Write(write) => encode_write(&mut output, write, self.format()),
            Command::CreateCollection { namespace, options } => {
                output.u8(kind::CREATE_COLLECTION);
                output.namespace(namespace);
                output.document(options);
            }
            Command::ModifyCollection {
                namespace,
                changes,
                index,
            } => {
                output.u8(kind::MODIFY_COLLECTION);
                output.namespace(namespace);
                output.document(changes);
                output.optional(index.as_ref(), |output, index| {
                    output.str(&index.name);
                    output.optional(index.hidden, Output::bool);
                    output.optional(index.expire_after_seconds, Output::i32);
                });
            }
            Command::DropCollection { namespace } => {
                output.u8(kind::DROP_COLLECTION);
                output.namespace(namespace);
            }
            Command::DropDatabase { database } => {
                output.u8(kind::DROP_DATABASE);
                output.str(database);
            }
            Command::RenameCollection {
                from,
                to,
                drop_target,
            } => {
                output.u8(kind::RENAME_COLLECTION);
                output.namespace(from);
                output.namespace(to);
                output.bool(*drop_target);
            }
            Command::CreateIndexes { namespace, specs } => {
                output.u8(kind::CREATE_INDEXES);
                output.namespace(namespace);
                output.documents(specs);
            }
            Command::IndexBuildChunk { index_id, limit } => {
                output.u8(kind::INDEX_BUILD_CHUNK);
                output.u32(*index_id);
                output.u32(*limit);
            }
            Command::IndexBuildFinish { index_id } => {
                output.u8(kind::INDEX_BUILD_FINISH);
                output.u32(*index_id);
            }
            Command::DropIndexes { namespace, indexes } => {
                output.u8(kind::DROP_INDEXES);
                output.namespace(namespace);
                encode_selection(&mut output, indexes);
            }
            Command::ExpireSessions {
                last_used_before_ms,
                after,
                limit,
            } => {
                output.u8(kind::EXPIRE_SESSIONS);
                output.i64(*last_used_before_ms);
                output.bytes(after);
                output.u32(*limit);
            }
            Command::Reclaim { limit } => {
                output.u8(kind::RECLAIM);
                output.u32(*limit);
            }
            Command::ExpireDocuments {
                index_id,
                now_ms,
                entries,
            } => {
                output.u8(kind::EXPIRE_DOCUMENTS);
                output.u32(*index_id);
                output.i64(*now_ms);
                output.count(entries.len());
                entries.iter().for_each(|entry| output.bytes(entry));
            }
        }
        output.bytes
    }

    /// Whether this build reads a command of its version. A member that does not must not apply it: it would do something
    /// else than the others.
    ///
    /// # Errors
    /// [`DecodeError::Version`] when a newer build wrote it.
    pub fn check_version(bytes: &[u8]) -> Result<(), DecodeError> {
        match bytes.first() {
            Some(version) if *version > VERSION => Err(DecodeError::Version(*version)),
            _ => Ok(()),
        }
    }

    /// The planner's time in an encoded command, milliseconds since the epoch, without decoding the rest; `None` for a
    /// command that carries none.
    pub fn planned_ms(bytes: &[u8]) -> Option<i64> {
        let mut input = Input::new(bytes);
        let version = input.u8("version").ok()?;
        let kind = input.u8("kind").ok()?;
        if !(1..=VERSION).contains(&version) {
            return None;
        }
        match kind {
            kind::WRITE => decode_write_head(&mut input).ok().map(|head| head.now_ms),
            kind::EXPIRE_DOCUMENTS => {
                input.u32("index id").ok()?;
                input.i64("time").ok()
            }
            _ => None,
        }
    }

    /// Reads what [`Command::encode`] of this or an earlier version wrote. Documents are framed, not validated.
    pub fn decode(bytes: &[u8]) -> Result<Command, DecodeError> {
        let mut input = Input::new(bytes);
        let version = input.u8("version")?;
        if version == 0 || version > VERSION {
            return Err(DecodeError::Version(version));
        }
        let kind = input.u8("kind")?;
        let command = decode_kind(&mut input, kind, version)?;
        input.finish()?;
        // Members that knew version 1 only refused it: so must everybody, whenever it is applied.
        if command.format() > version {
            return Err(DecodeError::NewerContent(version));
        }
        Ok(command)
    }
}

fn decode_kind(input: &mut Input<'_>, kind: u8, version: u8) -> Result<Command, DecodeError> {
    Ok(match kind {
        kind::WRITE => Command::Write(decode_write(input, version)?),
        kind::CREATE_COLLECTION => Command::CreateCollection {
            namespace: input.namespace()?,
            options: input.document("options")?.to_owned(),
        },
        kind::MODIFY_COLLECTION => Command::ModifyCollection {
            namespace: input.namespace()?,
            changes: input.document("changes")?.to_owned(),
            index: input.optional("index", |input| {
                Ok(IndexChange {
                    name: input.str("index name")?.to_owned(),
                    hidden: input.optional("hidden", |input| input.bool("hidden"))?,
                    expire_after_seconds: input.optional("expiry", |input| input.i32("expiry"))?,
                })
            })?,
        },
        kind::DROP_COLLECTION => Command::DropCollection {
            namespace: input.namespace()?,
        },
        kind::DROP_DATABASE => Command::DropDatabase {
            database: input.str("database name")?.to_owned(),
        },
        kind::RENAME_COLLECTION => Command::RenameCollection {
            from: input.namespace()?,
            to: input.namespace()?,
            drop_target: input.bool("drop target")?,
        },
        kind::CREATE_INDEXES => Command::CreateIndexes {
            namespace: input.namespace()?,
            specs: input.documents("index specifications")?,
        },
        kind::INDEX_BUILD_CHUNK => Command::IndexBuildChunk {
            index_id: input.u32("index id")?,
            limit: input.u32("limit")?,
        },
        kind::INDEX_BUILD_FINISH => Command::IndexBuildFinish {
            index_id: input.u32("index id")?,
        },
        kind::DROP_INDEXES => Command::DropIndexes {
            namespace: input.namespace()?,
            indexes: decode_selection(input)?,
        },
        kind::EXPIRE_SESSIONS => Command::ExpireSessions {
            last_used_before_ms: input.i64("time")?,
            after: input.bytes("position")?.to_vec(),
            limit: input.u32("limit")?,
        },
        kind::RECLAIM => Command::Reclaim {
            limit: input.u32("limit")?,
        },
        kind::EXPIRE_DOCUMENTS => Command::ExpireDocuments {
            index_id: input.u32("index id")?,
            now_ms: input.i64("time")?,
            entries: {
                let count = input.count(4, "entries")?;
                (0..count)
                    .map(|_| Ok(input.bytes("entry")?.to_vec()))
                    .collect::<Result<_, DecodeError>>()?
            },
        },
        value => {
            return Err(DecodeError::UnknownValue {
                field: "kind",
                value,
            });
        }
    })
}

fn encode_write(output: &mut Output, write: &WriteCommand, version: u8) {
    output.u8(kind::WRITE);
    output.namespace(&write.namespace);
    output.optional(write.session.as_ref(), |output, session| {
        output.bytes(&session.lsid);
        output.i64(session.txn_number);
    });
    output.bool(write.ordered);
    output.i64(write.now_ms);
    output.count(write.statements.len());
    for statement in &write.statements {
        output.i32(statement.statement_id);
        encode_operation(output, &statement.operation);
    }
    if version >= VERSION_OF_TERMS {
        output.bool(write.terms.bypass_validation);
        output.document(&write.terms.variables);
        output.documents(&write.terms.constants);
        output.bool(write.terms.supplied);
        output.documents(&write.terms.collations);
    }
}

/// What stands before the statements of a write.
fn decode_write_head(input: &mut Input<'_>) -> Result<WriteCommand, DecodeError> {
    let namespace = input.namespace()?;
    let session = input.optional("session", |input| {
        Ok(SessionStamp {
            lsid: input.bytes("lsid")?.to_vec(),
            txn_number: input.i64("transaction number")?,
        })
    })?;
    Ok(WriteCommand {
        namespace,
        session,
        ordered: input.bool("ordered")?,
        now_ms: input.i64("time")?,
        terms: WriteTerms::default(),
        statements: Vec::new(),
    })
}

fn decode_write(input: &mut Input<'_>, version: u8) -> Result<WriteCommand, DecodeError> {
    let head = decode_write_head(input)?;
    let count = input.count(5, "statements")?;
    let statements = (0..count)
        .map(|_| {
            Ok(Statement {
                statement_id: input.i32("statement id")?,
                operation: decode_operation(input)?,
            })
        })
        .collect::<Result<_, DecodeError>>()?;
    let terms = match version {
        VERSION_OF_TERMS.. => WriteTerms {
            bypass_validation: input.bool("bypass validation")?,
            variables: input.document("variables")?.to_owned(),
            constants: input.documents("constants")?,
            supplied: input.bool("supplied")?,
            collations: input.documents("collations")?,
        },
        _ => WriteTerms::default(),
    };
    Ok(WriteCommand {
        terms,
        statements,
        ..head
    })
}

fn encode_operation(output: &mut Output, operation: &Operation) {
    match operation {
        Operation::Insert { document } => {
            output.u8(operation::INSERT);
            output.document(document);
        }
        Operation::Update {
            filter,
            update,
            array_filters,
            candidates,
            multi,
            upsert,
            image,
        } => {
            output.u8(operation::UPDATE);
            output.document(filter);
            encode_update(output, update);
            output.documents(array_filters);
            encode_candidates(output, candidates);
            output.bool(*multi);
            output.optional(upsert.as_ref(), |output, upsert| {
                output.optional(upsert.generated_id.as_ref(), Output::owned_value);
            });
            output.u8(image_byte(*image));
        }
        Operation::Delete {
            filter,
            candidates,
            multi,
            image,
        } => {
            output.u8(operation::DELETE);
            output.document(filter);
            encode_candidates(output, candidates);
            output.bool(*multi);
            output.u8(image_byte(*image));
        }
    }
}

fn decode_operation(input: &mut Input<'_>) -> Result<Operation, DecodeError> {
    Ok(match input.u8("operation")? {
        operation::INSERT => Operation::Insert {
            document: input.document("document")?.to_owned(),
        },
        operation::UPDATE => Operation::Update {
            filter: input.document("filter")?.to_owned(),
            update: decode_update(input)?,
            array_filters: input.documents("array filters")?,
            candidates: decode_candidates(input)?,
            multi: input.bool("multi")?,
            upsert: input.optional("upsert", |input| {
                Ok(Upsert {
                    generated_id: input
                        .optional("generated id", |input| input.owned_value("generated id"))?,
                })
            })?,
            image: decode_image(input)?,
        },
        operation::DELETE => Operation::Delete {
            filter: input.document("filter")?.to_owned(),
            candidates: decode_candidates(input)?,
            multi: input.bool("multi")?,
            image: decode_image(input)?,
        },
        value => {
            return Err(DecodeError::UnknownValue {
                field: "operation",
                value,
            });
        }
    })
}

/// A document goes as it is, anything else wrapped.
fn encode_update(output: &mut Output, update: &RawBson) {
    match update {
        RawBson::Document(document) => {
            output.u8(0);
            output.document(document);
        }
        other => {
            output.u8(1);
            output.value(other.as_raw_bson_ref());
        }
    }
}

fn decode_update(input: &mut Input<'_>) -> Result<RawBson, DecodeError> {
    const FIELD: &str = "update";
    match input.u8(FIELD)? {
        0 => Ok(RawBson::Document(input.document(FIELD)?.to_owned())),
        1 => Ok(RawBson::from(input.value(FIELD)?)),
        value => Err(DecodeError::UnknownValue {
            field: FIELD,
            value,
        }),
    }
}

fn encode_candidates(output: &mut Output, candidates: &[RawBson]) {
    output.count(candidates.len());
    for candidate in candidates {
        output.value(candidate.as_raw_bson_ref());
    }
}

fn decode_candidates(input: &mut Input<'_>) -> Result<Vec<RawBson>, DecodeError> {
    let count = input.count(5, "candidates")?;
    (0..count)
        .map(|_| Ok(RawBson::from(input.value("candidate")?)))
        .collect()
}

fn image_byte(image: Image) -> u8 {
    match image {
        Image::None => 0,
        Image::Before => 1,
        Image::After => 2,
    }
}

fn decode_image(input: &mut Input<'_>) -> Result<Image, DecodeError> {
    match input.u8("image")? {
        0 => Ok(Image::None),
        1 => Ok(Image::Before),
        2 => Ok(Image::After),
        value => Err(DecodeError::UnknownValue {
            field: "image",
            value,
        }),
    }
}

fn encode_selection(output: &mut Output, selection: &IndexSelection) {
    match selection {
        IndexSelection::All => output.u8(0),
        IndexSelection::Names(names) => {
            output.u8(1);
            output.count(names.len());
            names.iter().for_each(|name| output.str(name));
        }
        IndexSelection::Key(key) => {
            output.u8(2);
            output.document(key);
        }
    }
}

fn decode_selection(input: &mut Input<'_>) -> Result<IndexSelection, DecodeError> {
    Ok(match input.u8("index selection")? {
        0 => IndexSelection::All,
        1 => {
            let count = input.count(4, "index names")?;
            let names = (0..count)
                .map(|_| Ok(input.str("index name")?.to_owned()))
                .collect::<Result<_, DecodeError>>()?;
            IndexSelection::Names(names)
        }
        2 => IndexSelection::Key(input.document("key pattern")?.to_owned()),
        value => {
            return Err(DecodeError::UnknownValue {
                field: "index selection",
                value,
            });
        }
    })
}
