//! What a plan that is about to run leaves behind: the use of its indexes is counted, and the operation's owner is told. A
//! plan that is only explained leaves nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::find::PlannedFind;
use super::plan_summary::PlanSummary;
use super::planner::{Access, IndexScan};
use crate::catalog::IndexEntry;

impl PlannedFind {
    /// The same plan, after it was noted. Called once for each search, when it starts.
    pub fn noted(self) -> Self {
        self.count_use();
        self.find.interrupt.planned(&|| self.summary());
        self
    }

    /// The same for a plan whose rows are counted.
    pub fn noted_for_count(self) -> Self {
        self.count_use();
        let summary = || match &self.plan.access {
            Access::Index(scan) if self.plan.covers_filter => {
                PlanSummary::CountIndex(Arc::clone(&scan.index))
            }
            _ => self.summary(),
        };
        self.find.interrupt.planned(&summary);
        self
    }

    /// The same for a plan that is run over `scan` instead of its own access, one entry for each value.
    pub fn noted_for_distinct(self, scan: &IndexScan) -> Self {
        scan.index.usage.count();
        let summary = || PlanSummary::DistinctIndex(Arc::clone(&scan.index));
        self.find.interrupt.planned(&summary);
        self
    }

    fn count_use(&self) {
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
            Access::Intersection(scan) => {
                for side in &scan.sides {
                    side.index.usage.count();
                }
            }
            Access::Union(union) => {
                let mut counted = BTreeSet::new();
                for index in each_once(&union.branches) {
                    if counted.insert(index.id) {
                        index.usage.count();
                    }
                }
            }
        }
    }

    fn summary(&self) -> PlanSummary {
        match &self.plan.access {
            Access::Nothing => PlanSummary::Nothing,
            Access::Collection(_) => PlanSummary::Collection,
            Access::Id(_) => PlanSummary::Id,
            Access::Index(scan) => PlanSummary::Index(Arc::clone(&scan.index)),
            Access::Intersection(scan) => {
                let sides = scan.sides.iter();
                PlanSummary::Indexes(sides.map(|side| Arc::clone(&side.index)).collect())
            }
            Access::Union(union) => {
                let indexes = each_once(&union.branches).into_iter();
                PlanSummary::Indexes(indexes.map(Arc::clone).collect())
            }
        }
    }
}

/// The indexes of a union: many branches may be over one.
fn each_once(branches: &[IndexScan]) -> Vec<&Arc<IndexEntry>> {
    let mut indexes: Vec<&Arc<IndexEntry>> = Vec::new();
    for branch in branches {
        // A wildcard index has a form of its own in each branch.
        let is_same =
            |index: &&Arc<IndexEntry>| index.id == branch.index.id && index.key == branch.index.key;
        if !indexes.iter().any(is_same) {
            indexes.push(&branch.index);
        }
    }
    indexes
}
