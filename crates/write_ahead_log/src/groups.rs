//! What the synced records of each group amount to: its state, its start, and where its entries stand.

use std::collections::{BTreeMap, VecDeque};

use crate::Start;
use crate::format::{BadRecord, RecordHeader, RecordKind};

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    /// Sequence of the segment; 32 bits last for 64 PiB of log.
    pub segment: u32,
    pub offset: u32,
}

/// One group.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub state: Option<Vec<u8>>,
    pub start: Start,
    /// Index of the first entry in `locations`. During recovery it may lie beyond `start.index + 1`, when
    /// the removed entries' segments are gone and the record of their removal is still to come.
    pub first: u64,
    pub locations: VecDeque<Location>,
    /// An entry or a reset was seen: then the last entry is known, even if the replay began in the middle.
    pub end_known: bool,
}

impl Group {
    /// Index of the last entry, or of the start if there is none.
    pub fn last(&self) -> u64 {
        match self.locations.len() as u64 {
            0 => self.start.index,
            count => self.first + count - 1,
        }
    }

    pub fn location(&self, index: u64) -> Option<Location> {
        let at = index.checked_sub(self.first)?;
        self.locations.get(usize::try_from(at).ok()?).copied()
    }

    /// Whether the entries follow the start without a gap.
    pub fn is_whole(&self) -> bool {
        self.locations.is_empty() || self.first == self.start.index + 1
    }

    fn put_entry(&mut self, index: u64, location: Location) {
        self.end_known = true;
        if self.locations.is_empty() || index < self.first || index > self.last() + 1 {
            self.locations.clear();
            self.first = index;
        } else {
            let keep = usize::try_from(index - self.first).expect("within the deque");
            self.locations.truncate(keep);
        }
        self.locations.push_back(location);
    }

    pub fn remove_through(&mut self, start: Start) {
        self.start = start;
        while !self.locations.is_empty() && self.first <= start.index {
            self.locations.pop_front();
            self.first += 1;
        }
    }
}

/// All groups.
#[derive(Debug, Default)]
pub(crate) struct Groups(pub BTreeMap<u64, Group>);

impl Groups {
    /// Takes a synced record in.
    pub fn apply(
        &mut self,
        header: &RecordHeader,
        stored: &[u8],
        location: Location,
    ) -> Result<(), BadRecord> {
        let group = self.0.entry(header.group).or_default();
        match header.kind {
            RecordKind::Entry => group.put_entry(header.index, location),
            RecordKind::State => group.state = Some(header.payload(stored)?),
            RecordKind::Start => group.remove_through(Start {
                index: header.index,
                tag: header.tag(stored)?,
            }),
            RecordKind::Reset => {
                group.locations.clear();
                group.end_known = true;
                group.start = Start {
                    index: header.index,
                    tag: header.tag(stored)?,
                };
            }
        }
        Ok(())
    }

    /// The oldest segment that still holds an entry, if any does.
    pub fn oldest_segment(&self) -> Option<u32> {
        self.0
            .values()
            .filter_map(|group| group.locations.front())
            .map(|location| location.segment)
            .min()
    }
}
