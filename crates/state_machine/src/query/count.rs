//! `count`.

use super::find::PlannedFind;
use super::plan_summary::PlanSummary;
use super::request::{CountRequest, FindRequest, QueryError};
use super::scan::Touched;
use crate::Snapshot;

impl Snapshot {
    /// How many documents match. Without a filter this is the collection's counter, which includes every write
    /// that this snapshot shows and possibly later ones; with a filter it is exact as of the snapshot.
    pub fn count(&self, request: CountRequest) -> Result<u64, QueryError> {
        if self.is_view(&request.namespace) {
            return self.count_view(request);
        }
        let (skip, limit) = (request.skip, request.limit);
        if request.filter.is_empty() && request.hint.is_none() {
            request.interrupt.planned(&|| PlanSummary::Counter);
            let counts = self.counts(&request.namespace);
            let documents = counts.map_or(0, |counts| counts.documents);
            let left = documents.saturating_sub(skip);
            return Ok(limit.map_or(left, |limit| left.min(limit)));
        }
        let planned = self.parse_find(request.into_find())?.plan(self)?;
        let planned = planned.noted_for_count();
        Ok(count_matches(planned, self)?.0)
    }
}

impl Snapshot {
    fn count_view(&self, request: CountRequest) -> Result<u64, QueryError> {
        let mut count = 0;
        for row in self.find(request.into_find())? {
            row?;
            count += 1;
        }
        Ok(count)
    }
}

impl CountRequest {
    /// The find whose rows are counted.
    pub(super) fn into_find(self) -> FindRequest {
        FindRequest {
            skip: self.skip,
            limit: self.limit,
            hint: self.hint,
            context: self.context,
            interrupt: self.interrupt,
            ..FindRequest::new(self.namespace, self.filter)
        }
    }
}

/// How many rows the find would give, looking at documents only where the plan has to, and what that touched.
pub(super) fn count_matches(
    planned: PlannedFind,
    snapshot: &Snapshot,
) -> Result<(u64, Touched), QueryError> {
    let (skip, limit) = (planned.find.skip, planned.find.limit);
    let wanted = limit.map_or(u64::MAX, |limit| skip.saturating_add(limit));
    let covered = planned.plan.covers_filter;
    let mut scan = planned.scan(snapshot);
    let matches = if covered {
        scan.count_entries(wanted)?
    } else {
        let mut matches = 0;
        while matches < wanted && scan.next().transpose()?.is_some() {
            matches += 1;
        }
        matches
    };
    Ok((matches.saturating_sub(skip), scan.touched))
}
