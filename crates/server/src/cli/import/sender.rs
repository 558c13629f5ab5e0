//! Threads that insert batches, each on its own connection; a bounded queue between them and the reader.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use bson::{RawDocument, RawDocumentBuf, rawdoc};
use parking_lot::Mutex;

use super::super::{CliError, ClusterArgs};
use super::Totals;
use crate::client::{Client, integer};

/// Batches that wait per connection; the reader waits when they are full.
const WAITING_PER_CONNECTION: usize = 2;
const FAILURES_KEPT: usize = 5;

/// The sending side of an import.
pub(super) struct Senders {
    queue: Option<SyncSender<Vec<RawDocumentBuf>>>,
    threads: Vec<JoinHandle<Result<Totals, CliError>>>,
    /// Why a thread has given up; the queue then closes once all have.
    failure: Arc<Mutex<Option<CliError>>>,
}

impl Senders {
    /// Starts `count` threads, once it is proved, before anything is read, that there is a primary.
    pub fn start(
        cluster: &ClusterArgs,
        count: usize,
        database: &str,
        collection: &str,
    ) -> Result<Senders, CliError> {
        let mut first = cluster.client();
        first.primary()?;
        let (queue, waiting) = sync_channel(WAITING_PER_CONNECTION * count);
        let waiting = Arc::new(Mutex::new(waiting));
        let failure = Arc::new(Mutex::new(None));
        let clients = std::iter::once(first).chain((1..count).map(|_| cluster.client()));
        let threads = clients
            .map(|client| {
                let (waiting, failure) = (Arc::clone(&waiting), Arc::clone(&failure));
                let (database, collection) = (database.to_owned(), collection.to_owned());
                std::thread::spawn(move || {
                    let totals = insert_all(client, &waiting, &database, &collection);
                    totals.map_err(|error| {
                        let text = error.to_string();
                        failure.lock().get_or_insert(error);
                        CliError::Failed(text)
                    })
                })
            })
            .collect();
        Ok(Senders {
            queue: Some(queue),
            threads,
            failure,
        })
    }

    /// Queues a batch; waits while the queue is full.
    pub fn send(&self, batch: Vec<RawDocumentBuf>) -> Result<(), CliError> {
        let queue = self.queue.as_ref().expect("open until finish");
        if let Some(error) = self.failure.lock().take() {
            return Err(error);
        }
        queue
            .send(batch)
            .map_err(|_| CliError::Failed("all connections have given up".to_owned()))
    }

    /// Waits until everything queued is in.
    pub fn finish(mut self) -> Result<Totals, CliError> {
        self.queue = None;
        let mut all = Totals::default();
        let mut failed = None;
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(Ok(totals)) => all.add(totals),
                Ok(Err(error)) => failed = Some(error),
                Err(_) => failed = Some(CliError::Failed("a sending thread broke".to_owned())),
            }
        }
        match failed {
            None => Ok(all),
            Some(error) => Err(error),
        }
    }
}

fn insert_all(
    mut client: Client,
    waiting: &Mutex<Receiver<Vec<RawDocumentBuf>>>,
    database: &str,
    collection: &str,
) -> Result<Totals, CliError> {
    let mut totals = Totals::default();
    let command = rawdoc! { "insert": collection, "ordered": false };
    loop {
        let next = waiting.lock().recv();
        let Ok(batch) = next else { return Ok(totals) };
        let reply = client.write(database, &command, Some(("documents", &batch)))?;
        totals.add(judge(&reply, batch.len()));
    }
}

/// Counts what one insert's reply says.
pub(super) fn judge(reply: &RawDocument, sent: usize) -> Totals {
    let mut totals = Totals {
        inserted: integer(reply, "n")
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or(0),
        ..Totals::default()
    };
    totals.failed = (sent as u64).saturating_sub(totals.inserted);
    if let Ok(errors) = reply.get_array("writeErrors") {
        let errors = errors
            .into_iter()
            .flatten()
            .filter_map(|error| error.as_document());
        let messages =
            errors.map(|error| error.get_str("errmsg").unwrap_or("no message").to_owned());
        totals.failures = messages.take(FAILURES_KEPT).collect();
    }
    totals
}

impl Totals {
    fn add(&mut self, other: Totals) {
        self.inserted += other.inserted;
        self.failed += other.failed;
        let room = FAILURES_KEPT.saturating_sub(self.failures.len());
        self.failures.extend(other.failures.into_iter().take(room));
    }
}
