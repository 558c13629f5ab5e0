//! Where a member's bytes are, as named numbers: what travels between members, and what `cstoreStatus` and `/metrics` show.
//!
//! Names are added, never given another meaning: members of other versions read what they know.

use bson::raw::RawDocument;
use node::Space;

use super::document_writer::DocumentWriter;
use super::server::Server;
use super::values;

/// Named numbers, in the order in which they are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SpaceReport(Vec<(String, u64)>);

/// A number with what it means.
pub(crate) struct Described {
    pub name: &'static str,
    pub help: &'static str,
    pub value: u64,
}

impl SpaceReport {
    /// This member's. Lists its directory: not to be called where nothing may wait.
    pub(crate) fn own(server: &Server) -> SpaceReport {
        let mut numbers: Vec<(String, u64)> = Vec::new();
        let files = files(server).into_iter();
        numbers.extend(files.map(|number| (number.name.to_owned(), number.value)));
        let running = running(server).into_iter();
        numbers.extend(running.map(|(name, value)| (name.to_owned(), value)));
        SpaceReport(numbers)
    }

    /// Writes it as the field `space`.
    pub(crate) fn write_to(&self, fields: &mut DocumentWriter) {
        if self.0.is_empty() {
            return;
        }
        fields.begin_document("space");
        for (name, value) in &self.0 {
            fields.i64(name, i64::try_from(*value).unwrap_or(i64::MAX));
        }
        fields.end();
    }

    /// Reads what a member, perhaps of another version, wrote.
    pub(crate) fn read(document: &RawDocument) -> SpaceReport {
        let numbers = document.iter().flatten().filter_map(|(name, value)| {
            let value = values::count(name.as_str(), value).ok()?;
            Some((name.as_str().to_owned(), value))
        });
        SpaceReport(numbers.collect())
    }
}

/// Of log and engine, with what was written since the process started; `/metrics` has more of it under names of its own.
fn running(server: &Server) -> [(&'static str, u64); 7] {
    let metrics = server.node.metrics();
    let (log, engine) = (metrics.log, metrics.engine);
    [
        ("engine_table_bytes", engine.disk_bytes),
        (
            "memtable_bytes",
            engine.memtable_bytes + engine.sealed_bytes,
        ),
        ("log_segments", log.segments),
        ("log_fsyncs", log.syncs),
        ("log_written_bytes", log.written_bytes),
        ("flushed_bytes", engine.flushed_bytes),
        ("compacted_bytes", engine.compacted_bytes),
    ]
}

/// This member's files, the room there is, and what is kept for readers. Lists the directory: not to be called where nothing
/// may wait.
pub(crate) fn files(server: &Server) -> Vec<Described> {
    let space = server.node.space();
    let mut numbers = of_space(&space);
    numbers.push(gauge(
        "spilled_bytes",
        "What sorts and groups that do not fit in memory have on disk.",
        server.spill.used_bytes(),
    ));
    // A file system that does not say is not shown as having nothing.
    if let Ok(room) = platform::file_system_room(&server.settings.data_dir) {
        numbers.push(gauge(
            "disk_bytes",
            "Size of the file system that holds the data directory.",
            room.total_bytes,
        ));
        numbers.push(gauge(
            "disk_free_bytes",
            "Room left there for this process.",
            room.available_bytes,
        ));
    }
    numbers
}

fn gauge(name: &'static str, help: &'static str, value: u64) -> Described {
    Described { name, help, value }
}

fn of_space(space: &Space) -> Vec<Described> {
    vec![
        gauge(
            "log_bytes",
            "Segments of the log in use, the next one included.",
            space.log_bytes,
        ),
        gauge(
            "log_spare_bytes",
            "Segments of the log kept for reuse.",
            space.log_spare_bytes,
        ),
        gauge("engine_bytes", "Files of the engine.", space.engine_bytes),
        gauge(
            "staging_bytes",
            "A snapshot on its way in, or a state that one has replaced.",
            space.staging_bytes,
        ),
        gauge(
            "damaged_bytes",
            "What was put aside because it was damaged.",
            space.damaged_bytes,
        ),
        gauge(
            "other_bytes",
            "Other files of the data directory.",
            space.other_bytes,
        ),
        gauge(
            "snapshots_held",
            "States kept readable for cursors, backups and members that catch up.",
            space.snapshots_held,
        ),
        gauge(
            "oldest_version_age",
            "Log entries applied since the oldest state that is kept readable.",
            space.oldest_version_age,
        ),
    ]
}
