//! Sorting in memory, within a share of it; with a count limit only what can still be in the result is held.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::DocumentError;
use crate::spill::Share;

/// Keys and items a sort may hold at once.
pub const SORT_BYTES_MAX: usize = 100 * 1024 * 1024;

/// Sorts items by an encoded key within a memory limit; keeps only the first `limit` when given. Items with equal
/// keys keep the order of arrival.
#[derive(Debug)]
pub struct Sorter<T> {
    kept: Kept<T>,
    bytes: usize,
    share: Share,
    arrived: u64,
}

#[derive(Debug)]
enum Kept<T> {
    All(Vec<Keyed<T>>),
    /// The last item in sort order is at the top.
    First(BinaryHeap<Keyed<T>>, usize),
}

#[derive(Debug)]
struct Keyed<T> {
    key: Vec<u8>,
    arrival: u64,
    bytes: usize,
    item: T,
}

impl<T> Keyed<T> {
    fn position(&self) -> (&[u8], u64) {
        (&self.key, self.arrival)
    }
}

impl<T> PartialEq for Keyed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.position() == other.position()
    }
}

impl<T> Eq for Keyed<T> {}

impl<T> PartialOrd for Keyed<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Keyed<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.position().cmp(&other.position())
    }
}

impl<T> Sorter<T> {
    /// A sorter that keeps the first `limit` items (`None`: all) within [`SORT_BYTES_MAX`].
    pub fn new(limit: Option<usize>) -> Sorter<T> {
        Sorter::within(limit, Share::new(None, SORT_BYTES_MAX))
    }

    /// A sorter that holds a share of the memory.
    pub(crate) fn within(limit: Option<usize>, share: Share) -> Sorter<T> {
        let kept = match limit {
            None => Kept::All(Vec::new()),
            Some(count) => Kept::First(BinaryHeap::new(), count),
        };
        Sorter {
            kept,
            bytes: 0,
            share,
            arrived: 0,
        }
    }

    /// Adds an item that takes `item_bytes`; refuses to go over the memory limit.
    pub fn push(&mut self, key: Vec<u8>, item: T, item_bytes: usize) -> Result<(), DocumentError> {
        let keyed = Keyed {
            bytes: item_bytes + key.len() + size_of::<Keyed<T>>(),
            key,
            arrival: self.arrived,
            item,
        };
        self.arrived += 1;
        match &mut self.kept {
            Kept::All(items) => {
                self.bytes += keyed.bytes;
                items.push(keyed);
            }
            Kept::First(items, count) => {
                if items.len() == *count {
                    // Arrived later, hence not before an equal one.
                    match items.peek() {
                        Some(last) if keyed.key < last.key => {
                            self.bytes -= last.bytes;
                            items.pop();
                        }
                        _ => return Ok(()),
                    }
                }
                self.bytes += keyed.bytes;
                items.push(keyed);
            }
        }
        match self.share.hold(self.bytes) {
            true => Ok(()),
            false => Err(self.share.refusal("Sort", self.bytes)),
        }
    }

    /// What the items and their keys take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The items in order.
    pub fn finish(self) -> Vec<T> {
        self.finish_counted().0
    }

    /// The items in order, and the share of memory that they are counted in.
    pub(crate) fn finish_counted(self) -> (Vec<T>, Share) {
        let (sorted, share) = self.sorted();
        (sorted.into_iter().map(|keyed| keyed.item).collect(), share)
    }

    /// The items in order, each with its key.
    pub fn finish_keyed(self) -> impl ExactSizeIterator<Item = (Vec<u8>, T)> + use<T> {
        let (sorted, _) = self.sorted();
        sorted.into_iter().map(|keyed| (keyed.key, keyed.item))
    }

    fn sorted(self) -> (Vec<Keyed<T>>, Share) {
        let sorted = match self.kept {
            Kept::All(mut items) => {
                items.sort_unstable();
                items
            }
            Kept::First(items, _) => items.into_sorted_vec(),
        };
        (sorted, self.share)
    }
}
