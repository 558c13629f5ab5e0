//! The MongoDB wire protocol: frames, connections, commands, cursors, and how errors and topology are told to drivers.
//!
//! `frame` → `connection` → `dispatch` → one file per command in `commands` → `read_point` or `write_path` → the node.
//! Knows MongoDB's names, numbers and labels; what a filter or an update means is `document`'s, what is applied is
//! `state_machine`'s. Follows the facts about drivers collected from their specifications.

mod backups;
mod batches;
mod budget;
mod cluster_status;
mod commands;
mod compression;
mod connection;
mod control;
mod cursors;
mod dispatch;
mod document_writer;
mod elections;
mod excerpt;
pub(crate) mod expiry;
mod fail_point;
mod failure;
mod frame;
mod limits;
pub(crate) mod memory_use;
mod operation;
mod read_point;
mod request;
mod server;
mod slow_log;
pub(crate) mod space_report;
mod spill;
mod topology;
mod values;
mod write_concern;
mod write_path;

#[cfg(test)]
mod tests;

pub(crate) use cluster_status::answer_members;
pub(crate) use server::{Counters, Server};
pub(crate) use slow_log::SLOW_MS_DEFAULT;
