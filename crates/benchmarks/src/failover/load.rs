//! Writers through the driver: a background that faults disturb, and a steady thousand writes a second that nothing does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bson::{Document, doc};
use mongodb::{Client, Collection};
use tokio::task::{JoinHandle, JoinSet};

use crate::figures::{Goal, distribution};

const WRITERS: usize = 4;
/// Between the end of a writer's operation and its next.
const PAUSE: Duration = Duration::from_millis(10);
/// The steady load: one write each millisecond, begun whether or not earlier ones are done.
const STEADY_PERIOD: Duration = Duration::from_millis(1);
const STEADY_P99_MS_MAX: f64 = 10.0;
const VALUE_BYTES: usize = 256;

/// One finished operation.
#[derive(Debug, Clone)]
struct Operation {
    begun: Instant,
    took: Duration,
    error: Option<String>,
}

/// Operations that overlapped some stretch of time.
#[derive(Debug, Default)]
pub(crate) struct Window {
    pub latencies_ms: Vec<f64>,
    pub errors: Vec<String>,
}

/// Writers that go on until [`Load::finish`].
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    operations: Arc<Mutex<Vec<Operation>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) async fn start(client: &Client) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let operations = Arc::new(Mutex::new(Vec::new()));
        let tasks = (0..WRITERS)
            .map(|_| {
                let collection = client.database("failover").collection("background");
                tokio::spawn(write(collection, stop.clone(), operations.clone()))
            })
            .collect();
        Load {
            stop,
            operations,
            tasks,
        }
    }

    /// Finished operations that were under way at some time between `from` and `to`.
    pub(crate) fn window(&self, from: Instant, to: Instant) -> Window {
        let operations = self
            .operations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let overlapping = operations
            .iter()
            .rev()
            .take_while(|operation| operation.begun + Duration::from_secs(60) > from)
            .filter(|operation| operation.begun < to && operation.begun + operation.took >= from);
        let mut window = Window::default();
        for operation in overlapping {
            window.latencies_ms.push(ms(operation.took));
            window.errors.extend(operation.error.clone());
        }
        window
    }

    /// Stops the writers and says what became of their operations.
    pub(crate) async fn finish(self) -> String {
        self.stop.store(true, Ordering::Release);
        for task in self.tasks {
            let _ = task.await;
        }
        let operations = self
            .operations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let errors: Vec<&str> = operations
            .iter()
            .filter_map(|operation| operation.error.as_deref())
            .collect();
        let mut text = format!("{} writes, {} failed", operations.len(), errors.len());
        for error in errors {
            text.push_str("\n  ");
            text.push_str(error);
        }
        text
    }
}

async fn write(
    collection: Collection<Document>,
    stop: Arc<AtomicBool>,
    operations: Arc<Mutex<Vec<Operation>>>,
) {
    while !stop.load(Ordering::Acquire) {
        let begun = Instant::now();
        let outcome = collection.insert_one(document()).await;
        let operation = Operation {
            begun,
            took: begun.elapsed(),
            error: outcome.err().map(|error| error.to_string()),
        };
        operations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(operation);
        tokio::time::sleep(PAUSE).await;
    }
}

fn document() -> Document {
    doc! { "v": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![7; VALUE_BYTES] } }
}

/// A thousand writes a second for so many seconds; whether the goal was reached.
pub(crate) async fn steady(client: &Client, seconds: u64) -> bool {
    if seconds == 0 {
        return true;
    }
    let collection: Collection<Document> = client.database("failover").collection("steady");
    // The first ones open connections.
    for _ in 0..20 {
        let _ = collection.insert_one(document()).await;
    }
    let before = CommitLatency::ask(client).await;
    let mut ticks = tokio::time::interval(STEADY_PERIOD);
    let mut writes = JoinSet::new();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds) {
        ticks.tick().await;
        let collection = collection.clone();
        writes.spawn(async move {
            let begun = Instant::now();
            let outcome = collection.insert_one(document()).await;
            (begun.elapsed(), outcome.err())
        });
    }
    let mut latencies = Vec::new();
    let mut failed = 0;
    while let Some(done) = writes.join_next().await {
        if let Ok((took, error)) = done {
            latencies.push(ms(took));
            failed += usize::from(error.is_some());
        }
    }
    println!("\na thousand writes a second for {seconds} s, no fault ({failed} failed)");
    distribution("begun → acknowledged", latencies, Goal::default());
    let after = CommitLatency::ask(client).await;
    before.print_until(&after) && failed == 0
}

/// How long the leader's entries took from its log to a majority's disks, as it counts them itself: classes with their upper
/// bounds in milliseconds.
struct CommitLatency(Vec<(f64, u64)>);

impl CommitLatency {
    /// Nothing if the leader cannot be asked.
    async fn ask(client: &Client) -> CommitLatency {
        let admin = client.database("admin");
        let status = admin
            .run_command(doc! { "serverStatus": 1 })
            .await
            .unwrap_or_default();
        let classes = status
            .get_document("repl")
            .and_then(|repl| repl.get_document("commitLatency"))
            .and_then(|latency| latency.get_array("classes"));
        let class = |class: &bson::Bson| {
            let class = class.as_document()?;
            let bound = class.get_i64("atMostMicros");
            let bound_ms = bound.map_or(f64::INFINITY, |micros| micros as f64 / 1e3);
            Some((bound_ms, class.get_i64("entries").ok()?.unsigned_abs()))
        };
        CommitLatency(
            classes.map_or_else(|_| Vec::new(), |all| all.iter().filter_map(class).collect()),
        )
    }

    /// Prints what was committed since; whether a hundredth at most took longer than the goal.
    fn print_until(&self, after: &CommitLatency) -> bool {
        let grown: Vec<(f64, u64)> = after
            .0
            .iter()
            .zip(&self.0)
            .map(|((bound, after), (_, before))| (*bound, after - before))
            .collect();
        let all: u64 = grown.iter().map(|(_, entries)| entries).sum();
        let quantile = |share: f64| {
            let mut seen = 0;
            let reached = grown.iter().find(|(_, entries)| {
                seen += entries;
                seen as f64 >= share * all as f64
            });
            reached.map_or(f64::INFINITY, |(bound, _)| *bound)
        };
        let p99 = quantile(0.99);
        let met = p99 <= STEADY_P99_MS_MAX;
        println!(
            "  leader's log → majority's    n {all:<6} p50 at most {} p90 at most {} p99 at most {p99} ms  [p99 ≤ {STEADY_P99_MS_MAX:.0}: {}]",
            quantile(0.5),
            quantile(0.9),
            if met { "yes" } else { "NO" }
        );
        met && all > 0
    }
}

pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
