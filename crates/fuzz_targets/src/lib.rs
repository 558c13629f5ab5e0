//! Everything that reads bytes it did not write itself, as functions that a fuzzer calls: `fuzz/` with coverage to guide it,
//! `tests/bounded.rs` with seeded mutations on stable.
//!
//! A target panics if the decoder did what it must not: panic, allocate without bound, accept what it cannot read again. It
//! returns whether the bytes were accepted, so that a test sees that both happen.
//!
//! Two decoders are private to their crates; their files are compiled in here as they are.
#![forbid(unsafe_code)]

mod log;
mod mongo_wire;
mod mutate;
mod peers;
mod stored;
mod wire;

pub use mutate::Mutator;

/// Codecs of the node's records, as they stand in its crate.
#[path = "../../node/src/entry_codec.rs"]
#[allow(dead_code, unreachable_pub)]
mod entry_codec;

/// One decoder.
pub struct Target {
    /// The name of its binary in `fuzz/`.
    pub name: &'static str,
    /// Decodes; returns whether the bytes were accepted.
    pub run: fn(&[u8]) -> bool,
    /// Bytes that are right, to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

const fn target(name: &'static str, run: fn(&[u8]) -> bool, seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, run, seeds }
}

/// Every target.
pub const TARGETS: &[Target] = &[
    target("log_segments", log::segments, log::segment_seeds),
    target(
        "log_segments_resealed",
        log::segments_resealed,
        log::segment_seeds,
    ),
    target("log_entry", stored::entry, stored::entry_seeds),
    target("membership", stored::membership, stored::membership_seeds),
    target("hard_state", stored::hard_state, stored::hard_state_seeds),
    target(
        "member_context",
        stored::member_context,
        stored::member_context_seeds,
    ),
    target(
        "data_directory",
        stored::data_directory,
        stored::data_directory_seeds,
    ),
    target("command", stored::command, stored::command_seeds),
    target("stored_records", stored::records, stored::record_seeds),
    target("snapshot_chunk", stored::chunk, stored::chunk_seeds),
    target("document", stored::document, stored::document_seeds),
    target("peer_frame", peers::frame, peers::frame_seeds),
    target("peer_messages", peers::messages, peers::message_seeds),
    target(
        "peer_snapshot_meta",
        peers::snapshot_meta,
        peers::snapshot_meta_seeds,
    ),
    target("peer_join", peers::join, peers::join_seeds),
    target(
        "peer_join_reply",
        peers::join_reply,
        peers::join_reply_seeds,
    ),
    target("wire_message", wire::message, wire::message_seeds),
];

/// Runs the target of a name; for the binaries in `fuzz/`.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("the binaries are named after targets").run)(data);
}
