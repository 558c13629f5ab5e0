//! Log and engine of a directory, fitted together.
//!
//! Nothing is guessed. A torn tail is cut; the end of an interrupted snapshot install is made up for; the damaged
//! beginning of a log is dropped if the engine has, durably, all that stood in it. Everything else that is not as it was
//! written is damage, by which this member may have lost an entry it acknowledged or a vote it gave: [`crate::repair`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use consensus::{Entry, HardState, LogIndex, LogPosition, Membership, Recovered, Term};
use platform::Disk;
use state_machine::{Applied, StateMachine};
use write_ahead_log::{Examination, Extent, RecoveredGroup, Start, WalReader, WriteAheadLog};

use crate::config::{MemberContext, NodeConfig};
use crate::engine_dirs;
use crate::entry_codec::{CodecError, decode_entry, decode_hard_state, decode_membership};
use crate::error::StartError;
use crate::identity::Identity;
use crate::peers::GROUP;

/// Directory of the log inside a data directory.
pub(crate) fn log_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("wal")
}

/// Directory of the engine's generations inside a data directory.
pub(crate) fn engine_root(data_dir: &Path) -> PathBuf {
    data_dir.join("engine")
}

pub(crate) fn log_options(config: &NodeConfig, directory: &[u8; 16]) -> write_ahead_log::Options {
    let (first, _) = directory.split_at(8);
    write_ahead_log::Options {
        // A directory's log is its own: the votes in it are.
        log_id: u64::from_le_bytes(first.try_into().expect("eight bytes")),
        segment_bytes: config.log_segment_bytes,
        ..write_ahead_log::Options::default()
    }
}

/// Bytes of a newer program are no damage.
fn unreadable(data_dir: &Path, what: &str, error: CodecError) -> StartError {
    match error {
        CodecError::Version(_) => StartError::NewerFormat {
            path: data_dir.to_owned(),
            what: format!("{what}: {error}"),
        },
        _ => broken(data_dir, format!("{what}: {error}")),
    }
}

fn broken(data_dir: &Path, what: String) -> StartError {
    StartError::Inconsistent {
        path: data_dir.to_owned(),
        what,
    }
}

/// Opens the log and fits it to the engine's durable state.
pub(crate) fn recover<D: Disk>(
    disk: &D,
    config: &NodeConfig,
    machine: &StateMachine,
    identity: &Identity,
) -> Result<(WriteAheadLog<D>, Recovered), StartError> {
    let data_dir = &config.data_dir;
    let root = engine_root(data_dir);
    let applied = machine.applied();
    let applied_at = LogPosition {
        index: LogIndex(applied.index),
        term: Term(applied.term),
    };
    let found = Examination::of(disk.clone(), &log_dir(data_dir))?;
    let installing = engine_dirs::is_installing(disk, &root, applied_at.index)?;
    let needed = if installing {
        LogIndex(0)
    } else {
        applied_at.index
    };
    let hard_state = judge(&found, needed).map_err(|problem| match problem {
        Problem::Log => found.damaged().map_or_else(
            || broken(data_dir, "the log is damaged".to_owned()),
            StartError::Log,
        ),
        Problem::Unreadable(what, error) => unreadable(data_dir, what, error),
        Problem::Other(what) => broken(data_dir, what),
    })?;
    let held = BTreeMap::from([(GROUP.0, start_of(applied_at))]);
    let (mut log, mut found) =
        WriteAheadLog::open_examined(found, log_options(config, &identity.directory), &held)?;
    if let Some(dropped) = &found.dropped {
        config.notices.say(&format!(
            "{}: {}; all that stood there is in the engine, so the log now begins after entry {}; the damaged files are \
             kept: {:?}",
            data_dir.display(),
            StartError::Log(write_ahead_log::WalError::Damaged(dropped.damage[0].clone())),
            applied.index,
            dropped.set_aside
        ));
    }
    if let Some(torn) = &found.torn_tail {
        config.notices.say(&format!(
            "{} at offset {}: {}",
            torn.segment.display(),
            torn.offset,
            torn.detail
        ));
    }
    let group = found.groups.remove(&GROUP.0).unwrap_or_default();
    let mut log_start = position_of(group.start);
    let mut entries = entries_of(data_dir, group)?;
    let stored = Stored {
        data_dir,
        reader: log.reader(),
    };
    let ends_with = stored.term_at(applied_at.index)?;
    match reconcile(log_start, ends_with, applied_at) {
        Fit::Good => {}
        Fit::LogEndsBeforeState if installing => {
            log.reset(GROUP.0, start_of(applied_at))?;
            log.sync()?;
            entries.clear();
            log_start = applied_at;
        }
        Fit::LogEndsBeforeState => {
            return Err(broken(
                data_dir,
                format!(
                    "the log holds another entry {} than the one the engine's state was made from",
                    applied.index
                ),
            ));
        }
        Fit::Gap => {
            return Err(broken(
                data_dir,
                format!(
                    "the log starts after entry {} but the engine holds the state as of {}",
                    log_start.index, applied.index
                ),
            ));
        }
    }
    engine_dirs::installed(disk, &root, applied_at.index)?;
    let membership = membership_of(data_dir, &applied, identity)?;
    let terms = stored.terms(log_start.index.next(), applied_at.index)?;
    let recovered = Recovered {
        hard_state,
        membership,
        log_start,
        applied: applied_at.index,
        terms,
        entries,
    };
    Ok((log, recovered))
}

/// Whether the log is whole and holds every entry since the first.
pub(crate) fn log_holds_everything<D: Disk>(
    disk: &D,
    config: &NodeConfig,
) -> Result<bool, StartError> {
    let found = Examination::of(disk.clone(), &log_dir(&config.data_dir))?;
    let group = found.before().remove(&GROUP.0).unwrap_or_default();
    let from_the_first = group.entries.is_some_and(|entries| *entries.start() == 1);
    Ok(from_the_first && judge(&found, LogIndex(0)).is_ok())
}

/// What is wrong with a log.
enum Problem {
    /// What its examination says.
    Log,
    Unreadable(&'static str, CodecError),
    Other(String),
}

/// The hard state of a log that is whole, or whose damaged part is not needed; `needed` is the last entry that must have
/// been in it. Changes nothing.
fn judge<D: Disk>(found: &Examination<D>, needed: LogIndex) -> Result<HardState, Problem> {
    let whole = found.damage().is_empty();
    let mut groups = match whole {
        true => found.before(),
        false => found.after().ok_or(Problem::Log)?,
    };
    let group = groups.remove(&GROUP.0).unwrap_or_default();
    let Some(bytes) = &group.state else {
        return Err(match whole {
            false => Problem::Log,
            true => Problem::Other(
                "the log holds nothing, though the directory was in use: wal/ was emptied or is on a disk that is not \
                 mounted"
                    .to_owned(),
            ),
        });
    };
    let hard_state = decode_hard_state(bytes)
        .map_err(|error| Problem::Unreadable("the stored term and vote", error))?;
    let last = last_of(&group);
    let torn = found.torn_tail().map_or_else(String::new, |torn| {
        format!(
            "; a batch at offset {} of {} is not as written",
            torn.offset,
            torn.segment.display()
        )
    });
    if hard_state.commit.0 > last {
        return Err(Problem::Other(format!(
            "the log ends with entry {last}, though it says that {} was committed here{torn}",
            hard_state.commit
        )));
    }
    if needed.0 > last {
        return Err(Problem::Other(format!(
            "the log ends with entry {last}, but the engine holds the state as of {needed}: the newest part of the log \
             is lost{torn}"
        )));
    }
    Ok(hard_state)
}

fn last_of(group: &Extent) -> u64 {
    group
        .entries
        .as_ref()
        .map_or(group.start.index, |entries| *entries.end())
}

fn entries_of(data_dir: &Path, group: RecoveredGroup) -> Result<Vec<Entry>, StartError> {
    let decode = |record: write_ahead_log::RecoveredEntry| {
        decode_entry(record.index, &record.payload)
            .map_err(|error| unreadable(data_dir, &format!("log entry {}", record.index), error))
    };
    group.entries.into_iter().map(decode).collect()
}

fn membership_of(
    data_dir: &Path,
    applied: &Applied,
    identity: &Identity,
) -> Result<Membership, StartError> {
    let stored = decode_membership(&applied.membership)
        .map_err(|error| unreadable(data_dir, "the stored membership", error))?;
    if stored.members.is_empty() && identity.founder {
        return Ok(founding_membership(identity));
    }
    Ok(stored)
}

/// Entries that stay on disk, of which consensus needs no more than the terms.
struct Stored<'a> {
    data_dir: &'a Path,
    reader: WalReader,
}

impl Stored<'_> {
    /// `None` if the log does not hold the entry.
    fn term_at(&self, index: LogIndex) -> Result<Option<Term>, StartError> {
        let found = self.reader.read(GROUP.0, index.0, 0)?;
        let Some(record) = found.into_iter().next() else {
            return Ok(None);
        };
        decode_entry(record.index, &record.payload)
            .map(|entry| Some(entry.term))
            .map_err(|error| unreadable(self.data_dir, &format!("log entry {index}"), error))
    }

    /// Where each run of one term begins among the entries from `first` to `last`, which the log holds. Terms never go back,
    /// so few entries are read.
    fn terms(&self, first: LogIndex, last: LogIndex) -> Result<Vec<(LogIndex, Term)>, StartError> {
        let term_at = |index| {
            let term = self.term_at(LogIndex(index))?;
            term.ok_or_else(|| broken(self.data_dir, format!("the log lacks entry {index}")))
        };
        let mut runs = Vec::new();
        let mut begin = first.0;
        while begin <= last.0 {
            let term = term_at(begin)?;
            runs.push((LogIndex(begin), term));
            // The run goes on to `within` at least, and ends before `beyond`.
            let (mut within, mut beyond) = (begin, last.0 + 1);
            if term_at(last.0)? == term {
                break;
            }
            while beyond - within > 1 {
                let middle = within + (beyond - within) / 2;
                if term_at(middle)? == term {
                    within = middle;
                } else {
                    beyond = middle;
                }
            }
            begin = beyond;
        }
        Ok(runs)
    }
}

/// The log knows a position as an index and an opaque tag; the tag is the term.
pub(crate) fn start_of(position: LogPosition) -> Start {
    Start {
        index: position.index.0,
        tag: position.term.0,
    }
}

pub(crate) fn position_of(start: Start) -> LogPosition {
    LogPosition {
        index: LogIndex(start.index),
        term: Term(start.tag),
    }
}

/// How log and engine fit together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// The log goes on from the state.
    Good,
    /// The log does not hold the entry that the state ends with.
    LogEndsBeforeState,
    /// Entries between the state and the log are missing.
    Gap,
}

/// `held`: the term of the log's entry at the applied index, if it has one.
pub(crate) fn reconcile(log_start: LogPosition, held: Option<Term>, applied: LogPosition) -> Fit {
    if applied.index < log_start.index {
        return Fit::Gap;
    }
    if applied == log_start {
        return Fit::Good;
    }
    match held {
        Some(term) if term == applied.term => Fit::Good,
        _ => Fit::LogEndsBeforeState,
    }
}

/// A founder begins alone. The addresses follow as the first change of membership, so that they are in the log.
fn founding_membership(identity: &Identity) -> Membership {
    let context = MemberContext {
        directory: identity.directory,
        ..MemberContext::default()
    };
    let mut membership = consensus::bootstrap(identity.node_id, context.encode());
    membership.voters = BTreeSet::from([identity.node_id]);
    membership
}

#[cfg(test)]
mod tests {
    use consensus::EntryKind;
    use platform::SimulatedDisk;
    use write_ahead_log::Options;

    use super::*;
    use crate::entry_codec::entry_header;

    #[test]
    fn the_terms_of_stored_entries_are_found_wherever_they_change() {
        let histories: [&[u64]; 5] = [
            &[1],
            &[1; 100],
            &[1, 1, 1, 4, 4, 9],
            &[1, 2, 3, 4, 5],
            &[7, 7, 8],
        ];
        for history in histories {
            let dir = Path::new("/wal");
            let (mut log, _) =
                WriteAheadLog::open(SimulatedDisk::new(1), dir, Options::default()).expect("opens");
            for (index, term) in (1..).zip(history) {
                let entry = Entry {
                    index: LogIndex(index),
                    term: Term(*term),
                    kind: EntryKind::Noop,
                };
                log.append(GROUP.0, index, &[&entry_header(&entry)])
                    .expect("taken");
            }
            log.sync().expect("synced");
            let stored = Stored {
                data_dir: dir,
                reader: log.reader(),
            };
            let last = history.len() as u64;
            for first in 1..=last {
                let runs = stored.terms(LogIndex(first), LogIndex(last));
                let runs = runs.expect("they are all there");
                let mut expected: Vec<(LogIndex, Term)> = Vec::new();
                for (index, term) in (1..).zip(history).skip(first as usize - 1) {
                    if expected.last().is_none_or(|(_, last)| last.0 != *term) {
                        expected.push((LogIndex(index), Term(*term)));
                    }
                }
                assert_eq!(runs, expected, "{history:?} from {first}");
            }
            assert_eq!(
                stored
                    .terms(LogIndex(last + 1), LogIndex(last))
                    .expect("none"),
                []
            );
            assert_eq!(stored.term_at(LogIndex(last + 1)).expect("none"), None);
        }
    }
}
