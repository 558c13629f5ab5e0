//! Limits of DESIGN §10 that this crate enforces, as named constants whose relations are checked at compile time.

/// Bytes of one encoded index key or `_id` key.
pub const KEY_BYTES_MAX: usize = 2048;
/// Indexes of one collection, `_id_` included.
pub const INDEXES_PER_COLLECTION_MAX: usize = 64;
/// Bytes of `database.collection`.
pub const NAMESPACE_BYTES_MAX: usize = 255;
/// Bytes of a database name.
pub const DATABASE_NAME_BYTES_MAX: usize = 63;
/// Views on views, at most.
pub const VIEW_DEPTH_MAX: usize = 20;
/// Fields of one compound index.
pub const INDEX_FIELDS_MAX: usize = 32;
/// Bytes of one document.
pub const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Index entries one document may have in one index (elements of an indexed array).
pub const INDEX_ENTRIES_PER_DOCUMENT_MAX: usize = 100_000;
/// Documents that one `IndexBuildChunk` indexes at most.
pub const INDEX_BUILD_CHUNK_MAX: u32 = 1000;
/// Keys that one `Reclaim` or `ExpireSessions` removes or looks at, at most.
pub const RECLAIM_KEYS_MAX: u32 = 2_000;
/// Log indexes below the applied one that stay readable, so that members can be compared at the same index.
pub const READABLE_WINDOW: u64 = 10_000;
/// Bytes of entries after which an exported chunk is full, before it is compressed.
pub const EXPORT_CHUNK_BYTES_MAX: usize = 256 * 1024;
/// Bytes of results kept inside a session's record before older ones move to records of their own.
pub const SESSION_INLINE_BYTES_MAX: usize = 32 * 1024;
/// Bytes of session records kept in memory per generation of the cache.
pub const SESSION_CACHE_BYTES: usize = 4 * 1024 * 1024;

const _: () = assert!(KEY_BYTES_MAX < u16::MAX as usize / 2);
const _: () = assert!(DATABASE_NAME_BYTES_MAX < NAMESPACE_BYTES_MAX);
const _: () = assert!(SESSION_INLINE_BYTES_MAX < SESSION_CACHE_BYTES);
