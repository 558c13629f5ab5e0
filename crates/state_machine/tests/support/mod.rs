//! A state machine over the engine in memory, driven as a leader drives it: plan, apply, plan again.
#![allow(dead_code, clippy::unwrap_used)]

use std::sync::Arc;

use bson::oid::ObjectId;
use bson::{Bson, Document, RawBson, RawDocumentBuf, doc};
use state_machine::plan::{
    DeleteStatement, Environment, InsertRequest, Step, UpdateStatement, WriteOptions, WriteOutcome,
    WritePlanner,
};
use state_machine::query::{AggregateRequest, FindCursor, Interrupt, QueryError};
use state_machine::{Command, CommandError, Namespace, Reader, Reply, StateMachine, WriteCommand};
use storage_engine::MemoryEngine;

pub struct Database {
    machine: StateMachine,
    next_object_id: u64,
    /// What was proposed, in order.
    pub commands: Vec<WriteCommand>,
}

pub fn namespace() -> Namespace {
    Namespace::new("test", "things")
}

impl Database {
    pub fn new() -> Database {
        Database {
            machine: StateMachine::open(Arc::new(MemoryEngine::new())).unwrap(),
            next_object_id: 1,
            commands: Vec::new(),
        }
    }

    pub fn reader(&self) -> Reader {
        self.machine.reader()
    }

    pub fn apply(&mut self, command: Command) -> Reply {
        let index = self.machine.applied().index + 1;
        self.machine.apply(index, 1, &command.encode()).unwrap()
    }

    /// Runs a write to its end; `interfere` may apply other commands before each of its own.
    pub fn write_with(
        &mut self,
        mut planner: WritePlanner,
        mut interfere: impl FnMut(&mut Database, usize),
    ) -> Result<WriteOutcome, QueryError> {
        let mut proposed = 0;
        loop {
            let mut next_object_id = self.next_object_id;
            let mut generate_id = || {
                let mut bytes = [0; 12];
                bytes[4..].copy_from_slice(&next_object_id.to_be_bytes());
                next_object_id += 1;
                ObjectId::from_bytes(bytes)
            };
            let step = planner.next(&mut Environment {
                now_ms: 1_000,
                generate_id: &mut generate_id,
            })?;
            self.next_object_id = next_object_id;
            match step {
                Step::NeedSnapshot => planner.snapshot(self.machine.reader().snapshot()),
                Step::Propose(command) => {
                    self.commands.push(command.clone());
                    interfere(self, proposed);
                    proposed += 1;
                    let reply = self.apply(Command::Write(command));
                    planner.applied(reply)?;
                }
                Step::Finished => return Ok(planner.outcome()),
            }
        }
    }

    /// Forty documents `{_id, a: _id % 10, b: _id % 4}`, with these indexes.
    pub fn with_forty(indexes: &[(&str, Document)]) -> Database {
        let mut database = Database::new();
        let documents = (0..40)
            .map(|id| raw(&doc! {"_id": id, "a": id % 10, "b": id % 4}))
            .collect();
        let insert = InsertRequest { documents };
        database
            .write(WritePlanner::insert(WriteOptions::new(namespace()), insert))
            .unwrap();
        for (name, key) in indexes {
            database
                .create_index(raw(&doc! {"key": key, "name": *name}))
                .unwrap();
        }
        database
    }

    pub fn write(&mut self, planner: WritePlanner) -> Result<WriteOutcome, QueryError> {
        self.write_with(planner, |_, _| {})
    }

    /// Creates an index and builds it to its end.
    pub fn create_index(&mut self, spec: RawDocumentBuf) -> Result<(), CommandError> {
        let created = self.apply(Command::CreateIndexes {
            namespace: namespace(),
            specs: vec![spec],
        });
        if let Reply::Failed(error) = created {
            return Err(error);
        }
        while let Some(command) = self.machine.reader().background_command() {
            if let Reply::Failed(error) = self.apply(command) {
                return Err(error);
            }
        }
        Ok(())
    }
}

/// An aggregation over the collection.
pub fn pipeline(stages: &[Document]) -> AggregateRequest {
    AggregateRequest {
        namespace: namespace(),
        pipeline: stages
            .iter()
            .map(|stage| RawBson::Document(raw(stage)))
            .collect(),
        hint: None,
        context: document::Context::at(0, 1),
        interrupt: Interrupt::never(),
    }
}

/// An update of the first document that matches.
pub fn update_one(filter: &Document, update: RawBson) -> UpdateStatement {
    UpdateStatement {
        filter: raw(filter),
        update,
        array_filters: Vec::new(),
        multi: false,
        upsert: false,
        hint: None,
        sort: None,
        collation: None,
    }
}

/// A deletion of the first document that matches, or of all.
pub fn delete(filter: &Document, multi: bool) -> DeleteStatement {
    DeleteStatement {
        filter: raw(filter),
        multi,
        hint: None,
        collation: None,
    }
}

pub fn rows(cursor: Result<FindCursor, QueryError>) -> Result<Vec<Document>, QueryError> {
    cursor?
        .map(|row| Ok(Document::try_from(row?.into_document()).unwrap()))
        .collect()
}

pub fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

/// Parses one JSON value at the start of `text` and gives what follows it.
pub fn parse_json(text: &str) -> (Bson, &str) {
    let mut values = serde_json::Deserializer::from_str(text).into_iter();
    let value = values.next().expect("a JSON value").expect("valid JSON");
    let rest = &text[values.byte_offset()..];
    (to_bson(value), rest.trim_start())
}

fn to_bson(value: serde_json::Value) -> Bson {
    use serde_json::Value;
    match value {
        Value::Null => Bson::Null,
        Value::Bool(value) => Bson::Boolean(value),
        Value::Number(number) => match number.as_i64() {
            Some(number) => i32::try_from(number).map_or(Bson::Int64(number), Bson::Int32),
            None => Bson::Double(number.as_f64().unwrap()),
        },
        Value::String(text) => Bson::String(text),
        Value::Array(values) => Bson::Array(values.into_iter().map(to_bson).collect()),
        Value::Object(fields) => Bson::Document(
            fields
                .into_iter()
                .map(|(name, value)| (name, to_bson(value)))
                .collect(),
        ),
    }
}

pub fn to_json(value: &Bson) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Bson::Boolean(value) => Value::from(*value),
        Bson::Int32(value) => Value::from(*value),
        Bson::Int64(value) => Value::from(*value),
        Bson::Double(value) => Value::from(*value),
        Bson::String(value) => Value::from(value.as_str()),
        Bson::Array(values) => values.iter().map(to_json).collect(),
        Bson::Document(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, value)| (name.clone(), to_json(value)))
                .collect(),
        ),
        other => Value::from(other.to_string()),
    }
}
