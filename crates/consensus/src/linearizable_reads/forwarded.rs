//! Reads of a follower that wait for the leader's answer.

use std::collections::BTreeMap;

use crate::position::ReadTicket;

#[derive(Clone, Debug, Hash)]
struct Question {
    tickets: Vec<ReadTicket>,
    age_ticks: u32,
}

/// All reads that wait on a follower. One question is asked for all reads of a wake-up.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct ForwardedReads {
    gathering: Vec<ReadTicket>,
    asked: BTreeMap<u64, Question>,
    waiting: usize,
}

impl ForwardedReads {
    /// Reads that wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting
    }

    pub(crate) fn gather(&mut self, ticket: ReadTicket) {
        self.gathering.push(ticket);
        self.waiting += 1;
    }

    pub(crate) fn has_gathered(&self) -> bool {
        !self.gathering.is_empty()
    }

    /// All that gathered are asked for with `request`.
    pub(crate) fn ask(&mut self, request: u64) {
        let question = Question {
            tickets: std::mem::take(&mut self.gathering),
            age_ticks: 0,
        };
        let reused = self.asked.insert(request, question);
        assert!(reused.is_none(), "request {request} is asked a second time");
    }

    /// The reads that `request` asked for.
    pub(crate) fn answered(&mut self, request: u64) -> Vec<ReadTicket> {
        let tickets = self
            .asked
            .remove(&request)
            .map_or_else(Vec::new, |question| question.tickets);
        self.waiting -= tickets.len();
        tickets
    }

    /// A tick passed; returns the reads that waited for more than `ticks_max`.
    pub(crate) fn tick(&mut self, ticks_max: u32) -> Vec<ReadTicket> {
        for question in self.asked.values_mut() {
            question.age_ticks += 1;
        }
        let mut expired = Vec::new();
        // Questions are numbered in order, so the oldest comes first.
        while let Some(entry) = self
            .asked
            .first_entry()
            .filter(|e| e.get().age_ticks > ticks_max)
        {
            expired.extend(entry.remove().tickets);
        }
        self.waiting -= expired.len();
        expired
    }

    /// All that wait, in order of arrival.
    pub(crate) fn into_tickets(self) -> Vec<ReadTicket> {
        let asked = self
            .asked
            .into_values()
            .flat_map(|question| question.tickets);
        asked.chain(self.gathering).collect()
    }
}
