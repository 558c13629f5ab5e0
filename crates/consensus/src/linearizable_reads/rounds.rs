//! The leader's rounds of read confirmation.
//!
//! One round is under way while the next gathers. A round's index is fixed when it starts, so every read in it
//! arrived before; a quorum that answers a heartbeat sent after that start proves that no
//! other leader had committed anything by then (Raft thesis §6.4). Round numbers are never reused.

use std::collections::BTreeSet;

use crate::membership::Membership;
use crate::position::{LogIndex, NodeId, ReadTicket};

/// Who waits for a read index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reader {
    /// The host of the leader.
    Local(ReadTicket),
    /// A follower, with its number for the question.
    Remote { from: NodeId, request: u64 },
}

#[derive(Clone, Debug, Hash)]
struct Round {
    number: u64,
    index: LogIndex,
    readers: Vec<Reader>,
    confirmed_by: BTreeSet<NodeId>,
}

/// All reads that wait on a leader.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct ReadRounds {
    under_way: Option<Round>,
    gathering: Vec<Reader>,
    newest: u64,
}

impl ReadRounds {
    /// Reads that wait.
    pub(crate) fn len(&self) -> usize {
        self.gathering.len()
            + self
                .under_way
                .as_ref()
                .map_or(0, |round| round.readers.len())
    }

    /// The newest round started, 0 before the first.
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    pub(crate) fn gather(&mut self, reader: Reader) {
        self.gathering.push(reader);
    }

    /// Whether a round can start once the leader is ready to.
    pub(crate) fn can_start(&self) -> bool {
        self.under_way.is_none() && !self.gathering.is_empty()
    }

    /// Starts a round for all that gathered.
    pub(crate) fn start(&mut self, number: u64, index: LogIndex) {
        assert!(
            self.can_start(),
            "a round is under way, or nobody waits for one"
        );
        assert!(number > self.newest, "round {number} was used before");
        self.newest = number;
        self.under_way = Some(Round {
            number,
            index,
            readers: std::mem::take(&mut self.gathering),
            confirmed_by: BTreeSet::new(),
        });
    }

    /// A heartbeat goes out with a number of its own, without a round.
    pub(crate) fn renumber(&mut self, number: u64) {
        assert!(number > self.newest, "round {number} was used before");
        self.newest = number;
    }

    /// `from` answered a heartbeat with this number: it confirms what began before that was sent.
    pub(crate) fn confirm(&mut self, from: NodeId, number: u64) {
        let newest = self.newest;
        if let Some(round) = self
            .under_way
            .as_mut()
            .filter(|round| round.number <= number && number <= newest)
        {
            round.confirmed_by.insert(from);
        }
    }

    /// All that gathered, if no round is needed to answer them.
    pub(crate) fn take_gathered(&mut self) -> Vec<Reader> {
        std::mem::take(&mut self.gathering)
    }

    /// Ends the round under way if a quorum, counting the leader `own`, confirmed it.
    pub(crate) fn finish(
        &mut self,
        own: NodeId,
        membership: &Membership,
    ) -> Option<(LogIndex, Vec<Reader>)> {
        let round = self.under_way.as_ref()?;
        if !membership.has_quorum(|id| id == own || round.confirmed_by.contains(&id)) {
            return None;
        }
        self.under_way
            .take()
            .map(|round| (round.index, round.readers))
    }

    /// All that wait, in order of arrival.
    pub(crate) fn into_readers(self) -> Vec<Reader> {
        let mut readers = self.under_way.map_or_else(Vec::new, |round| round.readers);
        readers.extend(self.gathering);
        readers
    }
}
