//! How long this disk takes to make a write durable while something is measured: whoever else uses it shows here.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_millis(25);
const BLOCK_BYTES: usize = 4096;

/// A block that is written and synced, over and over.
pub struct DiskWatch {
    syncs: Arc<Mutex<Vec<(Instant, Duration)>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl DiskWatch {
    /// Begins, on the disk that `directory` is on; nothing is left there. Ends when the watch is dropped, or with the first sync
    /// that fails.
    pub fn start(directory: &Path) -> std::io::Result<DiskWatch> {
        let file = nameless_file(directory)?;
        let syncs = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (noted, stopped) = (syncs.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                let begun = Instant::now();
                if file
                    .write_all_at(&[0; BLOCK_BYTES], 0)
                    .and_then(|()| file.sync_data())
                    .is_err()
                {
                    return;
                }
                noted
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((begun, begun.elapsed()));
                std::thread::sleep(PERIOD);
            }
        });
        Ok(DiskWatch {
            syncs,
            stop,
            thread: Some(thread),
        })
    }

    /// The longest sync begun between `from` and `to`.
    pub fn longest(&self, from: Instant, to: Instant) -> Option<Duration> {
        let syncs = self.syncs.lock().unwrap_or_else(PoisonError::into_inner);
        let inside = syncs
            .iter()
            .filter(|(begun, took)| *begun < to && *begun + *took > from);
        inside.map(|(_, took)| *took).max()
    }

    /// All of them until now, in order: when each began, and how long it took.
    pub fn all(&self) -> Vec<(Instant, Duration)> {
        let syncs = self.syncs.lock().unwrap_or_else(PoisonError::into_inner);
        syncs.clone()
    }
}

impl Drop for DiskWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // It ends within a sync and a period; should it have panicked, that has been printed.
            let _ = thread.join();
        }
    }
}

fn nameless_file(directory: &Path) -> std::io::Result<File> {
    let path = directory.join(format!("disk-watch-{}", std::process::id()));
    let file = File::create(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_are_noted_and_no_file_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let watch = DiskWatch::start(directory.path()).unwrap();
        while watch.all().len() < 2 {
            std::thread::yield_now();
        }
        let (first, second) = (watch.all()[0], watch.all()[1]);
        assert!(first.0 + first.1 <= second.0);
        assert!(watch.longest(first.0, second.0) >= Some(first.1));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        drop(watch);
        assert!(DiskWatch::start(&directory.path().join("absent")).is_err());
    }
}
