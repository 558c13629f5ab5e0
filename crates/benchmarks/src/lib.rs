//! What the programs of this crate share: the machine they measure on, and its disk.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod disk_watch;
pub mod machine;
