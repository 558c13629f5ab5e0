//! BSON values as pure functions: total order, order-preserving keys, dotted paths, filters, updates,
//! projections, expressions and aggregation stages.
//!
//! Works on raw BSON slices; nothing on a hot path is parsed into a tree. Every function is deterministic:
//! no clock, no randomness, no I/O; time and generated ids come in as arguments. Documents handed in are
//! expected to have passed [`validate::document`] or [`validate::well_formed`]; on malformed bytes the
//! functions here treat the rest of the damaged document as absent, they never panic.
//!
//! What is in here knows nothing of collections, indexes on disk, log positions or wire error numbers other
//! than the names in [`error::ErrorKind`].
#![forbid(unsafe_code)]

pub use bson;

pub mod aggregation;
pub mod collation;
pub mod context;
mod display;
pub mod error;
pub mod expression;
pub mod filter;
pub mod hashing;
pub mod key_encoding;
pub mod order;
pub mod path;
pub mod projection;
mod raw;
pub mod sort;
pub mod spill;
#[cfg(test)]
mod testing;
pub mod text;
pub mod update;
pub mod validate;

pub use collation::Collation;
pub use context::Context;
pub use error::{DocumentError, ErrorKind};
