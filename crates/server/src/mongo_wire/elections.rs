//! How long the election that this member won last took: from asking for votes (pre-vote, Raft thesis §9.6) to the first commit
//! of the new term, with which it takes writes.
//!
//! Measured on the monotonic clock from the node's changes of status. An attempt that ends with another leader is forgotten;
//! one that has to be repeated counts from its first question on.

use std::time::{Duration, Instant};

use node::{NodeStatus, RoleName};
use parking_lot::Mutex;

use super::server::wall_ms;

/// An election that this member won.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Won {
    pub term: u64,
    /// When it asked for votes, milliseconds since 1970.
    pub began_ms: i64,
    /// From then until a majority had voted for it.
    pub elected: Duration,
    /// From then until an entry of the new term was committed.
    pub writable: Duration,
}

/// The member's attempts to be elected.
#[derive(Default)]
pub(crate) struct Elections {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    began: Option<(Instant, i64)>,
    elected: Option<Duration>,
    last: Option<Won>,
    won: u64,
}

impl Elections {
    /// Takes in the node's status.
    pub(crate) fn update(&self, status: &NodeStatus) {
        self.update_at(status, Instant::now());
    }

    fn update_at(&self, status: &NodeStatus, now: Instant) {
        let mut state = self.state.lock();
        match status.role {
            RoleName::PreCandidate | RoleName::Candidate => {
                state.began.get_or_insert_with(|| (now, wall_ms()));
                state.elected = None;
            }
            RoleName::Leader => {
                // The only voter asks nobody, and may be seen as a leader at once.
                let (began, began_ms) = *state.began.get_or_insert_with(|| (now, wall_ms()));
                let elapsed = now.saturating_duration_since(began);
                let elected = *state.elected.get_or_insert(elapsed);
                let counted = state.last.is_some_and(|won| won.term == status.term.0);
                if status.writable && !counted {
                    state.won += 1;
                    state.last = Some(Won {
                        term: status.term.0,
                        began_ms,
                        elected,
                        writable: elapsed,
                    });
                }
            }
            RoleName::Follower | RoleName::Learner => {
                state.began = None;
                state.elected = None;
            }
        }
    }

    /// The last one that was won.
    pub(crate) fn last(&self) -> Option<Won> {
        self.state.lock().last
    }

    /// Elections won since the start of the process.
    pub(crate) fn won(&self) -> u64 {
        self.state.lock().won
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::status;
    use super::*;

    #[test]
    fn counts_from_the_first_question_to_the_first_commit() {
        let elections = Elections::default();
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        elections.update_at(&status(RoleName::PreCandidate, 4, false), after(0));
        elections.update_at(&status(RoleName::Candidate, 5, false), after(3));
        elections.update_at(&status(RoleName::Leader, 5, false), after(8));
        assert_eq!(elections.last(), None);
        elections.update_at(&status(RoleName::Leader, 5, true), after(13));
        // A leader that hands over, fails to, and goes on was not elected again.
        elections.update_at(&status(RoleName::Leader, 5, false), after(500));
        elections.update_at(&status(RoleName::Leader, 5, true), after(900));
        let won = elections.last().expect("it was won");
        assert_eq!(won.term, 5);
        assert_eq!(won.elected, Duration::from_millis(8));
        assert_eq!(won.writable, Duration::from_millis(13));
        assert_eq!(elections.won(), 1);
    }

    #[test]
    fn an_attempt_that_another_member_won_is_forgotten() {
        let elections = Elections::default();
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        elections.update_at(&status(RoleName::PreCandidate, 4, false), after(0));
        elections.update_at(&status(RoleName::Follower, 5, false), after(9));
        elections.update_at(&status(RoleName::PreCandidate, 5, false), after(1_000));
        elections.update_at(&status(RoleName::Leader, 6, true), after(1_007));
        let won = elections.last().expect("it was won");
        assert_eq!((won.term, won.writable), (6, Duration::from_millis(7)));
    }
}
