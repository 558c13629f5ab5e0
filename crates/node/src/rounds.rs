//! When the next proposals go to the log and to followers: as one round, and not more rounds than it takes.
//!
//! Each round costs a sync on every member and messages both ways, whether it brings one entry or a hundred. Promises: what a
//! lone writer proposes goes at once; what comes while a round is under way goes with the next, when that one is committed,
//! or after [`HOLD_MAX`] where followers are far away; where many write, rounds are [`INTERVAL`] apart, unless all that write
//! wait already. Knows no clock: it is told the time.

use std::time::Duration;

/// A round of more proposals than this lets the next one wait for its like.
const FEW: usize = 4;
/// Time from one such round to the next.
const INTERVAL: Duration = Duration::from_millis(2);
/// The longest time from one round to the next that waits for its commit.
const HOLD_MAX: Duration = Duration::from_millis(4);
/// By such a part the crowd is taken for smaller with each round that brings fewer.
const FORGETTING: usize = 8;

/// The rounds until now.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    begun: Duration,
    /// Proposals in the last one.
    size: usize,
    /// Those in the largest of late: about how many write at once, where each waits for its answer before it goes on.
    crowd: usize,
}

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hold {
    pub time: Duration,
    /// So many more proposals end it before.
    pub until_more: usize,
}

impl Rounds {
    /// A round of so many proposals begins.
    pub fn begin(&mut self, size: usize, now: Duration) {
        self.begun = now;
        self.size = size;
        self.crowd = size.max(self.crowd - self.crowd / FORGETTING);
    }

    /// What `held` proposals, or the first that comes, are to wait for; `None` when they go. `under_way`: the round before is not
    /// committed.
    pub fn hold(&self, held: usize, under_way: bool, now: Duration) -> Option<Hold> {
        let (apart, until_more) = if under_way {
            (HOLD_MAX, usize::MAX)
        } else if self.size > FEW {
            (INTERVAL, self.crowd.saturating_sub(held))
        } else {
            return None;
        };
        let time = self.begun.saturating_add(apart).saturating_sub(now);
        (!time.is_zero() && until_more > 0).then_some(Hold { time, until_more })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_lone_writer_waits_for_nobody() {
        let mut rounds = Rounds::default();
        for now in 1..20 {
            assert_eq!(rounds.hold(0, false, ms(now)), None);
            rounds.begin(1, ms(now));
        }
    }

    #[test]
    fn what_comes_while_a_round_is_under_way_waits_for_its_commit_but_not_for_ever() {
        let mut rounds = Rounds::default();
        rounds.begin(1, ms(100));
        let hold = rounds.hold(3, true, ms(101)).expect("it is under way");
        assert_eq!((hold.time, hold.until_more), (HOLD_MAX - ms(1), usize::MAX));
        assert_eq!(rounds.hold(3, false, ms(101)), None);
        assert_eq!(rounds.hold(3, true, ms(100) + HOLD_MAX), None);
        // A clock that stands at its end does not overflow.
        rounds.begin(1, Duration::MAX);
        assert_eq!(rounds.hold(3, true, Duration::MAX), None);
    }

    #[test]
    fn where_many_write_rounds_are_apart_unless_all_of_them_wait() {
        let mut rounds = Rounds::default();
        rounds.begin(FEW + 8, ms(10));
        let hold = rounds.hold(FEW, false, ms(11)).expect("others may come");
        assert_eq!((hold.time, hold.until_more), (INTERVAL - ms(1), 8));
        assert_eq!(rounds.hold(FEW + 8, false, ms(11)), None);
    }

    #[test]
    fn nobody_waits_for_a_crowd_or_a_commit_once_the_time_is_over() {
        let mut rounds = Rounds::default();
        rounds.begin(64, ms(10));
        assert_eq!(rounds.hold(0, false, ms(10) + INTERVAL), None);
        assert_eq!(rounds.hold(0, true, ms(10) + HOLD_MAX), None);
    }

    #[test]
    fn writers_that_have_left_are_forgotten() {
        let mut rounds = Rounds::default();
        rounds.begin(256, ms(0));
        let mut now = 0;
        while rounds.hold(16, false, ms(now)).is_some() {
            now += 1;
            rounds.begin(16, ms(now));
        }
        assert!(now < 64);
    }
}
