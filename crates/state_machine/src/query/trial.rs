//! Tries plans for `explain` with `allPlansExecution`: each for a bounded number of works, as far as its first rows. What
//! comes of it is shown only; how plans are chosen is the planner's.

use bson::{Bson, Document, doc};

use super::covering::Covering;
use super::explain::{Above, Executed, rejected_plans};
use super::find::PlannedFind;
use super::planner::Access;
use super::request::QueryError;
use super::scan::{Advance, Scan, Touched};
use crate::Snapshot;

/// Keys and documents one plan may look at.
const WORKS_MAX: u64 = 10_000;
/// Rows after which a plan has shown what it can do.
const RESULTS_MAX: u64 = 101;

/// What trying a plan came to.
#[derive(Debug, Clone, Copy, Default)]
struct Trial {
    touched: Touched,
    returned: u64,
    works: u64,
    /// Whether it had no more rows.
    ended: bool,
}

impl Trial {
    /// Runs the find over `access`. Rows that would have to be sorted come only when all were found.
    fn run(
        snapshot: &Snapshot,
        planned: &PlannedFind,
        access: &Access,
        must_sort: bool,
        covering: Option<Covering>,
    ) -> Result<Trial, QueryError> {
        let find = &planned.find;
        let mut scan = Scan::new(
            snapshot,
            planned.collection.as_ref().map_or(0, |found| found.id),
            access.clone(),
            find.sort.as_ref(),
            find.filter.clone(),
            find.interrupt.clone(),
        )
        .covered_by(covering);
        let wanted = find
            .limit
            .map_or(RESULTS_MAX, |limit| limit.min(RESULTS_MAX));
        let given = |matched: u64| matched.saturating_sub(find.skip).min(wanted);
        let mut trial = Trial::default();
        while trial.works < WORKS_MAX {
            if !must_sort && given(scan.touched.matched) == wanted {
                // A limit ends the rows, the end of the trial does not.
                trial.ended = find.limit == Some(wanted);
                break;
            }
            trial.works += 1;
            if let Advance::End = scan.advance()? {
                trial.ended = true;
                break;
            }
        }
        trial.touched = scan.touched;
        if trial.ended || !must_sort {
            trial.returned = given(trial.touched.matched);
        }
        if must_sort && trial.ended {
            trial.works += trial.returned;
            let all = trial.touched.matched.saturating_sub(find.skip);
            trial.ended = all <= trial.returned || find.limit == Some(trial.returned);
        }
        Ok(trial)
    }

    /// The same under a stage that counts: it gives no rows.
    fn below(self, above: Above) -> Trial {
        match above {
            Above::Count => Trial {
                returned: 0,
                ..self
            },
            _ => self,
        }
    }

    /// Counts over the winning access, which covers the filter: no documents are looked at.
    fn count(snapshot: &Snapshot, planned: &PlannedFind) -> Result<Trial, QueryError> {
        let find = &planned.find;
        let mut scan = Scan::new(
            snapshot,
            planned.collection.as_ref().map_or(0, |found| found.id),
            planned.plan.access.clone(),
            None,
            find.filter.clone(),
            find.interrupt.clone(),
        );
        let counted = scan.count_entries(WORKS_MAX)?;
        Ok(Trial {
            touched: scan.touched,
            returned: 0,
            works: scan.touched.keys,
            ended: counted < WORKS_MAX,
        })
    }
}

impl Snapshot {
    /// What each plan does when it is tried, the winner first; nothing where there was no choice.
    pub(super) fn try_all(
        &self,
        planned: &PlannedFind,
        above: Above,
        winner: impl FnOnce() -> Result<Document, QueryError>,
    ) -> Result<Vec<Bson>, QueryError> {
        let rejected = &planned.plan.rejected;
        if rejected.is_empty() {
            return Ok(Vec::new());
        }
        let mut trials = vec![Bson::Document(winner()?)];
        for ((access, must_sort), tree) in rejected.iter().zip(rejected_plans(planned, above)?) {
            let trial = Trial::run(self, planned, access, *must_sort, None)?.below(above);
            trials.push(Bson::Document(describe(trial, tree)));
        }
        Ok(trials)
    }

    pub(super) fn try_winner(
        &self,
        planned: &PlannedFind,
        winning_plan: &Document,
        above: Above,
    ) -> Result<Document, QueryError> {
        let plan = &planned.plan;
        let trial = match above == Above::Count && plan.covers_filter {
            true => Trial::count(self, planned)?,
            false => {
                let covering = plan.covering.clone();
                Trial::run(self, planned, &plan.access, plan.must_sort, covering)?.below(above)
            }
        };
        Ok(describe(trial, winning_plan.clone()))
    }
}

/// One element of `allPlansExecution`.
fn describe(trial: Trial, mut stages: Document) -> Document {
    let executed = Executed {
        returned: trial.returned,
        counted: None,
        touched: trial.touched,
        used_disk: false,
    };
    executed.fill(&mut stages);
    stages.insert("works", trial.works as i64);
    stages.insert("advanced", trial.returned as i64);
    let needed = trial
        .works
        .saturating_sub(trial.returned + u64::from(trial.ended));
    stages.insert("needTime", needed as i64);
    stages.insert("isEOF", i32::from(trial.ended));
    doc! {
        "nReturned": trial.returned as i64,
        "totalKeysExamined": trial.touched.keys as i64,
        "totalDocsExamined": trial.touched.documents as i64,
        "executionStages": stages,
    }
}
