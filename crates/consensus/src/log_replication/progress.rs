//! What a leader knows of one follower, and what it should send it next.
//!
//! A follower is probed with one request at a time until the leader knows where their logs agree; then
//! entries are pipelined through a window. Entries that left memory are fetched from disk first, and
//! a follower that needs entries no longer in the log gets a snapshot.

use std::collections::VecDeque;

use crate::input::Config;
use crate::log::Log;
use crate::position::{LogIndex, LogPosition};

/// How long after its delivery a snapshot may take to be installed, in longest election timeouts.
const INSTALL_ELECTION_TIMEOUTS: u32 = 10;

/// Append requests under way.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Window {
    /// The last index and the weight of each.
    requests: VecDeque<(LogIndex, usize)>,
    bytes: usize,
}

impl Window {
    fn sent(&mut self, last: LogIndex, bytes: usize) {
        self.requests.push_back((last, bytes));
        self.bytes += bytes;
    }

    fn acknowledged(&mut self, through: LogIndex) {
        while let Some((_, bytes)) = self.requests.pop_front_if(|(last, _)| *last <= through) {
            self.bytes -= bytes;
        }
    }

    fn is_full(&self, config: &Config) -> bool {
        self.requests.len() >= config.inflight_messages_max
            || self.bytes > 0 && self.bytes >= config.inflight_bytes_max
    }
}

/// How the follower is being served.
#[derive(Clone, Debug, Hash)]
enum State {
    /// It is not known where the logs agree: one request at a time.
    Probe { outstanding: bool },
    /// Entries are sent ahead of their acknowledgements.
    Replicate(Window),
    /// Entries are being read from disk; with what was under way before, if the logs agree.
    Fetching {
        from: LogIndex,
        window: Option<Window>,
    },
    /// The host streams a snapshot, or has delivered it up to `delivered`.
    Snapshot { delivered: Option<LogIndex> },
}

/// What to do next for a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Wait,
    /// Send entries from `Progress::next_index` on, perhaps none.
    Append,
    /// Read entries from `Progress::next_index` on from disk.
    Fetch,
    Snapshot,
}

/// What a leader knows of one follower.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Progress {
    match_index: Option<LogIndex>,
    next_index: LogIndex,
    state: State,
    /// Ticks since something was sent without any progress being seen.
    waiting_ticks: u32,
    /// Ticks since it was heard from, or since this leader began to listen.
    silent_ticks: u32,
    /// Whether this leader ever heard from it.
    heard: bool,
    /// A member no more since the membership at this index; it is still sent the log up to there, and told that it is committed.
    pub(crate) departs_at: Option<LogIndex>,
    /// The highest commit index the follower was told.
    pub(crate) commit_sent: LogIndex,
    /// Whether its disk is full, as it said last.
    pub(crate) disk_full: Option<bool>,
}

impl Progress {
    pub(crate) fn new(next_index: LogIndex) -> Progress {
        Progress {
            match_index: None,
            next_index,
            state: State::Probe { outstanding: false },
            waiting_ticks: 0,
            silent_ticks: 0,
            heard: false,
            departs_at: None,
            commit_sent: LogIndex(0),
            disk_full: None,
        }
    }

    pub(crate) fn match_index(&self) -> Option<LogIndex> {
        self.match_index
    }

    pub(crate) fn next_index(&self) -> LogIndex {
        self.next_index
    }

    /// A sign of life.
    pub(crate) fn heard(&mut self) {
        self.heard = true;
        self.silent_ticks = 0;
    }

    /// Whether a longest election timeout has not passed since it was heard from, or since there was first reason to
    /// expect that: a leader that is not in touch with a quorum steps down.
    pub(crate) fn is_in_touch(&self, config: &Config) -> bool {
        self.silent_ticks < config.election_ticks_max
    }

    /// Whether it was heard from within a longest election timeout.
    pub(crate) fn is_recently_active(&self, config: &Config) -> bool {
        self.heard && self.is_in_touch(config)
    }

    /// Ticks since it was heard from.
    pub(crate) fn heard_ticks_ago(&self) -> Option<u32> {
        self.heard.then_some(self.silent_ticks)
    }

    /// Whether a former member may be forgotten: it was told that its removal is committed, or is silent.
    pub(crate) fn is_gone(&self, commit: LogIndex, config: &Config) -> bool {
        self.departs_at.is_some_and(|index| {
            commit >= index && (self.commit_sent >= index || !self.is_recently_active(config))
        })
    }

    /// How much of `commit` is known to be in the follower's log.
    pub(crate) fn known_commit(&self, commit: LogIndex) -> LogIndex {
        self.match_index.unwrap_or_default().min(commit)
    }

    /// What to do next.
    pub(crate) fn next(&self, log: &Log, config: &Config) -> Next {
        let wait = match &self.state {
            State::Probe { outstanding } => {
                let nothing_to_learn = self.match_index == Some(log.last_index());
                *outstanding || nothing_to_learn
            }
            State::Replicate(window) => {
                self.next_index > log.last_index() || window.is_full(config)
            }
            State::Fetching { .. } | State::Snapshot { .. } => true,
        };
        if wait {
            Next::Wait
        } else if self.next_index < log.first_index() {
            // A snapshot is costly: not to somebody who may be gone, or leaves.
            if self.is_recently_active(config) && self.departs_at.is_none() {
                Next::Snapshot
            } else {
                Next::Wait
            }
        } else if self.next_index < log.cache_first() {
            Next::Fetch
        } else {
            Next::Append
        }
    }

    /// A request with entries after `previous` up to `last` was sent.
    pub(crate) fn sent(&mut self, last: LogIndex, bytes: usize) {
        match &mut self.state {
            State::Probe { outstanding } => {
                *outstanding = true;
                self.waiting_ticks = 0;
            }
            State::Replicate(window) => {
                if window.requests.is_empty() {
                    self.waiting_ticks = 0;
                }
                window.sent(last, bytes);
                // Late acknowledgements may have overtaken entries that were fetched from disk meanwhile.
                self.next_index = self.next_index.max(last.next());
            }
            State::Fetching { .. } | State::Snapshot { .. } => {
                panic!("nothing may be sent to a follower that waits for a fetch or a snapshot")
            }
        }
    }

    pub(crate) fn fetching(&mut self) {
        let window = match &mut self.state {
            State::Replicate(window) => Some(std::mem::take(window)),
            _ => None,
        };
        self.state = State::Fetching {
            from: self.next_index,
            window,
        };
    }

    /// Ends a fetch. `false`: none was under way from that index.
    pub(crate) fn fetched(&mut self, from: Option<LogIndex>) -> bool {
        let State::Fetching {
            from: asked,
            window,
        } = &mut self.state
        else {
            return false;
        };
        if from.is_some_and(|from| from != *asked) {
            return false;
        }
        self.state = match window.take() {
            Some(window) => State::Replicate(window),
            None => State::Probe { outstanding: false },
        };
        true
    }

    pub(crate) fn snapshot_requested(&mut self) {
        self.state = State::Snapshot { delivered: None };
        self.waiting_ticks = 0;
    }

    /// The host's snapshot stream ended.
    pub(crate) fn snapshot_sent(&mut self, position: LogPosition, delivered: bool) {
        if !matches!(self.state, State::Snapshot { delivered: None }) {
            return;
        }
        self.waiting_ticks = 0;
        self.state = if delivered {
            State::Snapshot {
                delivered: Some(position.index),
            }
        } else {
            // Waits for a sign of life before it tries again.
            State::Probe { outstanding: true }
        };
    }

    /// The follower's log equals the leader's up to `match_index`.
    pub(crate) fn accepted(&mut self, match_index: LogIndex, log: &Log) {
        let known = self
            .match_index
            .map_or(match_index, |known| known.max(match_index));
        if self.match_index != Some(known) {
            self.waiting_ticks = 0;
        }
        self.match_index = Some(known);
        self.next_index = self.next_index.max(known.next());
        match &mut self.state {
            State::Probe { .. } => {
                self.next_index = known.next();
                self.state = State::Replicate(Window::default());
            }
            State::Replicate(window) => window.acknowledged(known),
            State::Fetching { window, .. } => {
                if let Some(window) = window {
                    window.acknowledged(known);
                }
            }
            State::Snapshot { .. } => {
                if known.next() >= log.first_index() {
                    self.next_index = known.next();
                    self.state = State::Replicate(Window::default());
                }
            }
        }
    }

    /// The follower has nothing at `previous`, or another term; `conflict` is where it may agree.
    pub(crate) fn rejected(&mut self, previous: LogIndex, conflict: LogPosition, log: &Log) {
        let stale = match &self.state {
            State::Probe { .. } => previous.next() != self.next_index,
            State::Replicate(_)
            | State::Fetching {
                window: Some(_), ..
            } => {
                self.match_index.is_some_and(|known| previous <= known)
                    || previous >= self.next_index
            }
            State::Fetching { window: None, .. } | State::Snapshot { .. } => true,
        };
        if stale || previous == LogIndex(0) {
            return;
        }
        let guess = match log.last_index_with_term_at_most(conflict.index, conflict.term) {
            Some(index) => index.next(),
            None => log.start().index,
        };
        let lowest = self.match_index.map_or(LogIndex(1), LogIndex::next);
        let next_index = guess.min(previous).max(lowest);
        // A follower that lacks what it acknowledged has lost its disk: no use in asking it at full speed.
        let outstanding = next_index > previous;
        self.next_index = next_index;
        self.state = State::Probe { outstanding };
        self.waiting_ticks = 0;
    }

    /// The connection was reset: what was under way is probably lost.
    pub(crate) fn disconnected(&mut self) {
        if matches!(self.state, State::Snapshot { delivered: None }) {
            return;
        }
        if let Some(known) = self.match_index {
            self.next_index = known.next();
        }
        self.state = State::Probe { outstanding: true };
        self.waiting_ticks = 0;
    }

    pub(crate) fn tick(&mut self) {
        self.waiting_ticks = self.waiting_ticks.saturating_add(1);
        self.silent_ticks = self.silent_ticks.saturating_add(1);
    }

    /// The follower answered a heartbeat, so it lives. Frees what was probably lost. `true`: an empty append at the
    /// end of the window should ask how far the follower has come.
    pub(crate) fn alive(&mut self, config: &Config) -> bool {
        self.heard();
        if self.waiting_ticks < config.heartbeat_ticks {
            return false;
        }
        match &mut self.state {
            State::Probe { outstanding } => *outstanding = false,
            State::Replicate(window) if !window.requests.is_empty() => {
                self.waiting_ticks = 0;
                return true;
            }
            State::Snapshot {
                delivered: Some(index),
            } => {
                let patience = config
                    .election_ticks_max
                    .saturating_mul(INSTALL_ELECTION_TIMEOUTS);
                if self.waiting_ticks >= patience {
                    self.next_index = index.next().max(self.next_index);
                    self.state = State::Probe { outstanding: false };
                }
            }
            State::Replicate(_) | State::Fetching { .. } | State::Snapshot { delivered: None } => {}
        }
        false
    }

    pub(crate) fn check_invariants(&self, log: &Log) {
        assert!(
            self.match_index <= Some(log.last_index()),
            "a follower matches past the log's end"
        );
        assert!(
            self.match_index.is_none_or(|known| known < self.next_index),
            "a follower's next index is not past its match"
        );
        assert!(
            self.next_index <= log.last_index().next(),
            "a follower's next index leaves a gap"
        );
        if let State::Replicate(window)
        | State::Fetching {
            window: Some(window),
            ..
        } = &self.state
        {
            let bytes: usize = window.requests.iter().map(|(_, bytes)| bytes).sum();
            assert_eq!(bytes, window.bytes, "the weight of a window is wrong");
        }
    }
}

#[cfg(test)]
mod tests;
