//! Whether what an engine holds agrees with itself: every index with its documents, the counts with both, and nothing that
//! neither catalog nor reclaiming knows. Reads everything, once per index.

use std::path::Path;

use state_machine::{StateMachine, StorageFault};
use storage_engine::Engines;

use super::DirectoryReport;

/// Adds what was read, and what is wrong where, to `report`.
pub(super) fn examine(
    engines: &dyn Engines,
    directory: &Path,
    report: &mut DirectoryReport,
) -> Result<(), StorageFault> {
    let machine = StateMachine::open(engines.open_to_read(directory)?)?;
    let snapshot = machine.reader().snapshot();
    let (mut documents, mut entries, mut collections) = (0, 0, 0);
    for collection in snapshot.catalog().collections() {
        let namespace = &collection.namespace;
        let found = snapshot.verify_indexes(namespace)?.unwrap_or_default();
        for error in found.errors() {
            report.damage.push(format!("{namespace}: {error}"));
        }
        let counts = snapshot.counts(namespace).unwrap_or_default();
        if (counts.documents, counts.bytes) != (found.documents, found.bytes) {
            report.damage.push(format!(
                "{namespace}: it counts {} documents of {} bytes and holds {} of {}",
                counts.documents, counts.bytes, found.documents, found.bytes
            ));
        }
        collections += 1;
        documents += found.documents;
        entries += found.entries;
    }
    report.damage.extend(snapshot.stray_data()?);
    report.lines.push(format!(
        "state as of entry {}: {collections} collections, {documents} documents, {entries} index entries compared with them",
        snapshot.as_of()
    ));
    Ok(())
}
