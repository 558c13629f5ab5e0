//! The classic mistakes of Raft implementations, each with a test that names it.

mod cluster;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cluster::{Cluster, voters};
use consensus::{
    AppendOutcome, Config, Effects, Entry, EntryKind, Envelope, HardState, Input, LogIndex,
    LogPosition, Member, Membership, MembershipChange, MembershipRefusal, Message, NodeId,
    PersistPosition, Proposal, ProposalId, ProposalResult, ReadTicket, Recovered, Replica,
    RoleName, SnapshotMeta, Term,
};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

fn command(index: u64, term: u64) -> Entry {
    let payload = Arc::from(format!("{index}@{term}").into_bytes());
    Entry {
        index: LogIndex(index),
        term: Term(term),
        kind: EntryKind::Command(payload),
    }
}

fn log(terms: &[u64]) -> Vec<Entry> {
    (1..)
        .zip(terms)
        .map(|(index, term)| command(index, *term))
        .collect()
}

fn position(index: u64, term: u64) -> LogPosition {
    LogPosition {
        index: LogIndex(index),
        term: Term(term),
    }
}

/// Replica 1 with this membership, term and log on disk.
fn replica_of(membership: Membership, term: u64, terms: &[u64]) -> Replica {
    let hard_state = HardState {
        term: Term(term),
        vote: None,
        commit: LogIndex(0),
    };
    let entries = log(terms);
    let recovered = Recovered {
        hard_state,
        membership,
        entries,
        ..Recovered::default()
    };
    Replica::new(Config::new(ONE, 7), recovered).0
}

fn step(replica: &mut Replica, input: Input) -> Effects {
    let effects = replica.step(input);
    replica.check_invariants();
    effects
}

fn receive(replica: &mut Replica, from: NodeId, term: u64, message: Message) -> Effects {
    let envelope = Envelope {
        from,
        to: replica.id(),
        term: Term(term),
        message,
    };
    step(replica, Input::Receive(envelope))
}

fn accept(replica: &mut Replica, from: NodeId, match_index: u64) -> Effects {
    let term = replica.term().0;
    let outcome = AppendOutcome::Accepted {
        match_index: LogIndex(match_index),
    };
    receive(replica, from, term, Message::AppendReply { outcome })
}

fn append(
    replica: &mut Replica,
    term: u64,
    previous: LogPosition,
    entries: Vec<Entry>,
    commit: u64,
) -> Effects {
    let commit = LogIndex(commit);
    receive(
        replica,
        TWO,
        term,
        Message::AppendRequest {
            previous,
            entries,
            commit,
        },
    )
}

/// Reports the persist in `effects`, if any, as durable.
fn sync(replica: &mut Replica, effects: &Effects) -> Effects {
    step(replica, Input::Durable(effects.sync_position))
}

/// Makes the replica campaign and win with the votes of `supporters`; nothing of its term is durable yet.
fn win(replica: &mut Replica, supporters: &[NodeId]) -> Effects {
    let mut ticks = 0;
    while replica.role() != RoleName::PreCandidate {
        let _ = step(replica, Input::Tick);
        ticks += 1;
        assert!(ticks < 40, "no campaign");
    }
    let term = replica.term().0 + 1;
    let mut last = Effects::default();
    for from in supporters {
        let effects = receive(
            replica,
            *from,
            term,
            Message::PreVoteReply { granted: true },
        );
        if effects.persist.is_some() {
            last = effects;
        }
    }
    assert_eq!(replica.role(), RoleName::Candidate);
    let _ = sync(replica, &last);
    let mut won = Effects::default();
    for from in supporters {
        let effects = receive(replica, *from, term, Message::VoteReply { granted: true });
        if effects.persist.is_some() {
            won = effects;
        }
    }
    assert_eq!(replica.role(), RoleName::Leader);
    won
}

fn propose(replica: &mut Replica, text: &str) -> Effects {
    let payload = Arc::from(text.as_bytes());
    step(
        replica,
        Input::Propose(vec![Proposal {
            id: ProposalId(1),
            payload,
        }]),
    )
}

#[test]
fn only_entries_of_the_current_term_count_towards_commit() {
    let mut leader = replica_of(voters(3), 4, &[1, 2]);
    let _ = win(&mut leader, &[TWO, THREE]);
    let _ = accept(&mut leader, TWO, 2);
    let _ = accept(&mut leader, THREE, 2);
    assert_eq!(
        leader.commit(),
        LogIndex(0),
        "entry 2 is everywhere, but of term 2"
    );
    let _ = accept(&mut leader, TWO, 3);
    let _ = accept(&mut leader, THREE, 3);
    assert_eq!(leader.commit(), LogIndex(3));
}

#[test]
fn a_leader_counts_itself_only_when_durable() {
    let mut leader = replica_of(voters(3), 1, &[]);
    let won = win(&mut leader, &[TWO, THREE]);
    let _ = accept(&mut leader, TWO, 1);
    assert_eq!(leader.commit(), LogIndex(0), "only one disk has it");
    let effects = sync(&mut leader, &won);
    assert_eq!(leader.commit(), LogIndex(1));
    assert_eq!(effects.apply.len(), 1);
}

#[test]
fn applied_state_is_never_ahead_of_the_durable_log() {
    let mut leader = replica_of(voters(3), 1, &[]);
    let won = win(&mut leader, &[TWO, THREE]);
    let _ = accept(&mut leader, TWO, 1);
    let effects = accept(&mut leader, THREE, 1);
    assert_eq!(
        leader.commit(),
        LogIndex(1),
        "a quorum without the leader has it"
    );
    assert!(
        effects.apply.is_empty(),
        "but the leader's own disk does not"
    );
    assert_eq!(sync(&mut leader, &won).apply.len(), 1);
}

#[test]
fn applied_state_is_never_ahead_of_the_durable_log_on_one_node_either() {
    let mut alone = replica_of(voters(1), 0, &[]);
    let campaign = step(&mut alone, Input::Tick);
    assert_eq!(
        alone.role(),
        RoleName::Candidate,
        "the own vote is not durable yet"
    );
    let won = sync(&mut alone, &campaign);
    assert_eq!(alone.role(), RoleName::Leader, "elected on the first tick");
    assert!(won.apply.is_empty());
    let proposed = propose(&mut alone, "a");
    assert!(proposed.apply.is_empty() && proposed.persist.is_some());
    let first = step(&mut alone, Input::Durable(won.sync_position));
    assert_eq!(first.apply.len(), 1);
    assert_eq!(sync(&mut alone, &proposed).apply.len(), 1);
}

#[test]
fn term_and_vote_are_durable_before_any_reply() {
    let mut voter = replica_of(voters(3), 1, &[1]);
    let request = Message::VoteRequest {
        last: position(1, 1),
        transfer: false,
    };
    let effects = receive(&mut voter, TWO, 2, request);
    let persist = effects.persist.as_ref().expect("the vote goes to disk");
    let hard_state = persist.hard_state.expect("term and vote changed");
    assert_eq!((hard_state.term, hard_state.vote), (Term(2), Some(TWO)));
    assert_eq!(effects.sync_position, persist.position);
    assert!(effects.send_now.is_empty());
    assert!(matches!(
        effects.send_after_sync[0].message,
        Message::VoteReply { granted: true }
    ));
}

#[test]
fn vote_requests_wait_for_the_sync_of_the_candidates_log() {
    let mut candidate = replica_of(voters(3), 1, &[1]);
    while candidate.role() != RoleName::PreCandidate {
        let _ = step(&mut candidate, Input::Tick);
    }
    let effects = receive(
        &mut candidate,
        TWO,
        2,
        Message::PreVoteReply { granted: true },
    );
    assert_eq!(effects.send_after_sync.len(), 2);
    assert!(effects.send_now.is_empty());
    let _ = receive(&mut candidate, TWO, 2, Message::VoteReply { granted: true });
    let _ = receive(
        &mut candidate,
        THREE,
        2,
        Message::VoteReply { granted: true },
    );
    assert_eq!(
        candidate.role(),
        RoleName::Candidate,
        "its own vote is not durable"
    );
    let _ = sync(&mut candidate, &effects);
    assert_eq!(candidate.role(), RoleName::Leader);
}

#[test]
fn stepping_down_within_a_term_keeps_the_vote() {
    let mut candidate = replica_of(voters(3), 1, &[1]);
    while candidate.role() != RoleName::PreCandidate {
        let _ = step(&mut candidate, Input::Tick);
    }
    let _ = receive(
        &mut candidate,
        TWO,
        2,
        Message::PreVoteReply { granted: true },
    );
    let heartbeat = Message::Heartbeat {
        commit: LogIndex(0),
        read_round: 0,
    };
    let _ = receive(&mut candidate, THREE, 2, heartbeat);
    assert_eq!(
        (candidate.role(), candidate.leader()),
        (RoleName::Follower, Some(THREE))
    );
    let request = Message::VoteRequest {
        last: position(9, 1),
        transfer: true,
    };
    let effects = receive(&mut candidate, TWO, 2, request);
    assert!(matches!(
        effects.send_after_sync[0].message,
        Message::VoteReply { granted: false }
    ));
}

#[test]
fn votes_of_an_older_term_are_ignored() {
    let mut candidate = replica_of(voters(3), 5, &[]);
    while candidate.role() != RoleName::PreCandidate {
        let _ = step(&mut candidate, Input::Tick);
    }
    let effects = receive(
        &mut candidate,
        TWO,
        6,
        Message::PreVoteReply { granted: true },
    );
    let _ = sync(&mut candidate, &effects);
    let _ = receive(&mut candidate, TWO, 5, Message::VoteReply { granted: true });
    assert_eq!(candidate.role(), RoleName::Candidate);
}

#[test]
fn acknowledgements_of_an_older_term_are_ignored() {
    let mut leader = replica_of(voters(3), 5, &[]);
    let won = win(&mut leader, &[TWO, THREE]);
    let _ = sync(&mut leader, &won);
    let outcome = AppendOutcome::Accepted {
        match_index: LogIndex(1),
    };
    let _ = receive(&mut leader, TWO, 5, Message::AppendReply { outcome });
    assert_eq!(leader.commit(), LogIndex(0));
}

#[test]
fn a_reply_for_a_log_that_was_since_truncated_is_ignored() {
    let mut follower = replica_of(voters(3), 1, &[1]);
    let entries = |term| vec![command(2, term)];
    let request = |term, from| {
        Input::Receive(Envelope {
            from,
            to: ONE,
            term: Term(term),
            message: Message::AppendRequest {
                previous: position(1, 1),
                entries: entries(term),
                commit: LogIndex(0),
            },
        })
    };
    let effects = follower.step_all([request(2, TWO), request(3, THREE)]);
    follower.check_invariants();
    assert_eq!(
        effects.send_after_sync.len(),
        1,
        "the old leader's entry never reaches the disk"
    );
    assert_eq!(effects.send_after_sync[0].to, THREE);
    let persist = effects.persist.expect("the new entry");
    assert_eq!(persist.entries, entries(3));
}

#[test]
fn a_sync_of_entries_that_were_since_truncated_counts_only_what_is_left() {
    let mut follower = replica_of(voters(3), 1, &[1]);
    let first = append(
        &mut follower,
        2,
        position(1, 1),
        vec![command(2, 2), command(3, 2)],
        0,
    );
    let message = Message::AppendRequest {
        previous: position(1, 1),
        entries: vec![command(2, 3)],
        commit: LogIndex(2),
    };
    let second = receive(&mut follower, THREE, 3, message);
    let effects = sync(&mut follower, &first);
    assert_eq!(follower.durable(), LogIndex(1));
    assert_eq!(
        effects.apply.len(),
        1,
        "entry 2 of term 3 is committed but not on disk"
    );
    assert_eq!(sync(&mut follower, &second).apply.len(), 1);
}

#[test]
fn no_read_is_served_before_the_leader_has_committed_an_entry_of_its_own_term() {
    let mut leader = replica_of(voters(3), 1, &[1]);
    let won = win(&mut leader, &[TWO, THREE]);
    let effects = step(&mut leader, Input::Read(vec![ReadTicket(1)]));
    assert!(effects.send_now.is_empty() && effects.reads_ready.is_empty());
    let _ = sync(&mut leader, &won);
    let effects = accept(&mut leader, TWO, 2);
    let round = effects
        .send_now
        .iter()
        .find_map(|envelope| match envelope.message {
            Message::Heartbeat { read_round, .. } if envelope.to == TWO => Some(read_round),
            _ => None,
        });
    let read_round = round.expect("the round starts now");
    let effects = receive(&mut leader, TWO, 2, Message::HeartbeatReply { read_round });
    assert_eq!(effects.reads_ready, [(ReadTicket(1), LogIndex(2))]);
}

#[test]
fn a_one_node_cluster_answers_reads_at_once_but_not_before_its_own_commit() {
    let mut alone = replica_of(voters(1), 0, &[]);
    let campaign = step(&mut alone, Input::Tick);
    let won = sync(&mut alone, &campaign);
    let effects = step(&mut alone, Input::Read(vec![ReadTicket(1)]));
    assert!(effects.reads_ready.is_empty());
    assert_eq!(
        sync(&mut alone, &won).reads_ready,
        [(ReadTicket(1), LogIndex(1))]
    );
    let effects = step(&mut alone, Input::Read(vec![ReadTicket(2)]));
    assert_eq!(effects.reads_ready, [(ReadTicket(2), LogIndex(1))]);
}

#[test]
fn the_answer_to_an_earlier_round_confirms_no_later_one() {
    let mut leader = replica_of(voters(3), 1, &[]);
    let won = win(&mut leader, &[TWO, THREE]);
    let _ = sync(&mut leader, &won);
    let _ = accept(&mut leader, TWO, 1);
    let round_of = |effects: &Effects| {
        effects
            .send_now
            .iter()
            .find_map(|envelope| match envelope.message {
                Message::Heartbeat { read_round, .. } => Some(read_round),
                _ => None,
            })
    };
    let first = round_of(&step(&mut leader, Input::Read(vec![ReadTicket(1)]))).expect("a round");
    let later = step(&mut leader, Input::Read(vec![ReadTicket(2)]));
    assert_eq!(
        round_of(&later),
        None,
        "one round is under way, the next one gathers"
    );
    let reply = |read_round| Message::HeartbeatReply { read_round };
    let effects = receive(&mut leader, TWO, 2, reply(first));
    assert_eq!(effects.reads_ready.len(), 1);
    let second = round_of(&effects).expect("the next round starts");
    assert!(second > first);
    assert!(
        receive(&mut leader, THREE, 2, reply(first))
            .reads_ready
            .is_empty()
    );
    assert_eq!(
        receive(&mut leader, THREE, 2, reply(second))
            .reads_ready
            .len(),
        1
    );
}

#[test]
fn request_ids_of_forwarded_reads_are_not_reused_after_a_restart() {
    let asked = |seed| {
        let recovered = Recovered {
            membership: voters(3),
            ..Recovered::default()
        };
        let (mut follower, _) = Replica::new(Config::new(ONE, seed), recovered);
        let heartbeat = Message::Heartbeat {
            commit: LogIndex(0),
            read_round: 0,
        };
        let _ = receive(&mut follower, TWO, 1, heartbeat);
        let mut requests = BTreeSet::new();
        for ticket in 0..10 {
            let effects = step(&mut follower, Input::Read(vec![ReadTicket(ticket)]));
            let Message::ReadIndexRequest { request } = effects.send_now[0].message else {
                panic!("no question")
            };
            requests.insert(request);
        }
        assert_eq!(requests.len(), 10);
        requests
    };
    assert!(
        asked(1).is_disjoint(&asked(2)),
        "each start has its own seed"
    );
}

#[test]
fn forwarded_reads_time_out_and_fail_with_their_leader() {
    let mut follower = replica_of(voters(3), 1, &[]);
    let heartbeat = Message::Heartbeat {
        commit: LogIndex(0),
        read_round: 0,
    };
    let _ = receive(&mut follower, TWO, 1, heartbeat.clone());
    let _ = step(&mut follower, Input::Read(vec![ReadTicket(1)]));
    let mut failed = Vec::new();
    for _ in 0..35 {
        failed.extend(step(&mut follower, Input::Tick).reads_failed);
        let _ = receive(&mut follower, TWO, 1, heartbeat.clone());
    }
    assert_eq!(failed, [ReadTicket(1)]);
    let _ = step(&mut follower, Input::Read(vec![ReadTicket(2)]));
    let effects = receive(&mut follower, THREE, 2, heartbeat);
    assert_eq!(effects.reads_failed, [ReadTicket(2)]);
}

#[test]
fn no_membership_change_before_a_commit_of_the_current_term() {
    let mut leader = replica_of(voters(3), 1, &[1]);
    let won = win(&mut leader, &[TWO, THREE]);
    let change = |id| Input::ProposeMembership {
        id: ProposalId(id),
        change: MembershipChange::Remove(THREE),
    };
    let refused = |refusal| ProposalResult::Refused(refusal);
    let effects = step(&mut leader, change(1));
    assert_eq!(
        effects.proposals[0].1,
        refused(MembershipRefusal::LeaderNotReady)
    );
    let _ = sync(&mut leader, &won);
    let _ = accept(&mut leader, TWO, 2);
    let effects = step(&mut leader, change(2));
    assert_eq!(
        effects.proposals[0].1,
        ProposalResult::Accepted(position(3, 2))
    );
    assert!(
        !leader.membership().is_voter(THREE),
        "in force once appended"
    );
    assert!(leader.committed_membership().is_voter(THREE));
    let effects = step(&mut leader, change(3));
    assert_eq!(
        effects.proposals[0].1,
        refused(MembershipRefusal::ChangeInProgress)
    );
}

#[test]
fn a_snapshot_replaces_an_uncommitted_membership() {
    let mut follower = replica_of(voters(3), 1, &[1]);
    let kind = EntryKind::Membership(voters(2));
    let entry = Entry {
        index: LogIndex(2),
        term: Term(1),
        kind,
    };
    let _ = append(&mut follower, 1, position(1, 1), vec![entry], 1);
    assert_eq!(follower.membership().voters.len(), 2);
    let meta = SnapshotMeta {
        leader: THREE,
        leader_term: Term(3),
        position: position(9, 2),
        membership: voters(5),
    };
    let effects = step(&mut follower, Input::SnapshotStaged(meta.clone()));
    assert_eq!(effects.install_snapshot, Some(meta));
    let persist = effects.persist.as_ref().expect("the log is replaced");
    assert_eq!(persist.reset_to, Some(position(9, 2)));
    assert!(matches!(
        effects.send_after_sync[0].message,
        Message::AppendReply {
            outcome: AppendOutcome::Accepted {
                match_index: LogIndex(9)
            }
        }
    ));
    assert_eq!(follower.membership(), &voters(5));
    assert_eq!(follower.committed_membership(), &voters(5));
    assert_eq!(
        (follower.commit(), follower.first_index()),
        (LogIndex(9), LogIndex(10))
    );
}

#[test]
fn a_stale_snapshot_is_ignored() {
    let mut follower = replica_of(voters(3), 1, &[1, 1]);
    let _ = append(&mut follower, 1, position(2, 1), vec![], 2);
    let meta = SnapshotMeta {
        leader: TWO,
        leader_term: Term(1),
        position: position(1, 1),
        membership: voters(5),
    };
    let effects = step(&mut follower, Input::SnapshotStaged(meta));
    assert_eq!((effects.install_snapshot, effects.persist), (None, None));
    assert_eq!(follower.membership(), &voters(3));
}

#[test]
fn a_learner_votes_if_the_candidate_believes_it_to_be_a_voter() {
    let mut membership = voters(3);
    membership.voters.remove(&ONE);
    let mut learner = replica_of(membership, 1, &[1]);
    assert_eq!(learner.role(), RoleName::Learner);
    let request = Message::VoteRequest {
        last: position(2, 1),
        transfer: false,
    };
    let effects = receive(&mut learner, TWO, 2, request);
    assert!(matches!(
        effects.send_after_sync[0].message,
        Message::VoteReply { granted: true }
    ));
}

#[test]
fn a_learner_never_campaigns() {
    let mut membership = voters(3);
    membership.voters.remove(&ONE);
    let mut learner = replica_of(membership, 1, &[1]);
    for _ in 0..100 {
        assert!(step(&mut learner, Input::Tick).send_now.is_empty());
    }
    let heartbeat = Message::Heartbeat {
        commit: LogIndex(0),
        read_round: 0,
    };
    let _ = receive(&mut learner, TWO, 1, heartbeat);
    assert!(
        step(&mut learner, Input::PeerDisconnected(TWO))
            .send_now
            .is_empty()
    );
    assert!(
        receive(&mut learner, TWO, 1, Message::TimeoutNow)
            .send_after_sync
            .is_empty()
    );
}

#[test]
fn a_late_or_repeated_append_never_truncates_what_matches() {
    let mut follower = replica_of(voters(3), 1, &[]);
    let all = log(&[1, 1, 1]);
    let _ = append(&mut follower, 1, LogPosition::ZERO, all.clone(), 0);
    let effects = append(&mut follower, 1, LogPosition::ZERO, all[..1].to_vec(), 0);
    assert_eq!(follower.last(), position(3, 1));
    assert!(effects.persist.is_none());
    let Message::AppendReply {
        outcome: AppendOutcome::Accepted { match_index },
    } = effects.send_after_sync[0].message
    else {
        panic!("not accepted")
    };
    assert_eq!(
        match_index,
        LogIndex(1),
        "only what the request spoke of is acknowledged"
    );
}

#[test]
fn a_rejected_append_never_advances_commit() {
    let mut follower = replica_of(voters(3), 1, &[1, 1]);
    let effects = append(&mut follower, 2, position(2, 2), vec![command(3, 2)], 2);
    assert_eq!(follower.commit(), LogIndex(0));
    assert!(effects.send_after_sync.is_empty());
    assert!(matches!(
        effects.send_now[0].message,
        Message::AppendReply {
            outcome: AppendOutcome::Rejected {
                previous: LogIndex(2),
                ..
            }
        }
    ));
}

#[test]
fn an_append_commits_only_what_it_proved_to_match() {
    let mut follower = replica_of(voters(3), 1, &[1, 1, 1]);
    let _ = append(&mut follower, 2, position(1, 1), vec![], 3);
    assert_eq!(
        follower.commit(),
        LogIndex(1),
        "entries 2 and 3 may be another leader's"
    );
}

#[test]
fn a_quorum_is_counted_over_both_halves_of_a_joint_membership() {
    let members = (1..=6).map(|id| {
        (
            NodeId(id),
            Member {
                context: Arc::from(&b""[..]),
            },
        )
    });
    let joint = Membership {
        members: members.collect::<BTreeMap<_, _>>(),
        voters: [1, 2, 3].map(NodeId).into(),
        outgoing: Some([4, 5, 6].map(NodeId).into()),
        next_node_id: 7,
    };
    let mut leader = replica_of(joint, 1, &[]);
    let won = win(&mut leader, &[2, 4, 5].map(NodeId));
    let _ = sync(&mut leader, &won);
    for id in [2, 3, 4] {
        let _ = accept(&mut leader, NodeId(id), 1);
    }
    assert_eq!(
        leader.commit(),
        LogIndex(0),
        "only one of the outgoing half has it"
    );
    let _ = accept(&mut leader, NodeId(5), 1);
    assert_eq!(leader.commit(), LogIndex(1));
}

#[test]
fn a_leader_that_is_slow_loses_leadership() {
    let mut cluster = Cluster::new(3, 3);
    while cluster.leader() != Some(ONE) {
        cluster.step(ONE, Input::Tick);
        cluster.settle();
    }
    // The leader's clock runs at a tenth of the others'.
    for round in 0..200 {
        for id in [TWO, THREE] {
            cluster.step(id, Input::Tick);
        }
        if round % 10 == 0 {
            cluster.step(ONE, Input::Tick);
        }
        cluster.settle();
        if cluster.leader() != Some(ONE) {
            return;
        }
    }
    panic!("a leader whose heartbeats come every 500 ms still leads");
}

#[test]
fn a_slow_follower_does_not_slow_the_others() {
    let mut leader = replica_of(voters(3), 1, &[]);
    let won = win(&mut leader, &[TWO, THREE]);
    let mut last = sync(&mut leader, &won);
    let _ = accept(&mut leader, TWO, 1);
    let _ = accept(&mut leader, THREE, 1);
    let mut to_three = 0;
    for index in 2..500 {
        let effects = propose(&mut leader, "a");
        assert!(effects.send_now.iter().any(|envelope| envelope.to == TWO));
        to_three += effects
            .send_now
            .iter()
            .filter(|envelope| envelope.to == THREE)
            .count();
        last = sync(&mut leader, &effects);
        let _ = accept(&mut leader, TWO, index);
        assert_eq!(leader.commit(), LogIndex(index));
    }
    let _ = last;
    assert_eq!(to_three, 64, "what is under way to the slow one is bounded");
}

#[test]
fn heartbeats_and_their_answers_never_wait_for_the_disk() {
    let mut leader = replica_of(voters(3), 1, &[]);
    let _ = win(&mut leader, &[TWO, THREE]);
    let mut heartbeats = 0;
    for _ in 0..10 {
        let effects = step(&mut leader, Input::Tick);
        heartbeats += effects.send_now.len();
        assert!(effects.send_after_sync.is_empty());
    }
    assert_eq!(heartbeats, 4);
    let mut follower = replica_of(voters(3), 1, &[]);
    let _ = append(&mut follower, 1, LogPosition::ZERO, log(&[1]), 0);
    let heartbeat = Message::Heartbeat {
        commit: LogIndex(0),
        read_round: 9,
    };
    let effects = receive(&mut follower, TWO, 1, heartbeat);
    assert_eq!(
        effects.send_now[0].message,
        Message::HeartbeatReply { read_round: 9 }
    );
}

#[test]
fn too_much_that_is_not_committed_is_refused_as_overload() {
    let recovered = Recovered {
        membership: voters(1),
        ..Recovered::default()
    };
    let config = Config {
        uncommitted_bytes_max: 200,
        ..Config::new(ONE, 1)
    };
    let (mut alone, _) = Replica::new(config, recovered);
    let campaign = step(&mut alone, Input::Tick);
    let won = sync(&mut alone, &campaign);
    let _ = sync(&mut alone, &won);
    let results = |effects: &Effects| effects.proposals[0].1.clone();
    let large = propose(&mut alone, &"x".repeat(500));
    assert!(
        matches!(results(&large), ProposalResult::Accepted(_)),
        "one is always let in"
    );
    assert_eq!(
        results(&propose(&mut alone, "y")),
        ProposalResult::Overloaded
    );
    let _ = sync(&mut alone, &large);
    assert!(matches!(
        results(&propose(&mut alone, "y")),
        ProposalResult::Accepted(_)
    ));
}

#[test]
fn proposals_of_one_wake_up_travel_together() {
    let mut leader = replica_of(voters(3), 1, &[]);
    let won = win(&mut leader, &[TWO, THREE]);
    let _ = sync(&mut leader, &won);
    let _ = accept(&mut leader, TWO, 1);
    let proposal = |id| Proposal {
        id: ProposalId(id),
        payload: Arc::from(&b"a"[..]),
    };
    let effects =
        leader.step_all((0..50).map(|id| Input::Propose(vec![proposal(id), proposal(id + 50)])));
    let appends = effects
        .send_now
        .iter()
        .filter(|envelope| envelope.to == TWO);
    assert_eq!(appends.count(), 1);
    assert_eq!(effects.proposals.len(), 100);
    assert_eq!(effects.persist.expect("one write").entries.len(), 100);
}

#[test]
fn commit_beyond_the_own_log_is_clamped() {
    let mut follower = replica_of(voters(3), 1, &[1]);
    let heartbeat = Message::Heartbeat {
        commit: LogIndex(u64::MAX),
        read_round: 0,
    };
    let _ = receive(&mut follower, TWO, 1, heartbeat);
    assert_eq!(follower.commit(), LogIndex(1));
}

#[test]
fn a_torn_write_cannot_claim_entries_that_are_not_on_disk_as_committed() {
    let mut follower = replica_of(voters(3), 1, &[1, 1]);
    let effects = append(&mut follower, 2, position(1, 1), vec![command(2, 2)], 2);
    let hard_state = effects
        .persist
        .expect("a write")
        .hard_state
        .expect("a new term");
    assert_eq!(follower.commit(), LogIndex(2));
    assert_eq!(
        hard_state.commit,
        LogIndex(1),
        "entry 2 of term 2 is in the same write"
    );
}

#[test]
fn a_joiner_stays_passive_until_a_leader_contacts_it() {
    let recovered = Recovered::default();
    let (mut joiner, _) = Replica::new(Config::new(ONE, 1), recovered);
    for _ in 0..100 {
        let effects = step(&mut joiner, Input::Tick);
        assert!(effects.send_now.is_empty() && effects.persist.is_none());
    }
    let effects = append(&mut joiner, 3, LogPosition::ZERO, log(&[1, 2]), 1);
    assert_eq!(joiner.last(), position(2, 2));
    assert_eq!(joiner.leader(), Some(TWO));
    assert_eq!(
        effects.persist.expect("a write").position,
        PersistPosition(1)
    );
}

/// Both followers see the leader's connections reset at once. A message takes a tick, and so does a sync.
#[test]
fn a_killed_leader_is_replaced_within_a_few_ticks() {
    let mut ticks_needed = Vec::new();
    for seed in 0..200 {
        let mut cluster = Cluster::new(seed, 3);
        while cluster.leader().is_none() {
            for id in [ONE, TWO, THREE] {
                cluster.step(id, Input::Tick);
                cluster.settle();
            }
        }
        let dead = cluster.leader().expect("the loop ended");
        cluster.crash(dead, 0);
        cluster.reset_connections_of(dead);
        let alive: Vec<NodeId> = [ONE, TWO, THREE]
            .into_iter()
            .filter(|id| *id != dead)
            .collect();
        let mut ticks = 0;
        while !alive.iter().any(|id| {
            let replica = cluster.replica(id.0);
            replica.role() == RoleName::Leader && replica.commit() == replica.last().index
        }) {
            for _ in 0..cluster.network.len() {
                cluster.deliver(0);
            }
            for id in &alive {
                cluster.sync(*id);
                cluster.step(*id, Input::Tick);
            }
            ticks += 1;
            assert!(
                ticks < 100,
                "seed {seed}: no leader 100 ticks after the reset"
            );
        }
        ticks_needed.push(ticks);
    }
    ticks_needed.sort_unstable();
    println!(
        "ticks to a new leader that has committed: median {}, worst {}",
        ticks_needed[100], ticks_needed[199]
    );
    assert!(ticks_needed[100] <= 9, "median {}", ticks_needed[100]);
    assert!(ticks_needed[199] <= 30, "worst {}", ticks_needed[199]);
}

#[test]
fn nothing_a_peer_says_panics() {
    let mut state = 1_u64;
    let mut roll = |sides: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 7) % sides
    };
    for round in 0..300 {
        let mut replica = replica_of(voters(3), 2, &[1, 1, 2]);
        if round % 2 == 0 {
            let won = win(&mut replica, &[TWO, THREE]);
            let _ = sync(&mut replica, &won);
        }
        for _ in 0..40 {
            let mut number = || match roll(12) {
                0 => u64::MAX,
                1 => 1 << 62,
                2 => (1 << 62) + 1,
                _ => roll(6),
            };
            let somewhere = position(number(), number());
            let entry = command(number(), number());
            let message = match number() % 11 {
                0 => Message::PreVoteRequest { last: somewhere },
                1 => Message::PreVoteReply {
                    granted: number() % 2 == 0,
                },
                2 => Message::VoteRequest {
                    last: somewhere,
                    transfer: number() % 2 == 0,
                },
                3 => Message::VoteReply {
                    granted: number() % 2 == 0,
                },
                4 => Message::AppendRequest {
                    previous: somewhere,
                    entries: vec![entry],
                    commit: LogIndex(number()),
                },
                5 => Message::AppendReply {
                    outcome: AppendOutcome::Accepted {
                        match_index: LogIndex(number()),
                    },
                },
                6 => Message::AppendReply {
                    outcome: AppendOutcome::Rejected {
                        previous: LogIndex(number()),
                        conflict: somewhere,
                    },
                },
                7 => Message::Heartbeat {
                    commit: LogIndex(number()),
                    read_round: number(),
                },
                8 => Message::HeartbeatReply {
                    read_round: number(),
                },
                9 => Message::ReadIndexReply {
                    request: number(),
                    index: None,
                },
                _ => Message::TimeoutNow,
            };
            let (from, term) = (NodeId(number() % 5), number());
            let _ = receive(&mut replica, from, term, message);
            let _ = step(&mut replica, Input::Tick);
        }
    }
}
