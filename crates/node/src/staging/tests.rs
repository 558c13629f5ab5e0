//! Snapshots sent by hand from one directory to another, on real files, broken off wherever that can happen.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use consensus::NodeId;
use platform::OsDisk;
use state_machine::{
    Applied, Command, Export, Namespace, Operation, Progress, StateMachine, Statement, WriteCommand,
};
use storage_engine::{Callbacks, Engine, LsmEngines};

use super::*;
use crate::pins::Pins;

const TO: NodeId = NodeId(2);

fn engines() -> Arc<LsmEngines> {
    Arc::new(LsmEngines {
        memtable_bytes: 256 << 10,
        cache_bytes: 1 << 20,
    })
}

fn things() -> Namespace {
    Namespace {
        database: "test".to_owned(),
        collection: "things".to_owned(),
    }
}

/// Writes a document; in a circle, so that older versions are overwritten.
fn command(number: u64) -> Vec<u8> {
    let id = (number * 7919 % 300) as i32;
    let filler = format!("{number} ").repeat(if id % 4 == 0 { 5000 } else { 10 });
    let update = bson::rawdoc! { "$set": { "number": number as i64, "filler": filler } };
    Command::Write(WriteCommand {
        namespace: things(),
        session: None,
        ordered: true,
        now_ms: 0,
        terms: Default::default(),
        statements: vec![Statement {
            statement_id: 0,
            operation: Operation::Update {
                filter: bson::rawdoc! { "_id": id },
                update: bson::RawBson::Document(update),
                array_filters: Vec::new(),
                candidates: Vec::new(),
                multi: false,
                upsert: Some(state_machine::Upsert { generated_id: None }),
                image: state_machine::Image::None,
            },
        }],
    })
    .encode()
}

fn hash(machine: &StateMachine) -> Option<[u8; 16]> {
    let snapshot = machine.reader().snapshot();
    snapshot.collection_hash(&things()).expect("no fault")
}

/// A member that sends, and can be restarted; its log is played by the numbers of its commands.
struct Sender {
    root: PathBuf,
    engine: Arc<dyn Engine>,
    machine: StateMachine,
    pins: Pins<OsDisk>,
    _directory: tempfile::TempDir,
}

fn callbacks() -> Callbacks {
    Callbacks {
        on_fault: Box::new(|fault| panic!("{fault}")),
        ..Callbacks::default()
    }
}

impl Sender {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = directory.path().join("engine");
        let (engine, machine, pins) = Self::open(&root);
        let mut sender = Sender {
            root,
            engine,
            machine,
            pins,
            _directory: directory,
        };
        sender.write(600);
        sender
    }

    fn open(root: &Path) -> (Arc<dyn Engine>, StateMachine, Pins<OsDisk>) {
        let generation = engine_dirs::open(&OsDisk, root).expect("opens");
        let engine = engines().open(&generation, callbacks()).expect("opens");
        let machine = StateMachine::open(Arc::clone(&engine)).expect("sound");
        let pins = Pins::open(OsDisk, root.to_owned(), &machine).expect("sound");
        (engine, machine, pins)
    }

    fn write(&mut self, count: u64) {
        for _ in 0..count {
            let index = self.machine.applied().index + 1;
            self.machine
                .apply(index, 3, &command(index))
                .expect("sound");
            if self.machine.wants_rotate() {
                self.machine.before_rotate();
                self.engine.rotate();
            }
        }
    }

    /// Ends without a word and comes back: what was not flushed is applied again.
    fn restart(self) -> Self {
        let Sender {
            root,
            engine,
            machine,
            pins,
            _directory,
        } = self;
        let applied = machine.applied().index;
        drop((engine, machine, pins));
        let (engine, machine, pins) = Self::open(&root);
        let mut sender = Sender {
            root,
            engine,
            machine,
            pins,
            _directory,
        };
        sender.write(applied - sender.machine.applied().index);
        sender
    }

    /// Pins the state as of now and says what it is.
    fn pin(&mut self) -> (Applied, Option<[u8; 16]>) {
        let snapshot = self.machine.reader().snapshot();
        let export = Export::new(snapshot.clone()).expect("the latest");
        let applied = export.applied().clone();
        self.pins
            .pin(TO, snapshot, applied.clone())
            .expect("stored");
        (applied, hash(&self.machine))
    }

    fn export(&mut self, progress: &[u8]) -> Option<Export> {
        let (export, streaming) = self.pins.export(TO).expect("no fault")?;
        streaming.store(false, Ordering::Release);
        let index = export.applied().index;
        Some(export.after(Progress::decode(index, progress).expect("sound")))
    }

    fn chunks(&mut self, progress: &[u8]) -> Vec<Vec<u8>> {
        let export = self.export(progress).expect("pinned");
        export.map(|chunk| chunk.expect("no fault")).collect()
    }
}

fn meta(leader: u64, term: u64, applied: &Applied) -> SnapshotMeta {
    SnapshotMeta {
        leader: NodeId(leader),
        leader_term: Term(term),
        position: LogPosition {
            index: LogIndex(applied.index),
            term: Term(applied.term),
        },
        membership: consensus::bootstrap(NodeId(1), b"context".to_vec().into()),
    }
}

/// A member that receives, and can be restarted.
struct Receiver {
    root: PathBuf,
    core: Arc<Mailbox<Event>>,
    staging: Arc<Staging<OsDisk>>,
    _directory: tempfile::TempDir,
}

impl Receiver {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = directory.path().join("engine");
        engine_dirs::open(&OsDisk, &root).expect("opens");
        let core = Arc::new(Mailbox::new(10));
        Receiver {
            staging: Self::staging(&root, &core),
            root,
            core,
            _directory: directory,
        }
    }

    fn staging(root: &Path, core: &Arc<Mailbox<Event>>) -> Arc<Staging<OsDisk>> {
        let upkeep = Arc::new(AtomicBool::new(false));
        Staging::new(OsDisk, engines(), root.to_owned(), Arc::clone(core), upkeep)
    }

    fn restart(&mut self) {
        engine_dirs::open(&OsDisk, &self.root).expect("opens");
        self.staging = Self::staging(&self.root, &self.core);
    }

    fn staged(&self) -> Option<Staged> {
        let mut events = Vec::new();
        self.core.take(&mut events);
        events.into_iter().find_map(|event| match event {
            Event::SnapshotStaged(staged) => Some(staged),
            _ => None,
        })
    }

    /// What was staged, opened as it would be after its installation.
    fn hash(&self) -> Option<[u8; 16]> {
        let staged = self.staged().expect("a whole snapshot");
        let engine = engines()
            .open(&staged.directory, callbacks())
            .expect("opens");
        hash(&StateMachine::open(engine).expect("sound"))
    }

    fn incoming(&self) -> PathBuf {
        self.root.join(INCOMING)
    }

    fn names(&self) -> Vec<String> {
        let entries = OsDisk.list(&self.root).expect("listed");
        entries.into_iter().map(|entry| entry.name).collect()
    }
}

#[test]
fn a_stream_that_breaks_after_any_chunk_goes_on_from_there() {
    let mut sender = Sender::new();
    let (applied, expected) = sender.pin();
    let all = sender.chunks(&[]).len();
    assert!(all >= 4, "{all} chunks");
    for restart in [false, true] {
        for broken_after in 0..=all {
            let mut receiver = Receiver::new();
            let mut sink = receiver
                .staging
                .begin(meta(1, 5, &applied))
                .expect("begins");
            for chunk in &sender.chunks(&sink.progress())[..broken_after] {
                sink.chunk(chunk).expect("taken");
            }
            drop(sink);
            if restart {
                receiver.restart();
            }
            let mut sink = receiver
                .staging
                .begin(meta(1, 5, &applied))
                .expect("goes on");
            let rest = sender.chunks(&sink.progress());
            // The end mark always comes again.
            assert_eq!(rest.len(), all - broken_after.min(all - 1));
            for chunk in &rest {
                sink.chunk(chunk).expect("taken");
            }
            sink.finish().expect("whole");
            assert_eq!(receiver.hash(), expected, "broken after {broken_after}");
        }
        sender.write(500);
    }
}

#[test]
fn what_a_crash_tore_or_decay_changed_in_the_kept_chunks_is_asked_for_again() {
    let mut sender = Sender::new();
    let (applied, expected) = sender.pin();
    let mut receiver = Receiver::new();
    let mut sink = receiver
        .staging
        .begin(meta(1, 5, &applied))
        .expect("begins");
    let chunks = sender.chunks(&[]);
    for chunk in &chunks[..chunks.len() - 1] {
        sink.chunk(chunk).expect("taken");
    }
    drop(sink);
    let kept = std::fs::read(receiver.incoming()).expect("kept");
    let lengths: usize = chunks[..chunks.len() - 1].iter().map(Vec::len).sum();
    assert_eq!(kept.len(), HEADER_BYTES + lengths);
    let second = HEADER_BYTES + chunks[0].len();
    let mut damaged = kept.clone();
    damaged[second + 100] ^= 1;
    let mut long = kept[..second].to_vec();
    long.extend_from_slice(&[0xff; 5000]);
    let mut misnamed = kept.clone();
    misnamed[17] ^= 1;
    let cases: [(Vec<u8>, usize); 7] = [
        (misnamed, 0),
        (kept[..kept.len() - 1].to_vec(), chunks.len() - 2),
        (kept[..second + 10].to_vec(), 1),
        (long, 1),
        (damaged, 1),
        (kept[..HEADER_BYTES].to_vec(), 0),
        (kept[..5].to_vec(), 0),
    ];
    for (bytes, whole) in cases {
        receiver.restart();
        std::fs::write(receiver.incoming(), bytes).expect("written");
        let mut sink = receiver
            .staging
            .begin(meta(1, 5, &applied))
            .expect("goes on");
        let rest = sender.chunks(&sink.progress());
        assert_eq!(rest.len(), chunks.len() - whole);
        for chunk in &rest {
            sink.chunk(chunk).expect("taken");
        }
        sink.finish().expect("whole");
        assert_eq!(receiver.hash(), expected);
    }
}

#[test]
fn a_damaged_chunk_is_refused_and_the_stream_can_go_on() {
    let mut sender = Sender::new();
    let (applied, expected) = sender.pin();
    let receiver = Receiver::new();
    let mut sink = receiver
        .staging
        .begin(meta(1, 5, &applied))
        .expect("begins");
    for chunk in sender.chunks(&[]) {
        let mut damaged = chunk.clone();
        *damaged.last_mut().expect("not empty") ^= 1;
        let error = sink.chunk(&damaged).expect_err("damaged");
        assert!(error.contains("checksum"), "{error}");
        sink.chunk(&chunk).expect("taken");
    }
    sink.finish().expect("whole");
    assert_eq!(receiver.hash(), expected);
}

#[test]
fn of_two_senders_the_newer_leader_wins_and_goes_on_where_the_other_was() {
    let mut sender = Sender::new();
    let (applied, expected) = sender.pin();
    let receiver = Receiver::new();
    let chunks = sender.chunks(&[]);
    let mut first = receiver
        .staging
        .begin(meta(1, 5, &applied))
        .expect("begins");
    first.chunk(&chunks[0]).expect("taken");
    for term in [4, 5] {
        let Err(error) = receiver.staging.begin(meta(3, term, &applied)) else {
            panic!("an older leader must not interrupt")
        };
        assert!(error.contains("from member 1"), "{error}");
    }
    first.chunk(&chunks[1]).expect("undisturbed");
    let mut second = receiver
        .staging
        .begin(meta(3, 6, &applied))
        .expect("takes over");
    let error = first.chunk(&chunks[2]).expect_err("replaced");
    assert!(error.contains("took the place"), "{error}");
    drop(first);
    let rest = sender.chunks(&second.progress());
    assert_eq!(rest.len(), chunks.len() - 2);
    // The same leader's own new stream takes over too: the old one is a dead connection.
    drop(rest);
    let mut third = receiver
        .staging
        .begin(meta(3, 6, &applied))
        .expect("takes over");
    assert!(second.chunk(&chunks[2]).is_err());
    for chunk in sender.chunks(&third.progress()) {
        third.chunk(&chunk).expect("taken");
    }
    third.finish().expect("whole");
    assert!(
        receiver.staging.begin(meta(3, 6, &applied)).is_err(),
        "being installed"
    );
    assert_eq!(receiver.hash(), expected);
    receiver
        .staging
        .begin(meta(3, 6, &applied))
        .expect("free again");
}

#[test]
fn a_newer_snapshot_takes_the_place_of_one_half_staged() {
    for restart in [false, true] {
        let mut sender = Sender::new();
        let (old, _) = sender.pin();
        let mut receiver = Receiver::new();
        let mut sink = receiver.staging.begin(meta(1, 5, &old)).expect("begins");
        for chunk in &sender.chunks(&[])[..2] {
            sink.chunk(chunk).expect("taken");
        }
        drop(sink);
        if restart {
            receiver.restart();
        }
        sender.write(100);
        let (applied, expected) = sender.pin();
        let mut sink = receiver
            .staging
            .begin(meta(1, 5, &applied))
            .expect("begins");
        assert!(sink.progress().is_empty(), "nothing of the old one counts");
        for chunk in sender.chunks(&[]) {
            sink.chunk(&chunk).expect("taken");
        }
        sink.finish().expect("whole");
        assert_eq!(receiver.hash(), expected);
    }
}

#[test]
fn what_nobody_needs_any_more_is_removed() {
    let mut sender = Sender::new();
    let (applied, _) = sender.pin();
    let mut receiver = Receiver::new();
    let mut sink = receiver
        .staging
        .begin(meta(1, 5, &applied))
        .expect("begins");
    let chunks = sender.chunks(&[]);
    sink.chunk(&chunks[0]).expect("taken");
    receiver.staging.tidy(applied.index).expect("tidies");
    sink.chunk(&chunks[1]).expect("one that is under way stays");
    drop(sink);
    receiver.staging.tidy(applied.index - 1).expect("tidies");
    assert_eq!(
        receiver.names(),
        ["2", "CURRENT", "incoming"],
        "still of use"
    );
    receiver.staging.tidy(applied.index).expect("tidies");
    assert_eq!(receiver.names(), ["CURRENT"], "the log got there first");
    // One that was whole and then refused.
    let mut sink = receiver
        .staging
        .begin(meta(1, 5, &applied))
        .expect("begins");
    for chunk in &chunks {
        sink.chunk(chunk).expect("taken");
    }
    sink.finish().expect("whole");
    receiver.staging.tidy(applied.index).expect("tidies");
    let installing = format!("installing-{}.new", applied.index);
    assert_eq!(
        receiver.names(),
        ["2", "CURRENT", "CURRENT.new", "incoming", &installing],
        "being decided, with the room for its installation"
    );
    drop(receiver.staged().expect("a whole snapshot"));
    receiver.staging.tidy(applied.index).expect("tidies");
    assert_eq!(receiver.names(), ["CURRENT"]);
    receiver.restart();
    receiver.staging.tidy(0).expect("tidies");
}

#[test]
fn a_pin_outlives_its_process_but_not_its_time_nor_its_engine() {
    let mut sender = Sender::new();
    let (applied, _) = sender.pin();
    let before = sender.chunks(&[]);
    sender.write(500);
    let mut sender = sender.restart();
    assert_eq!(
        sender.pins.positions().into_iter().collect::<Vec<_>>(),
        [(TO, LogIndex(applied.index))]
    );
    sender.write(11_000);
    assert!(sender.chunks(&[]) == before, "the version is as it was");
    let second = std::time::Duration::from_secs(1);
    assert!(sender.pins.give_up_idle(second).expect("stored").is_empty());
    assert!(
        sender
            .pins
            .give_up_idle(60 * second)
            .expect("stored")
            .is_empty()
    );
    let mut sender = sender.restart();
    assert!(!sender.pins.is_empty(), "a restart gives it time again");
    assert!(sender.pins.give_up_idle(second).expect("stored").is_empty());
    assert_eq!(sender.pins.give_up_idle(62 * second).expect("stored"), [TO]);
    let mut sender = sender.restart();
    assert!(sender.pins.is_empty());
    sender.pin();
    sender.pins.give_up(TO).expect("stored");
    let mut sender = sender.restart();
    assert!(sender.pins.is_empty(), "the member has it");
    sender.pin();
    let machine = &sender.machine;
    let pinned = sender.root.join("pinned");
    let text = std::fs::read_to_string(&pinned).expect("stored");
    std::fs::write(&pinned, text.replacen(" 3", " 2", 1)).expect("written");
    let damaged = Pins::open(OsDisk, sender.root.clone(), machine).expect("sound");
    assert!(damaged.is_empty(), "what decayed is not trusted");
    std::fs::write(&pinned, text).expect("written");
    std::fs::write(sender.root.join("CURRENT"), "7\n").expect("written");
    let other = Pins::open(OsDisk, sender.root.clone(), machine).expect("sound");
    assert!(other.is_empty(), "generation 7 is another engine");
}

/// A generator of choices; the seed is in the test's message.
struct Choices(u64);

impl Choices {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn a_stream_interrupted_at_random_while_writes_go_on_yields_the_state_at_its_version() {
    for seed in 1..=6 {
        let mut choices = Choices(0x9e37_79b9_7f4a_7c15 ^ seed);
        let mut sender = Sender::new();
        let mut receiver = Receiver::new();
        let (mut applied, mut expected) = sender.pin();
        let mut term = 5;
        'streams: loop {
            let meta = meta(1, term, &applied);
            let mut sink = receiver.staging.begin(meta).expect("begins");
            let export = sender.export(&sink.progress());
            let mut export = export.expect("pinned and applied");
            while let Some(chunk) = export.next() {
                sender.write(choices.below(40));
                match choices.below(10) {
                    0 => {
                        drop(sink);
                        receiver.restart();
                        continue 'streams;
                    }
                    1 => {
                        // The stream holds the engine, and two of them must not have one directory open.
                        drop((sink, export));
                        sender = sender.restart();
                        term += choices.below(2);
                        continue 'streams;
                    }
                    2 => {
                        drop(sink);
                        continue 'streams;
                    }
                    3 if choices.below(4) == 0 => {
                        drop(sink);
                        (applied, expected) = sender.pin();
                        continue 'streams;
                    }
                    _ => sink.chunk(&chunk.expect("no fault")).expect("taken"),
                }
            }
            sink.finish().expect("whole");
            break;
        }
        assert_eq!(receiver.hash(), expected, "seed {seed}");
    }
}
