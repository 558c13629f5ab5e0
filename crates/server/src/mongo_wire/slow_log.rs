//! The log of slow operations: one line of JSON for each command that took longer than the threshold, in the shape of
//! MongoDB's "Slow query" lines.
//!
//! Costs a command that is not slow two readings of the clock. What a line tells of plan and counts was left in the command's
//! [`Control`]; what is not known is left out.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use bson::{Bson, Document, doc};
use node::Notices;
use parking_lot::Mutex;

use super::dispatch::Invocation;
use super::excerpt::Excerpt;
use super::failure::Failure;
use super::operation::write_namespace;
use super::server::wall_ms;

/// Milliseconds beyond which an operation is slow, unless told otherwise.
pub(crate) const SLOW_MS_DEFAULT: i32 = 100;

/// Lines a second at most: when everything is slow, writing about it must not make it slower.
const LINES_PER_SECOND_MAX: u32 = 100;

/// Which operations are told of, and where to.
pub(crate) struct SlowLog {
    slow_ms: AtomicI32,
    /// The bits of a number from 0 to 1: the share of slow operations that is told of.
    sample_rate: AtomicU64,
    lines: Notices,
    written: Mutex<Written>,
}

/// What was written in the current second, and left out since the last line.
#[derive(Default)]
struct Written {
    second: i64,
    lines: u32,
    left_out: i64,
}

impl Written {
    /// Whether there is room for a line now; if so, how many were left out before it.
    fn admit(&mut self, now_ms: i64) -> Option<i64> {
        let second = now_ms / 1_000;
        if second != self.second {
            self.second = second;
            self.lines = 0;
        }
        if self.lines == LINES_PER_SECOND_MAX {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl SlowLog {
    pub(crate) fn new(slow_ms: i32, lines: Notices) -> Self {
        SlowLog {
            slow_ms: AtomicI32::new(slow_ms),
            sample_rate: AtomicU64::new(1.0_f64.to_bits()),
            lines,
            written: Mutex::default(),
        }
    }

    pub(crate) fn slow_ms(&self) -> i32 {
        self.slow_ms.load(Ordering::Relaxed)
    }

    /// A negative threshold tells of everything.
    pub(crate) fn set_slow_ms(&self, slow_ms: i32) {
        self.slow_ms.store(slow_ms, Ordering::Relaxed);
    }

    pub(crate) fn sample_rate(&self) -> f64 {
        f64::from_bits(self.sample_rate.load(Ordering::Relaxed))
    }

    pub(crate) fn set_sample_rate(&self, rate: f64) {
        self.sample_rate.store(rate.to_bits(), Ordering::Relaxed);
    }

    fn tells_of(&self, elapsed: Duration) -> bool {
        // Compared as they are measured: 100.2 ms are longer than 100 ms.
        let slow = match u64::try_from(self.slow_ms()) {
            Ok(slow_ms) => elapsed > Duration::from_millis(slow_ms),
            Err(_) => true,
        };
        slow && self.is_drawn()
    }

    fn is_drawn(&self) -> bool {
        let rate = self.sample_rate();
        // The hasher's keys are random.
        let drawn = || (RandomState::new().hash_one(0) >> 11) as f64 / (1_u64 << 53) as f64;
        rate >= 1.0 || drawn() < rate
    }

    /// Writes a line if the operation was slow.
    pub(crate) fn note(
        &self,
        name: &str,
        invocation: &Invocation<'_>,
        elapsed: Duration,
        failure: Option<&Failure>,
    ) {
        if !self.tells_of(elapsed) {
            return;
        }
        let Some(left_out) = self.written.lock().admit(wall_ms()) else {
            return;
        };
        let mut line = line(name, invocation, elapsed, failure);
        if left_out > 0 {
            line.insert("linesLeftOut", left_out);
        }
        let line = Bson::Document(line).into_relaxed_extjson().to_string();
        self.lines.say(&line);
    }
}

fn line(
    name: &str,
    invocation: &Invocation<'_>,
    elapsed: Duration,
    failure: Option<&Failure>,
) -> Document {
    let session = invocation.session;
    let mut excerpt = Excerpt::default();
    excerpt.take(&invocation.request);
    let mut namespace = String::new();
    write_namespace(&invocation.request, &mut namespace);
    let mut about = doc! {
        "type": "command",
        "ns": namespace,
        "name": name,
        "command": excerpt.document(),
    };
    if let Some(app_name) = &*session.app_name.lock() {
        about.insert("appName", app_name.as_str());
    }
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    if let Some(control) = session.operation.control() {
        if let Some(plan) = control.plan() {
            let (keys, documents) = control.examined();
            about.insert("planSummary", plan.to_string());
            about.insert("keysExamined", count(keys));
            about.insert("docsExamined", count(documents));
        }
        if matches!(name, "find" | "getMore" | "aggregate") {
            about.insert("nreturned", count(control.returned()));
        }
    }
    if let Some(failure) = failure {
        about.insert("errCode", failure.code.number());
    }
    about.insert("remote", session.peer.to_string());
    about.insert(
        "durationMillis",
        i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX),
    );
    doc! {
        "t": bson::DateTime::from_millis(wall_ms()),
        "s": "I",
        "c": "COMMAND",
        "ctx": format!("conn{}", session.id),
        "msg": "Slow query",
        "attr": about,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_a_second_s_share_are_counted_instead_of_written() {
        let mut written = Written::default();
        for _ in 0..LINES_PER_SECOND_MAX {
            assert_eq!(written.admit(5_000), Some(0));
        }
        assert_eq!(written.admit(5_999), None);
        assert_eq!(written.admit(5_999), None);
        assert_eq!(written.admit(6_000), Some(2));
        assert_eq!(written.admit(6_001), Some(0));
    }

    #[test]
    fn longer_than_the_threshold_is_slow() {
        let log = SlowLog::new(100, Notices::default());
        assert!(!log.tells_of(Duration::from_millis(100)));
        assert!(log.tells_of(Duration::from_micros(100_001)));
        log.set_slow_ms(-1);
        assert!(log.tells_of(Duration::ZERO));
        log.set_sample_rate(0.0);
        assert!(!log.tells_of(Duration::from_secs(9)));
    }
}
