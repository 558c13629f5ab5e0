//! A directory as its users see it and as the disk has it.

use std::collections::BTreeMap;

use super::survival::Survival;

/// The number of a file or directory.
pub(crate) type Inode = u64;

/// A change of names that was not synced yet. A rename is one change: never is the file gone under both names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntryChange {
    pub made: u64,
    pub removed: Option<String>,
    pub set: Option<(String, Inode)>,
}

/// The names in a directory.
#[derive(Debug, Default)]
pub(crate) struct DirectoryBody {
    pub seen: BTreeMap<String, Inode>,
    durable: BTreeMap<String, Inode>,
    pending: Vec<EntryChange>,
}

impl DirectoryBody {
    pub fn change(&mut self, change: EntryChange) {
        apply(&mut self.seen, &change);
        self.pending.push(change);
    }

    /// Everything seen is on disk from now on. Returns the moments of the changes that were not before.
    pub fn sync(&mut self) -> Vec<u64> {
        self.durable.clone_from(&self.seen);
        self.pending.drain(..).map(|change| change.made).collect()
    }

    /// The other half of a rename between directories is on disk: so is this one.
    pub fn sync_change(&mut self, made: u64) {
        let (due, rest) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|change: &EntryChange| change.made == made);
        self.pending = rest;
        for change in &due {
            apply(&mut self.durable, change);
        }
    }

    /// When the changes were made that are not on disk.
    pub fn pending(&self) -> impl Iterator<Item = u64> {
        self.pending.iter().map(|change| change.made)
    }

    /// The power went. Returns whether anything was lost.
    pub fn lose_power(&mut self, survives: &BTreeMap<u64, bool>) -> bool {
        let before = std::mem::take(&mut self.seen);
        for change in std::mem::take(&mut self.pending) {
            if survives[&change.made] {
                apply(&mut self.durable, &change);
            }
        }
        self.seen.clone_from(&self.durable);
        self.seen != before
    }

    /// Every file that is named here, or would be after some power loss.
    pub fn reachable(&self) -> impl Iterator<Item = Inode> {
        let set = self.pending.iter().filter_map(|change| change.set.as_ref());
        let pending = set.map(|(_, inode)| *inode);
        self.seen
            .values()
            .chain(self.durable.values())
            .copied()
            .chain(pending)
    }
}

/// Decides of each change of names, once: a rename between directories is one change in two of them.
pub(crate) fn decide(
    moments: impl Iterator<Item = u64>,
    survival: &mut Survival,
) -> BTreeMap<u64, bool> {
    let mut decided = BTreeMap::new();
    for made in moments {
        decided.entry(made).or_insert_with(|| survival.change(made));
    }
    decided
}

fn apply(names: &mut BTreeMap<String, Inode>, change: &EntryChange) {
    if let Some(name) = &change.removed {
        names.remove(name);
    }
    if let Some((name, inode)) = &change.set {
        names.insert(name.clone(), *inode);
    }
}
