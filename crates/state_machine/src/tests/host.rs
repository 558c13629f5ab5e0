//! A host for tests: feeds commands to a machine in log order, and can crash and replay.

use std::ops::Bound;
use std::sync::Arc;

use bson::{Bson, Document, RawBson, RawDocumentBuf, doc};
use storage_engine::{Engine, MemoryEngine};

use crate::{
    Command, CommandError, Image, Namespace, Operation, Reply, SessionStamp, Snapshot,
    StateMachine, Statement, StatementResult, Upsert, WriteCommand,
};

pub(super) fn raw(document: Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(&document).expect("test documents can be encoded")
}

pub(super) fn id(value: impl Into<Bson>) -> RawBson {
    RawBson::try_from(value.into()).expect("test ids can be encoded")
}

pub(super) fn places() -> Namespace {
    Namespace::new("atlas", "places")
}

pub(super) fn insert(document: Document) -> Operation {
    Operation::Insert {
        document: raw(document),
    }
}

/// An update of one document, by candidates.
pub(super) fn update(filter: Document, update: Document, candidates: Vec<RawBson>) -> Operation {
    Operation::Update {
        filter: raw(filter),
        update: RawBson::Document(raw(update)),
        array_filters: Vec::new(),
        candidates,
        multi: false,
        upsert: None,
        image: Image::None,
    }
}

pub(super) fn upsert(filter: Document, update: Document, generated: Option<Bson>) -> Operation {
    Operation::Update {
        filter: raw(filter),
        update: RawBson::Document(raw(update)),
        array_filters: Vec::new(),
        candidates: Vec::new(),
        multi: false,
        upsert: Some(Upsert {
            generated_id: generated,
        }),
        image: Image::None,
    }
}

pub(super) fn delete(filter: Document, candidates: Vec<RawBson>) -> Operation {
    Operation::Delete {
        filter: raw(filter),
        candidates,
        multi: false,
        image: Image::None,
    }
}

pub(super) fn write(operations: Vec<Operation>) -> WriteCommand {
    WriteCommand {
        namespace: places(),
        session: None,
        ordered: true,
        now_ms: 1_000,
        terms: Default::default(),
        statements: (0..)
            .zip(operations)
            .map(|(statement_id, operation)| Statement {
                statement_id,
                operation,
            })
            .collect(),
    }
}

pub(super) fn under_session(mut command: WriteCommand, txn_number: i64) -> WriteCommand {
    command.session = Some(SessionStamp {
        lsid: vec![7; 16],
        txn_number,
    });
    command
}

pub(super) fn create_index(key: Document, name: &str, options: Document) -> Command {
    let mut spec = doc! { "key": key, "name": name };
    spec.extend(options);
    Command::CreateIndexes {
        namespace: places(),
        specs: vec![raw(spec)],
    }
}

pub(super) struct Host {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) machine: StateMachine,
}

impl Host {
    /// The command is refused where it claims to be of an older format than its own.
    pub(super) fn refuses_in_format(&mut self, format: u8, command: &Command) {
        let mut bytes = command.encode();
        bytes[0] = format;
        let index = self.machine.applied().index + 1;
        let reply = self.machine.apply(index, 1, &bytes).expect("no fault");
        assert!(
            matches!(reply, Reply::Failed(CommandError::Malformed(_))),
            "{reply:?}"
        );
    }

    pub(super) fn new() -> Host {
        Host::on(Arc::new(MemoryEngine::new()))
    }

    pub(super) fn on(engine: Arc<dyn Engine>) -> Host {
        Host {
            machine: StateMachine::open(engine.clone()).expect("the engine is sound"),
            engine,
        }
    }

    pub(super) fn apply(&mut self, command: &Command) -> Reply {
        let index = self.machine.applied().index + 1;
        self.machine
            .apply(index, 1, &command.encode())
            .expect("the engine is sound")
    }

    pub(super) fn write(&mut self, command: WriteCommand) -> Vec<(i32, StatementResult)> {
        match self.apply(&Command::Write(command)) {
            Reply::Write(reply) => reply.results,
            other => panic!("a write was answered with {other:?}"),
        }
    }

    /// Executes one statement.
    pub(super) fn one(&mut self, operation: Operation) -> StatementResult {
        let mut results = self.write(write(vec![operation]));
        assert_eq!(results.len(), 1);
        results.remove(0).1
    }

    pub(super) fn refused(&mut self, command: &Command) -> CommandError {
        match self.apply(command) {
            Reply::Failed(error) => error,
            other => panic!("{command:?} was answered with {other:?}"),
        }
    }

    pub(super) fn rotate(&mut self) {
        self.machine.before_rotate();
        self.engine.rotate();
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.machine.reader().snapshot()
    }

    pub(super) fn documents(&self) -> Vec<Document> {
        documents(&self.snapshot(), &places())
    }

    /// Panics unless indexes agree with documents and counters with both.
    pub(super) fn check(&self) {
        let snapshot = self.snapshot();
        for collection in snapshot.catalog().collections() {
            let found = snapshot
                .verify_indexes(&collection.namespace)
                .expect("the engine is sound")
                .expect("it is in the catalog");
            assert!(found.is_sound(), "{}: {found:?}", collection.namespace);
            let counts = snapshot.counts(&collection.namespace).expect("it exists");
            assert_eq!(counts.documents, found.documents);
            let bytes: usize = snapshot
                .scan(collection.id)
                .map(|entry| entry.expect("the engine is sound").1.len())
                .sum();
            assert_eq!(counts.bytes, bytes as u64);
        }
    }

    /// Everything in the tree but counters and the applied record, which depend on when memtables rotated.
    pub(super) fn contents(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        contents(&*self.engine, self.machine.applied().index)
    }

    /// An engine as a crash leaves it: what was durable, and nothing later.
    pub(super) fn durable_copy(&self) -> Arc<dyn Engine> {
        let copy = MemoryEngine::new();
        if let Some(version) = self.engine.durable_version() {
            let entries: Vec<_> = self
                .engine
                .range(Bound::Unbounded, Bound::Unbounded, version)
                .map(|entry| {
                    let (key, value) = entry.expect("the engine is sound");
                    (key.to_vec(), Some(value.to_vec()))
                })
                .collect();
            copy.write(version, &entries);
            copy.rotate();
        }
        Arc::new(copy)
    }
}

pub(super) fn contents(engine: &dyn Engine, as_of: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
    engine
        .range(Bound::Unbounded, Bound::Unbounded, as_of)
        .map(|entry| {
            let (key, value) = entry.expect("the engine is sound");
            (key.to_vec(), value.to_vec())
        })
        .filter(|(key, _)| {
            key[0] != crate::keyspace::COUNTERS && *key != crate::keyspace::applied_key()
        })
        .collect()
}

pub(super) fn documents(snapshot: &Snapshot, namespace: &Namespace) -> Vec<Document> {
    let Some(collection) = snapshot.collection(namespace) else {
        return Vec::new();
    };
    snapshot
        .scan(collection.id)
        .map(|entry| {
            let (_, value) = entry.expect("the engine is sound");
            let stored =
                RawDocumentBuf::from_bytes(value.to_vec()).expect("stored documents are BSON");
            Document::try_from(stored).expect("stored documents are BSON")
        })
        .collect()
}

pub(super) fn updated(matched: u64, modified: u64) -> StatementResult {
    StatementResult::Updated {
        matched,
        modified,
        upserted: None,
        image: None,
    }
}

pub(super) fn deleted(n: u64) -> StatementResult {
    StatementResult::Deleted { n, image: None }
}
