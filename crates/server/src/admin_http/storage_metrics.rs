//! Metrics of the log, the engine and the memory budget.

use std::fmt::Write;

use node::{BATCH_ENTRIES_BOUNDS, REPLICATION_MICROS_BOUNDS};

use super::metrics::metric;
use crate::mongo_wire::{Server, memory_use};

/// Appends them to `text`.
pub(super) fn render(text: &mut String, server: &Server) {
    let metrics = server.node.metrics();
    let (log, engine) = (metrics.log, metrics.engine);
    for (name, help, kind, value) in [
        (
            "cstore_log_syncs_total",
            "Syncs of the log.",
            "counter",
            log.syncs,
        ),
        (
            "cstore_log_entries_total",
            "Entries written to the log.",
            "counter",
            log.entries,
        ),
        (
            "cstore_log_written_bytes_total",
            "Bytes written to the log.",
            "counter",
            log.written_bytes,
        ),
        (
            "cstore_log_disk_bytes",
            "Bytes of the log's files.",
            "gauge",
            log.disk_bytes,
        ),
        (
            "cstore_log_segments",
            "Files of the log that hold records.",
            "gauge",
            log.segments,
        ),
        (
            "cstore_apply_prefetched_keys_total",
            "Keys looked up ahead for entries that waited, because applying them waited for a disk.",
            "counter",
            metrics.prefetched_keys,
        ),
        (
            "cstore_engine_flushes_total",
            "Memtables written to tables.",
            "counter",
            engine.flushes,
        ),
        (
            "cstore_engine_compactions_total",
            "Steps of compaction.",
            "counter",
            engine.compactions,
        ),
        (
            "cstore_engine_flushed_bytes_total",
            "Bytes of tables written by flushes.",
            "counter",
            engine.flushed_bytes,
        ),
        (
            "cstore_engine_compacted_bytes_total",
            "Bytes of tables written by compaction.",
            "counter",
            engine.compacted_bytes,
        ),
        (
            "cstore_engine_disk_bytes",
            "Bytes of the engine's tables.",
            "gauge",
            engine.disk_bytes,
        ),
        (
            "cstore_engine_tables",
            "Tables of the engine.",
            "gauge",
            engine.tables,
        ),
        (
            "cstore_engine_level_0_runs",
            "Tables that are not merged yet.",
            "gauge",
            engine.level_0_runs,
        ),
        (
            "cstore_engine_sealed_memtables",
            "Full memtables that wait to be flushed.",
            "gauge",
            engine.sealed_memtables,
        ),
        (
            "cstore_engine_entries",
            "Entries in tables.",
            "gauge",
            engine.entries,
        ),
        (
            "cstore_engine_garbage_entries",
            "About how many entries in tables nobody can see any more.",
            "gauge",
            engine.garbage_entries,
        ),
    ] {
        metric(text, name, help, kind, value);
    }
    batches(text, server);
    replication(text, server);
    memory(text, server);
}

/// How many entries each sync took along.
fn batches(text: &mut String, server: &Server) {
    let log = server.node.metrics().log;
    histogram(
        text,
        "cstore_log_batch_entries",
        "Entries that one sync of the log took along.",
        &BATCH_ENTRIES_BOUNDS.map(|bound| bound as f64),
        &log.batches,
        log.entries as f64,
    );
}

/// How long entries took to be committed.
fn replication(text: &mut String, server: &Server) {
    let replication = server.node.metrics().replication;
    histogram(
        text,
        "cstore_replication_seconds",
        "From taking an entry into the leader's log until a majority has it on disk.",
        &REPLICATION_MICROS_BOUNDS.map(|micros| micros as f64 / 1e6),
        &replication.entries,
        replication.total_micros as f64 / 1e6,
    );
}

/// Counts in classes with these upper bounds; the last class has none.
fn histogram(text: &mut String, name: &str, help: &str, bounds: &[f64], classes: &[u64], sum: f64) {
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} histogram\n");
    let mut count = 0;
    for (class, number) in classes.iter().enumerate() {
        count += number;
        let bound = bounds
            .get(class)
            .map_or_else(|| "+Inf".to_owned(), f64::to_string);
        let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {count}");
    }
    let _ = writeln!(text, "{name}_sum {sum}\n{name}_count {count}");
}

fn memory(text: &mut String, server: &Server) {
    let budget = server.settings.memory();
    metric(
        text,
        "cstore_memory_budget_bytes",
        "What the node may take.",
        "gauge",
        budget.bytes(),
    );
    metric(
        text,
        "cstore_process_resident_bytes",
        "What the process takes of the machine's memory.",
        "gauge",
        memory_use::resident_bytes(),
    );
    let mut family = |name: &str, help: &str, parts: &[(&str, u64)]| {
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n");
        for (part, bytes) in parts {
            let _ = writeln!(text, "{name}{{part=\"{part}\"}} {bytes}");
        }
    };
    family(
        "cstore_memory_limit_bytes",
        "What a part of the node may take.",
        &budget.parts(),
    );
    family(
        "cstore_memory_used_bytes",
        "What a part of the node takes.",
        &memory_use::by_part(server),
    );
}
