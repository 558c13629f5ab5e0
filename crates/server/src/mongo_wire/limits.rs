//! The wire layer's limits, and the relations between them that the code relies on.

use std::time::Duration;

/// Largest stored document; a driver reads it from `hello`.
pub(crate) const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Room that a command may take around one largest document (MongoDB's own allowance).
pub(crate) const DOCUMENT_OVERHEAD_BYTES: usize = 16 * 1024;
/// Largest message in either direction.
pub(crate) const MESSAGE_BYTES_MAX: usize = 48_000_000;
/// Statements in one write command.
pub(crate) const WRITE_BATCH_MAX: usize = 100_000;
/// Documents in a first batch when the client names no size.
pub(crate) const FIRST_BATCH_DOCUMENTS_DEFAULT: usize = 101;
/// Bytes of documents in one batch of a cursor.
pub(crate) const BATCH_BYTES_MAX: usize = DOCUMENT_BYTES_MAX;
/// Minutes a logical session lives unused, as drivers are told.
pub(crate) const SESSION_TIMEOUT_MINUTES: i32 = 30;
/// Wire versions claimed: 25 is MongoDB 8.0.
pub(crate) const WIRE_VERSION_MIN: i32 = 0;
pub(crate) const WIRE_VERSION_MAX: i32 = 25;
/// The MongoDB version whose behaviour is followed.
pub(crate) const MONGODB_VERSION: [i32; 4] = [8, 0, 0, 0];

/// An idle connection keeps at most this much of each buffer.
pub(crate) const IDLE_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// What a connection reads at least per call.
pub(crate) const READ_BYTES_MIN: usize = 16 * 1024;
/// Messages and replies up to this size are not counted against the shared budget.
pub(crate) const UNCOUNTED_BYTES_MAX: usize = 64 * 1024;
/// A client that stops in the middle of a message, or reads nothing of a reply, is dropped after this.
pub(crate) const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Replies gathered before they are written while more requests are already buffered.
pub(crate) const REPLY_BATCH_BYTES_MAX: usize = 256 * 1024;

/// A cursor unused for this long is closed.
pub(crate) const CURSOR_TIMEOUT: Duration = Duration::from_secs(600);

const _: () = assert!(DOCUMENT_BYTES_MAX + DOCUMENT_OVERHEAD_BYTES < MESSAGE_BYTES_MAX);
const _: () = assert!(UNCOUNTED_BYTES_MAX < BATCH_BYTES_MAX / 16);
const _: () = assert!(READ_BYTES_MIN <= IDLE_BUFFER_BYTES_MAX);
