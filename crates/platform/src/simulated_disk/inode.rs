//! One file of the simulated disk: what reads see, what is on the medium, and which sectors of it differ.

use std::collections::BTreeSet;
use std::ops::Range;

use super::next_random;

pub(super) const SECTOR_BYTES: usize = 512;

/// Bytes of a file; the zeros at its end take no memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    bytes: Vec<u8>,
    len: usize,
}

impl Content {
    pub fn len(&self) -> usize {
        self.len
    }

    /// Where the zeros begin that last to the end.
    pub fn used(&self) -> usize {
        let zeros = self.bytes.iter().rev().take_while(|byte| **byte == 0);
        self.bytes.len() - zeros.count()
    }

    pub fn set_len(&mut self, len: usize) {
        self.bytes.truncate(len);
        self.len = len;
    }

    pub fn read(&self, buffer: &mut [u8], offset: usize) -> usize {
        let start = offset.min(self.len);
        let count = buffer.len().min(self.len - start);
        let stored = self.bytes.len().clamp(start, start + count) - start;
        if stored > 0 {
            buffer[..stored].copy_from_slice(&self.bytes[start..start + stored]);
        }
        buffer[stored..count].fill(0);
        count
    }

    /// Returns whether anything but the length can have changed.
    pub fn write(&mut self, bytes: &[u8], offset: usize) -> bool {
        let end = offset + bytes.len();
        self.len = self.len.max(end);
        if offset >= self.bytes.len() && bytes.iter().all(|byte| *byte == 0) {
            return false;
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        true
    }

    pub fn flip(&mut self, offset: usize, mask: u8) {
        if offset < self.len {
            let mut byte = [0];
            self.read(&mut byte, offset);
            self.write(&[byte[0] ^ mask], offset);
        }
    }

    /// Takes over part of another content, as far as both reach.
    fn copy(&mut self, from: &Content, range: Range<usize>) {
        let end = range.end.min(from.len).min(self.len);
        if range.start < end {
            let mut part = vec![0; end - range.start];
            from.read(&mut part, range.start);
            self.write(&part, range.start);
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Inode {
    pub seen: Content,
    pub durable: Content,
    pub unsynced_sectors: BTreeSet<usize>,
    /// Written since the last sync.
    unsynced: Option<Range<usize>>,
    /// What the last successful sync that had something to do made durable.
    pub last_synced: Range<usize>,
    /// Sectors that cannot be read until they are written again.
    pub unreadable: BTreeSet<usize>,
}

impl Inode {
    pub fn sectors(offset: usize, len: usize) -> Range<usize> {
        offset / SECTOR_BYTES..(offset + len).div_ceil(SECTOR_BYTES)
    }

    pub fn write(&mut self, bytes: &[u8], offset: usize) {
        if bytes.is_empty() || !self.seen.write(bytes, offset) {
            return;
        }
        let sectors = Self::sectors(offset, bytes.len());
        self.unreadable.retain(|sector| !sectors.contains(sector));
        self.unsynced_sectors.extend(sectors);
        let end = offset + bytes.len();
        self.unsynced = Some(match self.unsynced.take() {
            None => offset..end,
            Some(range) => range.start.min(offset)..range.end.max(end),
        });
    }

    pub fn set_len(&mut self, len: usize) {
        let cut = self.seen.used().saturating_sub(len);
        self.seen.set_len(len);
        // Should the file grow again before the next sync, what was cut reads as zeros.
        self.unsynced_sectors.extend(Self::sectors(len, cut));
    }

    fn copy_sector(&mut self, sector: usize) {
        let start = sector * SECTOR_BYTES;
        self.durable.copy(&self.seen, start..start + SECTOR_BYTES);
    }

    pub fn sync(&mut self) {
        self.durable.set_len(self.seen.len());
        for sector in std::mem::take(&mut self.unsynced_sectors) {
            self.copy_sector(sector);
        }
        if let Some(range) = self.unsynced.take() {
            self.last_synced = range;
        }
    }

    /// As Linux does: the pages count as clean although they did not reach the medium.
    pub fn fail_sync(&mut self) {
        self.unsynced_sectors.clear();
        self.unsynced = None;
    }

    /// The power fails. All, none, some, or the first of the unsynced sectors survive, the last of those in part: each
    /// happens often enough to be tested.
    pub fn crash(&mut self, random: &mut u64) {
        if next_random(random) & 1 == 0 {
            self.durable.set_len(self.seen.len());
        }
        let unsynced: Vec<usize> = std::mem::take(&mut self.unsynced_sectors)
            .into_iter()
            .collect();
        self.unsynced = None;
        match next_random(random) % 4 {
            0 => unsynced.iter().for_each(|sector| self.copy_sector(*sector)),
            1 => {
                for sector in unsynced {
                    if next_random(random) & 1 == 0 {
                        self.copy_sector(sector);
                    }
                }
            }
            2 if !unsynced.is_empty() => {
                let torn = (next_random(random) % unsynced.len() as u64) as usize;
                unsynced[..torn]
                    .iter()
                    .for_each(|sector| self.copy_sector(*sector));
                let start = unsynced[torn] * SECTOR_BYTES;
                let kept = (next_random(random) % SECTOR_BYTES as u64) as usize;
                self.durable.copy(&self.seen, start..start + kept);
            }
            _ => {}
        }
        self.seen.clone_from(&self.durable);
    }

    /// Synced bytes where damage can be told from an unfinished write: what is used, less the last sync's if asked.
    pub fn damageable(&self, spare_last_sync: bool) -> Range<usize> {
        let end = self.durable.used().min(self.seen.used());
        match spare_last_sync {
            true => 0..end.min(self.last_synced.start),
            false => 0..end,
        }
    }
}
