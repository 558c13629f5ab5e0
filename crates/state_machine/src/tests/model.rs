//! Random commands against a plain model: documents, results, unique indexes and retries agree, whatever is rotated,
//! crashed and replayed in between.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bson::{Bson, Document, RawBson, doc};
use proptest::prelude::*;
use storage_engine::{Engine, LsmEngine, Options};

use super::host::{
    Host, create_index, delete, deleted, id, insert, raw, under_session, update, updated, upsert,
    write,
};
use crate::{Command, CommandError, Export, Image, Operation, Reply, StatementResult};

#[derive(Debug, Clone)]
enum Action {
    Insert { id: i32, unique: i32, group: i32 },
    SetUnique { id: i32, unique: i32 },
    IncrementMany { group: i32, candidates: Vec<i32> },
    IncrementOne { group: i32, candidates: Vec<i32> },
    Upsert { id: i32 },
    Push { id: i32, tag: i32 },
    Delete { id: i32 },
}

#[derive(Debug, Clone)]
enum Step {
    Command(Vec<Action>),
    Retry,
    RetryOlder,
    Rotate,
    Crash,
    Transfer,
}

fn action() -> impl Strategy<Value = Action> {
    let id = || 0..12i32;
    let group = || 0..3i32;
    let ids = || {
        prop::collection::btree_set(id(), 0..5).prop_map(|ids| ids.into_iter().collect::<Vec<_>>())
    };
    prop_oneof![
        4 => (id(), 0..8i32, group())
            .prop_map(|(id, unique, group)| Action::Insert { id, unique, group }),
        2 => (id(), 0..8i32).prop_map(|(id, unique)| Action::SetUnique { id, unique }),
        2 => (group(), ids())
            .prop_map(|(group, candidates)| Action::IncrementMany { group, candidates }),
        2 => (group(), ids())
            .prop_map(|(group, candidates)| Action::IncrementOne { group, candidates }),
        2 => id().prop_map(|id| Action::Upsert { id }),
        2 => (id(), 0..3i32).prop_map(|(id, tag)| Action::Push { id, tag }),
        2 => id().prop_map(|id| Action::Delete { id }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => prop::collection::vec(action(), 1..5).prop_map(Step::Command),
        2 => Just(Step::Retry),
        1 => Just(Step::RetryOlder),
        2 => Just(Step::Rotate),
        1 => Just(Step::Crash),
        1 => Just(Step::Transfer),
    ]
}

/// What a document should be.
#[derive(Debug, Clone, Default, PartialEq)]
struct Expected {
    unique: Option<i32>,
    group: Option<i32>,
    count: i32,
    tags: Vec<i32>,
}

#[derive(Default)]
struct Model {
    documents: BTreeMap<i32, Expected>,
}

/// What a statement should give.
#[derive(Debug, PartialEq)]
enum Outcome {
    Is(StatementResult),
    Duplicate(&'static str),
}

impl Model {
    fn unique_taken(&self, unique: Option<i32>, except: i32) -> bool {
        self.documents
            .iter()
            .any(|(id, document)| *id != except && document.unique == unique)
    }

    fn insert(&mut self, id: i32, document: Expected, inserted: StatementResult) -> Outcome {
        if self.documents.contains_key(&id) {
            return Outcome::Duplicate("_id_");
        }
        if self.unique_taken(document.unique, id) {
            return Outcome::Duplicate("unique");
        }
        self.documents.insert(id, document);
        Outcome::Is(inserted)
    }

    fn execute(&mut self, action: &Action) -> Outcome {
        match action {
            Action::Insert { id, unique, group } => {
                let document = Expected {
                    unique: Some(*unique),
                    group: Some(*group),
                    ..Expected::default()
                };
                self.insert(*id, document, StatementResult::Inserted)
            }
            Action::SetUnique { id, unique } => {
                let taken = self.unique_taken(Some(*unique), *id);
                match self.documents.get_mut(id) {
                    None => Outcome::Is(updated(0, 0)),
                    Some(_) if taken => Outcome::Duplicate("unique"),
                    Some(document) => {
                        let changed = document.unique != Some(*unique);
                        document.unique = Some(*unique);
                        Outcome::Is(updated(1, u64::from(changed)))
                    }
                }
            }
            Action::IncrementMany { group, candidates } => {
                let matched = self.increment(*group, candidates, usize::MAX);
                Outcome::Is(updated(matched, matched))
            }
            Action::IncrementOne { group, candidates } => {
                match self.increment(*group, candidates, 1) {
                    0 if !candidates.is_empty() => Outcome::Is(StatementResult::Stale),
                    matched => Outcome::Is(updated(matched, matched)),
                }
            }
            Action::Upsert { id } => match self.documents.get_mut(id) {
                Some(document) => {
                    document.count += 1;
                    Outcome::Is(updated(1, 1))
                }
                None => {
                    let document = Expected {
                        count: 1,
                        ..Expected::default()
                    };
                    let inserted = StatementResult::Updated {
                        matched: 0,
                        modified: 0,
                        upserted: Some(Bson::Int32(*id)),
                        image: None,
                    };
                    self.insert(*id, document, inserted)
                }
            },
            Action::Push { id, tag } => match self.documents.get_mut(id) {
                Some(document) => {
                    document.tags.push(*tag);
                    Outcome::Is(updated(1, 1))
                }
                None => Outcome::Is(updated(0, 0)),
            },
            Action::Delete { id } => {
                let found = self.documents.remove(id).is_some();
                Outcome::Is(deleted(u64::from(found)))
            }
        }
    }

    fn increment(&mut self, group: i32, candidates: &[i32], limit: usize) -> u64 {
        let mut matched = 0;
        for id in candidates {
            if let Some(document) = self.documents.get_mut(id)
                && document.group == Some(group)
                && matched < limit
            {
                document.count += 1;
                matched += 1;
            }
        }
        matched as u64
    }
}

fn operation(action: &Action) -> Operation {
    let one = |id: i32, change: Document| update(doc! { "_id": id }, change, vec![]);
    match action {
        Action::Insert { id, unique, group } => {
            insert(doc! { "_id": id, "unique": unique, "group": group })
        }
        Action::SetUnique { id, unique } => one(*id, doc! { "$set": { "unique": unique } }),
        Action::IncrementMany { group, candidates } => Operation::Update {
            filter: raw(doc! { "group": group }),
            update: RawBson::Document(raw(doc! { "$inc": { "count": 1 } })),
            array_filters: Vec::new(),
            candidates: candidates.iter().map(|number| id(*number)).collect(),
            multi: true,
            upsert: None,
            image: Image::None,
        },
        Action::IncrementOne { group, candidates } => update(
            doc! { "group": group },
            doc! { "$inc": { "count": 1 } },
            candidates.iter().map(|number| id(*number)).collect(),
        ),
        Action::Upsert { id } => upsert(doc! { "_id": id }, doc! { "$inc": { "count": 1 } }, None),
        Action::Push { id, tag } => one(*id, doc! { "$push": { "tags": tag } }),
        Action::Delete { id } => delete(doc! { "_id": id }, vec![]),
    }
}

fn shown(document: &Document) -> (i32, Expected) {
    let expected = Expected {
        unique: document.get_i32("unique").ok(),
        group: document.get_i32("group").ok(),
        count: document.get_i32("count").unwrap_or(0),
        tags: document
            .get_array("tags")
            .map(|tags| tags.iter().filter_map(Bson::as_i32).collect())
            .unwrap_or_default(),
    };
    (document.get_i32("_id").expect("an id"), expected)
}

/// Where a machine's engine lives, and so how it crashes.
trait Place {
    fn start(&mut self) -> Host;
    fn rotate(&mut self, host: &mut Host) {
        host.rotate();
    }
    /// The engine as a crash leaves it.
    fn crash(&mut self, host: Host) -> Host;
}

struct InMemory;

impl Place for InMemory {
    fn start(&mut self) -> Host {
        Host::new()
    }

    fn crash(&mut self, host: Host) -> Host {
        Host::on(host.durable_copy())
    }
}

struct OnDisk<'a>(&'a Path);

impl OnDisk<'_> {
    fn open(&self) -> Arc<dyn Engine> {
        LsmEngine::open(self.0, Options::default()).expect("a sound directory")
    }
}

impl Place for OnDisk<'_> {
    fn start(&mut self) -> Host {
        Host::on(self.open())
    }

    fn rotate(&mut self, host: &mut Host) {
        host.machine.before_rotate();
        host.engine.flush_all().expect("sound");
    }

    fn crash(&mut self, host: Host) -> Host {
        drop(host);
        Host::on(self.open())
    }
}

struct Run<P: Place> {
    place: P,
    host: Host,
    model: Model,
    log: Vec<(Vec<u8>, Reply)>,
    txn_number: i64,
}

impl<P: Place> Run<P> {
    fn new(mut place: P) -> Self {
        let host = place.start();
        let mut run = Run {
            place,
            host,
            model: Model::default(),
            log: Vec::new(),
            txn_number: 0,
        };
        run.apply(&create_index(
            doc! { "unique": 1 },
            "unique",
            doc! { "unique": true },
        ));
        run.apply(&create_index(
            doc! { "group": -1, "count": 1 },
            "plain",
            doc! {},
        ));
        run.apply(&create_index(
            doc! { "tags": 1 },
            "tags",
            doc! { "sparse": true },
        ));
        run
    }

    fn apply(&mut self, command: &Command) -> Reply {
        let reply = self.host.apply(command);
        self.log.push((command.encode(), reply.clone()));
        reply
    }

    fn command(&mut self, actions: &[Action]) {
        self.txn_number += 1;
        let command = write(actions.iter().map(operation).collect());
        let reply = self.apply(&Command::Write(under_session(command, self.txn_number)));
        let Reply::Write(reply) = reply else {
            panic!("{reply:?}");
        };
        let mut results = reply.results.into_iter();
        for action in actions {
            let expected = self.model.execute(action);
            let (_, result) = results.next().expect("a result per executed statement");
            match &expected {
                Outcome::Is(expected) => assert_eq!(result, *expected, "{action:?}"),
                Outcome::Duplicate(name) => assert!(
                    matches!(
                        &result,
                        StatementResult::Failed(CommandError::DuplicateKey { index, .. }) if index == name
                    ),
                    "{action:?}: {result:?}"
                ),
            }
            if matches!(result, StatementResult::Failed(_) | StatementResult::Stale) {
                break;
            }
        }
        assert_eq!(results.next(), None);
    }

    /// The last command again, if all of it succeeded: nothing may happen.
    fn retry(&mut self) {
        let Some((bytes, Reply::Write(reply))) = self.log.last().cloned() else {
            return;
        };
        let finished = reply.results.iter().all(|(_, result)| {
            !matches!(result, StatementResult::Failed(_) | StatementResult::Stale)
        });
        if finished {
            let command = Command::decode(&bytes).expect("it was encoded");
            assert_eq!(self.apply(&command), Reply::Write(reply));
        }
    }

    fn retry_older(&mut self) {
        if self.txn_number > 1 {
            let command = write(vec![insert(doc! { "_id": 1000 })]);
            let command = Command::Write(under_session(command, self.txn_number - 1));
            let reply = self.apply(&command);
            assert!(
                matches!(reply, Reply::Failed(CommandError::TransactionTooOld { .. })),
                "{reply:?}"
            );
        }
    }

    fn crash(mut self) -> Self {
        let before = self.host.contents();
        let durable = self.host.engine.durable_version().unwrap_or(0) as usize;
        self.host = self.place.crash(self.host);
        assert_eq!(self.host.machine.applied().index as usize, durable);
        for (bytes, reply) in &self.log[durable..] {
            let command = Command::decode(bytes).expect("it was encoded");
            assert_eq!(self.host.apply(&command), *reply);
        }
        assert_eq!(self.host.contents(), before);
        self
    }

    fn transfer(&self) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let staging = dir.path().join("engine");
        let mut import = super::transfer::import_into(&staging, self.host.machine.applied().index);
        for chunk in Export::new(self.host.snapshot()).expect("of the applied index") {
            import.chunk(&chunk.expect("sound")).expect("sound");
        }
        import.finish().expect("whole");
        let imported = Host::on(OnDisk(&staging).open());
        assert_eq!(imported.machine.applied(), self.host.machine.applied());
        assert_eq!(imported.contents(), self.host.contents());
        imported.check();
    }

    fn check(&self) {
        let found: BTreeMap<i32, Expected> = self.host.documents().iter().map(shown).collect();
        assert_eq!(found, self.model.documents);
        self.host.check();
    }
}

fn run(place: impl Place, steps: &[Step]) {
    let mut run = Run::new(place);
    for step in steps {
        match step {
            Step::Command(actions) => run.command(actions),
            Step::Retry => run.retry(),
            Step::RetryOlder => run.retry_older(),
            Step::Rotate => run.place.rotate(&mut run.host),
            Step::Crash => run = run.crash(),
            Step::Transfer => {
                run.transfer();
            }
        }
        run.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn in_memory(steps in prop::collection::vec(step(), 1..40)) {
        run(InMemory, &steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn on_disk(steps in prop::collection::vec(step(), 1..40)) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        run(OnDisk(&dir.path().join("engine")), &steps);
    }
}
