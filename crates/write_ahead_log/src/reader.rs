//! Reads of synced entries, beside the writer.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use platform::DiskFile;

use crate::format::{RECORD_HEADER_BYTES, RecordHeader, RecordKind, Seed, record_bytes};
use crate::groups::{Groups, Location};
use crate::segment::path;
use crate::{Damage, RecoveredEntry, WalError};

/// Bytes read at once, if so many are wanted: neighbouring entries come with one read.
const WINDOW_BYTES_MAX: usize = 128 << 10;
const WINDOW_BYTES_MIN: usize = 4 << 10;

/// A file holding records.
#[derive(Clone)]
pub(crate) struct SegmentFile {
    pub file: Arc<dyn DiskFile>,
    pub len: u64,
    /// Bytes from its beginning that are synced: they never change, those behind them may at any moment.
    pub synced: u64,
}

/// What is synced; the writer replaces it after each sync.
pub(crate) struct Published {
    pub dir: std::path::PathBuf,
    pub groups: Groups,
    pub files: BTreeMap<u32, SegmentFile>,
}

/// Reads synced entries; clones share the log.
#[derive(Clone)]
pub struct WalReader {
    published: Arc<RwLock<Published>>,
}

/// Part of a segment in memory.
struct Window {
    segment: u32,
    offset: u32,
    bytes: Vec<u8>,
}

impl WalReader {
    pub(crate) fn new(published: Arc<RwLock<Published>>) -> Self {
        Self { published }
    }

    /// The synced entries of a group, beginning with `from`: at least one if it is in the log, then as many as
    /// fit in `bytes_max` of payload. Empty if `from` was removed or is past the end.
    pub fn read(
        &self,
        group: u64,
        from: u64,
        bytes_max: usize,
    ) -> Result<Vec<RecoveredEntry>, WalError> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut window = None;
        let window_bytes = bytes_max.clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX);
        let mut index = from;
        while let Some((location, file)) = self.locate(group, index) {
            let payload =
                self.read_at((&mut window, window_bytes), location, &file, group, index)?;
            bytes += payload.len();
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(RecoveredEntry { index, payload });
            index += 1;
        }
        Ok(entries)
    }

    /// Index before the first entry and index of the last one, as synced.
    pub fn bounds(&self, group: u64) -> Option<(u64, u64)> {
        let published = self.published.read();
        published
            .groups
            .0
            .get(&group)
            .map(|group| (group.start.index, group.last()))
    }

    /// About how much of the disk a group's entries take: indexes at least `step` bytes apart, ending with the last one, each
    /// with the bytes of all entries up to it.
    pub fn sizes(&self, group: u64, step: u64) -> Vec<(u64, u64)> {
        let published = self.published.read();
        let Some(found) = published.groups.0.get(&group) else {
            return Vec::new();
        };
        let mut sizes: Vec<(u64, u64)> = Vec::new();
        let (mut total, mut counted) = (0, 0);
        let mut locations = (found.first..).zip(&found.locations).peekable();
        while let Some((index, location)) = locations.next() {
            let end = match locations.peek() {
                Some((_, next)) if next.segment == location.segment => u64::from(next.offset),
                _ => published
                    .files
                    .get(&location.segment)
                    .map_or(0, |file| file.synced),
            };
            total += end.saturating_sub(u64::from(location.offset));
            if total - counted >= step || locations.peek().is_none() {
                counted = total;
                sizes.push((index, total));
            }
        }
        sizes
    }

    fn locate(&self, group: u64, index: u64) -> Option<(Location, SegmentFile)> {
        let published = self.published.read();
        let location = published.groups.0.get(&group)?.location(index)?;
        // A file that a reader holds is never reused, so its bytes stay while it is read.
        let file = published
            .files
            .get(&location.segment)
            .expect("an entry's segment is kept");
        Some((location, file.clone()))
    }

    fn read_at(
        &self,
        (window, window_bytes): (&mut Option<Window>, usize),
        location: Location,
        file: &SegmentFile,
        group: u64,
        index: u64,
    ) -> Result<Vec<u8>, WalError> {
        let damaged = |detail: String| {
            WalError::Damaged(Damage {
                segment: path(&self.published.read().dir, u64::from(location.segment)),
                offset: u64::from(location.offset),
                detail,
            })
        };
        let record = match window.as_ref().and_then(|window| window.record(location)) {
            Some(record) => record,
            None => {
                let read = self.read_window(location, file, window_bytes)?;
                window
                    .insert(read)
                    .record(location)
                    .ok_or_else(|| damaged("a record that ends too early".to_owned()))?
            }
        };
        let (header, stored) = RecordHeader::decode(record, Seed::of(u64::from(location.segment)))
            .map_err(|bad| damaged(bad.to_string()))?;
        if (header.kind, header.group, header.index) != (RecordKind::Entry, group, index) {
            return Err(damaged(format!(
                "another record than entry {index} of group {group}"
            )));
        }
        header
            .payload(stored)
            .map_err(|bad| damaged(bad.to_string()))
    }

    fn read_window(
        &self,
        location: Location,
        file: &SegmentFile,
        window_bytes: usize,
    ) -> Result<Window, WalError> {
        let read = |bytes: usize| {
            let mut buffer = vec![0; bytes];
            let count = file
                .file
                .read_at(&mut buffer, u64::from(location.offset))
                .map_err(|source| {
                    let path = path(&self.published.read().dir, u64::from(location.segment));
                    WalError::io("read", &path)(source)
                })?;
            buffer.truncate(count);
            Ok(buffer)
        };
        // What lies past the synced bytes is not read: the writer may be at it, and a window that held half of
        // the next record would look like damage once that record is there.
        let left = file.synced.saturating_sub(u64::from(location.offset));
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let mut bytes = read(window_bytes.min(left))?;
        if bytes.len() >= RECORD_HEADER_BYTES {
            let needed = record_bytes(&bytes);
            if needed > bytes.len() && needed <= left {
                bytes = read(needed)?;
            }
        }
        Ok(Window {
            segment: location.segment,
            offset: location.offset,
            bytes,
        })
    }
}

impl Window {
    /// The record's bytes and maybe more, if all of it is here.
    fn record(&self, location: Location) -> Option<&[u8]> {
        if self.segment != location.segment {
            return None;
        }
        let at = location.offset.checked_sub(self.offset)? as usize;
        let rest = self.bytes.get(at..)?;
        (rest.len() >= RECORD_HEADER_BYTES && record_bytes(rest) <= rest.len()).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use platform::SimulatedDisk;

    use super::WINDOW_BYTES_MAX;
    use crate::{Options, WriteAheadLog};

    #[test]
    fn sizes_count_every_entry_by_what_it_takes_on_disk() {
        let options = Options {
            segment_bytes: 4096,
            ..Options::default()
        };
        let disk = SimulatedDisk::new(1);
        let (mut log, _) = WriteAheadLog::open(disk, Path::new("/wal"), options)
            .expect("an empty directory opens");
        let noise: Vec<u8> = (0..300_u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        for index in 1..=100 {
            log.append(1, index, &[&noise]).expect("the log takes it");
            log.sync().expect("the disk takes it");
        }
        let sizes = log.reader().sizes(1, 1000);
        assert_eq!(sizes.last().map(|(index, _)| *index), Some(100));
        let total = sizes.last().map_or(0, |(_, bytes)| *bytes);
        assert!((30_000..60_000).contains(&total), "{total}");
        assert!(
            sizes
                .windows(2)
                .all(|pair| pair[1].1 >= pair[0].1 + 1000 || pair[1].0 == 100)
        );
        assert_eq!(log.reader().sizes(2, 1000), []);
    }

    #[test]
    fn a_window_read_before_a_record_was_written_does_not_stand_for_it() {
        let disk = SimulatedDisk::new(1);
        let (mut log, _) = WriteAheadLog::open(disk, Path::new("/wal"), Options::default())
            .expect("an empty directory opens");
        let reader = log.reader();
        let mut window = None;
        for index in 1..=3 {
            log.append(1, index, &[b"entry", index.to_string().as_bytes()])
                .expect("the log takes it");
            log.sync().expect("the disk takes it");
            let (location, file) = reader.locate(1, index).expect("it is synced");
            let read = reader.read_at((&mut window, WINDOW_BYTES_MAX), location, &file, 1, index);
            assert_eq!(
                read.expect("nothing is damaged"),
                format!("entry{index}").as_bytes()
            );
        }
    }
}
