//! The classic mistakes of Raft implementations when several members change at once, when a leader leaves, and in who
//! should lead, each with a test that names it.

mod cluster;
mod single;

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::voters;
use consensus::{
    Config, Effects, EntryKind, HardState, Input, LogIndex, Member, Membership, MembershipChange,
    Message, NodeId, ProposalId, ProposalResult, ReadTicket, Recovered, Replica, RoleName,
    SnapshotMeta, Term,
};
use single::{ONE, THREE, TWO, accept, position, propose, receive, replica_of, step, sync, win};

const FOUR: NodeId = NodeId(4);

fn membership(members: &[u64], voters: &[u64], outgoing: Option<&[u64]>) -> Membership {
    let set = |ids: &[u64]| ids.iter().copied().map(NodeId).collect();
    Membership {
        members: members
            .iter()
            .map(|id| (NodeId(*id), Member::new(Arc::from(&b""[..]))))
            .collect::<BTreeMap<_, _>>(),
        voters: set(voters),
        outgoing: outgoing.map(set),
        next_node_id: 10,
    }
}

/// Replica 1 with a membership whose halves are {1, 2, 3} and {1, 4, 5}.
fn joint() -> Replica {
    let halves = membership(&[1, 2, 3, 4, 5], &[1, 4, 5], Some(&[1, 2, 3]));
    replica_of(halves, 1, &[])
}

fn heartbeat_reply(leader: &mut Replica, from: NodeId, read_round: u64) -> Effects {
    let term = leader.term().0;
    receive(
        leader,
        from,
        term,
        Message::HeartbeatReply {
            read_round,
            disk_full: false,
        },
    )
}

#[test]
fn elections_count_both_halves_of_a_joint_membership() {
    let mut candidate = joint();
    while candidate.role() != RoleName::PreCandidate {
        let _ = step(&mut candidate, Input::Tick);
    }
    let granted = Message::PreVoteReply { granted: true };
    let _ = receive(&mut candidate, FOUR, 2, granted.clone());
    let _ = receive(&mut candidate, NodeId(5), 2, granted.clone());
    assert_eq!(
        candidate.role(),
        RoleName::PreCandidate,
        "one half is not enough"
    );
    let effects = receive(&mut candidate, TWO, 2, granted);
    assert_eq!(candidate.role(), RoleName::Candidate);
    let _ = sync(&mut candidate, &effects);
    let granted = Message::VoteReply { granted: true };
    let _ = receive(&mut candidate, TWO, 2, granted.clone());
    let _ = receive(&mut candidate, THREE, 2, granted.clone());
    assert_eq!(candidate.role(), RoleName::Candidate, "nor is the other");
    let _ = receive(&mut candidate, FOUR, 2, granted);
    assert_eq!(candidate.role(), RoleName::Leader);
}

#[test]
fn reads_are_confirmed_by_both_halves_of_a_joint_membership() {
    let mut leader = joint();
    let won = win(&mut leader, &[TWO, FOUR]);
    let _ = sync(&mut leader, &won);
    let _ = accept(&mut leader, TWO, 1);
    let _ = accept(&mut leader, FOUR, 1);
    let effects = step(&mut leader, Input::Read(vec![ReadTicket(1)]));
    let Message::Heartbeat { read_round, .. } = effects.send_now[0].message else {
        panic!("a round of heartbeats begins: {effects:?}");
    };
    let _ = heartbeat_reply(&mut leader, TWO, read_round);
    let effects = heartbeat_reply(&mut leader, THREE, read_round);
    assert!(
        effects.reads_ready.is_empty(),
        "the new half has not answered"
    );
    let effects = heartbeat_reply(&mut leader, NodeId(5), read_round);
    assert_eq!(effects.reads_ready.len(), 1);
}

#[test]
fn a_leader_out_of_touch_with_one_half_steps_down() {
    let mut leader = joint();
    let won = win(&mut leader, &[TWO, FOUR]);
    let _ = sync(&mut leader, &won);
    for _ in 0..29 {
        let _ = step(&mut leader, Input::Tick);
        let _ = heartbeat_reply(&mut leader, TWO, 0);
        let _ = heartbeat_reply(&mut leader, THREE, 0);
    }
    assert_eq!(leader.role(), RoleName::Leader);
    let _ = step(&mut leader, Input::Tick);
    assert_eq!(leader.role(), RoleName::Follower);
}

#[test]
fn a_snapshot_of_a_joint_membership_is_a_joint_membership() {
    let mut follower = replica_of(voters(3), 1, &[1]);
    let halves = membership(&[1, 2, 3, 4], &[1, 2, 4], Some(&[1, 2, 3]));
    let meta = SnapshotMeta {
        leader: TWO,
        leader_term: Term(2),
        position: position(9, 2),
        membership: halves.clone(),
    };
    let effects = step(&mut follower, Input::SnapshotStaged(meta));
    let _ = sync(&mut follower, &effects);
    assert_eq!(follower.membership(), &halves);
    // It is committed, so whoever leads next leaves it, once it has committed an entry of its own term.
    let won = win(&mut follower, &[TWO, THREE, FOUR]);
    let mut leader = follower;
    let _ = sync(&mut leader, &won);
    let _ = accept(&mut leader, THREE, 10);
    assert!(leader.membership().is_joint(), "the new half lacks it");
    let effects = accept(&mut leader, FOUR, 10);
    assert_eq!(leader.commit(), LogIndex(10));
    assert!(!leader.membership().is_joint());
    assert!(!leader.membership().members.contains_key(&THREE));
    let persist = effects.persist.expect("the new membership goes to disk");
    assert!(matches!(persist.entries[0].kind, EntryKind::Membership(_)));
}

#[test]
fn a_joint_membership_recovered_from_disk_is_in_force() {
    let halves = membership(&[1, 2, 3, 4], &[1, 2, 4], Some(&[1, 2, 3]));
    let hard_state = HardState {
        term: Term(2),
        vote: None,
        commit: LogIndex(5),
    };
    let recovered = Recovered {
        hard_state,
        membership: halves.clone(),
        log_start: position(5, 2),
        applied: LogIndex(5),
        terms: Vec::new(),
        entries: vec![],
    };
    let (replica, _) = Replica::new(Config::new(ONE, 3), recovered);
    assert_eq!(replica.membership(), &halves);
    assert_eq!(replica.committed_membership(), &halves);
}

#[test]
fn a_leader_that_was_removed_takes_no_more_proposals() {
    let mut leader = replica_of(voters(3), 1, &[]);
    let won = win(&mut leader, &[TWO, THREE]);
    let _ = sync(&mut leader, &won);
    let _ = accept(&mut leader, TWO, 1);
    let _ = accept(&mut leader, THREE, 1);
    let removal = step(
        &mut leader,
        Input::ProposeMembership {
            id: ProposalId(1),
            change: MembershipChange::Remove(ONE),
        },
    );
    let before = propose(&mut leader, "before");
    assert!(matches!(before.proposals[0].1, ProposalResult::Accepted(_)));
    let _ = sync(&mut leader, &removal);
    let _ = accept(&mut leader, TWO, 2);
    assert_eq!(leader.commit(), LogIndex(1), "it does not count itself");
    let _ = accept(&mut leader, THREE, 2);
    assert_eq!((leader.commit(), leader.is_removed()), (LogIndex(2), true));
    let after = propose(&mut leader, "after");
    let refused = ProposalResult::NotLeader { leader: None };
    assert_eq!(after.proposals[0].1, refused);
    let _ = accept(&mut leader, TWO, 3);
    let effects = accept(&mut leader, THREE, 3);
    let asked = effects.send_now.iter();
    assert!(
        asked.clone().any(|e| e.message == Message::TimeoutNow),
        "what it took is committed: somebody else may lead"
    );
}

#[test]
fn what_is_under_way_to_a_follower_is_bounded_in_bytes() {
    let config = Config {
        inflight_bytes_max: 1_000,
        inflight_messages_max: 1_000,
        ..Config::new(ONE, 7)
    };
    let recovered = Recovered {
        membership: voters(3),
        ..Recovered::default()
    };
    let mut leader = Replica::new(config, recovered).0;
    let won = win(&mut leader, &[TWO, THREE]);
    let _ = sync(&mut leader, &won);
    let _ = accept(&mut leader, TWO, 1);
    let _ = accept(&mut leader, THREE, 1);
    let text = "x".repeat(300);
    let mut to_three = 0;
    for index in 2..50 {
        let effects = propose(&mut leader, &text);
        let to = |id| effects.send_now.iter().filter(move |e| e.to == id).count();
        assert_eq!(to(TWO), 1, "the fast one is not held up");
        to_three += to(THREE);
        let _ = sync(&mut leader, &effects);
        let _ = accept(&mut leader, TWO, index);
    }
    assert_eq!(to_three, 4, "some three hundred bytes each");
}

#[test]
fn a_lower_priority_waits_longer() {
    let mut outranked = voters(3);
    outranked.members.get_mut(&TWO).expect("a member").priority = 2;
    let longest = 30;
    for seed in 0..50 {
        let recovered = Recovered {
            membership: outranked.clone(),
            ..Recovered::default()
        };
        let (mut replica, _) = Replica::new(Config::new(ONE, seed), recovered);
        let heartbeat = Message::Heartbeat {
            commit: LogIndex(0),
            read_round: 0,
        };
        let _ = receive(&mut replica, TWO, 1, heartbeat);
        for _ in 0..longest - 1 {
            let _ = step(&mut replica, Input::Tick);
        }
        assert_ne!(replica.role(), RoleName::PreCandidate, "seed {seed}");
    }
}

#[test]
fn leadership_does_not_swing_to_a_superior_that_fails_each_time() {
    let mut three = voters(3);
    three.members.get_mut(&TWO).expect("a member").priority = 9;
    let mut leader = replica_of(three, 1, &[]);
    let won = win(&mut leader, &[TWO, THREE]);
    let _ = sync(&mut leader, &won);
    let _ = accept(&mut leader, TWO, 1);
    let _ = accept(&mut leader, THREE, 1);
    let mut asked_at = Vec::new();
    let mut asking = false;
    for tick in 0..3_000 {
        let effects = step(&mut leader, Input::Tick);
        let _ = heartbeat_reply(&mut leader, TWO, 0);
        let _ = heartbeat_reply(&mut leader, THREE, 0);
        let asks = effects.send_now.iter();
        let asks = asks.filter(|e| e.message == Message::TimeoutNow).count() > 0;
        if leader.transferring() && !asking || asks && asked_at.is_empty() {
            asked_at.push(tick);
        }
        asking = leader.transferring();
    }
    let waits: Vec<i32> = asked_at.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(asked_at[0] >= 299 && waits.len() >= 2, "{asked_at:?}");
    assert!(waits[0] >= 600 && waits[1] >= 1_200, "{asked_at:?}");
}

fn with_lease(id: NodeId) -> Replica {
    let config = Config {
        lease_ticks: Some(10),
        ..Config::new(id, 7)
    };
    let recovered = Recovered {
        membership: voters(3),
        ..Recovered::default()
    };
    Replica::new(config, recovered).0
}

#[test]
fn with_leases_who_heard_a_leader_grants_no_vote_whatever_came_after() {
    let mut voter = with_lease(ONE);
    let heartbeat = Message::Heartbeat {
        commit: LogIndex(0),
        read_round: 5,
    };
    let _ = receive(&mut voter, TWO, 1, heartbeat);
    // A stray answer of a newer term makes it forget its leader, but not its promise.
    let _ = receive(&mut voter, THREE, 3, Message::VoteReply { granted: false });
    assert_eq!((voter.leader(), voter.term()), (None, Term(3)));
    let request = Message::VoteRequest {
        last: position(9, 2),
        transfer: false,
    };
    for term in [3, 4] {
        let effects = receive(&mut voter, THREE, term, request.clone());
        assert!(effects.send_after_sync.is_empty() && effects.persist.is_none());
    }
    for _ in 0..15 {
        let _ = step(&mut voter, Input::Tick);
    }
    let effects = receive(&mut voter, THREE, 4, request);
    assert!(matches!(
        effects.send_after_sync[0].message,
        Message::VoteReply { granted: true }
    ));
}

#[test]
fn with_leases_a_voter_that_just_started_grants_no_vote() {
    let mut voter = with_lease(ONE);
    let request = Message::VoteRequest {
        last: position(9, 2),
        transfer: false,
    };
    let effects = receive(&mut voter, THREE, 4, request.clone());
    assert!(
        effects.send_after_sync.is_empty(),
        "it may have kept a lease before"
    );
    for _ in 0..15 {
        let _ = step(&mut voter, Input::Tick);
    }
    let effects = receive(&mut voter, THREE, 4, request);
    assert_eq!(effects.send_after_sync.len(), 1);
}

#[test]
fn with_leases_nobody_campaigns_when_the_connection_is_reset() {
    let mut voter = with_lease(ONE);
    let heartbeat = Message::Heartbeat {
        commit: LogIndex(0),
        read_round: 5,
    };
    let _ = receive(&mut voter, TWO, 1, heartbeat);
    let _ = step(&mut voter, Input::PeerDisconnected(TWO));
    for _ in 0..14 {
        let _ = step(&mut voter, Input::Tick);
        assert_eq!(voter.role(), RoleName::Follower);
    }
}
