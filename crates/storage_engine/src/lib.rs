//! Ordered key-value with versions: memtables, merging and reads of our own on `lsm-tree`'s tables.
//!
//! A version is the log index of the command that wrote the value. Reads name the version they read as of.
//! Nothing here is durable when `write` returns: the log is. What was sealed by [`Engine::rotate`] becomes
//! durable on the maintenance thread, and [`Engine::durable_version`] tells from where a restart must replay.
//!
//! Assumed of the caller: one writer at a time; versions never go back; keys are 1 to 65,535 bytes and never
//! exactly `[0x00]`, which the engine keeps for its durable version; no read goes below the version last given
//! to [`Engine::set_oldest_reader`].

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bulk_loader;
mod engine;
mod engines;
mod fault;
mod integrity;
mod lsm;
mod memory;

pub use bulk_loader::BulkLoader;
pub use engine::{Batch, Engine, EngineStats, RangeIterator, Version};
pub use engines::{BulkLoad, Callbacks, Engines, LsmEngines, OnFault, OnFlushed, OnFull};
pub use fault::StorageFault;
pub use integrity::{Verified, verify};
pub use lsm::{LsmEngine, Options};
pub use lsm_tree::Slice;
pub use memory::MemoryEngine;
