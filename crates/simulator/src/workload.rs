//! What clients do to the cluster, and whether the answers they got can be right.
//!
//! An [`Activity`] makes [`Job`]s and judges their outcomes. [`Mixed`] is the [`crate::client::Workload`] that the world drives: its
//! clients do jobs of all activities by turns, and behave as drivers do: they give up on an attempt after a while and,
//! where that is safe, send the same again under the same session stamp. Writes are planned by the production planner.
//!
//! To add an activity: a file in here with a type that implements [`Activity`], and a line in [`all`].

mod bulk_loads;
mod counters;
mod documents;
mod mixed;
mod registers;
mod request;
mod transfers;
mod unique_keys;

#[cfg(test)]
mod tests;

pub use mixed::Mixed;
pub use request::{Answer, Change, Request};

use bson::{RawDocument, RawDocumentBuf};
use state_machine::{Namespace, Snapshot};

use crate::history::Outcome;
use crate::random::Random;

/// One operation of a client: retried until it is answered or its time is up.
#[derive(Clone, Debug)]
pub struct Job {
    /// Chosen by the workload, which knows the job by it; used once.
    pub number: u64,
    /// What to ask.
    pub request: Request,
    /// Whether a write goes under a session stamp, and so may be sent again when no answer came.
    pub stamped: bool,
}

/// A kind of use that says what answers are right.
pub trait Activity {
    /// For reports.
    fn name(&self) -> &'static str;

    /// Requests to be done before anything else, one after another. Each may happen more than once.
    fn setup(&mut self) -> Vec<Request>;

    /// The next operation of a client, which begins at `order`. `None`: nothing to do just now.
    fn next(&mut self, client: u32, random: &mut Random, order: u64) -> Option<Job>;

    /// A job's end, seen at `order`; orders ascend over all clients. An error is a finding.
    fn completed(&mut self, job: u64, outcome: Outcome<Answer>, order: u64) -> Result<(), String>;

    /// Reads of everything, for when the faults are over. Each must succeed.
    fn closing(&mut self, order: u64) -> Vec<Job>;

    /// Judges the whole run, once every job has ended.
    fn judge(&self) -> Result<(), String>;

    /// Operations so far: done, failed, unknown.
    fn outcomes(&self) -> [usize; 3];
}

/// Every activity, with sizes drawn for this run.
pub fn all(random: &mut Random) -> Vec<Box<dyn Activity>> {
    vec![
        Box::new(registers::Registers::new(random)),
        Box::new(counters::Counters::new(random)),
        Box::new(unique_keys::UniqueKeys::new(random)),
        Box::new(transfers::Transfers::new(random)),
        Box::new(bulk_loads::BulkLoads::new(random)),
    ]
}

/// All documents of a collection, in the order of `_id`; none if it does not exist.
fn all_documents(
    snapshot: &Snapshot,
    namespace: &Namespace,
) -> Result<Vec<RawDocumentBuf>, String> {
    let Some(collection) = snapshot.collection(namespace) else {
        return Ok(Vec::new());
    };
    let documents = snapshot.scan(collection.id).map(|entry| {
        let (_, document) = entry.map_err(|fault| fault.to_string())?;
        RawDocument::from_bytes(&document)
            .map(ToOwned::to_owned)
            .map_err(|error| format!("a stored document is damaged: {error}"))
    });
    documents.collect()
}

/// Checks what must hold in every state, however old, at any member: nobody but the activities has written.
pub fn check_state(snapshot: &Snapshot) -> Result<(), String> {
    transfers::check_state(snapshot)?;
    unique_keys::check_state(snapshot)
}
