//! Clock, disk and entropy, and their operating-system versions.
//!
//! Everything above reaches the machine through these traits, so that tests and the simulator can stand in
//! for it. This crate holds no policy: no retries, no caching, no naming of files.
//!
//! [`SimulatedDisk`] is a deterministic in-memory disk that loses what was not synced; it is for tests and
//! for the simulator, and production code never names it.

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod clock;
mod disk;
mod entropy;
mod resources;
mod simulated_disk;
// System calls that no library gives: how long a thread's turns are, what it had read from a disk.
#[allow(unsafe_code)]
mod thread;
// Another: to write a file's pages without a sync.
#[allow(unsafe_code)]
mod write_back;

pub use clock::{Clock, OsClock};
pub use disk::{DirEntry, Disk, DiskFile, OpenOptions, OsDisk, OsFile, OsLock};
pub use entropy::{Entropy, OsEntropy};
pub use resources::{FileSystemRoom, file_system_room, open_files_max, raise_open_files_max};
pub use simulated_disk::{DiskCosts, FlippedByte, SimulatedDisk, SimulatedFile, SimulatedLock};
pub use thread::{avoid_huge_pages, bytes_from_disk, lower_thread_priority, prefer_short_turns};
pub use write_back::write_back;
