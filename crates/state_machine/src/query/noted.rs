//! What a plan that is about to run leaves behind: the use of its indexes is counted. A plan that is only explained is
//! not.

use std::sync::Arc;

use super::find::PlannedFind;
use super::planner::{Access, IndexScan};
use crate::catalog::IndexEntry;

impl PlannedFind {
    /// The same plan, after its use is noted. Called once for each operation, when it starts.
    pub fn noted(self) -> Self {
        match &self.plan.access {
            Access::Nothing | Access::Collection(_) => {}
            Access::Id(_) => {
                let collection = self.collection.iter();
                let mut indexes = collection.flat_map(|collection| &collection.indexes);
                if let Some(id) = indexes.find(|index| index.is_id()) {
                    id.usage.count();
                }
            }
            Access::Index(scan) => scan.index.usage.count(),
            Access::Union(union) => count_each_once(&union.branches),
        }
        self
    }

    /// The same plan, to be run over `scan` instead of its own access.
    pub fn noted_over(self, scan: &IndexScan) -> Self {
        scan.index.usage.count();
        self
    }
}

/// Many branches may be over one index, which was used once.
fn count_each_once(branches: &[IndexScan]) {
    let mut used: Vec<&Arc<IndexEntry>> = Vec::new();
    for branch in branches {
        if !used.iter().any(|index| Arc::ptr_eq(index, &branch.index)) {
            branch.index.usage.count();
            used.push(&branch.index);
        }
    }
}
