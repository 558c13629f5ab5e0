//! What a leader proposes on its own: the next step of an index build, reclaiming dropped data, forgetting sessions
//! nobody used for half an hour. Commands like any other, so that every member does the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use platform::Clock;
use state_machine::{Command, Reader, Reply};

use crate::events::{Event, ProposeOutcome};

/// Sessions unused for this long are forgotten; what drivers are told as `logicalSessionTimeoutMinutes`.
const SESSION_TIMEOUT_MS: i64 = 30 * 60 * 1000;
/// Sessions looked at by one command.
const SESSIONS_PER_COMMAND: u32 = 1_000;
const EXPIRY_PERIOD: Duration = Duration::from_secs(60);

/// Decides what to propose next; one command is under way at a time.
pub(crate) struct Housekeeping<C: Clock> {
    clock: C,
    reader: Arc<RwLock<Reader>>,
    next_expiry: Duration,
    under_way: Arc<AtomicBool>,
    /// Where the expiry of sessions goes on.
    expiry_after: Arc<Mutex<Option<Vec<u8>>>>,
}

impl<C: Clock> Housekeeping<C> {
    pub fn new(clock: C, reader: Arc<RwLock<Reader>>) -> Self {
        let next_expiry = clock.monotonic() + EXPIRY_PERIOD;
        Housekeeping {
            clock,
            reader,
            next_expiry,
            under_way: Arc::default(),
            expiry_after: Arc::default(),
        }
    }

    /// The next proposal; `None` when there is nothing to do or the last one is still under way.
    pub fn next(&mut self) -> Option<Event> {
        if self.under_way.load(Ordering::Acquire) {
            return None;
        }
        let command = self.next_command()?;
        self.under_way.store(true, Ordering::Release);
        let (under_way, expiry_after) = (self.under_way.clone(), self.expiry_after.clone());
        let done = Box::new(move |outcome| {
            if let ProposeOutcome::Applied {
                reply: Reply::SessionsExpired { next, .. },
                ..
            } = outcome
            {
                *expiry_after.lock() = next;
            }
            under_way.store(false, Ordering::Release);
        });
        Some(Event::Propose {
            payload: command.encode().into(),
            done,
        })
    }

    fn next_command(&mut self) -> Option<Command> {
        if let Some(command) = self.reader.read().background_command() {
            return Some(command);
        }
        let last_used_before_ms = self.clock.wall_ms() - SESSION_TIMEOUT_MS;
        if let Some(after) = self.expiry_after.lock().take() {
            return Some(Command::ExpireSessions {
                last_used_before_ms,
                after,
                limit: SESSIONS_PER_COMMAND,
            });
        }
        let now = self.clock.monotonic();
        if now < self.next_expiry {
            return None;
        }
        self.next_expiry = now + EXPIRY_PERIOD;
        Some(Command::ExpireSessions {
            last_used_before_ms,
            after: Vec::new(),
            limit: SESSIONS_PER_COMMAND,
        })
    }
}
