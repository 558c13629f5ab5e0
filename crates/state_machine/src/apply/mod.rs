//! Evaluation of one command: reads as of the previous log index through an overlay of the command's own writes, and
//! gives back one batch, one reply and, if it changed, the next catalog. Costs what the command names, never a scan.
//!
//! Total: whatever a command holds, the outcome is a reply; only this machine's storage can fail.

mod ddl;
mod documents;
mod expire;
mod index_build;
mod overlay;
mod reclaim;
mod rules;
mod sessions;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use storage_engine::{Engine, StorageFault};

use crate::catalog::{Catalog, CountsChange};
use crate::command::Command;
use crate::error::CommandError;
use crate::reply::Reply;

pub(crate) use reclaim::pending as reclaim_pending;
pub(crate) use sessions::SessionCache;

use overlay::Overlay;

/// Everything a command does.
pub(crate) struct Effect {
    pub(crate) reply: Reply,
    /// In key order, each key once.
    pub(crate) batch: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub(crate) catalog: Option<Catalog>,
    pub(crate) counts: BTreeMap<u32, CountsChange>,
    pub(crate) reclaim_pending: Option<bool>,
}

/// Why evaluation of a statement ends early.
#[derive(Debug)]
enum Stop {
    /// Part of the reply.
    Refused(CommandError),
    /// This machine cannot go on.
    Fault(StorageFault),
}

impl<E: Into<CommandError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Stop::Refused(error.into())
    }
}

/// Turns a storage fault into a [`Stop`]; `?` alone would be ambiguous with refusals.
trait OrFault<T> {
    fn or_fault(self) -> Result<T, Stop>;
}

impl<T> OrFault<T> for Result<T, StorageFault> {
    fn or_fault(self) -> Result<T, Stop> {
        self.map_err(Stop::Fault)
    }
}

/// Evaluates `command` at `position` (log index and term). The caller writes the batch and publishes.
pub(crate) fn run(
    engine: &dyn Engine,
    catalog: &Arc<Catalog>,
    sessions: &mut SessionCache,
    position: (u64, u64),
    command: Command,
) -> Result<Effect, StorageFault> {
    let mut overlay = Overlay::new(engine, catalog.clone(), position);
    let outcome = evaluate(&mut overlay, sessions, command);
    match outcome {
        Ok(reply) => Ok(overlay.finish(reply)),
        Err(Stop::Refused(error)) => {
            // Nothing of a refused command stays.
            Ok(Overlay::new(engine, catalog.clone(), position).finish(Reply::Failed(error)))
        }
        Err(Stop::Fault(fault)) => Err(fault),
    }
}

fn evaluate(
    overlay: &mut Overlay<'_>,
    sessions: &mut SessionCache,
    command: Command,
) -> Result<Reply, Stop> {
    let reply = match command {
        Command::Write(write) => return write::run(overlay, sessions, write).map(Reply::Write),
        Command::CreateCollection { namespace, options } => {
            ddl::create_collection(overlay, namespace, options)?
        }
        Command::ModifyCollection {
            namespace,
            changes,
            index,
        } => ddl::modify_collection(overlay, &namespace, &changes, index)?,
        Command::DropCollection { namespace } => ddl::drop_collection(overlay, &namespace)?,
        Command::DropDatabase { database } => ddl::drop_database(overlay, &database),
        Command::RenameCollection {
            from,
            to,
            drop_target,
        } => ddl::rename_collection(overlay, &from, to, drop_target)?,
        Command::CreateIndexes { namespace, specs } => {
            ddl::create_indexes(overlay, &namespace, &specs)?
        }
        Command::DropIndexes { namespace, indexes } => {
            ddl::drop_indexes(overlay, &namespace, &indexes)?
        }
        Command::IndexBuildChunk { index_id, limit } => {
            return index_build::chunk(overlay, index_id, limit);
        }
        Command::IndexBuildFinish { index_id } => index_build::finish(overlay, index_id)?,
        Command::ExpireSessions {
            last_used_before_ms,
            after,
            limit,
        } => return sessions::expire(overlay, sessions, last_used_before_ms, &after, limit),
        Command::Reclaim { limit } => return reclaim::run(overlay, limit),
        Command::ExpireDocuments {
            index_id,
            now_ms,
            entries,
        } => return expire::run(overlay, index_id, now_ms, &entries),
    };
    Ok(Reply::Catalog(reply))
}
