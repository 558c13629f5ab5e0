//! Registers: one document each, set, read, and compared and set.

use std::collections::BTreeMap;

use bson::doc;
use state_machine::plan::StatementOutcome;

use super::documents::{documents, find_and_modify, namespace, number, read, statement, update};
use super::{Activity, Answer, Change, Job, Request};
use crate::history::{Begun, History, Outcome};
use crate::linearizability::{Register, RegisterCall, RegisterReturn, check_history};
use crate::random::Random;

pub(super) struct Registers {
    keys: u64,
    history: History<i64, RegisterCall, RegisterReturn>,
    running: BTreeMap<u64, (Begun, RegisterCall)>,
    /// Values written so far: each is written once.
    values: i64,
    /// The value last seen or written, per key: what a compare-and-set expects.
    seen: BTreeMap<i64, i64>,
}

impl Registers {
    pub(super) fn new(random: &mut Random) -> Registers {
        Registers {
            keys: random.within(1..5),
            history: History::default(),
            running: BTreeMap::new(),
            values: 0,
            seen: BTreeMap::new(),
        }
    }

    fn job(&mut self, client: u32, key: i64, call: RegisterCall, stamped: bool, order: u64) -> Job {
        let namespace = namespace("registers");
        let write = |change| Request::Write {
            namespace: namespace.clone(),
            change,
        };
        let request = match &call {
            RegisterCall::Read => read(&namespace, &doc! { "_id": key }),
            RegisterCall::Write(value) => {
                let set = doc! { "$set": { "value": *value } };
                write(Change::Update(vec![update(
                    &doc! { "_id": key },
                    &set,
                    true,
                )]))
            }
            RegisterCall::CompareAndSet { expected, new } => {
                let filter = doc! { "_id": key, "value": *expected };
                let set = doc! { "$set": { "value": *new } };
                write(Change::FindAndModify(find_and_modify(&filter, &set, false)))
            }
        };
        let begun = self.history.invoke(client, key, call.clone(), order);
        let number = self.history.operations().len() as u64;
        self.running.insert(number, (begun, call));
        Job {
            number,
            request,
            stamped,
        }
    }
}

impl Activity for Registers {
    fn name(&self) -> &'static str {
        "registers"
    }

    fn setup(&mut self) -> Vec<Request> {
        Vec::new()
    }

    fn next(&mut self, client: u32, random: &mut Random, order: u64) -> Option<Job> {
        let key = random.below(self.keys) as i64;
        self.values += 1;
        let call = match (random.below(10), self.seen.get(&key)) {
            (0..=3, _) => RegisterCall::Read,
            (4..=6, Some(seen)) => RegisterCall::CompareAndSet {
                expected: Some(*seen),
                new: self.values,
            },
            _ => RegisterCall::Write(self.values),
        };
        // Writes without a stamp are not sent again: they leave outcomes unknown.
        let stamped = call != RegisterCall::Read && random.chance(3, 4);
        Some(self.job(client, key, call, stamped, order))
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
            (_, Outcome::Done(RegisterReturn::Value(Some(value))))
            | (RegisterCall::Write(value), Outcome::Done(_))
            | (
                RegisterCall::CompareAndSet { new: value, .. },
                Outcome::Done(RegisterReturn::Swapped(true)),
            ) => {
                self.seen.insert(key, *value);
            }
            _ => {}
        }
        self.history.end(begun, outcome, order);
        Ok(())
    }

    fn closing(&mut self, order: u64) -> Vec<Job> {
        let keys = 0..self.keys as i64;
        keys.map(|key| self.job(u32::MAX, key, RegisterCall::Read, false, order))
            .collect()
    }

    fn judge(&self) -> Result<(), String> {
        check_history(&Register, &self.history).map_err(|finding| finding.to_string())
    }

    fn outcomes(&self) -> [usize; 3] {
        self.history.outcomes()
    }
}

fn returned(call: &RegisterCall, answer: Answer) -> Result<RegisterReturn, String> {
    match call {
        RegisterCall::Read => {
            let found = documents(answer)?;
            let value = found.first().map(|it| number(it, "value")).transpose()?;
            Ok(RegisterReturn::Value(value))
        }
        RegisterCall::Write(_) => match statement(answer)? {
            (StatementOutcome::Updated { .. }, _) => Ok(RegisterReturn::Written),
            other => Err(format!("a write ended as {other:?}")),
        },
        RegisterCall::CompareAndSet { new, .. } => match statement(answer)? {
            (StatementOutcome::Updated { matched: 1, .. }, Some(image))
                if number(&image, "value")? == *new =>
            {
                Ok(RegisterReturn::Swapped(true))
            }
            (StatementOutcome::Updated { matched: 0, .. }, None) => {
                Ok(RegisterReturn::Swapped(false))
            }
            other => Err(format!("{call:?} ended as {other:?}")),
        },
    }
}
