//! What a run cost in syncs and bytes: the members' counters (`cstoreStatus`, "space") before and after.
//!
//! The leader's numbers stand for a member: all of them write the same. A member that restarted in between has counted anew:
//! then nothing is said.

use bson::Document;
use serde_json::{Value, json};

use super::super::status;
use super::super::{CliError, ClusterArgs};
use super::load::Outcome;

/// A member's counters and sizes at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    member: i64,
    pid: i64,
    fsyncs: u64,
    log: u64,
    flushed: u64,
    compacted: u64,
    memtables: u64,
    tables: u64,
}

impl Counters {
    /// The leader's; `None` if it does not say.
    pub fn of_leader(cluster: &ClusterArgs) -> Result<Option<Counters>, CliError> {
        Ok(Self::read(&status::fetch(cluster)?))
    }

    fn read(document: &Document) -> Option<Counters> {
        let leader = status::integer(document, "leader")?;
        let members = document.get_array("members").ok()?.iter();
        let member = members
            .filter_map(bson::Bson::as_document)
            .find(|member| status::integer(member, "id") == Some(leader))?;
        let space = member.get_document("space").ok()?;
        let number = |field| status::integer(space, field).and_then(|it| u64::try_from(it).ok());
        Some(Counters {
            member: leader,
            pid: status::integer(member, "pid")?,
            fsyncs: number("log_fsyncs")?,
            log: number("log_written_bytes")?,
            flushed: number("flushed_bytes")?,
            compacted: number("compacted_bytes")?,
            memtables: number("memtable_bytes")?,
            tables: number("engine_table_bytes")?,
        })
    }
}

/// What a member did during a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cost {
    fsyncs_per_second: f64,
    operations_per_fsync: Option<f64>,
    /// Bytes of documents that were written; updates count as a document each.
    user_bytes: u64,
    log_bytes: u64,
    flushed_bytes: u64,
    compacted_bytes: u64,
    /// Written bytes that are still in memory, and will be flushed.
    pending_bytes: u64,
    /// Growth of the tables and of memory per document that was inserted.
    bytes_per_document: Option<f64>,
}

impl Cost {
    /// From the counters around the whole load, warming up included.
    pub fn between(
        before: Option<Counters>,
        after: Option<Counters>,
        outcome: &Outcome,
    ) -> Option<Cost> {
        let (before, after) = (before?, after?);
        if (before.member, before.pid) != (after.member, after.pid) {
            return None;
        }
        let grown = |value: fn(&Counters) -> u64| value(&after).checked_sub(value(&before));
        let fsyncs = grown(|it| it.fsyncs)?;
        let held = |it: &Counters| (it.tables + it.memtables) as f64;
        let load = &outcome.whole;
        Some(Cost {
            fsyncs_per_second: fsyncs as f64 / load.elapsed.as_secs_f64().max(1e-9),
            operations_per_fsync: (fsyncs > 0 && load.writes > 0)
                .then(|| load.writes as f64 / fsyncs as f64),
            user_bytes: load.user_bytes,
            log_bytes: grown(|it| it.log)?,
            flushed_bytes: grown(|it| it.flushed)?,
            compacted_bytes: grown(|it| it.compacted)?,
            pending_bytes: after.memtables.saturating_sub(before.memtables),
            bytes_per_document: (load.inserted > 0)
                .then(|| (held(&after) - held(&before)) / load.inserted as f64)
                .filter(|bytes| *bytes > 0.0),
        })
    }

    /// Bytes written, or sure to be, per byte of documents.
    fn amplification(&self) -> Option<f64> {
        let written =
            self.log_bytes + self.flushed_bytes + self.compacted_bytes + self.pending_bytes;
        (self.user_bytes > 0).then(|| written as f64 / self.user_bytes as f64)
    }

    pub fn as_json(&self) -> Value {
        json!({
            "fsyncs_per_second": round(self.fsyncs_per_second),
            "writes_per_fsync": self.operations_per_fsync.map(round),
            "write_amplification": self.amplification().map(round),
            "user_bytes": self.user_bytes,
            "log_bytes": self.log_bytes,
            "flushed_bytes": self.flushed_bytes,
            "compacted_bytes": self.compacted_bytes,
            "pending_bytes": self.pending_bytes,
            "bytes_per_document": self.bytes_per_document.map(round),
        })
    }

    pub fn as_text(&self) -> String {
        let mut text = format!("  one member: {:.0} fsyncs/s", self.fsyncs_per_second);
        if let Some(writes) = self.operations_per_fsync {
            text.push_str(&format!(" ({writes:.1} writes each)"));
        }
        if let Some(amplification) = self.amplification() {
            let part = |bytes: u64| bytes as f64 / self.user_bytes as f64;
            text.push_str(&format!(
                ", {amplification:.2} bytes written per byte of documents (log {:.2}, flushed {:.2}, merged {:.2}, still \
                 in memory {:.2})",
                part(self.log_bytes),
                part(self.flushed_bytes),
                part(self.compacted_bytes),
                part(self.pending_bytes),
            ));
        }
        if let Some(bytes) = self.bytes_per_document {
            text.push_str(&format!(
                ", about {bytes:.0} bytes per document in the engine"
            ));
        }
        text.push('\n');
        text
    }
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bson::doc;

    use super::super::load::Whole;
    use super::*;

    fn status(pid: i64, factor: i64) -> Document {
        doc! {
            "leader": 2_i64, "members": [
                { "id": 1_i64, "pid": 5 },
                { "id": 2_i64, "pid": pid, "space": {
                    "log_fsyncs": 10 * factor, "log_written_bytes": 1_000 * factor, "flushed_bytes": 500 * factor,
                    "compacted_bytes": 250 * factor, "memtable_bytes": 100 * factor, "engine_table_bytes": 400 * factor,
                } },
            ],
        }
    }

    fn outcome() -> Outcome {
        Outcome {
            whole: Whole {
                elapsed: Duration::from_secs(2),
                writes: 40,
                inserted: 10,
                user_bytes: 1_000,
            },
            ..Outcome::empty()
        }
    }

    #[test]
    fn the_leaders_counters_are_compared() {
        let (before, after) = (Counters::read(&status(9, 1)), Counters::read(&status(9, 2)));
        let cost = Cost::between(before, after, &outcome()).expect("both say");
        let json = cost.as_json();
        let number = |field: &str| json[field].as_f64().expect("a number");
        assert_eq!(number("fsyncs_per_second"), 5.0);
        assert_eq!(number("writes_per_fsync"), 4.0);
        assert_eq!(number("write_amplification"), 1.85);
        assert_eq!(number("bytes_per_document"), 50.0);
        assert!(
            cost.as_text()
                .contains("5 fsyncs/s (4.0 writes each), 1.85 bytes")
        );
    }

    #[test]
    fn counters_of_another_process_are_not_compared() {
        let (before, after) = (Counters::read(&status(9, 1)), Counters::read(&status(8, 2)));
        assert_eq!(Cost::between(before, after, &outcome()), None);
        assert_eq!(
            Counters::read(&doc! { "leader": 1_i64, "members": [{ "id": 1_i64 }] }),
            None
        );
    }
}
