//! What an operator does with a stopped directory: look whether it is whole, and, when the other members are lost for good
//! or the only copy is damaged, go on with what is left of it.
//!
//! Going on gives promises up: acknowledged writes that stood only in what is lost are gone. So nothing here happens by
//! itself, and the program around it asks first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use consensus::{
    Entry, EntryKind, HardState, LogIndex, LogPosition, Member, Membership, NodeId, Term,
};
use platform::{Disk, Entropy};
use state_machine::StateMachine;
use storage_engine::{Callbacks, Engines, LsmEngines};
use write_ahead_log::{Examination, WalError, WriteAheadLog, cut_at_damage};

use crate::config::MemberContext;
use crate::engine_dirs;
use crate::entry_codec::{
    decode_entry, decode_hard_state, decode_membership, encode_hard_state, encode_membership,
    entry_header,
};
use crate::error::StartError;
use crate::identity::{Identity, hex};
use crate::peers::GROUP;
use crate::peers_file::{self, KnownPeers};
use crate::recovery::{Fit, engine_root, log_dir, position_of, reconcile, start_of};
use crate::repair;
use crate::start::{random_id, take_directory};

const CACHE_BYTES: u64 = 8 << 20;
const MEMTABLE_BYTES: u64 = 16 << 20;

/// What stands in a stopped directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DirectoryReport {
    /// Sentences for an operator.
    pub lines: Vec<String>,
    /// What is damaged, and where; empty if everything is as it was written.
    pub damage: Vec<String>,
}

/// Reads all of a stopped directory and compares it with its checksums, and what is in the engine with itself: indexes with
/// documents, counts with both. Changes nothing.
pub fn examine_directory<D: Disk>(
    disk: &D,
    data_dir: &Path,
) -> Result<DirectoryReport, StartError> {
    let _lock = lock_existing(disk, data_dir)?;
    let mut report = DirectoryReport::default();
    match Identity::read(disk, data_dir) {
        Ok(Some(identity)) => report.lines.push(format!(
            "member {} of cluster {}",
            identity.node_id,
            hex(&identity.cluster_id)
        )),
        Ok(None) => report.damage.push("there is no identity".to_owned()),
        Err(error) => report.damage.push(error.to_string()),
    }
    if let Some(cause) = repair::marked(disk, data_dir)? {
        report
            .lines
            .push(format!("a running node met damage: {cause}"));
    }
    let found = Examination::of(disk.clone(), &log_dir(data_dir))?;
    describe_log(&found, &mut report);
    let root = engine_root(data_dir);
    if let Some(generation) = engine_dirs::current(disk, &root)? {
        let directory = root.join(generation.to_string());
        match engines().verify(&directory) {
            Ok(()) => {
                report
                    .lines
                    .push(format!("engine {}: whole", directory.display()));
                if let Err(fault) = content::examine(&engines(), &directory, &mut report) {
                    report.damage.push(fault.to_string());
                }
            }
            Err(fault) => report.damage.push(fault.to_string()),
        }
    }
    Ok(report)
}

fn describe_log<D: Disk>(found: &Examination<D>, report: &mut DirectoryReport) {
    let span = |entries: &Option<std::ops::RangeInclusive<u64>>| match entries {
        Some(entries) => format!("entries {} to {}", entries.start(), entries.end()),
        None => "no entries".to_owned(),
    };
    let before = found.before().remove(&GROUP.0).unwrap_or_default();
    let damage = found.damage();
    if damage.is_empty() {
        report.lines.push(format!(
            "log: {}, after entry {}",
            span(&before.entries),
            before.start.index
        ));
        if let Some(torn) = found.torn_tail() {
            report.lines.push(format!(
                "log: a write was cut short at offset {} of {}; the next start cuts it",
                torn.offset,
                torn.segment.display()
            ));
        }
        return;
    }
    for damage in damage {
        report
            .damage
            .push(WalError::Damaged(damage.clone()).to_string());
    }
    report.lines.push(format!(
        "log: readable before the damage: {}",
        span(&before.entries)
    ));
    report.lines.push(match found.after() {
        Some(mut after) => {
            let after = after.remove(&GROUP.0).unwrap_or_default();
            let end = match after.end_known {
                true => "with the end of the log",
                false => "the end of the log is not certain",
            };
            format!(
                "log: readable after the damage: {}, {end}; term and vote are certain",
                span(&after.entries)
            )
        }
        None => "log: nothing is certain after the damage, term and vote neither".to_owned(),
    });
}

pub(crate) fn engines() -> LsmEngines {
    LsmEngines {
        memtable_bytes: MEMTABLE_BYTES,
        cache_bytes: CACHE_BYTES,
    }
}

fn lock_existing<D: Disk>(disk: &D, data_dir: &Path) -> Result<D::Lock, StartError> {
    let exists = disk
        .exists(data_dir)
        .map_err(|source| StartError::io("look for", data_dir, source))?;
    if !exists {
        return Err(StartError::NotRecovered {
            path: data_dir.to_owned(),
            why: "there is no such directory".to_owned(),
        });
    }
    take_directory(disk, data_dir)
}

/// A stopped directory that an operator wants to go on with.
pub struct LastResort<D: Disk> {
    disk: D,
    data_dir: PathBuf,
    identity: Identity,
    /// Held until the end.
    _lock: D::Lock,
}

/// What an operator gives up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GivenUp {
    /// Go on without the other members: this one becomes a cluster of its own.
    pub other_members: bool,
    /// Cut the log where it is damaged.
    pub damaged_log: bool,
}

impl<D: Disk> LastResort<D> {
    /// Takes the directory. Changes nothing yet.
    pub fn open(disk: D, data_dir: &Path) -> Result<Self, StartError> {
        let lock = lock_existing(&disk, data_dir)?;
        let refuse = |why: String| StartError::NotRecovered {
            path: data_dir.to_owned(),
            why,
        };
        if repair::is_admitted(&disk, data_dir)? {
            return Err(refuse(
                "the other members have taken it in anew: start it, and it fetches everything from them".to_owned(),
            ));
        }
        let identity = match Identity::read(&disk, data_dir) {
            Ok(identity) => identity.ok_or_else(|| refuse("it holds no identity".to_owned()))?,
            Err(error) => return Err(refuse(format!("{error}; restore a backup"))),
        };
        Ok(LastResort {
            disk,
            data_dir: data_dir.to_owned(),
            identity,
            _lock: lock,
        })
    }

    /// The cluster that the directory belongs to, in hexadecimal digits.
    pub fn cluster_id(&self) -> String {
        hex(&self.identity.cluster_id)
    }

    /// Goes on with what is left: the directory becomes a cluster of one member, in a new term. Without the other members
    /// it becomes another cluster, so that none of them, should one come back, is taken for a member. Returns what was
    /// done, in sentences.
    pub fn go_on(
        self,
        given_up: GivenUp,
        entropy: &dyn Entropy,
    ) -> Result<Vec<String>, StartError> {
        let refuse = |why: String| StartError::NotRecovered {
            path: self.data_dir.clone(),
            why,
        };
        let directory = log_dir(&self.data_dir);
        let found = Examination::of(self.disk.clone(), &directory)?;
        if let Some(error) = found.damaged().filter(|_| !given_up.damaged_log) {
            return Err(refuse(format!(
                "{error}; what stands before can be kept with --accept-data-loss, the rest is lost then"
            )));
        }
        let machine = self.state().map_err(refuse)?;
        let membership = decode_membership(&machine.applied().membership)
            .map_err(|error| refuse(format!("the stored membership: {error}")))?;
        let known = KnownPeers::load(&self.disk, &self.data_dir)?;
        let known = known.iter().flat_map(|known| &known.members);
        let mut others: BTreeSet<NodeId> = membership.members.keys().copied().collect();
        others.extend(known.map(|(id, _)| *id));
        others.remove(&self.identity.node_id);
        let others: Vec<String> = others.iter().map(|id| id.0.to_string()).collect();
        if !others.is_empty() && !given_up.other_members {
            return Err(refuse(format!(
                "it is not the only member of its cluster (others: {}): start it, and they repair it; if they are lost \
                 for good, add --force-new-cluster",
                others.join(", ")
            )));
        }
        drop(found);
        let mut done = Vec::new();
        for file in cut_at_damage(&self.disk, &directory)? {
            done.push(format!("put aside: {}", file.display()));
        }
        self.begin_anew(given_up, &machine, &membership, entropy, &mut done)?;
        for name in [peers_file::FILE, repair::REPAIRING, repair::DAMAGED] {
            repair::remove(&self.disk, &self.data_dir.join(name))?;
        }
        self.disk
            .sync_dir(&self.data_dir)
            .map_err(|source| StartError::io("sync", &self.data_dir, source))?;
        Ok(done)
    }

    /// The state on disk; an engine that is damaged is of no use.
    fn state(&self) -> Result<StateMachine, String> {
        let root = engine_root(&self.data_dir);
        let opened = engine_dirs::open(&self.disk, &root)
            .map_err(|error| error.to_string())
            .and_then(|directory| {
                let engines = engines();
                engines
                    .verify(&directory)
                    .and_then(|()| engines.open(&directory, Callbacks::default()))
                    .and_then(StateMachine::open)
                    .map_err(|fault| fault.to_string())
            });
        opened.map_err(|what| format!("{what}; that cannot be salvaged: restore a backup"))
    }

    /// Writes identity, membership and term of what the directory is from now on. The identity comes first: with the new
    /// cluster and the old members nobody answers it, the other way round somebody might.
    fn begin_anew(
        &self,
        given_up: GivenUp,
        machine: &StateMachine,
        old: &Membership,
        entropy: &dyn Entropy,
        done: &mut Vec<String>,
    ) -> Result<(), StartError> {
        if given_up.other_members {
            let identity = Identity {
                cluster_id: random_id(entropy),
                ..self.identity.clone()
            };
            identity.store(&self.disk, &self.data_dir)?;
            done.push(format!(
                "cluster {} is now cluster {}, and member {} its only member",
                self.cluster_id(),
                hex(&identity.cluster_id),
                identity.node_id
            ));
        }
        let options = write_ahead_log::Options::default();
        let (mut log, mut found) =
            WriteAheadLog::open(self.disk.clone(), &log_dir(&self.data_dir), options)?;
        let group = found.groups.remove(&GROUP.0).unwrap_or_default();
        let broken = |what: String| StartError::NotRecovered {
            path: self.data_dir.clone(),
            why: what,
        };
        let before = match &group.state {
            Some(bytes) => decode_hard_state(bytes)
                .map_err(|error| broken(format!("term and vote: {error}")))?,
            None => HardState::default(),
        };
        let mut entries = Vec::new();
        for record in &group.entries {
            let entry = decode_entry(record.index, &record.payload)
                .map_err(|error| broken(format!("log entry {}: {error}", record.index)))?;
            entries.push(entry);
        }
        let applied = machine.applied();
        let applied = LogPosition {
            index: LogIndex(applied.index),
            term: Term(applied.term),
        };
        let mut last = entries
            .last()
            .map_or(position_of(group.start), |entry| LogPosition {
                index: entry.index,
                term: entry.term,
            });
        let held = entries.iter().find(|entry| entry.index == applied.index);
        let held = held.map(|entry| entry.term);
        if reconcile(position_of(group.start), held, applied) != Fit::Good {
            // What is applied was committed; the log goes on from there.
            log.reset(GROUP.0, start_of(applied))?;
            last = applied;
        }
        let term = Term(before.term.0.max(last.term.0).max(applied.term.0) + 1);
        let entry = Entry {
            index: LogIndex(last.index.0 + 1),
            term,
            kind: EntryKind::Membership(self.alone(old)),
        };
        if let EntryKind::Membership(membership) = &entry.kind {
            let payload = [&entry_header(&entry)[..], &encode_membership(membership)];
            log.append(GROUP.0, entry.index.0, &payload)?;
        }
        let hard_state = HardState {
            term,
            vote: None,
            commit: LogIndex(before.commit.0.min(last.index.0).max(applied.index.0)),
        };
        log.set_state(GROUP.0, &encode_hard_state(&hard_state))?;
        log.sync()?;
        engine_dirs::installed(&self.disk, &engine_root(&self.data_dir), applied.index)?;
        done.push(format!(
            "kept: the state as of entry {}, and the log up to entry {}; the new term is {term}",
            applied.index, last.index
        ));
        Ok(())
    }

    fn alone(&self, old: &Membership) -> Membership {
        let id = self.identity.node_id;
        let member = old.members.get(&id).cloned().unwrap_or_else(|| Member {
            context: MemberContext {
                directory: self.identity.directory,
                ..MemberContext::default()
            }
            .encode(),
            priority: consensus::DEFAULT_PRIORITY,
        });
        Membership {
            members: BTreeMap::from([(id, member)]),
            voters: BTreeSet::from([id]),
            outgoing: None,
            next_node_id: old.next_node_id.max(id.0 + 1),
        }
    }
}

mod content;

#[cfg(test)]
mod tests;
