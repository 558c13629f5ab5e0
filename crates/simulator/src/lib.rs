//! Whole clusters of production nodes on simulated time, network and disks, in one thread, repeatable bit for bit from a
//! seed; workloads that use them, and checkers that judge what they did.
//!
//! [`history`] and [`linearizability`] know nothing of the simulation: tests of real processes judge their clients'
//! histories with them too.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod checkers;
pub mod client;
pub mod clock;
pub mod engine;
pub mod faults;
pub mod history;
pub mod linearizability;
pub mod machine;
pub mod network;
pub mod planted;
pub mod prove;
mod random;
pub mod scenario;
pub mod view;
pub mod workload;
pub mod world;

pub use random::Random;
