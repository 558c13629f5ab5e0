//! Sorts documents by encoded keys: in memory while they fit, then in runs that are merged. Equal keys keep the order of
//! arrival.
//!
//! Memory: documents up to the limit while runs are written, and as much again while they are merged: one document of each
//! run, for which runs are merged beforehand when documents are so large that this would be more.

use bson::RawDocumentBuf;

use super::SpillSpace;
use super::merge::{Keyed, KeyedStream, merged, stored};
use crate::DocumentError;
use crate::sort::{SORT_BYTES_MAX, Sorter};

/// Documents in the order of their keys.
pub type Sorted = Box<dyn Iterator<Item = Result<RawDocumentBuf, DocumentError>> + Send>;

/// The sorter.
pub struct DocumentSorter<'s> {
    space: Option<&'s dyn SpillSpace>,
    keep: Option<usize>,
    bytes_max: usize,
    memory: Sorter<RawDocumentBuf>,
    /// In the order of arrival.
    runs: Vec<KeyedStream>,
    /// Of the largest document in a run.
    record_bytes_max: usize,
    /// `keep` documents in a run come before all from this key on.
    end: Option<Vec<u8>>,
}

impl<'s> DocumentSorter<'s> {
    /// Keeps the first `keep` documents, or all; without `space`, no more of them than fit in memory.
    pub fn new(keep: Option<usize>, space: Option<&'s dyn SpillSpace>) -> Self {
        let bytes_max = space.map_or(SORT_BYTES_MAX, |space| space.memory_bytes_max());
        DocumentSorter::with_memory(keep, space, bytes_max)
    }

    /// The same with a memory limit of its own.
    pub(crate) fn with_memory(
        keep: Option<usize>,
        space: Option<&'s dyn SpillSpace>,
        bytes_max: usize,
    ) -> Self {
        DocumentSorter {
            space,
            keep,
            bytes_max,
            memory: Self::memory(keep, space, bytes_max),
            runs: Vec::new(),
            record_bytes_max: 0,
            end: None,
        }
    }

    /// With room on disk, what is over the limit is put away instead of refused.
    fn memory(
        keep: Option<usize>,
        space: Option<&dyn SpillSpace>,
        bytes_max: usize,
    ) -> Sorter<RawDocumentBuf> {
        let refused_from = if space.is_some() {
            usize::MAX
        } else {
            bytes_max
        };
        Sorter::with_memory(keep, refused_from)
    }

    /// Adds a document.
    pub fn push(&mut self, key: Vec<u8>, document: RawDocumentBuf) -> Result<(), DocumentError> {
        if self.end.as_ref().is_some_and(|end| key >= *end) {
            return Ok(());
        }
        let bytes = document.as_bytes().len();
        self.memory.push(key, document, bytes)?;
        match self.space {
            Some(space) if self.memory.bytes() > self.bytes_max => self.put_away(space),
            _ => Ok(()),
        }
    }

    /// Whether anything was put away.
    pub fn has_used_disk(&self) -> bool {
        !self.runs.is_empty()
    }

    fn put_away(&mut self, space: &dyn SpillSpace) -> Result<(), DocumentError> {
        let empty = Self::memory(self.keep, Some(space), self.bytes_max);
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
        self.end = last.or(self.end.take());
        if self.runs.len() > 1
            && self.runs.len().saturating_mul(self.record_bytes_max) > self.bytes_max
        {
            let keep = self.keep.unwrap_or(usize::MAX);
            let together = merged(std::mem::take(&mut self.runs))?;
            self.runs.push(write(space, together.take(keep))?);
        }
        Ok(())
    }

    /// The documents in order.
    pub fn finish(self) -> Result<Sorted, DocumentError> {
        if self.runs.is_empty() {
            return Ok(Box::new(self.memory.finish().into_iter().map(Ok)));
        }
        let sorted = self.finish_keyed()?;
        Ok(Box::new(sorted.map(|keyed| Ok(keyed?.document))))
    }

    /// The documents in order, with their keys.
    pub(crate) fn finish_keyed(self) -> Result<KeyedStream, DocumentError> {
        let memory = self.memory.finish_keyed();
        let memory = memory.map(|(key, document)| Ok(Keyed { key, document }));
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
