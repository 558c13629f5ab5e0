//! Tests of the state machine as a whole.

mod ddl;
mod expiry;
mod host;
mod index_build;
mod kinds;
mod model;
mod prefetch;
mod recovery;
mod rules;
mod sessions;
mod transfer;
mod verification;
mod write;
