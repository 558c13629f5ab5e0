//! Says how far the log has been applied again after a start, when that takes long.

use consensus::LogIndex;

use crate::config::Notices;

/// Entries between two sentences; a start that has fewer to apply says nothing.
const STEP_ENTRIES: u64 = 100_000;

/// Entries that were in the log when the node started and not in the engine.
pub(crate) struct Replay {
    from: u64,
    until: u64,
    next: u64,
    notices: Notices,
}

impl Replay {
    /// Of the entries after `applied` up to `last`.
    pub fn new(applied: LogIndex, last: LogIndex, notices: Notices) -> Self {
        Replay {
            from: applied.0,
            until: last.0,
            next: applied.0 + STEP_ENTRIES,
            notices,
        }
    }

    /// `index` has been applied.
    pub fn applied(&mut self, index: u64) {
        if index < self.next || self.until - self.from < STEP_ENTRIES || index > self.until {
            return;
        }
        self.next = (index + STEP_ENTRIES).min(self.until);
        let (done, all) = (index - self.from, self.until - self.from);
        let percent = done * 100 / all;
        self.notices.say(&format!(
            "applied {done} of the {all} entries that the engine lacked ({percent}%)"
        ));
        if index == self.until {
            self.next = u64::MAX;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    fn said(entries: u64) -> Vec<String> {
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let hears = said.clone();
        let notices = Notices::new(move |what| hears.lock().push(what.to_owned()));
        let mut replay = Replay::new(LogIndex(10), LogIndex(10 + entries), notices);
        for index in 11..10 + entries + 500_000 {
            replay.applied(index);
        }
        let said = said.lock();
        said.clone()
    }

    #[test]
    fn a_long_replay_says_how_far_it_is_and_when_it_is_done() {
        assert_eq!(said(0), [""; 0]);
        assert_eq!(said(STEP_ENTRIES - 1), [""; 0]);
        let said = said(2 * STEP_ENTRIES + 1);
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].contains("100000 of the 200001") && said[2].contains("(100%)"));
    }
}
