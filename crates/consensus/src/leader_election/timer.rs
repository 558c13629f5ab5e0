//! When to campaign.
//!
//! Ordinarily after a random time between the shortest and the longest election timeout, and, should nobody have been
//! won over by then, once more soon after: others may have begun to miss the leader a tick later. When the leader's
//! connection was reset the replica hurries: it campaigns within a few ticks and, should that fail because
//! the others have not noticed yet or campaign themselves, tries again soon, a bounded number of times.

use std::hash::{Hash, Hasher};

use crate::input::Config;
use crate::random::Random;

/// How long election timeouts are: those of the configuration, and more for a replica that others outrank.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    min: u32,
    max: u32,
    /// How many priorities above the own one there are, up to [`RANKS_MAX`].
    outranked_by: u32,
}

impl Pace {
    pub(crate) fn new(config: &Config, outranked_by: u32) -> Pace {
        let outranked_by = outranked_by.min(RANKS_MAX);
        let span = config.election_ticks_max - config.election_ticks_min;
        let wait = span.saturating_mul(outranked_by);
        Pace {
            min: config.election_ticks_min.saturating_add(wait),
            max: config.election_ticks_max.saturating_add(wait),
            outranked_by,
        }
    }
}

/// Lower priorities than this many do not wait any longer.
const RANKS_MAX: u32 = 3;
/// How much longer a hurrying replica waits for each priority above its own.
const HURRIED_RANK_TICKS: u32 = 4;

/// Campaigns that a hurrying replica starts before it falls back to ordinary timeouts.
const HURRIED_TRIES: u32 = 8;
/// The spread of the first campaign after a reset connection, so that two followers rarely collide.
const SPREAD_TICKS_MAX: u32 = 2;
/// How soon a hurrying replica tries again after it was refused.
const RETRY_TICKS: (u32, u32) = (1, 4);
/// How long a replica waits for pre-votes, which need no disk, before it asks again: always if it hurries, else once.
const PRE_VOTE_TICKS: (u32, u32) = (3, 6);
/// How long a hurrying replica waits for votes, which need two syncs.
const VOTE_TICKS: (u32, u32) = (8, 15);

/// Counts ticks up to the next campaign.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ElectionTimer {
    elapsed: u32,
    timeout: u32,
    /// Hurried campaigns left; 0 when there is no hurry.
    tries_left: u32,
    /// Pre-votes were asked for without hurry, and are to be asked for again soon.
    asks_again: bool,
}

/// Timers that were set equally long ago count as equal: when each is due is drawn at random.
impl Hash for ElectionTimer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.elapsed, self.tries_left, self.asks_again).hash(state);
    }
}

impl ElectionTimer {
    /// An ordinary election timeout.
    pub(crate) fn ordinary(random: &mut Random, pace: Pace) -> ElectionTimer {
        let timeout = random.ticks(pace.min, pace.max);
        ElectionTimer {
            elapsed: 0,
            timeout,
            tries_left: 0,
            asks_again: false,
        }
    }

    /// Fires at the next tick.
    pub(crate) fn at_once() -> ElectionTimer {
        ElectionTimer {
            elapsed: 0,
            timeout: 1,
            tries_left: 0,
            asks_again: false,
        }
    }

    /// The leader's connection was reset. May be due already.
    pub(crate) fn hurried(random: &mut Random, pace: Pace) -> ElectionTimer {
        let wait = pace.outranked_by * HURRIED_RANK_TICKS;
        ElectionTimer {
            elapsed: 0,
            timeout: random.ticks(wait, wait + SPREAD_TICKS_MAX),
            tries_left: HURRIED_TRIES,
            asks_again: false,
        }
    }

    fn hurried_or_ordinary(
        self,
        (min, max): (u32, u32),
        random: &mut Random,
        pace: Pace,
    ) -> ElectionTimer {
        if self.tries_left == 0 {
            ElectionTimer::ordinary(random, pace)
        } else {
            let timeout = random.ticks(min, max).min(pace.max);
            ElectionTimer {
                elapsed: 0,
                timeout,
                tries_left: self.tries_left,
                asks_again: false,
            }
        }
    }

    /// A pre-vote begins; it uses up one hurried try.
    pub(crate) fn for_pre_vote(self, random: &mut Random, pace: Pace) -> ElectionTimer {
        if self.tries_left == 0 && !self.asks_again {
            let (min, max) = PRE_VOTE_TICKS;
            return ElectionTimer {
                elapsed: 0,
                timeout: random.ticks(min, max).min(pace.max),
                tries_left: 0,
                asks_again: true,
            };
        }
        let fewer = ElectionTimer {
            tries_left: self.tries_left.saturating_sub(1),
            ..self
        };
        fewer.hurried_or_ordinary(PRE_VOTE_TICKS, random, pace)
    }

    /// A campaign begins.
    pub(crate) fn for_vote(self, random: &mut Random, pace: Pace) -> ElectionTimer {
        self.hurried_or_ordinary(VOTE_TICKS, random, pace)
    }

    /// A campaign or a pre-vote was lost.
    pub(crate) fn for_retry(self, random: &mut Random, pace: Pace) -> ElectionTimer {
        self.hurried_or_ordinary(RETRY_TICKS, random, pace)
    }

    /// Leaves time for the campaign of another replica that was just encouraged.
    pub(crate) fn yield_to_other(&mut self, random: &mut Random, pace: Pace) {
        let wait = random
            .ticks(PRE_VOTE_TICKS.0, PRE_VOTE_TICKS.1)
            .min(pace.max);
        self.timeout = self.timeout.max(self.elapsed.saturating_add(wait));
    }

    pub(crate) fn tick(&mut self) {
        self.elapsed = self.elapsed.saturating_add(1);
    }

    pub(crate) fn is_due(self) -> bool {
        self.elapsed >= self.timeout
    }

    /// Ticks since the timer was set: for a follower, since its leader was heard.
    pub(crate) fn elapsed(self) -> u32 {
        self.elapsed
    }
}
