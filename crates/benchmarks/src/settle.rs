//! Waits until members have merged what a load brought: a capacity or a latency that is measured before is another's.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const LOOK_PERIOD: Duration = Duration::from_millis(250);
/// Merging rests for a moment between pieces: only when nothing was written for so long is it done.
const QUIET: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(600);

/// Waits until the tables of no member below `directory` change any more; whether they came to rest.
pub(crate) fn wait_merged(directory: &Path) -> bool {
    let deadline = Instant::now() + PATIENCE;
    let (mut bytes, mut since) = (engine_bytes(directory), Instant::now());
    while since.elapsed() < QUIET {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(LOOK_PERIOD);
        let now = engine_bytes(directory);
        if now != bytes {
            (bytes, since) = (now, Instant::now());
        }
    }
    true
}

fn engine_bytes(directory: &Path) -> u64 {
    let Ok(members) = std::fs::read_dir(directory) else {
        return 0;
    };
    let engines = members.flatten().map(|it| it.path().join("engine"));
    engines.map(|engine| bytes_in(&engine)).sum()
}

/// Bytes of all files below a directory; files come and go while it is read.
pub(crate) fn bytes_in(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
