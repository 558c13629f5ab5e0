//! Writers at a fixed rate, each write timed from when it was due, so that a stall is not hidden by the writers that wait for
//! it; and the table of what they saw in each phase of a measurement.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime;
use tokio::task::LocalSet;

use crate::load::{Client, Connector, LoadError};
use crate::mongo::Connections;
use crate::statistics::quantile_seconds;

const POLL_PERIOD: Duration = Duration::from_millis(100);

/// One timed write: when it was due, and how long after that it was acknowledged.
pub(crate) type Timed = (Instant, Duration);
/// A phase of a measurement.
pub(crate) type Span = (Instant, Instant);

/// Lets the writers go on by themselves for a while.
pub(crate) fn quiet(seconds: u64) -> Span {
    let from = Instant::now();
    thread::sleep(Duration::from_secs(seconds));
    (from, Instant::now())
}

/// Writes at the rate asked for until told to stop.
pub(crate) fn write(
    connections: &Connections,
    rate: u64,
    clients: usize,
    stop: &AtomicBool,
) -> Result<Vec<Timed>, LoadError> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = LocalSet::new();
    let connected = local.block_on(&runtime, connections.connect(0..clients, clients))?;
    let period = Duration::from_secs(1) * clients as u32 / rate.max(1) as u32;
    let stopped = Arc::new(AtomicBool::new(false));
    local.block_on(&runtime, async {
        let begin = tokio::time::Instant::now();
        let mut tasks = Vec::new();
        for (number, client) in connected.into_iter().enumerate() {
            let first = begin + period * number as u32 / clients as u32;
            let stopped = Arc::clone(&stopped);
            tasks.push(tokio::task::spawn_local(repeat(
                client, first, period, stopped,
            )));
        }
        while !stop.load(Ordering::Acquire) && !tasks.iter().any(|task| task.is_finished()) {
            tokio::time::sleep(POLL_PERIOD).await;
        }
        stopped.store(true, Ordering::Release);
        let mut timed = Vec::new();
        for task in tasks {
            timed.extend(task.await.map_err(|_| LoadError::ThreadLost)??);
        }
        Ok(timed)
    })
}

async fn repeat(
    mut client: impl Client,
    first: tokio::time::Instant,
    period: Duration,
    stopped: Arc<AtomicBool>,
) -> Result<Vec<Timed>, LoadError> {
    let mut timed = Vec::new();
    let mut due = first;
    while !stopped.load(Ordering::Acquire) {
        let late = tokio::time::Instant::now() > due;
        tokio::time::sleep_until(due).await;
        // The timer's own grain is not the server's doing; a write that held up the next one is.
        let from = if late { due.into_std() } else { Instant::now() };
        client.operate().await?;
        timed.push((from, from.elapsed()));
        due += period;
    }
    Ok(timed)
}

/// The first line of the table.
pub(crate) fn print_heads() {
    println!(
        "{:<24} {:>9} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "phase", "seconds", "writes", "p50 ms", "p99 ms", "p99.9 ms", "worst ms", "due at s"
    );
}

/// A phase's line; returns its p99 in milliseconds.
pub(crate) fn print_line(name: &str, (from, to): Span, timed: &[Timed]) -> f64 {
    let within = timed.iter().filter(|(due, _)| *due >= from && *due < to);
    let worst = within.clone().max_by_key(|(_, latency)| *latency);
    let worst_at = worst.map_or(f64::NAN, |(due, _)| (*due - from).as_secs_f64());
    let mut latencies: Vec<Duration> = within.map(|(_, latency)| *latency).collect();
    latencies.sort();
    let quantile = |quantile: f64| quantile_seconds(&latencies, quantile) * 1e3;
    println!(
        "{name:<24} {:>9.1} {:>8} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {worst_at:>9.2}",
        (to - from).as_secs_f64(),
        latencies.len(),
        quantile(0.5),
        quantile(0.99),
        quantile(0.999),
        quantile(1.0)
    );
    quantile(0.99)
}
