//! Writers with the driver's default settings, and what must be true of all they were told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Client, Collection};

use crate::{Cluster, PATIENCE};

/// Writers that insert and increment until told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<Written>>,
}

/// What one writer was told had happened.
pub struct Written {
    writer: i64,
    inserted: Vec<i64>,
    increments: i64,
}

impl Load {
    /// Starts so many writers.
    pub fn start(client: &Client, writers: i64) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let tasks = (0..writers)
            .map(|writer| {
                let database = client.database("load");
                let (stop, acknowledged) = (stop.clone(), acknowledged.clone());
                let (inserts, counters) = (
                    database.collection("inserts"),
                    database.collection("counters"),
                );
                tokio::spawn(write(writer, inserts, counters, stop, acknowledged))
            })
            .collect();
        Load {
            stop,
            acknowledged,
            tasks,
        }
    }

    /// Waits until `count` more operations are acknowledged.
    pub async fn progress(&self, count: u64) -> Duration {
        let start = Instant::now();
        let goal = self.acknowledged.load(Ordering::Acquire) + count;
        while self.acknowledged.load(Ordering::Acquire) < goal {
            assert!(start.elapsed() < PATIENCE, "no progress");
            assert!(
                !self.tasks.iter().any(tokio::task::JoinHandle::is_finished),
                "a writer failed"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        start.elapsed()
    }

    /// Ends the writers; what each was told.
    pub async fn finish(self) -> Vec<Written> {
        self.stop.store(true, Ordering::Release);
        let mut written = Vec::new();
        for task in self.tasks {
            written.push(task.await.expect("no driver error reaches the application"));
        }
        written
    }
}

async fn write(
    writer: i64,
    inserts: Collection<Document>,
    counters: Collection<Document>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
) -> Written {
    let mut written = Written {
        writer,
        inserted: Vec::new(),
        increments: 0,
    };
    counters
        .insert_one(doc! { "_id": writer, "n": 0_i64 })
        .await
        .expect("inserts");
    for sequence in 0.. {
        if stop.load(Ordering::Acquire) {
            break;
        }
        let id = writer * 1_000_000 + sequence;
        inserts
            .insert_one(doc! { "_id": id, "writer": writer })
            .await
            .expect("inserts");
        written.inserted.push(id);
        let outcome = counters
            .update_one(doc! { "_id": writer }, doc! { "$inc": { "n": 1_i64 } })
            .await
            .expect("increments");
        assert_eq!(outcome.modified_count, 1);
        written.increments += 1;
        acknowledged.fetch_add(2, Ordering::AcqRel);
    }
    written
}

/// Everything acknowledged is there, once, and the members agree.
pub async fn verify(cluster: &Cluster, client: &Client, written: Vec<Written>) {
    let database = client.database("load");
    let found: Vec<Document> = database
        .collection::<Document>("inserts")
        .find(doc! {})
        .await
        .expect("reads")
        .try_collect()
        .await
        .expect("reads on");
    let found: BTreeSet<i64> = found
        .iter()
        .map(|document| document.get_i64("_id").expect("an id"))
        .collect();
    for writer in &written {
        let missing: Vec<_> = writer
            .inserted
            .iter()
            .filter(|id| !found.contains(id))
            .collect();
        assert!(missing.is_empty(), "acknowledged and gone: {missing:?}");
        let counter = database
            .collection::<Document>("counters")
            .find_one(doc! { "_id": writer.writer })
            .await;
        let counter = counter.expect("reads").expect("the counter is there");
        assert_eq!(
            counter.get_i64("n").ok(),
            Some(writer.increments),
            "writer {}",
            writer.writer
        );
    }
    let acknowledged: usize = written.iter().map(|writer| writer.inserted.len()).sum();
    assert_eq!(
        found.len(),
        acknowledged,
        "nothing is there that was not acknowledged"
    );
    let hashes = cluster.hashes().await;
    assert!(
        hashes.windows(2).all(|pair| pair[0] == pair[1]),
        "the members differ: {hashes:#?}"
    );
}
