//! Judges of a running cluster: Figure 3 of the Raft paper, what members promised each other, memberships, and states.
//!
//! All are white-box: they look at the replicas and the messages after every step of a worker, and only at what that step
//! changed. What clients saw is judged by the workloads (`crate::workload`).
//!
//! To add a checker: a type that implements [`Checker`], and a line in [`all`].

mod log;
mod memberships;
mod promises;
mod states;

#[cfg(test)]
mod tests;

use crate::view::Checker;

/// Every checker, for a new run.
pub fn all() -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(log::RaftLog::default()),
        Box::new(promises::Promises::default()),
        Box::new(memberships::Memberships::default()),
        Box::new(states::States::default()),
    ]
}
