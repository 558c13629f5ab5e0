//! Merges sorted sources into one; of equal keys, those of an earlier source come first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bson::RawDocumentBuf;

use super::Records;
use crate::DocumentError;

/// A document under its sort key.
#[derive(Debug, PartialEq)]
pub(crate) struct Keyed {
    pub key: Vec<u8>,
    pub document: RawDocumentBuf,
}

/// Documents in the order of their keys.
pub(crate) type KeyedStream = Box<dyn Iterator<Item = Result<Keyed, DocumentError>> + Send>;

impl Keyed {
    /// The record that [`Keyed::read`] reads.
    pub fn write(&self, record: &mut Vec<u8>) {
        let length = u32::try_from(self.key.len()).expect("a key is far smaller than 4 GiB");
        record.clear();
        record.extend_from_slice(&length.to_le_bytes());
        record.extend_from_slice(&self.key);
        record.extend_from_slice(self.document.as_bytes());
    }

    fn read(record: &[u8]) -> Result<Keyed, DocumentError> {
        let damaged =
            || DocumentError::bad_value("what was put away on disk came back damaged: try again");
        let (length, rest) = record.split_first_chunk().ok_or_else(damaged)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (key, document) = rest.split_at_checked(length).ok_or_else(damaged)?;
        Ok(Keyed {
            key: key.to_vec(),
            document: RawDocumentBuf::from_bytes(document.to_vec())?,
        })
    }
}

/// The documents of a run.
pub(super) fn stored(records: Records) -> KeyedStream {
    Box::new(records.map(|record| Keyed::read(&record?)))
}

/// All documents of `sources` in order. Holds one of each.
pub(super) fn merged(sources: Vec<KeyedStream>) -> Result<KeyedStream, DocumentError> {
    let mut merge = Merge {
        heads: BinaryHeap::with_capacity(sources.len()),
        sources,
    };
    for source in 0..merge.sources.len() {
        merge.refill(source)?;
    }
    Ok(Box::new(merge))
}

struct Merge {
    sources: Vec<KeyedStream>,
    heads: BinaryHeap<Reverse<Head>>,
}

/// The next document of a source.
struct Head {
    keyed: Keyed,
    source: usize,
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (&self.keyed.key, self.source).cmp(&(&other.keyed.key, other.source))
    }
}

impl Merge {
    fn refill(&mut self, source: usize) -> Result<(), DocumentError> {
        if let Some(next) = self.sources[source].next() {
            let keyed = next?;
            self.heads.push(Reverse(Head { keyed, source }));
        }
        Ok(())
    }
}

impl Iterator for Merge {
    type Item = Result<Keyed, DocumentError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse(head) = self.heads.pop()?;
        match self.refill(head.source) {
            Ok(()) => Some(Ok(head.keyed)),
            Err(error) => {
                self.heads.clear();
                Some(Err(error))
            }
        }
    }
}
