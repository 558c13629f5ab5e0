//! Bulk loads: many large documents at once, so that memory is flushed, logs are cut and those who were away need a snapshot.
//! Whatever was acknowledged must be there at the end, once, and whole.

use std::collections::BTreeMap;

use bson::doc;
use state_machine::plan::StatementOutcome;

use super::documents::{documents, namespace, number, raw, read};
use super::{Activity, Answer, Change, Job, Request};
use crate::history::Outcome;
use crate::random::{Random, mix};

pub(super) struct BulkLoads {
    documents_per_load: u64,
    document_bytes: u64,
    /// Loads so far; load n holds the documents `n * documents_per_load ..`.
    loads: u64,
    ended: BTreeMap<u64, Outcome<()>>,
    closing: Option<u64>,
    found: Option<BTreeMap<i64, i64>>,
}

impl BulkLoads {
    pub(super) fn new(random: &mut Random) -> BulkLoads {
        BulkLoads {
            documents_per_load: random.within(1..40),
            document_bytes: random.within(16..1_024),
            loads: 0,
            ended: BTreeMap::new(),
            closing: None,
            found: None,
        }
    }

    fn ids(&self, load: u64) -> std::ops::Range<u64> {
        load * self.documents_per_load..(load + 1) * self.documents_per_load
    }
}

/// What the document of this id holds, so that one that was changed on the way is known.
fn check_number(id: u64) -> i64 {
    (mix(id) >> 1) as i64
}

impl Activity for BulkLoads {
    fn name(&self) -> &'static str {
        "bulk loads"
    }

    fn setup(&mut self) -> Vec<Request> {
        let spec = raw(&doc! { "key": { "check": 1 }, "name": "check_1" });
        vec![Request::Catalog(state_machine::Command::CreateIndexes {
            namespace: namespace("bulk"),
            specs: vec![spec],
        })]
    }

    fn next(&mut self, _: u32, _: &mut Random, _: u64) -> Option<Job> {
        let load = self.loads;
        self.loads += 1;
        let filler = "x".repeat(self.document_bytes as usize);
        let documents = self.ids(load).map(|id| {
            raw(&doc! { "_id": id as i64, "check": check_number(id), "filler": &filler })
        });
        Some(Job {
            number: load,
            request: Request::Write {
                namespace: namespace("bulk"),
                change: Change::Insert(documents.collect()),
            },
            stamped: true,
        })
    }

    fn completed(&mut self, job: u64, outcome: Outcome<Answer>, _: u64) -> Result<(), String> {
        let outcome = match outcome {
            Outcome::Failed => Outcome::Failed,
            Outcome::Unknown => Outcome::Unknown,
            Outcome::Done(Answer::Written(outcome)) => {
                let whole = outcome.statements.len() as u64 == self.documents_per_load;
                let inserted = |it: &StatementOutcome| *it == StatementOutcome::Inserted;
                if !whole || !outcome.statements.iter().all(inserted) {
                    return Err(format!("load {job} ended as {outcome:?}"));
                }
                Outcome::Done(())
            }
            Outcome::Done(answer) => {
                let mut found = BTreeMap::new();
                for document in documents(answer)? {
                    let id = number(&document, "_id")?;
                    if found.insert(id, number(&document, "check")?).is_some() {
                        return Err(format!("document {id} is there twice"));
                    }
                }
                self.found = Some(found);
                Outcome::Done(())
            }
        };
        if self.closing != Some(job) {
            self.ended.insert(job, outcome);
        }
        Ok(())
    }

    fn closing(&mut self, _: u64) -> Vec<Job> {
        self.closing = Some(u64::MAX);
        vec![Job {
            number: u64::MAX,
            request: read(&namespace("bulk"), &doc! {}),
            stamped: false,
        }]
    }

    fn judge(&self) -> Result<(), String> {
        let Some(found) = &self.found else {
            return Ok(());
        };
        for (id, check) in found {
            if *check != check_number(*id as u64) {
                return Err(format!(
                    "document {id} holds {check}, which was never written"
                ));
            }
            let load = *id as u64 / self.documents_per_load;
            if matches!(self.ended.get(&load), None | Some(Outcome::Failed)) {
                return Err(format!(
                    "document {id} of load {load}, which failed, is there"
                ));
            }
        }
        for (load, outcome) in &self.ended {
            let there = self
                .ids(*load)
                .filter(|id| found.contains_key(&(*id as i64)))
                .count() as u64;
            match outcome {
                Outcome::Done(()) if there < self.documents_per_load => {
                    return Err(format!(
                        "load {load} was acknowledged, but only {there} of its {} documents are there",
                        self.documents_per_load
                    ));
                }
                Outcome::Unknown if there != 0 && there != self.documents_per_load => {
                    return Err(format!(
                        "{there} of the {} documents of load {load}, one command, are there",
                        self.documents_per_load
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn outcomes(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for outcome in self.ended.values() {
            counts[match outcome {
                Outcome::Done(()) => 0,
                Outcome::Failed => 1,
                Outcome::Unknown => 2,
            }] += 1;
        }
        counts
    }
}
