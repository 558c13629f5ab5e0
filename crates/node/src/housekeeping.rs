//! What a leader proposes on its own: the next step of an index build, reclaiming dropped data, forgetting sessions
//! nobody used for half an hour. Commands like any other, so that every member does the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
    /// Clients that drive an index build of their own; builds are left to them meanwhile.
    driven_by_clients: Arc<AtomicUsize>,
    /// Where the expiry of sessions goes on.
    expiry_after: Arc<Mutex<Option<Vec<u8>>>>,
}

impl<C: Clock> Housekeeping<C> {
    pub fn new(clock: C, reader: Arc<RwLock<Reader>>, driven_by_clients: Arc<AtomicUsize>) -> Self {
        let next_expiry = clock.monotonic() + EXPIRY_PERIOD;
        Housekeeping {
            clock,
            reader,
            next_expiry,
            under_way: Arc::default(),
            driven_by_clients,
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
        let clients = self.driven_by_clients.load(Ordering::Acquire);
        if clients == 0
            && let Some(command) = self.reader.read().background_command()
        {
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

/// While it lives, the leader leaves index builds to the client that drives one: a build that fails is then reported
/// to the one who asked for it.
pub struct ClientDrivesBuild {
    count: Arc<AtomicUsize>,
}

impl ClientDrivesBuild {
    pub(crate) fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        ClientDrivesBuild { count }
    }
}

impl Drop for ClientDrivesBuild {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
    }
}
