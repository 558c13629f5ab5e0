//! What the programs of this crate share: the machine they measure on.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod machine;
