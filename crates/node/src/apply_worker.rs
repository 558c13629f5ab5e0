//! The apply thread's work: committed entries into the state machine, one by one, and answers to those who wait.
//!
//! Promises: entries are applied in order, each once; a waiter hears of its own entry only after it is applied; the
//! memtable is rotated only between entries. A storage fault ends the node: it is never answered to a client.

use std::path::PathBuf;
use std::sync::Arc;

use consensus::{Entry, EntryKind, LogIndex, Membership};
use parking_lot::RwLock;
use peer_transport::JoinReply;
use platform::Disk;
use state_machine::{Command, Reader, StateMachine, StorageFault};
use storage_engine::Engine;

use crate::applied_waiters::AppliedWaiters;
use crate::background::Retired;
use crate::config::MemberContext;
use crate::core_worker::Exit;
use crate::engine_dirs;
use crate::entry_codec::encode_membership;
use crate::error::{ExitReason, Fault};
use crate::events::{
    ApplyWork, BackgroundWork, Event, MembershipOutcome, ProposeOutcome, Staged, Waiter,
};
use crate::mailbox::Mailbox;
use crate::prefetch::LookAhead;
use crate::replay::Replay;

/// Entries after which waiting reads are let through, so that a long batch does not hold them up.
const RELEASE_EVERY: u64 = 64;

/// Opens the engine in a directory; the node's settings and callbacks are inside.
pub(crate) type OpenEngine =
    Box<dyn Fn(&std::path::Path) -> Result<Arc<dyn Engine>, StorageFault> + Send>;

/// Owns the state machine.
pub(crate) struct ApplyWorker<D: Disk> {
    pub machine: StateMachine,
    pub engine: Arc<dyn Engine>,
    pub open_engine: OpenEngine,
    pub disk: D,
    pub engine_root: PathBuf,
    /// The generation in use.
    pub directory: PathBuf,
    pub background: Arc<Mailbox<BackgroundWork>>,
    pub cluster_id: [u8; 16],
    pub reader: Arc<RwLock<Reader>>,
    pub waiters: Arc<AppliedWaiters>,
    pub core: Arc<Mailbox<Event>>,
    pub replay: Replay,
    /// Where helpers look up what entries will need; `None` where there are no threads for it.
    pub look_ahead: Option<LookAhead>,
}

/// The worker, its inbox, and whom it tells how it ended.
pub(crate) struct ApplySide<D: Disk> {
    pub worker: ApplyWorker<D>,
    pub inbox: Arc<Mailbox<ApplyWork>>,
    pub exit: Arc<Exit>,
}

impl<D: Disk> ApplySide<D> {
    /// Works off `items`; false after a fault, when nothing more is to be done.
    pub fn work(&mut self, items: &mut Vec<ApplyWork>) -> bool {
        let outcome = self.worker.process(items);
        outcome.map_err(|fault| self.fail(fault)).is_ok()
    }

    /// The inbox is closed and worked off: the clean end.
    pub fn finish(&mut self) {
        match self.worker.finish() {
            Ok(()) => self.exit.set(ExitReason::Stopped),
            Err(fault) => self.fail(fault.into()),
        }
    }

    fn fail(&self, reason: ExitReason) {
        let known = match &reason {
            ExitReason::Stopped => Event::Stop,
            ExitReason::StorageFault(what) => Event::Fault(what.clone().into()),
            ExitReason::Damaged(what) => Event::Fault(Fault {
                what: what.clone(),
                damage: true,
            }),
            ExitReason::NewerFormat(what) => Event::NewerFormat(what.clone()),
        };
        self.worker.core.push(known);
        self.inbox.close();
        // Should the core have ended already, this is how the fault becomes known.
        self.exit.set(reason);
    }
}

impl<D: Disk> ApplyWorker<D> {
    /// Applies everything in `work`.
    pub fn process(&mut self, work: &mut Vec<ApplyWork>) -> Result<(), ExitReason> {
        let mut last = None;
        if let Some(look_ahead) = &mut self.look_ahead {
            look_ahead.begin(work);
        }
        for item in work.drain(..) {
            match item {
                ApplyWork::Entry { entry, waiter } => {
                    let index = entry.index.0;
                    self.check_format(&entry)?;
                    self.apply(entry, waiter).map_err(Fault::from)?;
                    self.replay.applied(index);
                    if self.machine.wants_rotate() {
                        // Said before the engine can say that it is flushed.
                        self.core.push(Event::Sealed(LogIndex(index)));
                        self.rotate();
                    }
                    if index.is_multiple_of(RELEASE_EVERY) {
                        self.waiters.release(index);
                    }
                    last = Some(index);
                }
                ApplyWork::Install { staged, done } => {
                    last = Some(self.install(staged)?);
                    // The core thread waits for this answer, or has ended.
                    done.try_send(()).ok();
                }
            }
        }
        if let Some(index) = last {
            self.waiters.release(index);
            self.core.push(Event::Applied(LogIndex(index)));
        }
        Ok(())
    }

    /// Flushes everything, so that the next start has nothing to replay.
    pub fn finish(&mut self) -> Result<(), Fault> {
        self.rotate();
        match self.engine.flush_all() {
            // What the engine has no room for is in the log.
            Err(fault) if fault.is_no_room() => Ok(()),
            outcome => Ok(outcome?),
        }
    }

    fn rotate(&mut self) {
        self.machine.before_rotate();
        self.engine.rotate();
    }

    /// What cannot be read is not guessed at: this member would do something else than the others.
    fn check_format(&self, entry: &Entry) -> Result<(), ExitReason> {
        let EntryKind::Command(payload) = &entry.kind else {
            return Ok(());
        };
        Command::check_version(payload).map_err(|error| {
            ExitReason::NewerFormat(format!("log entry {}: {error}", entry.index.0))
        })
    }

    fn apply(&mut self, entry: Entry, waiter: Waiter) -> Result<(), StorageFault> {
        let (index, term) = (entry.index.0, entry.term.0);
        match entry.kind {
            EntryKind::Noop => self.machine.apply_noop(index, term),
            EntryKind::Membership(membership) => {
                self.machine
                    .apply_membership(index, term, &encode_membership(&membership));
                self.answer_change(index, waiter, &membership);
            }
            EntryKind::Command(payload) => {
                let reply = self.machine.apply(index, term, &payload)?;
                if let Waiter::Client(done) = waiter {
                    done(ProposeOutcome::Applied { index, reply });
                }
            }
        }
        Ok(())
    }

    fn answer_change(&self, index: u64, waiter: Waiter, membership: &Membership) {
        let (directory, reply) = match waiter {
            Waiter::Join { directory, reply } => (directory, reply),
            Waiter::Change(done) => return done(MembershipOutcome::Applied { index }),
            Waiter::Client(_) | Waiter::Nobody => return,
        };
        let admitted = membership
            .members
            .iter()
            .find(|(_, member)| MemberContext::decode(&member.context).directory == directory);
        let answer = match admitted {
            Some((id, _)) => JoinReply::Accepted {
                cluster_id: self.cluster_id,
                node_id: *id,
                context: encode_membership(membership),
            },
            None => JoinReply::NotNow {
                reason: "the member that was in its place is removed; ask again".to_owned(),
            },
        };
        // The asker may have given up waiting.
        reply.try_send(answer).ok();
    }

    /// Makes a staged snapshot the state. Snapshots that readers hold go on reading the old generation's files.
    fn install(&mut self, staged: Staged) -> Result<u64, Fault> {
        let index = staged.meta.position.index;
        engine_dirs::make_current(&self.disk, &self.engine_root, &staged.directory, index)?;
        let engine = (self.open_engine)(&staged.directory)?;
        let machine = StateMachine::open(engine.clone())?;
        let applied = machine.applied();
        assert_eq!(
            applied.index, staged.meta.position.index.0,
            "the staged engine holds the snapshot it was staged from"
        );
        *self.reader.write() = machine.reader();
        self.machine = machine;
        let old_engine = std::mem::replace(&mut self.engine, engine);
        let old_directory = std::mem::replace(&mut self.directory, staged.directory.clone());
        self.background.push(BackgroundWork::Retire(Retired {
            engine: Arc::downgrade(&old_engine),
            directory: old_directory,
            seen_closed: false,
        }));
        Ok(applied.index)
    }
}
