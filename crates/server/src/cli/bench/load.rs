//! Drives the connections: a few threads, each with a single-threaded runtime and many tasks.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::LocalSet;

use super::super::CliError;
use super::connection::{Connection, Primary};
use super::live::{self, LiveView};
use super::pace::{Pace, counts_from};
use super::prepared::{self, Prepared, Random};
use super::timeline::{Point, Recorder, Timeline};
use super::{BenchArgs, Measured};
use crate::client::ClientError;

/// Latencies are kept to three digits, from 1 µs to 10 minutes.
pub(super) const LATENCY_US_MAX: u64 = 600_000_000;
const LATENCY_DIGITS: u8 = 3;
/// An operation that cannot be done within this time ends the run.
const PATIENCE: Duration = Duration::from_secs(60);
/// Before an operation is repeated.
const REPEAT_PAUSE: Duration = Duration::from_millis(5);

/// What was measured.
pub(super) struct Outcome {
    pub elapsed: Duration,
    pub operations: u64,
    pub documents: u64,
    /// Repetitions after lost connections and changes of the primary.
    pub retries: u64,
    pub latency_us: Histogram<u64>,
    /// Second by second.
    pub points: Vec<Point>,
    pub whole: Whole,
}

/// The whole load, warming up included: what the members' counters count, too.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Whole {
    pub elapsed: Duration,
    /// Operations that write.
    pub writes: u64,
    /// Documents inserted.
    pub inserted: u64,
    /// Bytes of the documents that were inserted or changed.
    pub user_bytes: u64,
}

impl Outcome {
    pub fn empty() -> Outcome {
        Outcome {
            elapsed: Duration::ZERO,
            operations: 0,
            documents: 0,
            retries: 0,
            latency_us: histogram(),
            points: Vec::new(),
            whole: Whole::default(),
        }
    }
}

/// What all threads share.
struct Shared {
    args: BenchArgs,
    pace: Pace,
    timeline: Arc<Timeline>,
    /// Operations that have ended, warming up included.
    ended: AtomicU64,
    next_id: AtomicI64,
    /// Operations still to do, when they are counted.
    operations_left: AtomicU64,
    failed: AtomicBool,
    measure_from: Instant,
    until: Option<Instant>,
}

/// What the tasks of one thread add up.
struct Tally {
    latency_us: Histogram<u64>,
    seconds: Recorder,
    whole: Whole,
    documents: u64,
    retries: u64,
    last_end: Instant,
    failure: Option<ClientError>,
}

/// Runs the load against the primary at `address`.
pub(super) fn run(args: &BenchArgs, address: String) -> Result<Outcome, CliError> {
    let measured = args.measured();
    let begin = Instant::now();
    let measure_from = begin + Duration::from_secs_f64(args.warmup);
    let threads = u32::from(args.threads).min(args.concurrency);
    let shared = Arc::new(Shared {
        args: args.clone(),
        pace: Pace::new(begin, args.rate),
        timeline: Arc::new(Timeline::new(threads as usize)),
        ended: AtomicU64::new(0),
        next_id: AtomicI64::new(0),
        operations_left: AtomicU64::new(match measured {
            Measured::Operations(count) => count,
            Measured::For(_) => u64::MAX,
        }),
        failed: AtomicBool::new(false),
        measure_from,
        until: match measured {
            Measured::For(duration) => Some(measure_from + duration),
            Measured::Operations(_) => None,
        },
    });
    let mut running = Vec::new();
    for thread in 0..threads {
        let tasks = (thread..args.concurrency)
            .step_by(threads as usize)
            .collect::<Vec<u32>>();
        let (shared, address) = (Arc::clone(&shared), address.clone());
        running.push(std::thread::spawn(move || {
            run_thread(&shared, address, (thread, &tasks))
        }));
    }
    live::show(&LiveView {
        quiet: !args.watched(),
        measured,
        timeline: &shared.timeline,
        ended: &shared.ended,
        running: &|| running.iter().any(|thread| !thread.is_finished()),
    });
    let mut outcome = Outcome::empty();
    for thread in running {
        let tally = thread
            .join()
            .map_err(|_| CliError::Failed("a thread broke".to_owned()))??;
        if let Some(failure) = tally.failure {
            return Err(failure.into());
        }
        outcome
            .latency_us
            .add(&tally.latency_us)
            .expect("histograms of the same shape");
        outcome.documents += tally.documents;
        outcome.retries += tally.retries;
        outcome.whole.writes += tally.whole.writes;
        outcome.whole.inserted += tally.whole.inserted;
        outcome.whole.user_bytes += tally.whole.user_bytes;
        outcome.elapsed = outcome
            .elapsed
            .max(tally.last_end.saturating_duration_since(measure_from));
    }
    outcome.whole.elapsed = begin.elapsed();
    outcome.points = shared.timeline.points();
    outcome.operations = outcome.latency_us.len();
    Ok(outcome)
}

fn run_thread(
    shared: &Arc<Shared>,
    address: String,
    (thread, tasks): (u32, &[u32]),
) -> Result<Tally, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .map_err(|error| CliError::Failed(format!("cannot start: {error}")))?;
    let tally = Rc::new(RefCell::new(Tally {
        latency_us: histogram(),
        seconds: shared.timeline.recorder(thread as usize),
        whole: Whole::default(),
        documents: 0,
        retries: 0,
        last_end: Instant::now(),
        failure: None,
    }));
    let local = LocalSet::new();
    let primary = Primary::new(shared.args.cluster.uri.clone(), address);
    for task in tasks {
        let worker = Worker {
            shared: Arc::clone(shared),
            primary: Rc::clone(&primary),
            tally: Rc::clone(&tally),
            random: Random::new(u64::from(*task) + 1),
        };
        local.spawn_local(worker.run());
    }
    runtime.block_on(local);
    let tally =
        Rc::try_unwrap(tally).map_err(|_| CliError::Failed("a task did not end".to_owned()))?;
    Ok(tally.into_inner())
}

/// One connection's loop.
struct Worker {
    shared: Arc<Shared>,
    primary: Rc<Primary>,
    tally: Rc<RefCell<Tally>>,
    random: Random,
}

impl Worker {
    async fn run(mut self) {
        if let Err(failure) = self.work().await {
            self.shared.failed.store(true, Ordering::Relaxed);
            self.tally.borrow_mut().failure.get_or_insert(failure);
        }
    }

    async fn work(&mut self) -> Result<(), ClientError> {
        let mut messages = prepared::messages(&self.shared.args);
        let mut connection = Some(self.primary.connect(None).await?);
        let mut number: i64 = 0;
        loop {
            for message in &mut messages {
                let due = self.shared.pace.claim();
                // Nothing is begun that would be due when all is over.
                if !self.goes_on(due.unwrap_or_else(Instant::now)) {
                    return Ok(());
                }
                if let Some(due) = due {
                    tokio::time::sleep_until(due.into()).await;
                }
                let started = counts_from(due, Instant::now());
                number += 1;
                self.once(message, number, &mut connection, started).await?;
            }
        }
    }

    /// Claims the next operation, if there is one.
    fn goes_on(&self, now: Instant) -> bool {
        if self.shared.failed.load(Ordering::Relaxed)
            || self.shared.until.is_some_and(|until| now >= until)
        {
            return false;
        }
        // While warming up nothing is counted.
        self.shared.until.is_some()
            || now < self.shared.measure_from
            || self
                .shared
                .operations_left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                })
                .is_ok()
    }

    async fn once(
        &mut self,
        message: &mut Prepared,
        number: i64,
        connection: &mut Option<Connection>,
        started: Instant,
    ) -> Result<(), ClientError> {
        let first_id = self.first_id(message.ids());
        // Request ids only need to differ from one to the next.
        let request_id = (number & 0x3fff_ffff) as i32;
        let mut bytes = message.fill(request_id, number, first_id);
        let mut lost = None;
        loop {
            let done = match connection {
                Some(open) => open.exchange(bytes).await,
                None => match self.primary.connect(lost).await {
                    Ok(open) => connection.insert(open).exchange(bytes).await,
                    Err(error) => Err(error),
                },
            };
            match done {
                Ok(()) => break,
                Err(error) if error.is_retryable() && started.elapsed() < PATIENCE => {
                    // A connection that never came to be leaves the generation to find anew as it was.
                    lost = connection.take().map(|lost| lost.generation).or(lost);
                    self.tally.borrow_mut().retries += 1;
                    tokio::time::sleep(REPEAT_PAUSE).await;
                    bytes = message.again(request_id);
                }
                Err(error) => return Err(error),
            }
        }
        self.record(started, message);
        Ok(())
    }

    fn record(&self, started: Instant, message: &Prepared) {
        let documents = message.ids();
        self.shared.ended.fetch_add(1, Ordering::Relaxed);
        let mut tally = self.tally.borrow_mut();
        if message.writes() {
            tally.whole.writes += 1;
            tally.whole.user_bytes += documents as u64 * u64::from(self.shared.args.document_bytes);
            if !self.shared.args.workload.needs_documents() {
                tally.whole.inserted += documents as u64;
            }
        }
        if started < self.shared.measure_from {
            return;
        }
        let ended = Instant::now();
        let latency_us = u64::try_from((ended - started).as_micros()).unwrap_or(LATENCY_US_MAX);
        let second = (ended - self.shared.measure_from).as_secs();
        tally.seconds.record(second, latency_us);
        tally.latency_us.saturating_record(latency_us);
        tally.documents += documents as u64;
        tally.last_end = ended;
    }

    fn first_id(&mut self, count: usize) -> i64 {
        if self.shared.args.workload.needs_documents() {
            let documents = u64::from(self.shared.args.documents);
            return i64::try_from(self.random.below(documents)).unwrap_or(0);
        }
        self.shared
            .next_id
            .fetch_add(count as i64, Ordering::Relaxed)
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, LATENCY_DIGITS).expect("fixed bounds")
}
