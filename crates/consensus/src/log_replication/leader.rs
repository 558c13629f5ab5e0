//! The leader's side: proposals, appends, acknowledgements, the commit rule, heartbeats.
//!
//! Proposals of one wake-up accumulate; each follower then gets them in as few requests as their
//! weight allows. The leader's own copy counts towards a quorum only once it is durable, like anybody's.

use crate::effects::{Fetch, ProposalResult};
use crate::input::Proposal;
use crate::log_replication::progress::Next;
use crate::messages::{AppendOutcome, Envelope, Message};
use crate::position::{Entry, EntryKind, LogIndex, LogPosition, NodeId};
use crate::replica::Replica;
use crate::roles::Role;

impl Replica {
    pub(crate) fn propose(&mut self, proposals: Vec<Proposal>) {
        for Proposal { id, payload } in proposals {
            let result = self.propose_one(EntryKind::Command(payload));
            self.out.proposals.push((id, result));
        }
    }

    fn propose_one(&mut self, kind: EntryKind) -> ProposalResult {
        let Role::Leader(leader) = &self.role else {
            return ProposalResult::NotLeader {
                leader: self.leader(),
            };
        };
        if leader.transfer.is_some() {
            return ProposalResult::NotLeader { leader: None };
        }
        let uncommitted = leader.uncommitted_bytes;
        // One proposal is always let in, however large.
        if uncommitted > 0 && uncommitted >= self.config.uncommitted_bytes_max {
            return ProposalResult::Overloaded;
        }
        ProposalResult::Accepted(self.append_own(kind))
    }

    /// Appends an entry of the own term to the own log; it is sent at the end of the wake-up.
    pub(crate) fn append_own(&mut self, kind: EntryKind) -> LogPosition {
        let entry = Entry {
            index: self.log.last_index().next(),
            term: self.term,
            kind,
        };
        let position = entry.position();
        let Role::Leader(leader) = &mut self.role else {
            panic!(
                "{} appends to its own log but does not lead {}",
                self.config.id, self.term
            )
        };
        leader.uncommitted_bytes += entry.bytes();
        self.append_entry(entry);
        position
    }

    /// Sends each follower what it can take.
    pub(crate) fn send_appends(&mut self) {
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        for (to, progress) in &mut leader.progress {
            loop {
                match progress.next(&self.log, &self.config) {
                    Next::Wait => break,
                    Next::Append => {
                        let from = progress.next_index();
                        let previous = self
                            .log
                            .position_at(from.previous())
                            .expect("the entry before the first one at hand is known");
                        let entries = self
                            .log
                            .cached_up_to_bytes(from, self.config.append_bytes_max);
                        let bytes = entries.iter().map(Entry::bytes).sum();
                        let last = entries.last().map_or(previous.index, |entry| entry.index);
                        progress.sent(last, bytes);
                        progress.commit_sent = progress.commit_sent.max(self.commit.min(last));
                        let commit = self.commit;
                        self.out.send_now.push(Envelope {
                            from: self.config.id,
                            to: *to,
                            term: self.term,
                            message: Message::AppendRequest {
                                previous,
                                entries,
                                commit,
                            },
                        });
                    }
                    Next::Fetch => {
                        progress.fetching();
                        self.out.fetch.push(Fetch {
                            to: *to,
                            from: progress.next_index(),
                            bytes_max: self.config.append_bytes_max,
                        });
                    }
                    Next::Snapshot => {
                        progress.snapshot_requested();
                        self.out.send_snapshot.push(*to);
                    }
                }
            }
        }
    }

    /// Entries for a slow follower were read from disk.
    pub(crate) fn entries_fetched(&mut self, to: NodeId, entries: Vec<Entry>) {
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let Some(progress) = leader.progress.get_mut(&to) else {
            return;
        };
        if !progress.fetched(entries.first().map(|entry| entry.index)) {
            return;
        }
        let Some(first) = entries.first() else {
            // No longer in the log on disk.
            progress.snapshot_requested();
            self.out.send_snapshot.push(to);
            return;
        };
        let known = entries
            .iter()
            .zip(first.index.0..)
            .all(|(e, index)| e.index.0 == index && self.log.term_at(e.index) == Some(e.term));
        let Some(previous) = self
            .log
            .position_at(first.index.previous())
            .filter(|_| known)
        else {
            // The log was compacted meanwhile: what comes next is decided afresh.
            return;
        };
        let bytes = entries.iter().map(Entry::bytes).sum();
        let last = entries.last().map_or(previous.index, |entry| entry.index);
        progress.sent(last, bytes);
        progress.commit_sent = progress.commit_sent.max(self.commit.min(last));
        let commit = self.commit;
        self.send_now(
            to,
            Message::AppendRequest {
                previous,
                entries,
                commit,
            },
        );
    }

    pub(crate) fn append_replied(&mut self, from: NodeId, outcome: AppendOutcome) {
        let last = self.log.last_index();
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let Some(progress) = leader.progress.get_mut(&from) else {
            return;
        };
        progress.heard();
        match outcome {
            AppendOutcome::Accepted { match_index } if match_index <= last => {
                progress.accepted(match_index, &self.log);
            }
            AppendOutcome::Accepted { .. } => {}
            AppendOutcome::Rejected { previous, conflict } => {
                progress.rejected(previous, conflict, &self.log);
            }
        }
    }

    pub(crate) fn heartbeat_replied(&mut self, from: NodeId, read_round: u64) {
        let commit = self.commit;
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let Some(progress) = leader.progress.get_mut(&from) else {
            return;
        };
        leader.reads.confirm(from, read_round);
        if let Some(lease) = &mut leader.lease {
            lease.answered(from, read_round);
        }
        if progress.alive(&self.config) {
            let end = progress.next_index().previous();
            if let Some(previous) = self.log.position_at(end) {
                let entries = Vec::new();
                self.send_now(
                    from,
                    Message::AppendRequest {
                        previous,
                        entries,
                        commit,
                    },
                );
            } else {
                progress.disconnected();
            }
        }
    }

    /// The commit rule: what a quorum holds durably is committed, if it is of the leader's own term; what is before
    /// it, with it (Raft §5.4.2).
    pub(crate) fn advance_leader_commit(&mut self) {
        let Role::Leader(leader) = &self.role else {
            return;
        };
        let own = self.config.id;
        let durable = self.durability.last();
        let reached = self.memberships.latest().quorum_index(|id| {
            if id == own {
                durable
            } else {
                leader
                    .progress
                    .get(&id)
                    .and_then(|p| p.match_index())
                    .unwrap_or_default()
            }
        });
        if reached > self.commit && self.log.term_at(reached) == Some(self.term) {
            self.advance_commit(reached);
        }
    }

    /// Commits everything up to `index`.
    pub(crate) fn advance_commit(&mut self, index: LogIndex) {
        assert!(
            index >= self.commit && index <= self.log.last_index(),
            "{} cannot commit {index}: committed is {}, the log ends at {}",
            self.config.id,
            self.commit,
            self.log.last()
        );
        if let Role::Leader(leader) = &mut self.role {
            let newly = self.log.cached(self.commit.next(), index);
            leader.uncommitted_bytes -= newly.map(Entry::bytes).sum::<usize>();
        }
        self.commit = index;
    }

    pub(crate) fn tick_heartbeat(&mut self) {
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        leader.heartbeat_elapsed += 1;
        let due = leader.heartbeat_elapsed >= self.config.heartbeat_ticks;
        if let Some(lease) = &mut leader.lease {
            lease.tick();
        }
        if due {
            leader.heartbeat_elapsed = 0;
        }
        for progress in leader.progress.values_mut() {
            progress.tick();
        }
        let (commit, config) = (self.commit, &self.config);
        leader
            .progress
            .retain(|_, progress| !progress.is_gone(commit, config));
        // A follower that has not heard of the latest commit hears of it within a tick.
        let commit = self.commit;
        let to: Vec<NodeId> = leader
            .progress
            .iter()
            .filter(|(_, progress)| due || progress.known_commit(commit) > progress.commit_sent)
            .map(|(id, _)| *id)
            .collect();
        if due {
            self.number_heartbeat();
        }
        self.send_heartbeats(&to);
    }

    /// Heartbeats never wait for the disk.
    pub(crate) fn send_heartbeats(&mut self, to: &[NodeId]) {
        for to in to {
            let Role::Leader(leader) = &mut self.role else {
                return;
            };
            let read_round = leader.reads.newest();
            if let Some(lease) = &mut leader.lease {
                lease.sent(read_round);
            }
            let Some(progress) = leader.progress.get_mut(to) else {
                continue;
            };
            let commit = progress.known_commit(self.commit);
            progress.commit_sent = progress.commit_sent.max(commit);
            self.send_now(*to, Message::Heartbeat { commit, read_round });
        }
    }
}
