//! What each part of the memory budget holds at the moment.

use node::MemoryBudget;

use super::server::Server;

/// Bytes by part, under the names of [`MemoryBudget::parts`]. What is under way to other members is not counted.
pub(crate) fn by_part(server: &Server) -> Vec<(&'static str, u64)> {
    let metrics = server.node.metrics();
    let (engine, queues) = (metrics.engine, metrics.queues);
    let memtables = engine.memtable_bytes + engine.sealed_bytes;
    vec![
        ("memtables", MemoryBudget::memtables_bytes(memtables)),
        ("block_cache", engine.cache_bytes),
        ("tables", engine.table_memory_bytes),
        ("unsynced", queues.unsynced_bytes),
        ("unapplied", queues.unapplied_bytes),
        ("entry_cache", queues.entry_cache_bytes),
        ("messages", server.budget.taken() as u64),
        ("queries", server.query_memory.held_bytes() as u64),
        (
            "cursors",
            MemoryBudget::cursors_bytes(server.cursors.count()),
        ),
    ]
}

/// The budget, what the process takes of the machine's memory, and what each part holds.
pub(crate) fn report(server: &Server) -> Vec<(String, u64)> {
    let whole = [
        ("budget", server.settings.memory().bytes()),
        ("resident", resident_bytes()),
    ];
    let all = whole.into_iter().chain(by_part(server));
    all.map(|(part, bytes)| (part.to_owned(), bytes)).collect()
}

/// What the process takes of the machine's memory; 0 where the system does not say.
pub(crate) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    resident_of(&status).unwrap_or(0)
}

fn resident_of(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib = line.trim().strip_suffix(" kB")?;
    kib.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_the_status() {
        let status = "Name:\tcstore\nVmPeak:\t  200 kB\nVmRSS:\t    1024 kB\nThreads:\t9\n";
        assert_eq!(resident_of(status), Some(1 << 20));
        assert_eq!(resident_of("Name:\tcstore\n"), None);
    }
}
