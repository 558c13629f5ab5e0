//! A log archived by one or several members, and read back.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use consensus::{Entry, EntryKind, LogIndex, Payload, Term};
use parking_lot::Mutex;
use platform::{Clock, Disk, SimulatedDisk};
use write_ahead_log::{Start, WriteAheadLog};

use super::*;
use crate::config::Notices;
use crate::core_worker::Exit;
use crate::entry_codec::{decode_entry, entry_header};
use crate::mailbox::Mailbox;
use crate::peers::GROUP;
use crate::status::Gauges;

const CLUSTER: [u8; 16] = [3; 16];
const DIRECTORY: &str = "/archive";

#[derive(Clone, Default)]
struct SetClock(Arc<AtomicI64>);

impl Clock for SetClock {
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn wall_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A member's log, and the archive it writes.
struct Rig {
    log: WriteAheadLog<SimulatedDisk>,
    archive: SimulatedDisk,
    clock: SetClock,
    gauges: Arc<Gauges>,
    said: Arc<Mutex<Vec<String>>>,
    member: u64,
    last: u64,
    archiver: Archiver<SimulatedDisk, SetClock>,
}

impl Rig {
    fn new(archive: SimulatedDisk, member: u64) -> Rig {
        let options = write_ahead_log::Options::default();
        let disk = SimulatedDisk::new(member);
        let (log, _) = WriteAheadLog::open(disk, Path::new("/wal"), options).expect("empty");
        let (clock, gauges) = (SetClock::default(), Arc::new(Gauges::default()));
        let said = Arc::new(Mutex::new(Vec::new()));
        let archiver = archiver(&log, &archive, &clock, &gauges, &said, member);
        Rig {
            log,
            archive,
            clock,
            gauges,
            said,
            member,
            last: 0,
            archiver,
        }
    }

    /// Another run of the same member.
    fn restart(&mut self) {
        self.archiver = archiver(
            &self.log,
            &self.archive,
            &self.clock,
            &self.gauges,
            &self.said,
            self.member,
        );
    }

    fn append(&mut self, kind: EntryKind) {
        self.last += 1;
        let entry = Entry {
            index: LogIndex(self.last),
            term: Term(2),
            kind,
        };
        let header = entry_header(&entry);
        let body: &[u8] = match &entry.kind {
            EntryKind::Command(payload) => payload,
            _ => &[],
        };
        self.log
            .append(GROUP.0, self.last, &[&header, body])
            .expect("writable");
        self.log.sync().expect("writable");
        Gauges::set(&self.gauges.applied, LogIndex(self.last));
    }

    /// A write that was planned at a time.
    fn write(&mut self, now_ms: i64) {
        let command = state_machine::Command::Write(state_machine::WriteCommand {
            namespace: crate::tests::namespace(),
            session: None,
            ordered: true,
            now_ms,
            terms: Default::default(),
            statements: Vec::new(),
        });
        self.append(EntryKind::Command(Payload::from(command.encode())));
    }

    fn archive_all(&mut self) {
        while self.archiver.step().expect("writable") {}
    }

    fn remove_up_to(&mut self, index: u64) {
        let through = Start { index, tag: 2 };
        self.log.remove_prefix(GROUP.0, through).expect("writable");
        self.log.sync().expect("writable");
    }
}

fn archiver(
    log: &WriteAheadLog<SimulatedDisk>,
    archive: &SimulatedDisk,
    clock: &SetClock,
    gauges: &Arc<Gauges>,
    said: &Arc<Mutex<Vec<String>>>,
    member: u64,
) -> Archiver<SimulatedDisk, SetClock> {
    let said = said.clone();
    Archiver::new(ArchiverParts {
        disk: archive.clone(),
        clock: clock.clone(),
        log: log.reader(),
        gauges: gauges.clone(),
        core: Arc::new(Mailbox::new(1 << 20)),
        exit: Arc::new(Exit::default()),
        notices: Notices::new(move |what| said.lock().push(what.to_owned())),
        directory: DIRECTORY.into(),
        cluster_id: CLUSTER,
        member,
    })
}

fn open(disk: &SimulatedDisk, backup: u64) -> Result<Archive<SimulatedDisk>, ArchiveError> {
    Archive::open(disk.clone(), Path::new(DIRECTORY), CLUSTER, backup)
}

/// Every entry up to the plan's last, read.
fn replay(archive: &mut Archive<SimulatedDisk>, backup: u64, plan: Plan) {
    for index in backup + 1..=plan.last {
        let entry = archive.entry(index).expect("planned");
        decode_entry(index, &entry.payload).expect("an entry");
    }
}

#[test]
fn what_is_archived_is_read_back_from_any_backup_on() {
    let disk = SimulatedDisk::new(1);
    let mut rig = Rig::new(disk.clone(), 1);
    for time in 1..=50 {
        rig.write(time);
        if time % 7 == 0 {
            rig.archive_all();
        }
        if time == 30 {
            rig.restart();
        }
    }
    rig.archive_all();
    assert_eq!(rig.archiver.status().lock().archived_index, 50);
    for backup in [0, 1, 13, 49, 50] {
        let mut archive = open(&disk, backup).expect("there");
        let plan = archive.plan(Until::End).expect("whole");
        assert_eq!(plan.last, 50);
        replay(&mut archive, backup, plan);
    }
    let mut archive = open(&disk, 10).expect("there");
    let ends = archive.plan(Until::Index(51)).expect_err("not there");
    assert!(matches!(
        ends,
        ArchiveError::Ends {
            last: 50,
            asked: 51,
            ..
        }
    ));
    let before = archive.plan(Until::Index(9)).expect_err("in the backup");
    assert!(matches!(before, ArchiveError::IndexBeforeBackup { .. }));
    assert_eq!(archive.plan(Until::Index(20)).expect("there").last, 20);
    assert!(rig.said.lock().is_empty());
}

#[test]
fn a_time_is_between_the_writes_it_is_between() {
    let disk = SimulatedDisk::new(1);
    let mut rig = Rig::new(disk.clone(), 1);
    rig.write(1_000);
    rig.write(2_000);
    // Without a time of its own; archived long after, but a write that follows shows that it was made by then.
    rig.append(EntryKind::Noop);
    rig.write(3_000);
    rig.append(EntryKind::Noop);
    rig.clock.0.store(9_000, Ordering::Relaxed);
    rig.archive_all();
    let until = |time: i64| {
        let mut archive = open(&disk, 0).expect("there");
        let plan = archive.plan(Until::Time(time)).expect("whole");
        (plan.last, plan.ends_before_time)
    };
    assert_eq!(until(999), (0, false));
    assert_eq!(until(1_000), (1, false));
    assert_eq!(until(2_500), (2, false));
    assert_eq!(until(3_000), (4, false));
    assert_eq!(until(8_999), (4, false));
    assert_eq!(until(9_000), (5, true));
}

#[test]
fn a_gap_is_named_and_another_members_archive_fills_it() {
    let disk = SimulatedDisk::new(1);
    let (mut first, mut second) = (Rig::new(disk.clone(), 1), Rig::new(disk.clone(), 2));
    for time in 1..=10 {
        first.write(time);
        second.write(time);
    }
    first.archive_all();
    for time in 11..=20 {
        first.write(time);
        second.write(time);
    }
    // The log leaves before it is archived.
    first.remove_up_to(15);
    first.archive_all();
    let gap = first.archiver.status().lock().gap;
    assert_eq!(gap, Some((11, 15)));
    assert!(first.said.lock()[0].contains("11 to 15"));
    let mut archive = open(&disk, 5).expect("there");
    let error = archive.plan(Until::End).expect_err("a gap");
    assert!(matches!(
        error,
        ArchiveError::Gap {
            from: 11,
            to: 15,
            ..
        }
    ));
    assert_eq!(archive.plan(Until::Index(10)).expect("before it").last, 10);
    let mut later = open(&disk, 15).expect("there");
    assert_eq!(later.plan(Until::End).expect("behind it").last, 20);

    second.archive_all();
    let mut archive = open(&disk, 5).expect("there");
    let plan = archive.plan(Until::End).expect("filled");
    assert_eq!(plan.last, 20);
    replay(&mut archive, 5, plan);
}

/// A member that has just joined has an empty log, and then one that begins behind a snapshot.
#[test]
fn what_came_before_a_member_is_not_missing_in_its_archive() {
    let disk = SimulatedDisk::new(1);
    let mut rig = Rig::new(disk.clone(), 2);
    rig.archive_all();
    for time in 1..=20 {
        rig.write(time);
    }
    rig.remove_up_to(12);
    rig.archive_all();
    assert_eq!(rig.archiver.status().lock().gap, None);
    let mut archive = open(&disk, 12).expect("there");
    assert_eq!(archive.plan(Until::End).expect("whole").last, 20);
    let mut early = open(&disk, 5).expect("there");
    let gap = early.plan(Until::End).expect_err("before it");
    assert!(matches!(
        gap,
        ArchiveError::Gap {
            from: 6,
            to: 12,
            ..
        }
    ));
}

#[test]
fn damage_is_named_unless_somebody_else_has_the_entries() {
    let disk = SimulatedDisk::new(1);
    let (mut first, mut second) = (Rig::new(disk.clone(), 1), Rig::new(disk.clone(), 2));
    for time in 1..=30 {
        first.write(time);
        second.write(time);
        if time % 10 == 0 {
            first.archive_all();
        }
    }
    let files = disk.files(&Path::new(DIRECTORY).join(crate::identity::hex(&CLUSTER)));
    let (path, length) = files.first().expect("a file").clone();
    // In the last block's body.
    disk.corrupt(&path, length - 3, 0x10);
    let error = open(&disk, 0).expect("there").plan(Until::End);
    let said = error.expect_err("damaged").to_string();
    assert!(said.contains("entries 21 to 30"), "{said}");
    assert!(said.contains(&path.display().to_string()), "{said}");
    let mut archive = open(&disk, 0).expect("there");
    assert_eq!(archive.plan(Until::Index(20)).expect("whole").last, 20);
    second.archive_all();
    assert_eq!(
        open(&disk, 0)
            .expect("there")
            .plan(Until::End)
            .expect("whole")
            .last,
        30
    );
}

/// Power fails at every sync of the archive: what counted as archived is there, and it goes on without a gap.
#[test]
fn power_cuts_lose_nothing_that_counted_as_archived() {
    let disk = SimulatedDisk::new(5);
    let mut rig = Rig::new(disk.clone(), 1);
    for round in 1..=40 {
        rig.write(round);
        rig.write(round);
        if round % 3 == 0 {
            disk.crash_in_sync();
        }
        while rig.archiver.step() == Ok(true) {}
        let archived = rig.archiver.status().lock().archived_index;
        disk.crash();
        if archived > 0 {
            let mut archive = open(&disk, 0).expect("there");
            let plan = archive.plan(Until::Index(archived)).expect("kept");
            replay(&mut archive, 0, plan);
        }
        rig.restart();
    }
    rig.archive_all();
    assert_eq!(
        open(&disk, 0)
            .expect("there")
            .plan(Until::End)
            .expect("whole")
            .last,
        80
    );
}

#[test]
fn a_full_disk_is_said_and_the_archive_goes_on_without_a_gap() {
    let disk = SimulatedDisk::new(1);
    let mut rig = Rig::new(disk.clone(), 1);
    rig.write(1);
    rig.archive_all();
    disk.limit_capacity(Some(disk.used_bytes() + 8));
    for time in 2..=20 {
        rig.write(time);
    }
    for _ in 0..3 {
        rig.archiver.step().expect_err("no room");
    }
    assert!(rig.archiver.status().lock().failing.is_some());
    let said = rig.said.lock().clone();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(rig.archiver.status().lock().archived_index, 1);
    disk.limit_capacity(None);
    rig.archive_all();
    assert_eq!(rig.archiver.status().lock().failing, None);
    assert!(rig.said.lock()[1].contains("is written again"));
    assert_eq!(
        open(&disk, 0)
            .expect("there")
            .plan(Until::End)
            .expect("whole")
            .last,
        20
    );
}

#[test]
fn another_history_is_not_appended_to_the_archive() {
    let disk = SimulatedDisk::new(1);
    let mut rig = Rig::new(disk.clone(), 1);
    for time in 1..=5 {
        rig.write(time);
    }
    rig.archive_all();
    // The same member with a log that was cut by an operator.
    let mut cut = Rig::new(disk.clone(), 1);
    for time in 1..=3 {
        cut.write(time);
    }
    let said = cut.archiver.step().expect_err("refused");
    assert!(said.contains("another entry 5"), "{said}");
}

#[test]
fn a_directory_without_an_archive_of_the_cluster_is_named() {
    let disk = SimulatedDisk::new(1);
    disk.create_dir_all(Path::new(DIRECTORY)).expect("writable");
    let error = open(&disk, 0).err().expect("nothing there");
    assert!(matches!(error, ArchiveError::NoArchive { .. }));
}
