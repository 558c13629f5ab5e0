//! A unique index: of those who insert the same key one succeeds, until its document is removed.

use std::collections::BTreeMap;

use bson::{RawDocumentBuf, doc};
use state_machine::plan::StatementOutcome;
use state_machine::{Command, CommandError, Snapshot};

use super::documents::{delete, documents, namespace, number, raw, read, statement};
use super::{Activity, Answer, Change, Job, Request};
use crate::history::{Begun, History, Outcome};
use crate::linearizability::{UniqueKey, UniqueKeyCall, UniqueKeyReturn, check_history};
use crate::random::Random;

pub(super) struct UniqueKeys {
    keys: u64,
    history: History<i64, UniqueKeyCall, UniqueKeyReturn>,
    running: BTreeMap<u64, (Begun, UniqueKeyCall)>,
    /// Documents so far; each owner has an `_id` of its own.
    owners: i64,
    /// Who was last seen to have a key.
    seen: BTreeMap<i64, i64>,
}

impl UniqueKeys {
    pub(super) fn new(random: &mut Random) -> UniqueKeys {
        UniqueKeys {
            keys: random.within(1..6),
            history: History::default(),
            running: BTreeMap::new(),
            owners: 0,
            seen: BTreeMap::new(),
        }
    }

    fn job(&mut self, client: u32, key: i64, call: UniqueKeyCall, order: u64) -> Job {
        let namespace = namespace("unique");
        let write = |change| Request::Write {
            namespace: namespace.clone(),
            change,
        };
        let request = match &call {
            UniqueKeyCall::Read => read(&namespace, &doc! { "key": key }),
            UniqueKeyCall::Insert(owner) => {
                let document = raw(&doc! { "_id": *owner, "key": key });
                write(Change::Insert(vec![document]))
            }
            UniqueKeyCall::Remove(owner) => {
                write(Change::Delete(vec![delete(&doc! { "_id": *owner })]))
            }
        };
        let begun = self.history.invoke(client, key, call.clone(), order);
        let number = self.history.operations().len() as u64;
        let stamped = call != UniqueKeyCall::Read;
        self.running.insert(number, (begun, call));
        Job {
            number,
            request,
            stamped,
        }
    }
}

impl Activity for UniqueKeys {
    fn name(&self) -> &'static str {
        "unique keys"
    }

    fn setup(&mut self) -> Vec<Request> {
        let spec: RawDocumentBuf =
            raw(&doc! { "key": { "key": 1 }, "name": "key_1", "unique": true });
        vec![Request::Catalog(Command::CreateIndexes {
            namespace: namespace("unique"),
            specs: vec![spec],
        })]
    }

    fn next(&mut self, client: u32, random: &mut Random, order: u64) -> Option<Job> {
        let key = random.below(self.keys) as i64;
        let call = match (random.below(5), self.seen.get(&key)) {
            (0, _) => UniqueKeyCall::Read,
            (1, Some(owner)) => UniqueKeyCall::Remove(*owner),
            _ => {
                self.owners += 1;
                UniqueKeyCall::Insert(self.owners)
            }
        };
        Some(self.job(client, key, call, order))
    }

    fn completed(&mut self, job: u64, outcome: Outcome<Answer>, order: u64) -> Result<(), String> {
        let (begun, call) = self.running.remove(&job).expect("a job ends once");
        let key = self.history.operations()[begun.index()].0;
        let outcome = match outcome {
            Outcome::Failed => Outcome::Failed,
            Outcome::Unknown => Outcome::Unknown,
            Outcome::Done(answer) => Outcome::Done(returned(&call, answer)?),
        };
        match (&call, &outcome) {
            (UniqueKeyCall::Insert(owner), Outcome::Done(UniqueKeyReturn::Inserted))
            | (_, Outcome::Done(UniqueKeyReturn::Owner(Some(owner)))) => {
                self.seen.insert(key, *owner);
            }
            _ => {}
        }
        self.history.end(begun, outcome, order);
        Ok(())
    }

    fn closing(&mut self, order: u64) -> Vec<Job> {
        let keys = 0..self.keys as i64;
        keys.map(|key| self.job(u32::MAX, key, UniqueKeyCall::Read, order))
            .collect()
    }

    fn judge(&self) -> Result<(), String> {
        check_history(&UniqueKey, &self.history).map_err(|finding| finding.to_string())
    }

    fn outcomes(&self) -> [usize; 3] {
        self.history.outcomes()
    }
}

pub(super) fn check_state(snapshot: &Snapshot) -> Result<(), String> {
    let mut keys = BTreeMap::new();
    for document in super::all_documents(snapshot, &namespace("unique"))? {
        let (key, owner) = (number(&document, "key")?, number(&document, "_id")?);
        if let Some(other) = keys.insert(key, owner) {
            return Err(format!(
                "{owner} and {other} both have the unique key {key}"
            ));
        }
    }
    Ok(())
}

fn returned(call: &UniqueKeyCall, answer: Answer) -> Result<UniqueKeyReturn, String> {
    if *call == UniqueKeyCall::Read {
        let found = documents(answer)?;
        if found.len() > 1 {
            return Err(format!("a unique key has several owners: {found:?}"));
        }
        let owner = found.first().map(|it| number(it, "_id")).transpose()?;
        return Ok(UniqueKeyReturn::Owner(owner));
    }
    match statement(answer)?.0 {
        StatementOutcome::Inserted => Ok(UniqueKeyReturn::Inserted),
        StatementOutcome::Failed(CommandError::DuplicateKey { index, .. }) if index == "key_1" => {
            Ok(UniqueKeyReturn::Duplicate)
        }
        StatementOutcome::Deleted { count } => Ok(UniqueKeyReturn::Removed(count > 0)),
        other => Err(format!("{call:?} ended as {other:?}")),
    }
}
