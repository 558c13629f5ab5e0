//! The classic mistakes of Raft implementations in replication, each with a test that names it.

mod cluster;
mod single;

use std::sync::Arc;

use cluster::voters;
use consensus::{
    AppendOutcome, Config, Effects, Envelope, Input, LogIndex, LogPosition, Message, Proposal,
    ProposalId, ProposalResult, Recovered, Replica, RoleName, Term,
};
use single::{
    ONE, THREE, TWO, accept, append, command, log, position, propose, receive, replica_of, step,
    sync, win,
};

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
    assert_eq!(follower.commit(), LogIndex(2));
    assert!(
        effects.apply.is_empty(),
        "entry 2 of term 3 is committed but not on disk"
    );
    assert_eq!(sync(&mut follower, &second).apply.len(), 1);
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
        Message::HeartbeatReply {
            read_round: 9,
            disk_full: false
        }
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
