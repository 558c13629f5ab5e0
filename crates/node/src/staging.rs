//! A snapshot on its way in.
//!
//! Promises: one snapshot is staged at a time, as the generation after the current one; its chunks are also kept in a file,
//! checked, so that a stream that broke goes on where it ended, after a restart of this process too; what belongs to another
//! snapshot is removed. A stream of a newer leader, or a new one of the same, takes the place of the one under way.
//!
//! The file `incoming`: a header that says which snapshot it is of, then chunks as they came. What a crash tore at its end
//! fails its checksum and is cut. The end mark is not kept: it always comes again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use consensus::{LogIndex, LogPosition, SnapshotMeta, Term};
use parking_lot::Mutex;
use peer_transport::SnapshotSink;
use platform::{Disk, DiskFile, OpenOptions};
use state_machine::{CHUNK_HEADER_BYTES, ImportError, SnapshotImport, chunk_bytes};
use storage_engine::Engines;

use crate::engine_dirs;
use crate::error::StartError;
use crate::events::{Event, Staged};
use crate::mailbox::Mailbox;

const INCOMING: &str = "incoming";
const MAGIC: [u8; 8] = *b"CSTORSNP";
const VERSION: u32 = 1;
/// Magic, version, checksum of the rest, index, term.
const HEADER_BYTES: usize = 32;
/// Bytes of chunks that a power cut may take. Synced in small pieces, which others on the same disk notice least.
const UNSYNCED_BYTES_MAX: u64 = 1 << 20;

/// Where snapshots are staged.
pub(crate) struct Staging<D: Disk> {
    disk: D,
    engines: Arc<dyn Engines>,
    engine_root: PathBuf,
    core: Arc<Mailbox<Event>>,
    /// Set when something is left over for [`Staging::tidy`].
    upkeep: Arc<AtomicBool>,
    state: Mutex<State<D>>,
    /// Bytes of the snapshot under way that are here; 0 when there is none. For status pages.
    received_bytes: AtomicU64,
}

enum State<D: Disk> {
    Idle,
    Receiving(Box<Receiving<D>>),
    /// Whole; it is being installed or refused.
    Whole,
}

struct Receiving<D: Disk> {
    meta: SnapshotMeta,
    /// Which stream may feed it.
    stream: u64,
    /// Whether that stream still stands.
    fed: bool,
    import: SnapshotImport,
    directory: PathBuf,
    file: D::File,
    file_bytes: u64,
    unsynced_bytes: u64,
}

impl<D: Disk> Staging<D> {
    pub fn new(
        disk: D,
        engines: Arc<dyn Engines>,
        engine_root: PathBuf,
        core: Arc<Mailbox<Event>>,
        upkeep: Arc<AtomicBool>,
    ) -> Arc<Self> {
        Arc::new(Staging {
            disk,
            engines,
            engine_root,
            core,
            upkeep,
            state: Mutex::new(State::Idle),
            received_bytes: AtomicU64::new(0),
        })
    }

    /// How much has come of the snapshot under way; `None` when there is none.
    pub fn received_bytes(&self) -> Option<u64> {
        Some(self.received_bytes.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }

    /// Begins or takes up a snapshot; the sink says how far it has come already.
    pub fn begin(self: &Arc<Self>, meta: SnapshotMeta) -> Result<Box<dyn SnapshotSink>, String> {
        let mut state = self.state.lock();
        let mut stream = 1;
        match std::mem::replace(&mut *state, State::Idle) {
            State::Whole => {
                *state = State::Whole;
                return Err("a snapshot is being installed".to_owned());
            }
            State::Receiving(old) => {
                let replaces =
                    meta.leader == old.meta.leader || meta.leader_term > old.meta.leader_term;
                if old.fed && !replaces {
                    let reason = format!(
                        "a snapshot is being received from member {}",
                        old.meta.leader.0
                    );
                    *state = State::Receiving(old);
                    return Err(reason);
                }
                stream = old.stream + 1;
                if old.meta.position == meta.position && !old.import.is_whole() {
                    let taken_up = Receiving {
                        meta,
                        stream,
                        fed: true,
                        ..*old
                    };
                    return Ok(self.sink(&mut state, taken_up));
                }
            }
            State::Idle => {}
        }
        let receiving = self.open(meta, stream)?;
        Ok(self.sink(&mut state, receiving))
    }

    fn sink(
        self: &Arc<Self>,
        state: &mut State<D>,
        receiving: Receiving<D>,
    ) -> Box<dyn SnapshotSink> {
        let sink = Sink {
            staging: Arc::clone(self),
            stream: receiving.stream,
            progress: receiving.import.progress().encode(),
        };
        *state = State::Receiving(Box::new(receiving));
        Box::new(sink)
    }

    /// Takes up what the file holds of this snapshot, or starts anew.
    fn open(&self, meta: SnapshotMeta, stream: u64) -> Result<Receiving<D>, String> {
        let path = self.engine_root.join(INCOMING);
        let kept = self.kept(&path)?;
        if kept == Some(meta.position)
            && let Some(receiving) = self.reload(&path, &meta, stream)?
        {
            return Ok(receiving);
        }
        if kept.is_some() {
            self.remove(&path)?;
        }
        self.create(&path, meta, stream)
    }

    /// Which snapshot the file is of.
    fn kept(&self, path: &Path) -> Result<Option<LogPosition>, String> {
        let fail = |source| StartError::io("read", path, source).to_string();
        if !self.disk.exists(path).map_err(fail)? {
            return Ok(None);
        }
        let file = self.disk.open(path, OpenOptions::default()).map_err(fail)?;
        let mut header = [0; HEADER_BYTES];
        let read = file.read_at(&mut header, 0).map_err(fail)?;
        // One that cannot be read is of no snapshot that anybody sends.
        Ok(Some(if read == HEADER_BYTES {
            decode_header(&header).unwrap_or_default()
        } else {
            LogPosition::default()
        }))
    }

    fn create(&self, path: &Path, meta: SnapshotMeta, stream: u64) -> Result<Receiving<D>, String> {
        let fail = |source| StartError::io("write", path, source).to_string();
        let options = OpenOptions {
            create_new: true,
            write: true,
            create: false,
        };
        let file = self.disk.open(path, options).map_err(fail)?;
        file.write_all_at(&encode_header(meta.position), 0)
            .map_err(fail)?;
        file.sync_all().map_err(fail)?;
        self.disk.sync_dir(&self.engine_root).map_err(fail)?;
        self.receiving(meta, stream, file)
    }

    /// An import that has taken in nothing yet.
    fn receiving(
        &self,
        meta: SnapshotMeta,
        stream: u64,
        file: D::File,
    ) -> Result<Receiving<D>, String> {
        let directory =
            engine_dirs::stage(&self.disk, &self.engine_root).map_err(|error| error.to_string())?;
        let loader = self.engines.bulk_loader(&directory);
        let loader = loader.map_err(|fault| fault.to_string())?;
        Ok(Receiving {
            import: SnapshotImport::new(loader, meta.position.index.0),
            meta,
            stream,
            fed: true,
            directory,
            file,
            file_bytes: HEADER_BYTES as u64,
            unsynced_bytes: 0,
        })
    }

    /// Feeds the file's chunks to a new import; `None` when they are of no use.
    fn reload(
        &self,
        path: &Path,
        meta: &SnapshotMeta,
        stream: u64,
    ) -> Result<Option<Receiving<D>>, String> {
        let fail = |source| StartError::io("read", path, source).to_string();
        let options = OpenOptions {
            write: true,
            ..OpenOptions::default()
        };
        let file = self.disk.open(path, options).map_err(fail)?;
        let length = file.len().map_err(fail)?;
        let mut receiving = self.receiving(meta.clone(), stream, file)?;
        loop {
            let at = receiving.file_bytes;
            let chunk = read_chunk(&receiving.file, at, length).map_err(fail)?;
            let Some(chunk) = chunk else { break };
            match receiving.import.chunk(&chunk) {
                Ok(()) => receiving.file_bytes += chunk.len() as u64,
                Err(ImportError::Chunk(_)) => break,
                Err(ImportError::Storage(fault)) => return Err(fault.to_string()),
                Err(_) => return Ok(None),
            }
        }
        let cut = receiving.file.set_len(receiving.file_bytes);
        cut.map_err(fail)?;
        Ok(Some(receiving))
    }

    fn remove(&self, path: &Path) -> Result<(), String> {
        let fail = |source| StartError::io("remove", path, source).to_string();
        self.disk.remove_file(path).map_err(fail)?;
        self.disk.sync_dir(&self.engine_root).map_err(fail)
    }

    /// Takes a chunk of a stream.
    fn chunk(&self, stream: u64, bytes: &[u8]) -> Result<(), String> {
        let mut state = self.state.lock();
        let receiving = match &mut *state {
            State::Receiving(receiving) if receiving.stream == stream => receiving,
            _ => return Err("another stream took the place of this one".to_owned()),
        };
        match receiving.take(bytes) {
            Ok(()) => {
                let received = receiving.file_bytes;
                self.received_bytes.store(received, Ordering::Relaxed);
                Ok(())
            }
            Err(Refused { reason, keep }) => {
                if !keep {
                    self.received_bytes.store(0, Ordering::Relaxed);
                    *state = State::Idle;
                    // Of what was loaded.
                    self.upkeep.store(true, Ordering::Release);
                    self.remove(&self.engine_root.join(INCOMING))?;
                }
                Err(reason)
            }
        }
    }

    fn finish(self: &Arc<Self>, stream: u64) -> Result<(), String> {
        self.received_bytes.store(0, Ordering::Relaxed);
        let receiving = {
            let mut state = self.state.lock();
            match std::mem::replace(&mut *state, State::Whole) {
                State::Receiving(receiving) if receiving.stream == stream => receiving,
                other => {
                    *state = other;
                    return Err("another stream took the place of this one".to_owned());
                }
            }
        };
        // Whatever happens now, the place becomes free with it.
        let guard = Guard(Arc::clone(self));
        let position = receiving.meta.position;
        let outcome = match receiving.import.finish() {
            Ok(applied) if (applied.index, applied.term) == (position.index.0, position.term.0) => {
                Ok(())
            }
            Ok(applied) => Err(format!(
                "the snapshot ends at {} where {} was announced",
                applied.index, position.index
            )),
            // What is kept is sound as far as it goes.
            Err(error @ ImportError::Incomplete(_)) => return Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(reason) = outcome {
            self.remove(&self.engine_root.join(INCOMING))?;
            return Err(reason);
        }
        // Once it is accepted it must be installed: better it is refused here.
        let prepared = engine_dirs::prepare_current(
            &self.disk,
            &self.engine_root,
            &receiving.directory,
            position.index,
        );
        prepared.map_err(|error| error.to_string())?;
        self.core.push(Event::SnapshotStaged(Staged {
            meta: receiving.meta,
            directory: receiving.directory,
            guard: Box::new(guard),
        }));
        Ok(())
    }

    /// The stream is over, however it ended.
    fn unfed(&self, stream: u64) {
        if let State::Receiving(receiving) = &mut *self.state.lock()
            && receiving.stream == stream
        {
            receiving.fed = false;
        }
    }

    /// Removes what a snapshot that nobody needs any more has left: one refused or installed, or one at or below what is
    /// applied here.
    pub fn tidy(&self, applied: u64) -> Result<(), String> {
        let mut state = self.state.lock();
        match &*state {
            State::Whole => return Ok(()),
            State::Receiving(receiving)
                if receiving.fed || receiving.meta.position.index.0 > applied =>
            {
                return Ok(());
            }
            State::Receiving(_) | State::Idle => *state = State::Idle,
        }
        let path = self.engine_root.join(INCOMING);
        if let Some(kept) = self.kept(&path)?
            && kept.index.0 <= applied
        {
            self.remove(&path)?;
        }
        engine_dirs::stage(&self.disk, &self.engine_root)
            .and_then(|_| engine_dirs::give_up_prepared(&self.disk, &self.engine_root))
            .map_err(|error| error.to_string())
    }
}

/// Why a chunk was not taken.
struct Refused {
    reason: String,
    /// Whether the import is as it was and can go on.
    keep: bool,
}

impl<D: Disk> Receiving<D> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        self.import.chunk(bytes).map_err(|error| Refused {
            keep: matches!(error, ImportError::Chunk(_)),
            reason: error.to_string(),
        })?;
        if self.import.is_whole() {
            return Ok(());
        }
        let written = self.file.write_all_at(bytes, self.file_bytes);
        self.file_bytes += bytes.len() as u64;
        self.unsynced_bytes += bytes.len() as u64;
        let synced = written.and_then(|()| {
            if self.unsynced_bytes < UNSYNCED_BYTES_MAX {
                return Ok(());
            }
            self.unsynced_bytes = 0;
            self.file.sync_data()
        });
        synced.map_err(|error| Refused {
            keep: false,
            reason: format!("cannot keep the snapshot's chunks: {error}"),
        })
    }
}

/// The chunk at an offset of the file; `None` at its end, or where no whole chunk stands.
fn read_chunk<F: DiskFile>(file: &F, at: u64, length: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut header = [0; CHUNK_HEADER_BYTES];
    if file.read_at(&mut header, at)? < CHUNK_HEADER_BYTES {
        return Ok(None);
    }
    let Some(bytes) = chunk_bytes(&header).filter(|bytes| at + *bytes as u64 <= length) else {
        return Ok(None);
    };
    let mut chunk = vec![0; bytes];
    let read = file.read_at(&mut chunk, at)?;
    Ok((read == bytes).then_some(chunk))
}

fn encode_header(position: LogPosition) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[16..24].copy_from_slice(&position.index.0.to_le_bytes());
    header[24..].copy_from_slice(&position.term.0.to_le_bytes());
    let checksum = header_checksum(&header);
    header[12..16].copy_from_slice(&checksum.to_le_bytes());
    header
}

fn header_checksum(header: &[u8; HEADER_BYTES]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..12]), &header[16..])
}

fn decode_header(header: &[u8; HEADER_BYTES]) -> Option<LogPosition> {
    let number = |at: usize| {
        let bytes = header[at..at + 8].try_into().expect("eight bytes");
        u64::from_le_bytes(bytes)
    };
    let known = header[..8] == MAGIC
        && header[8..12] == VERSION.to_le_bytes()
        && header[12..16] == header_checksum(header).to_le_bytes();
    known.then(|| LogPosition {
        index: LogIndex(number(16)),
        term: Term(number(24)),
    })
}

/// Lets the next snapshot in once this one is installed or refused.
struct Guard<D: Disk>(Arc<Staging<D>>);

impl<D: Disk> Drop for Guard<D> {
    fn drop(&mut self) {
        *self.0.state.lock() = State::Idle;
        self.0.upkeep.store(true, Ordering::Release);
    }
}

struct Sink<D: Disk> {
    staging: Arc<Staging<D>>,
    stream: u64,
    progress: Vec<u8>,
}

impl<D: Disk> SnapshotSink for Sink<D> {
    fn progress(&self) -> Vec<u8> {
        self.progress.clone()
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.staging.chunk(self.stream, bytes)
    }

    fn finish(self: Box<Self>) -> Result<(), String> {
        self.staging.finish(self.stream)
    }
}

impl<D: Disk> Drop for Sink<D> {
    fn drop(&mut self) {
        self.staging.unfed(self.stream);
    }
}

#[cfg(test)]
mod tests;
