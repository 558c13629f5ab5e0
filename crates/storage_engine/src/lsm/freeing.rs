//! Gives the space of replaced tables back a little at a time.
//!
//! A file system that tells the disk of freed blocks at once (mounted with `discard`) does so within the call that deletes a
//! file, and the log's next sync waits behind it: merges replace hundreds of megabytes. So a table's file is opened here before
//! the last to let go of the table deletes it: its name goes then, its space piece by piece afterwards. After a crash nothing is
//! left over: a file without a name is the file system's to free.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::lsm::Shared;

/// How much is given back at a time, if little waits.
const PIECE_BYTES: u64 = 1 << 20;
/// If much waits, a piece is this part of it: what waits is bounded by what merges replace in the time of so many pieces.
const PIECES: u64 = 512;
/// The pause after a piece.
const PAUSE: Duration = Duration::from_millis(10);
/// How soon it is looked again whether a file has lost its name.
const NAMED_PAUSE: Duration = Duration::from_millis(100);

/// Files whose names go and whose space is to follow.
#[derive(Default)]
pub(crate) struct Freeing {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    files: VecDeque<Going>,
    stopping: bool,
}

struct Going {
    path: PathBuf,
    file: File,
    /// What it still takes.
    bytes: u64,
}

impl Freeing {
    /// The file is about to be deleted: whoever uses it last removes its name.
    pub fn add(&self, path: &Path) {
        let mut state = self.state.lock();
        if state.stopping {
            return;
        }
        // If it cannot be opened, its space goes with its name.
        if let Ok(going) = Going::open(path) {
            state.files.push_back(going);
            self.changed.notify_all();
        }
    }

    /// Ends the thread; what is left is freed as the files are closed.
    pub fn stop(&self) {
        self.state.lock().stopping = true;
        self.changed.notify_all();
    }

    /// Gives one piece back, or all of a file if `at_once`. How long to wait for the next one; `None` if nothing is left.
    fn free_piece(&self, at_once: bool) -> Option<Duration> {
        let mut state = self.state.lock();
        let waiting: u64 = state.files.iter().map(|going| going.bytes).sum();
        let nameless = state.files.iter().position(|going| !going.path.exists());
        let Some(mut going) = nameless.and_then(|at| state.files.remove(at)) else {
            return (!state.files.is_empty()).then_some(NAMED_PAUSE);
        };
        drop(state);
        let piece = match at_once {
            true => going.bytes,
            false => PIECE_BYTES.max(waiting / PIECES),
        };
        going.bytes = going.bytes.saturating_sub(piece);
        // What cannot be cut off goes when the file is closed.
        if going.file.set_len(going.bytes).is_ok() && going.bytes > 0 {
            self.state.lock().files.push_front(going);
        }
        Some(PAUSE)
    }

    /// Waits for the time, or until there is a file, without one; false when the engine is closing.
    fn wait(&self, time: Option<Duration>) -> bool {
        let mut state = self.state.lock();
        match time {
            Some(_) if state.stopping => {}
            Some(time) => {
                self.changed.wait_for(&mut state, time);
            }
            None => self.changed.wait_while(&mut state, |state| {
                state.files.is_empty() && !state.stopping
            }),
        }
        !state.stopping
    }
}

impl Going {
    fn open(path: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new().write(true).open(path)?;
        let bytes = file.metadata()?.len();
        let path = path.to_path_buf();
        Ok(Self { path, file, bytes })
    }
}

/// The body of the thread.
pub(crate) fn run_freeing(shared: &Shared) {
    let mut pause = None;
    while shared.freeing.wait(pause) {
        pause = shared.freeing.free_piece(shared.maintenance.is_full());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of three pieces and a half, and a second descriptor of it.
    fn file(path: &Path) -> File {
        std::fs::write(path, vec![1; 7 * PIECE_BYTES as usize / 2]).unwrap();
        File::open(path).unwrap()
    }

    fn len(file: &File) -> u64 {
        file.metadata().unwrap().len()
    }

    #[test]
    fn space_goes_in_pieces_once_the_name_has_gone() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (directory.path().join("1"), directory.path().join("2"));
        let (kept, also_kept) = (file(&first), file(&second));
        let freeing = Freeing::default();
        assert_eq!(freeing.free_piece(false), None);
        freeing.add(&first);
        freeing.add(&second);
        assert_eq!(freeing.free_piece(false), Some(NAMED_PAUSE));
        assert_eq!(len(&kept), 7 * PIECE_BYTES / 2);
        // The one still in use does not hold up the other.
        std::fs::remove_file(&second).unwrap();
        for halves in [5, 3, 1, 0] {
            assert_eq!(freeing.free_piece(false), Some(PAUSE));
            assert_eq!(len(&also_kept), halves * PIECE_BYTES / 2);
        }
        assert_eq!(freeing.free_piece(false), Some(NAMED_PAUSE));
        std::fs::remove_file(&first).unwrap();
        assert_eq!(freeing.free_piece(true), Some(PAUSE));
        assert_eq!((len(&kept), freeing.free_piece(false)), (0, None));
    }

    #[test]
    fn what_cannot_be_opened_or_comes_too_late_is_left_to_who_deletes_it() {
        let directory = tempfile::tempdir().unwrap();
        let freeing = Freeing::default();
        freeing.add(&directory.path().join("absent"));
        assert!(freeing.state.lock().files.is_empty());
        freeing.stop();
        let path = directory.path().join("late");
        let kept = file(&path);
        freeing.add(&path);
        assert!(freeing.state.lock().files.is_empty() && !freeing.wait(None));
        assert_eq!(len(&kept), 7 * PIECE_BYTES / 2);
    }
}
