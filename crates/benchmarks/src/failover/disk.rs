//! How long this disk takes to make a write durable while the cluster is measured: whoever else uses it shows here.

use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_millis(25);
const BLOCK_BYTES: usize = 4096;

/// A file that is appended to and synced, over and over.
pub(crate) struct DiskWatch {
    syncs: Arc<Mutex<Vec<(Instant, Duration)>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl DiskWatch {
    /// Begins, on the disk that the clusters are on.
    pub(crate) fn start() -> std::io::Result<DiskWatch> {
        let mut file = scratch_file()?;
        let syncs = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (noted, stopped) = (syncs.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                let begun = Instant::now();
                if file
                    .write_all(&[0; BLOCK_BYTES])
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
    pub(crate) fn longest(&self, from: Instant, to: Instant) -> Option<Duration> {
        let syncs = self.syncs.lock().unwrap_or_else(PoisonError::into_inner);
        let inside = syncs
            .iter()
            .filter(|(begun, took)| *begun < to && *begun + *took > from);
        inside.map(|(_, took)| *took).max()
    }

    /// All of them, ms.
    pub(crate) fn all_ms(&self) -> Vec<f64> {
        let syncs = self.syncs.lock().unwrap_or_else(PoisonError::into_inner);
        syncs
            .iter()
            .map(|(_, took)| crate::load::ms(*took))
            .collect()
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

/// A file without a name, beside the program, where the clusters of tests are too.
fn scratch_file() -> std::io::Result<File> {
    let program = std::env::current_exe()?;
    let path = program.with_extension(format!("disk-watch-{}", std::process::id()));
    let file = File::create(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}
