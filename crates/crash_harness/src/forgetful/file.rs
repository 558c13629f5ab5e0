//! A file as its users see it and as the disk has it. What was written since the last sync stands between the two, change
//! by change, and a power loss decides of each.

use super::survival::Survival;

/// What a disk writes whole.
pub(crate) const SECTOR_BYTES: usize = 512;

/// A change that was not synced yet, and when it was made.
#[derive(Debug)]
struct Pending {
    made: u64,
    change: Change,
}

#[derive(Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

/// The two contents of a file.
#[derive(Debug, Default)]
pub(crate) struct FileBody {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

impl FileBody {
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    pub fn read(&self, offset: usize, count: usize) -> &[u8] {
        let from = offset.min(self.seen.len());
        let to = from.saturating_add(count).min(self.seen.len());
        &self.seen[from..to]
    }

    pub fn write(&mut self, made: u64, offset: usize, bytes: &[u8]) {
        overwrite(&mut self.seen, offset, bytes);
        let change = Change::Write {
            offset,
            bytes: bytes.to_vec(),
        };
        self.pending.push(Pending { made, change });
    }

    pub fn set_len(&mut self, made: u64, len: usize) {
        if len != self.seen.len() {
            self.seen.resize(len, 0);
            let change = Change::Length(len);
            self.pending.push(Pending { made, change });
        }
    }

    /// Everything seen is on disk from now on.
    pub fn sync(&mut self) {
        for pending in self.pending.drain(..) {
            match pending.change {
                Change::Write { offset, bytes } => overwrite(&mut self.durable, offset, &bytes),
                Change::Length(len) => self.durable.resize(len, 0),
            }
        }
        debug_assert_eq!(
            self.durable, self.seen,
            "the changes make up the difference"
        );
    }

    /// The power went: of every change that was not synced, all, nothing or some sectors are on the disk. The length is an
    /// old one, the new one or one between. Returns whether anything was lost.
    pub fn lose_power(&mut self, survival: &mut Survival) -> bool {
        let before = std::mem::take(&mut self.seen);
        let mut longest = self.durable.len();
        for pending in std::mem::take(&mut self.pending) {
            let kept = survival.change(pending.made);
            match pending.change {
                Change::Length(len) if kept => {
                    self.durable.resize(len, 0);
                    longest = len;
                }
                Change::Length(_) => {}
                Change::Write { offset, bytes } => {
                    if kept {
                        longest = longest.max(offset + bytes.len());
                    }
                    self.write_sectors(offset, &bytes, kept, survival);
                }
            }
        }
        // A sector beyond the length that was recorded is on the disk, but belongs to nobody.
        self.durable.truncate(longest);
        self.durable.resize(longest, 0);
        self.seen = self.durable.clone();
        self.seen != before
    }

    fn write_sectors(&mut self, offset: usize, bytes: &[u8], kept: bool, survival: &mut Survival) {
        let mut at = 0;
        while at < bytes.len() {
            let to_boundary = SECTOR_BYTES - (offset + at) % SECTOR_BYTES;
            let end = (at + to_boundary).min(bytes.len());
            if survival.sector(kept) {
                overwrite(&mut self.durable, offset + at, &bytes[at..end]);
            }
            at = end;
        }
    }
}

fn overwrite(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}
