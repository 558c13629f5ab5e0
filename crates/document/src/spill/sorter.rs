//! Sorts documents by encoded keys: in memory while they fit, then in runs that are merged. Equal keys keep the order of
//! arrival.
//!
//! Memory: documents up to the share that is granted while runs are written, and up to the limit while they are merged: one
//! document and one buffer of each run, for which runs are merged beforehand when this would be more.

use bson::RawDocumentBuf;

use super::merge::{Keyed, KeyedStream, merged, stored};
use super::{Room, Share, SpillSpace, holding};
use crate::DocumentError;
use crate::sort::Sorter;

/// Runs that are read at once: each has a file and a buffer.
const RUNS_MAX: usize = 64;

/// Documents in the order of their keys.
pub type Sorted = Box<dyn Iterator<Item = Result<RawDocumentBuf, DocumentError>> + Send>;

/// The sorter.
pub struct DocumentSorter {
    room: Room,
    keep: Option<usize>,
    bytes_max: usize,
    /// What `memory` is counted in where there is room on disk, else it counts itself.
    share: Share,
    memory: Sorter<RawDocumentBuf>,
    /// In the order of arrival.
    runs: Vec<KeyedStream>,
    /// Of the largest document in a run.
    record_bytes_max: usize,
    /// `keep` documents in a run come before all from this key on.
    end: Option<Vec<u8>>,
}

impl DocumentSorter {
    /// Keeps the first `keep` documents, or all; without room on disk, no more of them than fit in memory.
    pub fn new(keep: Option<usize>, room: &Room) -> Self {
        DocumentSorter::with_memory(keep, room, room.bytes_max())
    }

    /// The same with a memory limit of its own.
    pub(crate) fn with_memory(keep: Option<usize>, room: &Room, bytes_max: usize) -> Self {
        let share = room.share_of(bytes_max);
        let (share, counted) = match room.disk() {
            // What is over the limit is put away instead of refused.
            Some(_) => (share, Share::unlimited()),
            None => (Share::unlimited(), share),
        };
        DocumentSorter {
            room: room.clone(),
            keep,
            bytes_max,
            share,
            memory: Sorter::within(keep, counted),
            runs: Vec::new(),
            record_bytes_max: 0,
            end: None,
        }
    }

    /// Adds a document.
    pub fn push(&mut self, key: Vec<u8>, document: RawDocumentBuf) -> Result<(), DocumentError> {
        if self.end.as_ref().is_some_and(|end| key >= *end) {
            return Ok(());
        }
        let bytes = document.as_bytes().len();
        self.memory.push(key, document, bytes)?;
        match self.room.disk() {
            Some(_) if !self.share.hold(self.memory.bytes()) => self.put_away(),
            _ => Ok(()),
        }
    }

    /// Whether anything was put away.
    pub fn has_used_disk(&self) -> bool {
        !self.runs.is_empty()
    }

    fn put_away(&mut self) -> Result<(), DocumentError> {
        let room = self.room.clone();
        let space = room.disk().expect("asked for where there is room on disk");
        let empty = Sorter::within(self.keep, Share::unlimited());
        let documents = std::mem::replace(&mut self.memory, empty).finish_keyed();
        let is_full = self.keep == Some(documents.len());
        let mut last = None;
        let documents = documents.map(|(key, document)| {
            self.record_bytes_max = self.record_bytes_max.max(document.as_bytes().len());
            if is_full {
                last = Some(key.clone());
            }
            Ok(Keyed { key, document })
        });
        let run = write(space, documents)?;
        self.runs.push(run);
        self.share.hold(0);
        self.end = last.or(self.end.take());
        if self.runs.len() > 1 && self.are_runs_too_many() {
            let keep = self.keep.unwrap_or(usize::MAX);
            let together = merged(std::mem::take(&mut self.runs))?;
            self.runs.push(write(space, together.take(keep))?);
        }
        Ok(())
    }

    fn are_runs_too_many(&self) -> bool {
        let heads = self.runs.len().saturating_mul(self.record_bytes_max);
        self.runs.len() >= RUNS_MAX || heads > self.bytes_max
    }

    /// The documents in order.
    pub fn finish(self) -> Result<Sorted, DocumentError> {
        if self.runs.is_empty() {
            let (documents, counted) = self.memory.finish_counted();
            let documents = documents.into_iter().map(Ok);
            return Ok(Box::new(holding((counted, self.share), documents)));
        }
        let sorted = self.finish_keyed()?;
        Ok(Box::new(sorted.map(|keyed| Ok(keyed?.document))))
    }

    /// The documents in order, with their keys.
    pub(crate) fn finish_keyed(self) -> Result<KeyedStream, DocumentError> {
        let memory = self.memory.finish_keyed();
        let memory = memory.map(|(key, document)| Ok(Keyed { key, document }));
        let memory = holding(self.share, memory);
        let mut sources = self.runs;
        sources.push(Box::new(memory));
        let keep = self.keep.unwrap_or(usize::MAX);
        Ok(Box::new(merged(sources)?.take(keep)))
    }
}

/// A run of documents that come in order.
fn write(
    space: &dyn SpillSpace,
    documents: impl Iterator<Item = Result<Keyed, DocumentError>>,
) -> Result<KeyedStream, DocumentError> {
    let mut run = space.begin()?;
    let mut record = Vec::new();
    for keyed in documents {
        keyed?.write(&mut record);
        run.append(&record)?;
    }
    Ok(stored(run.read()?))
}
