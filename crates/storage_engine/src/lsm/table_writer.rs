//! Writes tables of `lsm-tree`'s, and decides where one ends and the next begins.
//!
//! A table that reached from the end of one kind of keys to the beginning of the next would stand in the way of all that comes
//! between later: what is new there would have to be merged with it, or with everything it spans. So a table ends where a kind
//! ends, unless there is so little of both kinds that tables would become too many.

use std::path::PathBuf;

use lsm_tree::table::Writer;
use lsm_tree::table::filter::BloomConstructionPolicy;
use lsm_tree::{CompressionType, InternalValue, Slice, Table};

use crate::lsm::Shared;
use crate::lsm::extent::kind;
use crate::lsm::list::{TableList, first};

const BITS_PER_KEY: f32 = 10.0;
/// From this depth on, filters and indexes of tables are read in parts when they are needed.
const PARTED_DEPTH: usize = 3;
/// Up to this depth the index of a table is kept in memory whole.
const INDEX_KEPT_DEPTH: usize = 1;
/// A table is up to this many times as large as the most that stands together with another kind.
const TOGETHER_PART: u64 = 16;
/// A table ends at the latest when its entries take this many times what it may.
const COMPRESSION_MAX: u64 = 4;
/// How often the length of a table is looked at, as a part of what it may be.
const LOOK_PART: u64 = 64;

/// How a table is written.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Its level; 0 for a flush.
    pub level: usize,
    /// Levels in use above its own, level 0 among them; 0 for a flush, whose tables are not compressed.
    pub depth: usize,
}

impl Place {
    pub const FLUSHED: Self = Self { level: 0, depth: 0 };
}

/// A table under way.
struct Begun {
    writer: Writer,
    path: PathBuf,
}

impl Begun {
    fn new(shared: &Shared, place: Place) -> lsm_tree::Result<Self> {
        let id = shared.new_table_id();
        let path = shared.dir.join("tables").join(id.to_string());
        let compression = match place.depth {
            0 => CompressionType::None,
            _ => CompressionType::Lz4,
        };
        let mut writer = Writer::new(path.clone(), id, place.level as u8)?
            .use_data_block_compression(compression);
        if place.depth >= PARTED_DEPTH {
            writer = writer.use_partitioned_index().use_partitioned_filter();
        }
        let writer = writer.use_bloom_policy(BloomConstructionPolicy::BitsPerKey(BITS_PER_KEY));
        Ok(Self { writer, path })
    }

    fn finish(self, shared: &Shared, place: Place) -> lsm_tree::Result<Option<Table>> {
        let Some((_, checksum)) = self.writer.finish()? else {
            return Ok(None);
        };
        Table::recover(
            self.path,
            checksum,
            0,
            shared.tree_id,
            shared.cache.clone(),
            Some(shared.descriptors.clone()),
            place.depth == 0,
            place.depth <= INDEX_KEPT_DEPTH,
        )
        .map(Some)
    }
}

/// Writes all entries into one table.
pub(crate) fn write_one(
    shared: &Shared,
    entries: impl Iterator<Item = lsm_tree::Result<InternalValue>>,
) -> lsm_tree::Result<Option<Table>> {
    let mut begun = Begun::new(shared, Place::FLUSHED)?;
    for entry in entries {
        begun.writer.write(entry?)?;
    }
    begun.finish(shared, Place::FLUSHED)
}

/// Keys between which a table must not reach.
#[derive(Default)]
pub(crate) struct Fences {
    /// First keys of tables that stay in the level, in order.
    level: Vec<Slice>,
    /// First keys of the tables in the levels below, in order.
    below: Vec<Slice>,
}

impl Fences {
    /// Of what is written to `level` while the tables that are not `gone` stay.
    pub fn of(list: &TableList, level: usize, gone: impl Fn(&Table) -> bool) -> Self {
        let of_level = list.levels[level].iter().flat_map(|run| run.iter());
        let staying = of_level.filter(|table| !gone(table));
        let below = list.levels[level + 1..].iter().flatten();
        let mut below: Vec<Slice> = below
            .flat_map(|run| run.iter().map(|table| first(table).clone()))
            .collect();
        below.sort();
        Self {
            level: staying.map(|table| first(table).clone()).collect(),
            below,
        }
    }
}

/// Whether a table begins between the keys; `firsts` are in order.
fn one_begins_between(firsts: &[Slice], from: &[u8], to: &[u8]) -> bool {
    let at = firsts.partition_point(|first| first[..] <= *from);
    firsts.get(at).is_some_and(|first| first[..] < *to)
}

/// Writes entries, which come in order, into as many tables as it takes.
pub(crate) struct TablesWriter<'a> {
    shared: &'a Shared,
    place: Place,
    fences: Fences,
    begun: Option<Begun>,
    /// Bytes of entries in the table under way, and how many it had when its length was looked at.
    bytes: u64,
    looked_at: u64,
    /// Of the newest kind, in this table and the ones before.
    kind_bytes: u64,
    last_key: Option<Slice>,
    /// Whether entries of the newest kind are held back: they stand together with the one before, or begin a table.
    is_holding: bool,
    held: Vec<InternalValue>,
    held_bytes: u64,
    made: Vec<Table>,
}

impl<'a> TablesWriter<'a> {
    pub fn new(shared: &'a Shared, place: Place, fences: Fences) -> Self {
        Self {
            shared,
            place,
            fences,
            begun: None,
            bytes: 0,
            looked_at: 0,
            kind_bytes: 0,
            last_key: None,
            is_holding: false,
            held: Vec::new(),
            held_bytes: 0,
            made: Vec::new(),
        }
    }

    /// What of a kind stands in one table with another.
    fn together_bytes(&self) -> u64 {
        self.shared.options.table_bytes / TOGETHER_PART
    }

    pub fn write(&mut self, entry: InternalValue) -> lsm_tree::Result<()> {
        let key = &entry.key.user_key;
        let last = self.last_key.replace(key.clone());
        if let Some(last) = last.filter(|last| last != key) {
            self.pass(&last, key)?;
        }
        if !self.is_holding {
            return self.append(entry);
        }
        self.held_bytes += bytes_of(&entry);
        self.held.push(entry);
        if self.held_bytes >= self.together_bytes() {
            self.end_table()?;
            self.append_held()?;
        }
        Ok(())
    }

    /// Before the first entry of a key: the table under way ends if it must not reach from the last key there.
    fn pass(&mut self, last: &Slice, next: &Slice) -> lsm_tree::Result<()> {
        if one_begins_between(&self.fences.level, last, next) {
            self.append_held()?;
            self.end_table()?;
            if kind(last) != kind(next) {
                self.kind_bytes = 0;
            }
            return Ok(());
        }
        if kind(last) == kind(next) {
            return match !self.is_holding && self.is_full()? {
                true => self.end_table(),
                false => Ok(()),
            };
        }
        self.append_held()?;
        let spans_others = one_begins_between(&self.fences.below, last, next);
        if self.kind_bytes >= self.together_bytes() || spans_others {
            self.end_table()?;
        }
        self.kind_bytes = 0;
        // How much there is of the kind that begins is not known yet.
        self.is_holding = self.begun.is_some();
        Ok(())
    }

    fn append(&mut self, entry: InternalValue) -> lsm_tree::Result<()> {
        let bytes = bytes_of(&entry);
        let begun = match &mut self.begun {
            Some(begun) => begun,
            none => none.insert(Begun::new(self.shared, self.place)?),
        };
        begun.writer.write(entry)?;
        self.bytes += bytes;
        self.kind_bytes += bytes;
        Ok(())
    }

    fn append_held(&mut self) -> lsm_tree::Result<()> {
        self.is_holding = false;
        self.held_bytes = 0;
        for entry in std::mem::take(&mut self.held) {
            self.append(entry)?;
        }
        Ok(())
    }

    fn is_full(&mut self) -> lsm_tree::Result<bool> {
        let full = self.shared.options.table_bytes;
        if self.bytes >= full.saturating_mul(COMPRESSION_MAX) {
            return Ok(true);
        }
        let Some(begun) = &self.begun else {
            return Ok(false);
        };
        if self.bytes - self.looked_at < full / LOOK_PART {
            return Ok(false);
        }
        self.looked_at = self.bytes;
        Ok(std::fs::metadata(&begun.path)?.len() >= full)
    }

    fn end_table(&mut self) -> lsm_tree::Result<()> {
        (self.bytes, self.looked_at) = (0, 0);
        if let Some(begun) = self.begun.take() {
            self.made.extend(begun.finish(self.shared, self.place)?);
        }
        Ok(())
    }

    /// The tables, in the order of their keys, each durable.
    pub fn finish(mut self) -> lsm_tree::Result<Vec<Table>> {
        self.append_held()?;
        self.end_table()?;
        Ok(self.made)
    }
}

fn bytes_of(entry: &InternalValue) -> u64 {
    (entry.key.user_key.len() + entry.value.len()) as u64
}

#[cfg(test)]
mod tests;
