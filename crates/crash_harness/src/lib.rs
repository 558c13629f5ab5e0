//! Whether anything acknowledged is lost when a server is killed or its machine loses power.
//!
//! A real `cstore serve` works for a few clients that know what they were told. It is killed, at random or from within an
//! operation of a named point of the write path, started again, and compared with what the clients know: every acknowledged
//! write is there exactly once, an unanswered one as a whole or not at all, every index says what the documents say, and an
//! operation sent again under its number does not happen twice.
//!
//! The points are hit from below, by a file system of the harness's own; the program has no hooks for it. The same file system
//! plays the disk of a machine that loses power: what was not synced is gone, whole or in part. `docs/durability.md` says how
//! to run it and what was seen.
//!
//! A seed gives the same plan again (points, moments, operations, what survives). The threads of the program run as they
//! like: the same plan need not meet the same interleaving.
#![forbid(unsafe_code)]

pub mod client;
pub mod connection;
pub mod forgetful;
pub mod install;
pub mod random;
pub mod round;
pub mod server;
pub mod verify;
pub mod workload;
