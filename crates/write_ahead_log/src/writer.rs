//! The one writer of the log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use platform::{Disk, DiskFile};

use crate::examination::Examination;
use crate::format::{
    BATCH_ALIGNMENT, BATCH_HEADER_BYTES, BatchHeader, FORMAT_VERSION, MARK_BYTES, Mark, RecordKind,
    SEGMENT_HEADER_BYTES, Seed, SegmentHeader, append_record, records, reseal_record,
};
use crate::groups::{Groups, Location};
use crate::keeper::{Keeper, Store};
use crate::reader::{Published, SegmentFile, WalReader};
use crate::recovery::{self, Tail};
use crate::segment::{extend, path};
use crate::{Options, Recovered, RecoveredGroup, Start, WalError, WalStats};

/// A write buffer that grew beyond this is given back after its sync.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

/// The log of all groups of a process: its one writer. Dropping it loses what was not synced.
pub struct WriteAheadLog<D: Disk> {
    dir: PathBuf,
    log_id: u64,
    record_bytes_max: usize,
    published: Arc<RwLock<Published>>,
    /// The segment being written; `None` in a new log.
    tail: Option<Tail<D::File>>,
    store: Arc<Store<D>>,
    next_batch: u64,
    /// Number of the last batch that has a mark behind it.
    marked: u64,
    /// The segment before the tail's, until it says at its end that there is a later one.
    finished: Option<Finished>,
    /// The batch being gathered: room for its header, then records sealed for the tail's segment.
    buffer: Vec<u8>,
    records: u32,
    /// Per group, with what is buffered.
    ends: BTreeMap<u64, End>,
    /// The first failure; nothing works after it.
    poison: Option<String>,
    fsyncs: u64,
    written_bytes: u64,
}

/// A segment that takes no more batches.
struct Finished {
    sequence: u64,
    file: Arc<dyn DiskFile>,
    /// Where its batches end; there is room for a mark.
    offset: u64,
}

/// A group's first and last position.
#[derive(Clone, Copy, Default)]
struct End {
    start: Start,
    last: u64,
}

impl<D: Disk> WriteAheadLog<D> {
    /// Opens the log in a directory, creating both if needed, and reads everything that was synced. The caller
    /// makes sure that no other process has it open.
    pub fn open(disk: D, dir: &Path, options: Options) -> Result<(Self, Recovered), WalError> {
        let found = Examination::of(disk, dir)?;
        Self::open_examined(found, options, &BTreeMap::new())
    }

    /// Opens what was examined. `held` says, by group, up to where the caller has for certain what the entries did: if
    /// only entries up to there are missing, the damaged beginning of the log is dropped. Entries up to there are not
    /// among what is given back; [`WalReader`] reads them.
    pub fn open_examined(
        found: Examination<D>,
        options: Options,
        held: &BTreeMap<u64, Start>,
    ) -> Result<(Self, Recovered), WalError> {
        let (disk, dir) = (found.disk.clone(), found.dir.clone());
        let log_id = found.log_id.unwrap_or(options.log_id);
        if log_id != options.log_id && log_id != 0 && options.log_id != 0 {
            return Err(WalError::Foreign {
                dir,
                found: log_id,
                expected: options.log_id,
            });
        }
        disk.create_dir_all(&dir)
            .map_err(WalError::io("create", &dir))?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            disk.sync_dir(parent)
                .map_err(WalError::io("sync", parent))?;
        }
        let outcome = recovery::settle(found, held)?;
        let store = Store::open(disk, &dir, &options, outcome.prepared)?;
        let mut log = Self {
            dir,
            log_id,
            record_bytes_max: options.record_bytes_max,
            ends: ends(&outcome.published.groups),
            published: Arc::new(RwLock::new(outcome.published)),
            tail: outcome.tail,
            store,
            next_batch: outcome.next_batch,
            marked: 0,
            finished: None,
            buffer: vec![0; BATCH_HEADER_BYTES],
            records: 0,
            poison: None,
            fsyncs: 0,
            written_bytes: 0,
        };
        log.mark()?;
        for (group, start) in outcome.moved_starts {
            let tag = start.tag.to_le_bytes();
            log.put((RecordKind::Start, group, start.index), &[&tag]);
        }
        log.sync()?;
        let recovered = Recovered {
            groups: log.recovered_groups(held)?,
            torn_tail: outcome.torn_tail,
            dropped: outcome.dropped,
        };
        Ok((log, recovered))
    }

    fn recovered_groups(
        &self,
        held: &BTreeMap<u64, Start>,
    ) -> Result<BTreeMap<u64, RecoveredGroup>, WalError> {
        let reader = self.reader();
        let published = self.published.read();
        let found: Vec<_> = published
            .groups
            .0
            .iter()
            .map(|(id, group)| (*id, group.state.clone(), group.start))
            .collect();
        drop(published);
        found
            .into_iter()
            .map(|(id, state, start)| {
                let held = held.get(&id).map_or(0, |held| held.index);
                let entries = reader.read(id, start.index.max(held) + 1, usize::MAX)?;
                Ok((
                    id,
                    RecoveredGroup {
                        state,
                        start,
                        entries,
                    },
                ))
            })
            .collect()
    }

    /// Buffers an entry whose payload is the concatenation of the parts; it supersedes every entry at `index`
    /// and later. `index` is at most one past the group's last entry, and after its start.
    pub fn append(&mut self, group: u64, index: u64, payload: &[&[u8]]) -> Result<(), WalError> {
        self.check_usable()?;
        let bytes = payload.iter().map(|part| part.len()).sum();
        self.check_length(bytes)?;
        let end = self.ends.entry(group).or_default();
        assert!(
            index > end.start.index && index <= end.last + 1,
            "entry {index} of group {group} neither follows entry {} nor supersedes one after {}",
            end.last,
            end.start.index
        );
        end.last = index;
        self.put((RecordKind::Entry, group, index), payload);
        Ok(())
    }

    /// Buffers a group's state, which replaces the one before.
    pub fn set_state(&mut self, group: u64, state: &[u8]) -> Result<(), WalError> {
        self.check_usable()?;
        self.check_length(state.len())?;
        self.ends.entry(group).or_default();
        self.put((RecordKind::State, group, 0), &[state]);
        Ok(())
    }

    /// Buffers: the whole log of the group is gone, and the next entry is the one after `start`.
    pub fn reset(&mut self, group: u64, start: Start) -> Result<(), WalError> {
        self.check_usable()?;
        let last = start.index;
        self.ends.insert(group, End { start, last });
        self.put(
            (RecordKind::Reset, group, start.index),
            &[&start.tag.to_le_bytes()],
        );
        Ok(())
    }

    /// Buffers: entries up to and including `through.index` are no longer needed. Once that is synced,
    /// `housekeep` frees the segments that no group needs.
    pub fn remove_prefix(&mut self, group: u64, through: Start) -> Result<(), WalError> {
        self.check_usable()?;
        let end = self.ends.entry(group).or_default();
        if through.index <= end.start.index {
            return Ok(());
        }
        end.start = through;
        end.last = end.last.max(through.index);
        self.put(
            (RecordKind::Start, group, through.index),
            &[&through.tag.to_le_bytes()],
        );
        Ok(())
    }

    /// Makes everything buffered durable, whole or not at all: one write and one sync. If the disk is full
    /// ([`WalError::NoRoom`]) everything stays buffered and this can be called again; after any other error the handle
    /// refuses further use.
    pub fn sync(&mut self) -> Result<(), WalError> {
        self.check_usable()?;
        if self.records == 0 {
            return Ok(());
        }
        let written = self.write_batch();
        self.noting(written)
    }

    /// Remembers a failure after which nothing works.
    fn noting<T>(&mut self, outcome: Result<T, WalError>) -> Result<T, WalError> {
        outcome.inspect_err(|error| {
            if !error.is_no_room() {
                self.poison = Some(error.to_string());
            }
        })
    }

    /// Whether anything is buffered.
    pub fn is_dirty(&self) -> bool {
        self.records > 0
    }

    /// Marks the last batch as synced and leaves work for the [`Keeper`]; costs a write into memory. To be called after
    /// every sync. True if the keeper has something to do. Without it the same happens, all at once, when a segment is
    /// full.
    pub fn tidy(&mut self) -> Result<bool, WalError> {
        self.check_usable()?;
        let marked = self.mark();
        self.noting(marked)?;
        self.free_segments();
        if let Some(tail) = self.tail.as_ref().filter(|tail| tail.offset > 0) {
            let half_full = tail.offset * 2 >= tail.len;
            if half_full {
                self.store.want(tail.sequence + 1);
            }
            // The first segment of a log that may stay small begins without.
            if half_full || tail.sequence > 1 {
                self.store.want_reserve();
            }
        }
        Ok(self.store.has_work())
    }

    /// [`WriteAheadLog::tidy`], and a step of the keeper: for callers without a thread for it. True if there is more to
    /// do. [`WalError::NoRoom`]: as of [`Keeper::step`].
    pub fn housekeep(&mut self) -> Result<bool, WalError> {
        if !self.tidy()? {
            return Ok(false);
        }
        let stepped = self.store.step();
        self.noting(stepped)
    }

    /// Deletes what is kept for reuse beyond the reserve: the disk is full, and others need the room.
    pub fn give_back_spares(&mut self) -> Result<(), WalError> {
        self.check_usable()?;
        let given = self.store.give_back();
        self.noting(given)
    }

    /// What makes segments ready and puts them away, for a thread beside the writer's.
    pub fn keeper(&self) -> Keeper<D> {
        Keeper::new(Arc::clone(&self.store))
    }

    /// A reader of synced entries, for any thread.
    pub fn reader(&self) -> WalReader {
        WalReader::new(Arc::clone(&self.published))
    }

    /// Sizes and counts.
    pub fn stats(&self) -> WalStats {
        let published = self.published.read();
        let live: u64 = published.files.values().map(|file| file.len).sum();
        WalStats {
            disk_bytes: live + self.store.bytes(),
            segments: published.files.len() as u64,
            fsyncs: self.fsyncs,
            written_bytes: self.written_bytes,
        }
    }

    /// Writes behind the last batch that it was synced, so that its decay is not taken for a torn write, and behind the
    /// segment before that there is a later one, so that its loss is noticed. Not synced: it costs a write into memory. Where
    /// a full disk does not take it, there is none yet.
    fn mark(&mut self) -> Result<(), WalError> {
        let number = self.next_batch - 1;
        // A segment whose first batch is not synced is not there yet.
        let Some(tail) = self.tail.as_ref().filter(|tail| tail.offset > 0) else {
            return Ok(());
        };
        let room_for_mark = tail.offset + MARK_BYTES as u64 <= tail.len;
        let marks = [
            self.finished
                .as_ref()
                .map(|it| (it.sequence, &*it.file, it.offset)),
            (self.marked != number && room_for_mark).then(|| {
                let file: &dyn DiskFile = &*tail.file;
                (tail.sequence, file, tail.offset)
            }),
        ];
        for (sequence, file, offset) in marks.into_iter().flatten() {
            let mark = Mark { number }.encode(Seed::of(sequence));
            let path = path(&self.dir, sequence);
            let written = file.write_all_at(&mark, offset);
            match written.map_err(WalError::room("write", &path)) {
                Err(error) if error.is_no_room() => return Ok(()),
                other => other?,
            }
        }
        self.finished = None;
        self.marked = number;
        Ok(())
    }

    fn check_usable(&self) -> Result<(), WalError> {
        match &self.poison {
            None => Ok(()),
            Some(first) => Err(WalError::Poisoned {
                first: first.clone(),
            }),
        }
    }

    fn check_length(&self, bytes: usize) -> Result<(), WalError> {
        if bytes > self.record_bytes_max {
            let limit = self.record_bytes_max;
            return Err(WalError::TooLarge { bytes, limit });
        }
        Ok(())
    }

    fn tail_sequence(&self) -> u64 {
        self.tail.as_ref().map_or(0, |tail| tail.sequence)
    }

    fn put(&mut self, key: (RecordKind, u64, u64), payload: &[&[u8]]) {
        let seed = Seed::of(self.tail_sequence());
        append_record(&mut self.buffer, seed, key, payload);
        self.records += 1;
    }

    fn write_batch(&mut self) -> Result<(), WalError> {
        let padded = self.buffer.len().next_multiple_of(BATCH_ALIGNMENT);
        let needed = (padded + MARK_BYTES) as u64;
        match &mut self.tail {
            // Begun by this batch, which the disk did not take; it may have grown since.
            Some(tail) if tail.offset == 0 => {
                if needed > tail.len {
                    extend(&*tail.file, &path(&self.dir, tail.sequence), needed)?;
                    tail.len = needed;
                }
            }
            Some(tail) if tail.offset + needed <= tail.len => {}
            _ => self.begin_segment()?,
        }
        let unpadded = self.buffer.len();
        self.buffer
            .resize(unpadded.next_multiple_of(BATCH_ALIGNMENT), 0);
        let tail = self.tail.as_mut().expect("a segment was begun");
        let header_at = match tail.offset {
            0 => SEGMENT_HEADER_BYTES,
            _ => 0,
        };
        let seed = Seed::of(tail.sequence);
        let body_at = header_at + BATCH_HEADER_BYTES;
        let header = BatchHeader::of(seed, self.next_batch, self.records, &self.buffer[body_at..]);
        self.buffer[header_at..body_at].copy_from_slice(&header.encode(seed));
        let path = path(&self.dir, tail.sequence);
        let offset = tail.offset;
        if let Err(source) = tail.file.write_all_at(&self.buffer, offset) {
            // Should there be no room, more records may follow these before it is written again.
            self.buffer.truncate(unpadded);
            return Err(WalError::room("write", &path)(source));
        }
        tail.file.sync_data().map_err(WalError::io("sync", &path))?;
        tail.offset += self.buffer.len() as u64;
        self.next_batch += 1;
        self.fsyncs += 1;
        self.written_bytes += self.buffer.len() as u64;
        self.publish(body_at, offset);
        self.records = 0;
        self.buffer.truncate(BATCH_HEADER_BYTES);
        if self.buffer.capacity() > BUFFER_BYTES_KEPT {
            self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        }
        Ok(())
    }

    /// Moves to the next segment: the batch gets its header and every group's state and start before it, so
    /// that no older segment is needed for them.
    fn begin_segment(&mut self) -> Result<(), WalError> {
        self.free_segments();
        let sequence = self.tail_sequence() + 1;
        let seed = Seed::of(sequence);
        let header = SegmentHeader {
            version: FORMAT_VERSION,
            sequence,
            first_batch: self.next_batch,
            log_id: self.log_id,
        };
        let mut buffer = header.encode().to_vec();
        buffer.resize(SEGMENT_HEADER_BYTES + BATCH_HEADER_BYTES, 0);
        let carried = carry_forward(&self.published.read().groups, &mut buffer, seed);
        let mut at = buffer.len();
        buffer.extend_from_slice(&self.buffer[BATCH_HEADER_BYTES..]);
        for _ in 0..self.records {
            at += reseal_record(seed, &mut buffer[at..]);
        }
        assert_eq!(at, buffer.len(), "the buffer is nothing but records");
        let needed = (buffer.len().next_multiple_of(BATCH_ALIGNMENT) + MARK_BYTES) as u64;
        let prepared = self.store.take(sequence, needed)?;
        self.buffer = buffer;
        self.records += carried;
        self.finished = self.tail.take().and_then(|tail| {
            // One that was written before there were marks may have no room.
            let room = tail.offset + MARK_BYTES as u64 <= tail.len;
            room.then_some(Finished {
                sequence: tail.sequence,
                file: tail.file,
                offset: tail.offset,
            })
        });
        self.tail = Some(Tail {
            sequence,
            file: prepared.file,
            len: prepared.len,
            offset: 0,
        });
        Ok(())
    }

    /// Shows readers the batch just synced.
    fn publish(&mut self, body_at: usize, offset: u64) {
        let tail = self.tail.as_ref().expect("it was written to");
        let segment = u32::try_from(tail.sequence).expect("sequences stay below 2^32");
        let mut published = self.published.write();
        published
            .files
            .entry(segment)
            .or_insert_with(|| SegmentFile {
                file: tail.file.clone(),
                len: tail.len,
                synced: 0,
            })
            .synced = tail.offset;
        let body = &self.buffer[body_at..];
        for record in records(body, Seed::of(tail.sequence), self.records) {
            let (header, stored, at) = record.expect("this writer made it");
            let offset = u32::try_from(offset + (body_at + at) as u64);
            let location = Location {
                segment,
                offset: offset.expect("segments are shorter than 4 GiB"),
            };
            let applied = published.groups.apply(&header, stored, location);
            applied.expect("this writer made it");
        }
    }

    /// Gives the oldest segments to the keeper, as far as no group needs them: what their states and starts are is in the
    /// segment in use, once its first batch is synced.
    fn free_segments(&mut self) {
        let Some(tail) = self.tail.as_ref().filter(|tail| tail.offset > 0) else {
            return;
        };
        let mut published = self.published.write();
        let tail = u32::try_from(tail.sequence).expect("sequences stay below 2^32");
        let needed = published
            .groups
            .oldest_segment()
            .map_or(tail, |oldest| oldest.min(tail));
        while let Some(first) = published
            .files
            .first_entry()
            .filter(|first| *first.key() < needed)
        {
            let (sequence, segment) = first.remove_entry();
            self.store.put_freed(u64::from(sequence), segment);
        }
    }
}

/// Where each group begins and ends.
fn ends(groups: &Groups) -> BTreeMap<u64, End> {
    let ends = groups.0.iter().map(|(id, group)| {
        let end = End {
            start: group.start,
            last: group.last(),
        };
        (*id, end)
    });
    ends.collect()
}

/// Appends every group's state and start; returns the number of records.
fn carry_forward(groups: &Groups, buffer: &mut Vec<u8>, seed: Seed) -> u32 {
    let mut carried = 0;
    for (id, group) in &groups.0 {
        if let Some(state) = &group.state {
            append_record(buffer, seed, (RecordKind::State, *id, 0), &[state]);
            carried += 1;
        }
        let tag = group.start.tag.to_le_bytes();
        append_record(
            buffer,
            seed,
            (RecordKind::Start, *id, group.start.index),
            &[&tag],
        );
        carried += 1;
    }
    carried
}
