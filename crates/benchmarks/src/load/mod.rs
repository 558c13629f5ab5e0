//! The load generator: closed-loop clients, each with one operation under way, spread over a few threads.
//!
//! Every system is driven by this same code: each thread runs its own single-threaded runtime, so clients of one
//! thread wake each other without locks, and keeps its own histogram. Operations that end before the warm-up is over,
//! or after the measurement's end, are not counted. One failed operation fails the measurement: a rate over
//! errors means nothing.

mod run;
#[cfg(test)]
mod tests;
mod values;

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use hdrhistogram::Histogram;

pub(crate) use run::run;
pub(crate) use values::{Id, Ids, Random, VALUE_BYTES, Values};

/// Longest latency the histogram tells apart, in nanoseconds.
const LATENCY_NS_MAX: u64 = 120_000_000_000;

/// Why a measurement failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("cannot connect to {address}: {reason}")]
    Connect { address: SocketAddr, reason: String },
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    #[error("HTTP/2 failed: {0}")]
    Http2(#[from] h2::Error),
    #[error("the server refused: {0}")]
    Refused(String),
    #[error("the server's answer is not understood: {0}")]
    Protocol(String),
    #[error("operations still hung {0:?} after the measurement's end")]
    Hung(Duration),
    #[error("a thread of the load generator ended early")]
    ThreadLost,
}

/// One closed-loop client.
pub(crate) trait Client: 'static {
    /// Does one operation and says how many documents (or keys) it handled.
    async fn operate(&mut self) -> Result<u64, LoadError>;
}

/// Makes the clients of one thread, on that thread.
pub(crate) trait Connector: Send + Sync {
    type Client: Client;
    /// `clients` are numbered over all threads; `total` is how many there are in all.
    async fn connect(
        &self,
        clients: Range<usize>,
        total: usize,
    ) -> Result<Vec<Self::Client>, LoadError>;
}

/// How hard and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub clients: usize,
    pub threads: usize,
    pub warm_up: Duration,
    pub measure: Duration,
}

/// What one measurement saw.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Documents or keys handled within the window.
    pub handled: u64,
    /// Latency of each operation in nanoseconds.
    pub latency_ns: Histogram<u64>,
    pub window: Duration,
}

impl Measured {
    fn new(window: Duration) -> Self {
        Measured {
            handled: 0,
            latency_ns: Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)
                .expect("constant bounds and precision that the histogram accepts"),
            window,
        }
    }

    fn record(&mut self, handled: u64, latency: Duration) {
        self.handled += handled;
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(LATENCY_NS_MAX);
        self.latency_ns.saturating_record(nanoseconds.max(1));
    }

    fn merge(&mut self, other: &Measured) {
        self.handled += other.handled;
        self.latency_ns
            .add(&other.latency_ns)
            .expect("both histograms have the same bounds");
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.handled as f64 / self.window.as_secs_f64()
    }

    pub(crate) fn quantile_ms(&self, quantile: f64) -> f64 {
        self.latency_ns.value_at_quantile(quantile) as f64 / 1e6
    }
}
