//! The same log makes the same state: members that have applied the same index hold the same keys and values; every state is one
//! that the workloads allow; in the end every index says what the documents say.
//!
//! States are compared at every [`STRIDE`]th index, as of that index.

use std::collections::BTreeMap;
use std::ops::Bound;

use state_machine::Snapshot;

use crate::machine::SimulatedNode;
use crate::random::mix;
use crate::view::{Checker, WorldView};
use crate::workload::check_state;

type Finding = Result<(), String>;

/// Between two indexes at which states are compared.
const STRIDE: u64 = 64;
/// Keys from here on are the replicated state; what stands from [`LOCAL_FROM`] on is written when memory is sealed, which
/// members do at different times.
const REPLICATED_FROM: u8 = 0x02;
const LOCAL_FROM: u8 = 0x08;

/// The checker.
#[derive(Default)]
pub(super) struct States {
    /// Who had which state first.
    hashes: BTreeMap<u64, (u64, usize)>,
    /// The incarnation that was looked at, and the last index.
    looked_at: BTreeMap<usize, (u64, u64)>,
}

impl Checker for States {
    fn stepped(&mut self, view: &WorldView<'_>, machine: usize) -> Finding {
        let Some(node) = &view.machines[machine].node else {
            return Ok(());
        };
        let incarnation = view.machines[machine].incarnation;
        let reader = node.reader();
        let index = reader.applied_index() / STRIDE * STRIDE;
        if index == 0 || self.looked_at.get(&machine) == Some(&(incarnation, index)) {
            return Ok(());
        }
        self.looked_at.insert(machine, (incarnation, index));
        match reader.snapshot_at(index) {
            Ok(Some(snapshot)) => self.compare(&snapshot, machine),
            // No longer readable, or the storage is damaged and the process about to end.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    fn at_rest(&mut self, view: &WorldView<'_>) -> Finding {
        for machine in view.machines {
            let Some(node) = &machine.node else { continue };
            let snapshot = node.reader().snapshot();
            self.compare(&snapshot, machine.index)?;
            check_indexes(node, &snapshot)?;
        }
        Ok(())
    }
}

impl States {
    fn compare(&mut self, snapshot: &Snapshot, machine: usize) -> Finding {
        let index = snapshot.as_of();
        let Some(hash) = hash(snapshot) else {
            return Ok(());
        };
        check_state(snapshot).map_err(|finding| format!("as of entry {index}: {finding}"))?;
        let (first, who) = *self.hashes.entry(index).or_insert((hash, machine));
        match first == hash {
            true => Ok(()),
            false => Err(format!(
                "machines {who} and {machine} hold different states as of entry {index}"
            )),
        }
    }
}

/// `None`: the storage failed.
fn hash(snapshot: &Snapshot) -> Option<u64> {
    let mut hash = 0;
    let (from, to) = ([REPLICATED_FROM], [LOCAL_FROM]);
    for entry in snapshot.range(Bound::Included(&from), Bound::Excluded(&to)) {
        let (key, value) = entry.ok()?;
        hash = add(add(hash, &key), &value);
    }
    Some(hash)
}

/// Quick, for states are hashed often; nobody here makes collisions on purpose.
fn add(mut hash: u64, bytes: &[u8]) -> u64 {
    hash ^= bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
    mix(hash)
}

fn check_indexes(node: &SimulatedNode, snapshot: &Snapshot) -> Finding {
    for collection in snapshot.catalog().collections() {
        let verified = snapshot
            .verify_indexes(&collection.namespace)
            .map_err(|fault| fault.to_string())?;
        if let Some(found) = verified.filter(|found| !found.is_sound()) {
            return Err(format!(
                "{}: the indexes of {} do not agree with its documents: {found:?}",
                node.replica().id(),
                collection.namespace
            ));
        }
    }
    Ok(())
}
