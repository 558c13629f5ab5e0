//! Versions of the state that are kept readable for members a snapshot of them is on its way to.
//!
//! Promises: while a version is pinned, a stream of it can begin anew from any key, after a restart of this process too:
//! which versions those are is in the file `pinned` before a stream of one begins, and out of it before the engine may
//! drop one. A pin that no stream has used for a minute is given up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use consensus::{LogIndex, NodeId};
use platform::Disk;
use state_machine::{Applied, Export, Reader, Retained, Snapshot, StateMachine, StorageFault};

use crate::engine_dirs;
use crate::error::StartError;
use crate::identity::hex;
use crate::small_file;

const PINNED: &str = "pinned";
/// How long a version is kept after the last stream of it ended.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// The pinned versions, by the member they are for.
pub(crate) struct Pins<D: Disk> {
    disk: D,
    engine_root: PathBuf,
    pins: BTreeMap<NodeId, Pin>,
}

struct Pin {
    /// Of the engine that holds the version.
    generation: u64,
    applied: Applied,
    held: Held,
    streaming: Arc<AtomicBool>,
    idle_since: Option<Duration>,
}

enum Held {
    Snapshot(Snapshot),
    /// From an earlier run.
    Retained {
        reader: Reader,
        #[allow(dead_code, reason = "held for its drop")]
        retained: Retained,
    },
}

impl<D: Disk> Pins<D> {
    /// Takes up the pins of an earlier run. To be called before anything is applied to `machine`.
    pub fn open(disk: D, engine_root: PathBuf, machine: &StateMachine) -> Result<Self, StartError> {
        let generation = engine_dirs::current(&disk, &engine_root)?;
        let text = small_file::read(&disk, &engine_root.join(PINNED))?.unwrap_or_default();
        // What cannot be trusted pins nothing: another version is sent then.
        let text = small_file::unseal(&text).unwrap_or_default();
        let mut pins = BTreeMap::new();
        for (to, of, applied) in text.lines().filter_map(decode) {
            // Another generation is another engine, without the versions of this one.
            if Some(of) == generation {
                let reader = machine.reader();
                let retained = reader.retain(applied.index);
                let pin = Pin {
                    generation: of,
                    applied,
                    held: Held::Retained { reader, retained },
                    streaming: Arc::default(),
                    idle_since: None,
                };
                pins.insert(to, pin);
            }
        }
        Ok(Pins {
            disk,
            engine_root,
            pins,
        })
    }

    /// Up to which index each member's snapshot goes.
    pub fn positions(&self) -> BTreeMap<NodeId, LogIndex> {
        let pins = self.pins.iter();
        pins.map(|(to, pin)| (*to, LogIndex(pin.applied.index)))
            .collect()
    }

    pub fn is_empty(&self) -> bool {
        self.pins.is_empty()
    }

    /// The index pinned for a member.
    pub fn index(&self, to: NodeId) -> Option<u64> {
        self.pins.get(&to).map(|pin| pin.applied.index)
    }

    /// Whether a stream of the member's pin is under way.
    pub fn is_streaming(&self, to: NodeId) -> bool {
        let pin = self.pins.get(&to);
        pin.is_some_and(|pin| pin.streaming.load(Ordering::Acquire))
    }

    /// An export of the version pinned for a member, and the flag to lower once its stream has ended. `None` while the
    /// version has not been applied again after a restart.
    pub fn export(
        &mut self,
        to: NodeId,
    ) -> Result<Option<(Export, Arc<AtomicBool>)>, StorageFault> {
        let Some(pin) = self.pins.get_mut(&to) else {
            return Ok(None);
        };
        let snapshot = match &pin.held {
            Held::Snapshot(snapshot) => Some(snapshot.clone()),
            Held::Retained { reader, .. } => reader.snapshot_at(pin.applied.index)?,
        };
        let Some(snapshot) = snapshot else {
            return Ok(None);
        };
        pin.streaming.store(true, Ordering::Release);
        pin.idle_since = None;
        let export = Export::at(snapshot, pin.applied.clone());
        Ok(Some((export, Arc::clone(&pin.streaming))))
    }

    /// Pins the state as of a snapshot of the applied index for a member, in place of what was pinned for it before.
    /// Durable on return.
    pub fn pin(
        &mut self,
        to: NodeId,
        snapshot: Snapshot,
        applied: Applied,
    ) -> Result<(), StartError> {
        let generation = engine_dirs::current(&self.disk, &self.engine_root)?.unwrap_or_default();
        let pin = Pin {
            generation,
            applied,
            held: Held::Snapshot(snapshot),
            streaming: Arc::default(),
            idle_since: None,
        };
        let replaced = self.pins.insert(to, pin);
        self.store().inspect_err(|_| {
            match replaced {
                Some(before) => self.pins.insert(to, before),
                None => self.pins.remove(&to),
            };
        })
    }

    /// Gives up what has been idle for too long; returns the members it was for.
    pub fn give_up_idle(&mut self, now: Duration) -> Result<Vec<NodeId>, StartError> {
        let mut idle = Vec::new();
        for (to, pin) in &mut self.pins {
            if pin.streaming.load(Ordering::Acquire) {
                pin.idle_since = None;
            } else if now >= *pin.idle_since.get_or_insert(now) + IDLE_MAX {
                idle.push(*to);
            }
        }
        Ok(match self.remove(&idle)? {
            true => idle,
            false => Vec::new(),
        })
    }

    /// Gives up what no stream uses and nobody needs.
    pub fn give_up(&mut self, to: NodeId) -> Result<(), StartError> {
        if self.is_streaming(to) {
            return Ok(());
        }
        self.remove(&[to]).map(drop)
    }

    /// Gives these up. False where the disk is full: the engine may drop the versions only once no restart counts on them.
    fn remove(&mut self, members: &[NodeId]) -> Result<bool, StartError> {
        let given_up: Vec<_> = members
            .iter()
            .filter_map(|to| self.pins.remove_entry(to))
            .collect();
        if given_up.is_empty() {
            return Ok(true);
        }
        match self.store() {
            Err(error) if error.is_no_room() => {
                self.pins.extend(given_up);
                Ok(false)
            }
            stored => stored.map(|()| true),
        }
    }

    fn store(&self) -> Result<(), StartError> {
        let lines = self.pins.iter().map(|(to, pin)| encode(*to, pin));
        let text = small_file::seal(&lines.collect::<String>());
        small_file::replace(&self.disk, &self.engine_root, PINNED, &text)
    }
}

/// Member, generation, index, term, membership.
fn encode(to: NodeId, pin: &Pin) -> String {
    let Applied {
        index,
        term,
        membership,
    } = &pin.applied;
    format!(
        "{} {} {index} {term} {}\n",
        to.0,
        pin.generation,
        hex(membership)
    )
}

/// `None` for a line that is not one: the version then is not pinned.
fn decode(line: &str) -> Option<(NodeId, u64, Applied)> {
    let mut words = line.split(' ');
    let mut number = || words.next()?.parse::<u64>().ok();
    let (to, generation, index, term) = (number()?, number()?, number()?, number()?);
    let digits = words.next()?.as_bytes();
    let bytes = digits.chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    });
    let applied = Applied {
        index,
        term,
        membership: bytes.collect::<Option<_>>()?,
    };
    Some((NodeId(to), generation, applied))
}
