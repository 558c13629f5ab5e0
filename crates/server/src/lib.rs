//! The `cstore` server: the MongoDB wire protocol over one [`node::Node`], the admin HTTP port, the
//! configuration file and the command line.
//!
//! Knows of MongoDB's commands, codes and labels; knows nothing of Raft's rules or of what a query means.
#![forbid(unsafe_code)]

mod admin_http;
pub mod cli;
mod client;
mod config;
mod mongo_wire;
mod serve;
