//! Counters: incremented under session stamps, so that each increment counts once however often it was sent.

use std::collections::BTreeMap;

use bson::doc;
use state_machine::plan::StatementOutcome;

use super::documents::{documents, find_and_modify, namespace, number, read, statement, update};
use super::{Activity, Answer, Change, Job, Request};
use crate::history::{Begun, History, Outcome};
use crate::linearizability::{Counter, CounterCall, CounterReturn, check_history};
use crate::random::Random;

pub(super) struct Counters {
    keys: u64,
    history: History<i64, CounterCall, CounterReturn>,
    running: BTreeMap<u64, (Begun, CounterCall)>,
}

impl Counters {
    pub(super) fn new(random: &mut Random) -> Counters {
        Counters {
            keys: random.within(1..4),
            history: History::default(),
            running: BTreeMap::new(),
        }
    }

    fn job(&mut self, client: u32, key: i64, call: CounterCall, order: u64) -> Job {
        let namespace = namespace("counters");
        let filter = doc! { "_id": key };
        let write = |change| Request::Write {
            namespace: namespace.clone(),
            change,
        };
        let request = match &call {
            CounterCall::Read => read(&namespace, &filter),
            CounterCall::Add(more) => {
                let change = doc! { "$inc": { "count": *more } };
                write(Change::Update(vec![update(&filter, &change, true)]))
            }
            CounterCall::AddAndGet(more) => {
                let change = doc! { "$inc": { "count": *more } };
                write(Change::FindAndModify(find_and_modify(
                    &filter, &change, true,
                )))
            }
        };
        let begun = self.history.invoke(client, key, call.clone(), order);
        let number = self.history.operations().len() as u64;
        let stamped = call != CounterCall::Read;
        self.running.insert(number, (begun, call));
        Job {
            number,
            request,
            stamped,
        }
    }
}

impl Activity for Counters {
    fn name(&self) -> &'static str {
        "counters"
    }

    fn setup(&mut self) -> Vec<Request> {
        Vec::new()
    }

    fn next(&mut self, client: u32, random: &mut Random, order: u64) -> Option<Job> {
        let key = random.below(self.keys) as i64;
        let call = match random.below(6) {
            0..=2 => CounterCall::Add(1),
            3 | 4 => CounterCall::AddAndGet(1),
            _ => CounterCall::Read,
        };
        Some(self.job(client, key, call, order))
    }

    fn completed(&mut self, job: u64, outcome: Outcome<Answer>, order: u64) -> Result<(), String> {
        let (begun, call) = self.running.remove(&job).expect("a job ends once");
        let outcome = match outcome {
            Outcome::Failed => Outcome::Failed,
            Outcome::Unknown => Outcome::Unknown,
            Outcome::Done(answer) => Outcome::Done(returned(&call, answer)?),
        };
        self.history.end(begun, outcome, order);
        Ok(())
    }

    fn closing(&mut self, order: u64) -> Vec<Job> {
        let keys = 0..self.keys as i64;
        keys.map(|key| self.job(u32::MAX, key, CounterCall::Read, order))
            .collect()
    }

    fn judge(&self) -> Result<(), String> {
        check_history(&Counter, &self.history).map_err(|finding| finding.to_string())
    }

    fn outcomes(&self) -> [usize; 3] {
        self.history.outcomes()
    }
}

fn returned(call: &CounterCall, answer: Answer) -> Result<CounterReturn, String> {
    match call {
        CounterCall::Read => {
            let found = documents(answer)?;
            let count = found.first().map(|it| number(it, "count")).transpose()?;
            Ok(CounterReturn::Value(count.unwrap_or(0)))
        }
        CounterCall::Add(_) => match statement(answer)? {
            (
                StatementOutcome::Updated {
                    matched, upserted, ..
                },
                _,
            ) if matched == 1 || upserted.is_some() => Ok(CounterReturn::Added),
            other => Err(format!("an increment ended as {other:?}")),
        },
        CounterCall::AddAndGet(_) => match statement(answer)? {
            (StatementOutcome::Updated { .. }, Some(image)) => {
                Ok(CounterReturn::Value(number(&image, "count")?))
            }
            other => Err(format!("an increment ended as {other:?}")),
        },
    }
}
