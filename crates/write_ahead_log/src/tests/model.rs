//! Random histories against a simple model: after any crash the log is what the last sync made of it, or what
//! the sync that was cut short would have made of it; nothing between.

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Append {
        group: u64,
        back: u8,
        len: u16,
    },
    SetState {
        group: u64,
        byte: u8,
    },
    Reset {
        group: u64,
        ahead: u8,
    },
    RemovePrefix {
        group: u64,
        share: u8,
    },
    Sync,
    FailingSync,
    CrashInSync,
    Housekeep,
    /// So much room is left, until [`Step::MakeRoom`].
    Fill {
        room: u16,
    },
    FillInWrite,
    MakeRoom,
    Crash,
    Restart,
    Read {
        group: u64,
        from: u8,
        bytes_max: u16,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let group = 1..4_u64;
    prop_oneof![
        12 => (group.clone(), prop_oneof![6 => Just(0), 1 => any::<u8>()], prop_oneof![4 => 0..60_u16, 2 => 500..1500_u16, 1 => 0..9000_u16])
            .prop_map(|(group, back, len)| Step::Append { group, back, len }),
        2 => (group.clone(), any::<u8>()).prop_map(|(group, byte)| Step::SetState { group, byte }),
        1 => (group.clone(), any::<u8>()).prop_map(|(group, ahead)| Step::Reset { group, ahead }),
        2 => (group.clone(), any::<u8>()).prop_map(|(group, share)| Step::RemovePrefix { group, share }),
        8 => Just(Step::Sync),
        1 => Just(Step::FailingSync),
        2 => Just(Step::CrashInSync),
        3 => Just(Step::Housekeep),
        1 => (0..10_000_u16).prop_map(|room| Step::Fill { room }),
        1 => Just(Step::FillInWrite),
        1 => Just(Step::MakeRoom),
        2 => Just(Step::Crash),
        1 => Just(Step::Restart),
        3 => (group, any::<u8>(), any::<u16>()).prop_map(|(group, from, bytes_max)| Step::Read { group, from, bytes_max }),
    ]
}

type State = BTreeMap<u64, RecoveredGroup>;

/// The log under test; what is synced; what is buffered on top.
struct Run {
    disk: SimulatedDisk,
    log: Option<WriteAheadLog<SimulatedDisk>>,
    synced: State,
    buffered: State,
    /// A sync failed: the disk has either.
    in_doubt: bool,
    /// What each sync since the last success would have made durable, had it found room: of a short write only padding
    /// may be missing, and a later try that a crash cuts short may leave an earlier one's as it was.
    attempted: Vec<State>,
    counter: u32,
}

fn last(group: &RecoveredGroup) -> u64 {
    group.start.index + group.entries.len() as u64
}

fn copy(state: &State) -> State {
    let copied = state.iter().map(|(id, group)| {
        let group = RecoveredGroup {
            state: group.state.clone(),
            start: group.start,
            entries: group.entries.clone(),
        };
        (*id, group)
    });
    copied.collect()
}

impl Run {
    fn new(seed: u64) -> Self {
        let disk = SimulatedDisk::new(seed);
        let log = Some(open(&disk).0);
        let (synced, buffered) = (State::new(), State::new());
        Self {
            disk,
            log,
            synced,
            buffered,
            in_doubt: false,
            attempted: Vec::new(),
            counter: 0,
        }
    }

    /// Each entry tells its history, half of it compressible.
    fn payload(&mut self, len: u16) -> Vec<u8> {
        self.counter += 1;
        let counter = self.counter;
        let noise = move |at: u32| ((at ^ counter).wrapping_mul(2_654_435_761) >> 24) as u8;
        (0..u32::from(len))
            .map(|at| {
                if counter.is_multiple_of(2) {
                    noise(at)
                } else {
                    7
                }
            })
            .collect()
    }

    fn step(&mut self, step: &Step) {
        if self.log.is_none() {
            self.disk.disarm();
            self.log = Some(self.reopen());
        }
        match step {
            Step::Crash => {
                self.log = None;
                self.disk.crash();
            }
            Step::Restart => self.log = None,
            Step::Fill { room } => {
                let used = self.disk.used_bytes();
                self.disk.limit_capacity(Some(used + u64::from(*room)));
            }
            Step::FillInWrite => self.disk.fill_in_write_after(0),
            Step::MakeRoom => self.disk.limit_capacity(None),
            Step::FailingSync | Step::CrashInSync => {
                match step {
                    Step::FailingSync => self.disk.fail_sync_after(0),
                    _ => self.disk.crash_in_sync(),
                }
                let log = self.log.as_mut().unwrap();
                let dirty = log.is_dirty();
                // Preparing a segment may take the failing sync; the batch is in doubt either way.
                assert_eq!(log.sync().is_err(), dirty);
                self.disk.disarm();
                self.in_doubt = dirty;
                self.log = if dirty { None } else { self.log.take() };
            }
            _ => self.write_or_read(step),
        }
    }

    fn write_or_read(&mut self, step: &Step) {
        let payload = match step {
            Step::Append { len, .. } => self.payload(*len),
            _ => Vec::new(),
        };
        let log = self.log.as_mut().unwrap();
        match step {
            Step::Append {
                group: id, back, ..
            } => {
                let group = self.buffered.entry(*id).or_default();
                let index =
                    (last(group) + 1 - u64::from(*back).min(group.entries.len() as u64)).max(1);
                group.entries.retain(|entry| entry.index < index);
                let cut = payload.len() / 2;
                log.append(*id, index, &[&payload[..cut], &payload[cut..]])
                    .unwrap();
                group.entries.push(RecoveredEntry { index, payload });
            }
            Step::SetState { group, byte } => {
                let state = vec![*byte; usize::from(*byte)];
                log.set_state(*group, &state).unwrap();
                self.buffered.entry(*group).or_default().state = Some(state);
            }
            Step::Reset { group, ahead } => {
                let group_state = self.buffered.entry(*group).or_default();
                let start = Start {
                    index: last(group_state) + u64::from(*ahead),
                    tag: 5,
                };
                log.reset(*group, start).unwrap();
                (group_state.start, group_state.entries) = (start, Vec::new());
            }
            Step::RemovePrefix { group, share } => {
                let group_state = self.buffered.entry(*group).or_default();
                let removed = group_state.entries.len() * usize::from(*share) / 255;
                let start = Start {
                    index: group_state.start.index + removed as u64,
                    tag: u64::from(*share),
                };
                log.remove_prefix(*group, start).unwrap();
                if removed > 0 {
                    group_state.start = start;
                    group_state.entries.drain(..removed);
                }
            }
            Step::Sync => match log.sync() {
                // A group is known to the log once it has a record.
                Ok(()) => {
                    self.synced = copy(&self.buffered);
                    self.attempted.clear();
                }
                Err(error) => {
                    assert!(error.is_no_room(), "{error}");
                    self.attempted.push(copy(&self.buffered));
                }
            },
            Step::Housekeep => match log.housekeep() {
                Ok(_) => {}
                Err(error) => assert!(error.is_no_room(), "{error}"),
            },
            Step::Read {
                group,
                from,
                bytes_max,
            } => {
                let found = log
                    .reader()
                    .read(*group, u64::from(*from), usize::from(*bytes_max))
                    .unwrap();
                check_read(
                    self.synced.get(group),
                    u64::from(*from),
                    usize::from(*bytes_max),
                    &found,
                );
            }
            Step::FailingSync
            | Step::CrashInSync
            | Step::Crash
            | Step::Restart
            | Step::Fill { .. }
            | Step::FillInWrite
            | Step::MakeRoom => {
                unreachable!("handled before")
            }
        }
    }

    fn reopen(&mut self) -> WriteAheadLog<SimulatedDisk> {
        let (log, recovered) = open(&self.disk);
        let found = without_empty(recovered.groups);
        let (synced, buffered) = (
            without_empty(copy(&self.synced)),
            without_empty(copy(&self.buffered)),
        );
        let mut attempted = self.attempted.drain(..).map(without_empty);
        if attempted.any(|attempted| found == attempted) {
            // It is as if the sync had been cut short by the crash.
        } else if self.in_doubt {
            assert!(
                found == synced || found == buffered,
                "neither before nor after the failed sync"
            );
        } else {
            assert_eq!(found, synced);
        }
        self.in_doubt = false;
        self.synced = copy(&found);
        self.buffered = found;
        log
    }
}

/// A group without records is not known to the log; a group with an empty record is. Both mean the same.
fn without_empty(mut state: State) -> State {
    state.retain(|_, group| *group != RecoveredGroup::default());
    state
}

fn check_read(
    group: Option<&RecoveredGroup>,
    from: u64,
    bytes_max: usize,
    found: &[RecoveredEntry],
) {
    let entries = group.map_or(&[][..], |group| &group.entries);
    let Some(at) = entries.iter().position(|entry| entry.index == from) else {
        assert!(found.is_empty());
        return;
    };
    let mut bytes = 0;
    let fitting = entries[at..].iter().take_while(|entry| {
        bytes += entry.payload.len();
        bytes <= bytes_max
    });
    let expected = fitting.count().max(1);
    assert_eq!(found, &entries[at..at + expected]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_log_recovers_what_was_synced(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..150)
    ) {
        let mut run = Run::new(seed);
        for step in &steps {
            run.step(step);
        }
        run.log = None;
        run.disk.crash();
        run.reopen();
    }
}

#[test]
fn a_batch_cut_short_by_a_crash_is_recovered_whole_or_not_at_all() {
    let (mut whole, mut cut) = (0, 0);
    for seed in 0..300 {
        let disk = SimulatedDisk::new(seed);
        let (mut log, _) = open(&disk);
        let text = "z".repeat(400);
        for index in 1..=seed % 12 + 1 {
            append_synced(&mut log, index, &text);
        }
        let before = seed % 12 + 1;
        for index in before + 1..=before + 4 {
            append(&mut log, index, &text);
        }
        disk.crash_in_sync();
        assert!(log.sync().is_err());
        drop(log);
        let (mut log, recovered) = open(&disk);
        let found = recovered.groups[&1].entries.len() as u64;
        assert!(
            found == before || found == before + 4,
            "{found} of {before} + 4"
        );
        if found == before {
            cut += 1
        } else {
            whole += 1
        }
        append_synced(&mut log, found + 1, "goes on");
        drop(log);
        disk.crash();
        assert_eq!(open(&disk).1.groups[&1].entries.len() as u64, found + 1);
    }
    assert!(whole > 20 && cut > 20, "{whole} whole, {cut} cut");
}
