//! A file system of the harness's own: in memory, below the program under test, forgetful of what was not synced.
//!
//! `disk` is the file system, `points` names the moments of the write path, `mount` shows it to other processes through
//! FUSE and ends the program under test at a given moment.

mod directory;
mod disk;
mod file;
mod mount;
mod points;
mod survival;

pub use mount::{Forgetful, MountError, Stop};
pub use points::{Moment, POINTS, Place, Point};
pub use survival::Habit;

#[cfg(test)]
mod tests;
