//! Frames of the MongoDB wire protocol, as they stand in the server's crate.

#[path = "../../server/src/mongo_wire/compression.rs"]
#[allow(dead_code)]
pub(crate) mod compression;
#[path = "../../server/src/mongo_wire/frame/mod.rs"]
#[allow(dead_code)]
pub(crate) mod frame;
#[path = "../../server/src/mongo_wire/limits.rs"]
#[allow(dead_code)]
pub(crate) mod limits;
