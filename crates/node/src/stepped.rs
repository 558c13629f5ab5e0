//! A node without threads: the same workers, stepped by the caller in an order of its choosing. For simulations, and for
//! programs that bring an event loop of their own.
//!
//! Promises: everything a [`Node`] promises, once each worker is stepped until it has nothing to do; nothing happens
//! between steps. Every method of [`Node`] is there, save that those which block for the node's progress
//! ([`Node::stop`], [`Node::wait`], [`Node::wait_until`]) would block for ever: use [`SteppedNode::request_stop`],
//! then step until [`SteppedNode::exited`].

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use consensus::Replica;
use crossbeam_channel::Receiver;
use parking_lot::Mutex;
use peer_transport::{Handler, JoinReply, JoinRequest};
use platform::{Clock, Disk, Entropy};
use storage_engine::Engines;

use crate::announce::Announcement;
use crate::apply_worker::ApplySide;
use crate::background::BackgroundWorker;
use crate::config::NodeConfig;
use crate::core_worker::CoreWorker;
use crate::error::{ExitReason, Fault, StartError};
use crate::events::{ApplyWork, BackgroundWork, Event, LogWork};
use crate::handle::Node;
use crate::log_worker::LogWorker;
use crate::mailbox::Mailbox;
use crate::parts::{self, Joiner, Machine, Workers};
use crate::peers::Peers;
use crate::start::take_directory;

/// The machine and the network a stepped node runs on.
pub struct SteppedPlatform<D, C> {
    /// Its files.
    pub disk: D,
    /// Its clocks.
    pub clock: C,
    /// Its source of randomness.
    pub entropy: Arc<dyn Entropy + Send + Sync>,
    /// The way to the other members.
    pub peers: Arc<dyn Peers>,
    /// Where its engines come from.
    pub engines: Arc<dyn Engines>,
    /// Asks to be admitted; called during the start of a directory that joins.
    pub joiner: Joiner,
}

/// A node that moves only when it is stepped.
pub struct SteppedNode<D: Disk, C: Clock> {
    node: Node,
    handler: Arc<dyn Handler>,
    core: Stepped<CoreWorker<C>, Event>,
    log: Stepped<LogWorker<D>, LogWork>,
    apply: Arc<Mutex<Stepped<ApplySide<D>, ApplyWork>>>,
    background: Stepped<BackgroundWorker<D>, BackgroundWork>,
}

/// A worker and its inbox.
struct Stepped<W, T> {
    worker: W,
    inbox: Arc<Mailbox<T>>,
    items: Vec<T>,
    /// It has worked off its closed inbox, or failed.
    ended: bool,
}

impl<W, T> Stepped<W, T> {
    fn new(worker: W, inbox: Arc<Mailbox<T>>) -> Self {
        Stepped {
            worker,
            inbox,
            items: Vec::new(),
            ended: false,
        }
    }

    /// Hands what waits to `work`; whether something was there.
    fn step(
        &mut self,
        core: &Mailbox<Event>,
        work: impl FnOnce(&mut W, &mut Vec<T>, &Mailbox<T>) -> Result<(), Fault>,
    ) -> bool {
        if self.ended {
            return false;
        }
        let open = self.inbox.take(&mut self.items);
        if !open || self.items.is_empty() {
            self.ended = !open;
            return false;
        }
        if let Err(fault) = work(&mut self.worker, &mut self.items, &self.inbox) {
            core.push(Event::Fault(fault));
            self.inbox.close();
            self.ended = true;
        }
        true
    }
}

impl<D: Disk> Stepped<ApplySide<D>, ApplyWork> {
    fn step_apply(&mut self) -> bool {
        if self.ended {
            return false;
        }
        if !self.inbox.take(&mut self.items) {
            self.ended = true;
            self.worker.finish();
            return true;
        }
        if self.items.is_empty() {
            return false;
        }
        self.ended = !self.worker.work(&mut self.items);
        true
    }
}

/// The leader's answer to a directory that asks to be admitted.
pub struct JoinAnswer(Receiver<JoinReply>);

impl JoinAnswer {
    /// The answer, once it is there.
    pub fn take(&self) -> Option<JoinReply> {
        self.0.try_recv().ok()
    }
}

impl<D: Disk, C: Clock> SteppedNode<D, C> {
    /// Opens `config.data_dir` like [`Node::start`], without threads and sockets.
    pub fn start(config: &NodeConfig, platform: SteppedPlatform<D, C>) -> Result<Self, StartError> {
        let SteppedPlatform {
            disk,
            clock,
            entropy,
            peers,
            engines,
            joiner,
        } = platform;
        let lock = take_directory(&disk, &config.data_dir)?;
        let machine = Machine {
            disk,
            clock,
            entropy,
            engines,
            joiner,
        };
        let mut handler: Option<Arc<dyn Handler>> = None;
        let (node, workers) = parts::build(config, machine, lock, |_, inbound| {
            handler = Some(Arc::new(inbound));
            Ok(peers)
        })?;
        let Workers {
            mut core,
            log,
            apply,
            background,
            // Archives on a thread of its own, which there is none of here.
            archiver: _,
        } = workers;
        let inboxes = core.inboxes.clone();
        let apply = Arc::new(Mutex::new(Stepped::new(apply, inboxes.apply)));
        let applies = apply.clone();
        core.let_apply_work = Box::new(move || {
            applies.lock().step_apply();
        });
        core.begin();
        Ok(SteppedNode {
            node,
            handler: handler.expect("`build` connects before it returns"),
            core: Stepped::new(core, inboxes.core),
            log: Stepped::new(log, inboxes.log),
            apply,
            background: Stepped::new(background, inboxes.background),
        })
    }

    /// Steps the core with all that waits and the ticks that are due. False when there was neither.
    pub fn step_core(&mut self) -> bool {
        let core = &mut self.core;
        if core.ended {
            return false;
        }
        core.inbox.take(&mut core.items);
        if core.items.is_empty() && !core.worker.rest().time.is_zero() {
            return false;
        }
        core.ended = !core.worker.wake(&mut core.items);
        true
    }

    /// Writes, syncs and sends what waits for that. False when nothing did.
    pub fn step_log(&mut self) -> bool {
        self.log.step(&self.core.inbox, LogWorker::round)
    }

    /// Applies what is committed; at the end of a stopped node, flushes. False when there was nothing to do.
    pub fn step_apply(&mut self) -> bool {
        self.apply.lock().step_apply()
    }

    /// Does what may take long. False when there was nothing to do.
    pub fn step_background(&mut self) -> bool {
        self.background
            .step(&self.core.inbox, |worker, items, _| worker.round(items))
    }

    /// Whether the core, the log, the apply and the background worker have something to do, ticks aside.
    pub fn has_work(&self) -> [bool; 4] {
        let apply = self.apply.lock();
        [
            !self.core.ended && !self.core.inbox.is_empty(),
            !self.log.ended && !self.log.inbox.is_empty(),
            !apply.ended && (!apply.inbox.is_empty() || apply.inbox.is_closed()),
            !self.background.ended && !self.background.inbox.is_empty(),
        ]
    }

    /// When the next tick is due, on the node's monotonic clock.
    pub fn next_tick(&self) -> Duration {
        self.core.worker.next_tick
    }

    /// What takes messages and snapshots from other members. `Handler::join` blocks: use [`SteppedNode::begin_join`].
    pub fn handler(&self) -> Arc<dyn Handler> {
        self.handler.clone()
    }

    /// Asks this member to admit a directory, without waiting for the answer.
    pub fn begin_join(&self, request: JoinRequest) -> JoinAnswer {
        JoinAnswer(self.node.admit(request))
    }

    /// What this node has to ask of others, over and over, until it is `None`: that the membership shows what is true of it
    /// now, or who leads.
    pub fn announcement(&self) -> Option<Announcement> {
        self.node.announcement()
    }

    /// What came of an announcement.
    pub fn announced(&self, reply: &JoinReply) {
        self.node.announced(reply);
    }

    /// Begins the clean end.
    pub fn request_stop(&self) {
        self.core.inbox.push(Event::Stop);
    }

    /// Why the node ended, once it has.
    pub fn exited(&self) -> Option<ExitReason> {
        self.node.exit_reason()
    }

    /// The consensus state, for checking it.
    pub fn replica(&self) -> &Replica {
        self.core.worker.core.replica()
    }
}

impl<D: Disk, C: Clock> Deref for SteppedNode<D, C> {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

#[cfg(test)]
mod tests;
