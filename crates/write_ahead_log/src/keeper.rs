//! What is done to segment files beside the writer: the next one is written ahead, freed ones are put away.
//!
//! Promises: the writer waits for none of it unless it needs a segment that is not ready, and then for one short step at
//! most before it goes on itself. Freed segments are put away oldest first, one at a time.
//!
//! The desk is where writer and keeper leave each other work; its lock is never held during I/O, that of the stock is.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use platform::Disk;

use crate::reader::SegmentFile;
use crate::segment::{Prepared, Stock, extend, path};
use crate::{Options, WalError};

/// The keeper of a log's segment files, for one thread beside the writer's.
pub struct Keeper<D: Disk> {
    store: Arc<Store<D>>,
}

/// Segment files without records, shared by writer and keeper.
pub(crate) struct Store<D: Disk> {
    dir: PathBuf,
    desk: Mutex<Desk<D>>,
    stock: Mutex<Stock<D>>,
}

struct Desk<D: Disk> {
    /// The segment to be made next, once the writer wants it ahead.
    wanted: Option<u64>,
    /// The writer wants a spare besides.
    reserve_wanted: bool,
    has_reserve: bool,
    prepared: Option<Prepared<D::File>>,
    /// Oldest first.
    freed: VecDeque<(u64, SegmentFile)>,
    /// Bytes of the spares on disk.
    spare_bytes: u64,
}

impl<D: Disk> Keeper<D> {
    pub(crate) fn new(store: Arc<Store<D>>) -> Self {
        Self { store }
    }

    /// Does one short step of what there is to do; true if there is more. [`WalError::NoRoom`]: the disk is full, and there
    /// is room for a segment at least; to be tried again later.
    pub fn step(&self) -> Result<bool, WalError> {
        self.store.step()
    }
}

impl<D: Disk> Store<D> {
    /// Takes in the spares of a directory, and a segment found in waiting.
    pub fn open(
        disk: D,
        dir: &std::path::Path,
        options: &Options,
        prepared: Option<Prepared<D::File>>,
    ) -> Result<Arc<Self>, WalError> {
        let stock = Stock::open(disk, dir, options)?;
        let desk = Desk {
            wanted: None,
            reserve_wanted: false,
            has_reserve: stock.has_reserve(),
            prepared,
            freed: VecDeque::new(),
            spare_bytes: stock.bytes(),
        };
        Ok(Arc::new(Self {
            dir: dir.to_path_buf(),
            desk: Mutex::new(desk),
            stock: Mutex::new(stock),
        }))
    }

    /// Leaves a freed segment to be put away.
    pub fn put_freed(&self, sequence: u64, file: SegmentFile) {
        self.desk.lock().freed.push_back((sequence, file));
    }

    /// Asks for the segment `sequence` ahead of need.
    pub fn want(&self, sequence: u64) {
        let mut desk = self.desk.lock();
        if desk.prepared.is_none() {
            desk.wanted = Some(sequence);
        }
    }

    /// Asks for a spare, for when no more can be made.
    pub fn want_reserve(&self) {
        self.desk.lock().reserve_wanted = true;
    }

    /// Whether there is something to do.
    pub fn has_work(&self) -> bool {
        let desk = self.desk.lock();
        let lacks_reserve = desk.reserve_wanted && !desk.has_reserve;
        desk.wanted.is_some() || !desk.freed.is_empty() || lacks_reserve
    }

    /// Deletes the spares beyond the reserve.
    pub fn give_back(&self) -> Result<(), WalError> {
        let mut stock = self.stock.lock();
        stock.give_back()?;
        self.desk.lock().spare_bytes = stock.bytes();
        Ok(())
    }

    /// Bytes on disk of segments that hold nothing, or nothing that is needed.
    pub fn bytes(&self) -> u64 {
        let desk = self.desk.lock();
        let prepared = desk.prepared.as_ref().map_or(0, |prepared| prepared.len);
        let freed: u64 = desk.freed.iter().map(|(_, file)| file.len).sum();
        prepared + freed + desk.spare_bytes
    }

    /// Does one short step; true if there is more to do.
    pub fn step(&self) -> Result<bool, WalError> {
        let mut stock = self.stock.lock();
        self.step_with(&mut stock)?;
        // The writer may be waiting: a thread that takes the lock again at once would keep it from it.
        MutexGuard::unlock_fair(stock);
        Ok(self.has_work())
    }

    /// What the writer may be waiting for goes first; a freed segment before it only if it can become that one.
    fn step_with(&self, stock: &mut Stock<D>) -> Result<(), WalError> {
        let (wanted, freed, reserve_wanted) = {
            let mut desk = self.desk.lock();
            let put_away = desk.wanted.is_none() || !stock.has_spare();
            let freed = if put_away {
                desk.freed.pop_front()
            } else {
                None
            };
            (desk.wanted, freed, desk.reserve_wanted)
        };
        let mut made = None;
        if let Some((sequence, mut segment)) = freed {
            // No new reader can get it now; one that has it keeps its bytes.
            let reusable = Arc::get_mut(&mut segment.file).is_some();
            stock.put_freed(sequence, segment.len, reusable)?;
        } else if let Some(sequence) = wanted {
            made = stock.step(sequence)?;
        } else if reserve_wanted {
            stock.step_reserve()?;
        }
        let mut desk = self.desk.lock();
        desk.spare_bytes = stock.bytes();
        desk.has_reserve = stock.has_reserve();
        if made.is_some() {
            desk.prepared = made;
            desk.wanted = None;
        }
        Ok(())
    }

    /// The segment `sequence`, at least `bytes` long: at once if it is ready, made here if not.
    pub fn take(&self, sequence: u64, bytes: u64) -> Result<Prepared<D::File>, WalError> {
        let mut prepared = match self.take_prepared() {
            Some(prepared) => prepared,
            None => self.make(sequence)?,
        };
        assert_eq!(prepared.sequence, sequence, "segments are used in order");
        if prepared.len < bytes {
            let path = path(&self.dir, sequence);
            let extended = extend(&*prepared.file, &path, bytes);
            if let Err(error) = extended {
                // There may be room for it later.
                self.desk.lock().prepared = Some(prepared);
                return Err(error);
            }
            prepared.len = bytes;
        }
        Ok(prepared)
    }

    fn take_prepared(&self) -> Option<Prepared<D::File>> {
        self.desk.lock().prepared.take()
    }

    fn make(&self, sequence: u64) -> Result<Prepared<D::File>, WalError> {
        let mut stock = self.stock.lock();
        self.want(sequence);
        loop {
            // The keeper may have finished it while this waited for the lock.
            if let Some(prepared) = self.take_prepared() {
                return Ok(prepared);
            }
            self.step_with(&mut stock)?;
        }
    }
}
