//! Open cursors of this node: rows that a client fetches batch by batch.
//!
//! A cursor keeps its snapshot readable while it lives, so there is a limit to their number and to the time one
//! may lie unused. A cursor is used by one command at a time.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use state_machine::query::{QueryError, Row};

use super::budget::BatchRoom;
use super::control::Control;
use super::document_writer::DocumentWriter;
use super::failure::{Code, Failure};
use super::limits::CURSOR_TIMEOUT;

/// Where a cursor's rows come from.
pub(crate) type Rows = Box<dyn Iterator<Item = Result<Row, QueryError>> + Send>;

/// One cursor.
pub(crate) struct OpenCursor {
    /// `database.collection`, as replies name it.
    pub namespace: String,
    pub session: Option<Vec<u8>>,
    rows: Rows,
    /// Pulled, but did not fit its batch.
    pending: Option<Row>,
    /// Rows that may still be given; `None` for all.
    remaining: Option<u64>,
    pub control: Arc<Control>,
    used: Instant,
    pub no_timeout: bool,
    /// What earlier batches left of the time limit the cursor was opened with.
    pub time_left: Option<Duration>,
}

impl OpenCursor {
    pub(crate) fn new(
        namespace: String,
        rows: Rows,
        limit: Option<u64>,
        control: Arc<Control>,
    ) -> Self {
        OpenCursor {
            namespace,
            session: None,
            rows,
            pending: None,
            remaining: limit,
            control,
            used: Instant::now(),
            no_timeout: false,
            time_left: None,
        }
    }

    /// Writes up to `documents_max` rows into the open array; returns whether there may be more.
    pub(crate) fn fill(
        &mut self,
        writer: &mut DocumentWriter,
        documents_max: Option<u64>,
        room: &BatchRoom,
    ) -> Result<bool, Failure> {
        let start = writer.len();
        let mut given = 0;
        loop {
            if self.remaining == Some(0) {
                return Ok(false);
            }
            if documents_max.is_some_and(|most| given >= most) {
                return Ok(true);
            }
            let row = match self.pending.take() {
                Some(row) => row,
                None => match self.rows.next() {
                    Some(row) => row?,
                    None => return Ok(false),
                },
            };
            // The first row always fits: a document is smaller than a message.
            if given > 0 && writer.len() - start + row.as_bytes().len() > room.bytes_max {
                self.pending = Some(row);
                return Ok(true);
            }
            writer.push_document(&row);
            given += 1;
            self.control.give();
            if let Some(remaining) = &mut self.remaining {
                *remaining -= 1;
            }
        }
    }
}

enum Slot {
    Idle(Box<OpenCursor>),
    /// A command is pulling rows.
    InUse(Arc<Control>),
}

/// All cursors of one node.
pub(crate) struct Cursors {
    open: Mutex<HashMap<i64, Slot>>,
    hasher: RandomState,
    issued: AtomicU64,
    timed_out: AtomicU64,
    most: usize,
}

impl Cursors {
    /// None yet, and never more than `most`.
    pub(crate) fn new(most: usize) -> Self {
        Cursors {
            open: Mutex::new(HashMap::new()),
            hasher: RandomState::new(),
            issued: AtomicU64::new(0),
            timed_out: AtomicU64::new(0),
            most,
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.open.lock().len()
    }

    pub(crate) fn timed_out(&self) -> u64 {
        self.timed_out.load(Ordering::Relaxed)
    }

    /// Keeps a cursor for later batches and returns its id.
    pub(crate) fn keep(&self, mut cursor: OpenCursor) -> Result<i64, Failure> {
        let mut open = self.open.lock();
        if open.len() >= self.most {
            return Err(Failure::overloaded());
        }
        cursor.used = Instant::now();
        loop {
            let serial = self.issued.fetch_add(1, Ordering::Relaxed);
            // Not guessable, never 0 and never negative.
            let id = (self.hasher.hash_one(serial) >> 1) as i64;
            if id != 0 && !open.contains_key(&id) {
                open.insert(id, Slot::Idle(Box::new(cursor)));
                return Ok(id);
            }
        }
    }

    /// Takes a cursor out for one batch; [`Cursors::give_back`] or [`Cursors::close`] must follow.
    pub(crate) fn take(&self, id: i64, namespace: &str) -> Result<Box<OpenCursor>, Failure> {
        let mut open = self.open.lock();
        let slot = open.get_mut(&id).ok_or_else(|| not_found(id))?;
        match slot {
            Slot::InUse(_) => Err(Failure::new(
                Code::CursorInUse,
                format!("cursor id {id} is already in use"),
            )),
            Slot::Idle(cursor) if cursor.namespace != namespace => Err(Failure::new(
                Code::Unauthorized,
                format!(
                    "Requested getMore on namespace '{namespace}', but cursor belongs to a different namespace {}",
                    cursor.namespace
                ),
            )),
            Slot::Idle(cursor) => {
                let in_use = Slot::InUse(cursor.control.clone());
                match std::mem::replace(slot, in_use) {
                    Slot::Idle(cursor) => Ok(cursor),
                    Slot::InUse(_) => {
                        unreachable!("the slot was seen to be idle under the same lock")
                    }
                }
            }
        }
    }

    /// Puts a cursor back after a batch, unless it was killed meanwhile.
    pub(crate) fn give_back(&self, id: i64, mut cursor: Box<OpenCursor>) {
        cursor.used = Instant::now();
        let mut open = self.open.lock();
        if let Some(slot) = open.get_mut(&id) {
            *slot = Slot::Idle(cursor);
        }
    }

    /// Forgets a cursor; whether there was one.
    pub(crate) fn close(&self, id: i64) -> bool {
        // Dropped outside the lock: rows may hold much.
        let slot = self.open.lock().remove(&id);
        if let Some(Slot::InUse(control)) = &slot {
            control.kill();
        }
        slot.is_some()
    }

    /// Closes a session's cursors.
    pub(crate) fn close_session(&self, session: &[u8]) {
        self.close_where(|cursor| cursor.session.as_deref() == Some(session));
    }

    /// Closes what lay unused for too long. Called from time to time.
    pub(crate) fn close_timed_out(&self) {
        let now = Instant::now();
        let closed =
            self.close_where(|cursor| !cursor.no_timeout && now - cursor.used >= CURSOR_TIMEOUT);
        self.timed_out.fetch_add(closed, Ordering::Relaxed);
    }

    fn close_where(&self, condition: impl Fn(&OpenCursor) -> bool) -> u64 {
        let mut open = self.open.lock();
        let chosen: Vec<i64> = open
            .iter()
            .filter(|(_, slot)| matches!(slot, Slot::Idle(cursor) if condition(cursor)))
            .map(|(id, _)| *id)
            .collect();
        let closed: Vec<Option<Slot>> = chosen.iter().map(|id| open.remove(id)).collect();
        drop(open);
        closed.len() as u64
    }
}

/// Code 43.
pub(crate) fn not_found(id: i64) -> Failure {
    Failure::new(Code::CursorNotFound, format!("cursor id {id} not found"))
}
