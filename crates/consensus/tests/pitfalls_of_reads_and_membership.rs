//! The classic mistakes of Raft implementations in reads, membership and snapshots, each with
//! a test that names it.

mod cluster;
mod single;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cluster::voters;
use consensus::{
    AppendOutcome, Config, Effects, Entry, EntryKind, Input, LogIndex, Member, Membership,
    MembershipChange, MembershipRefusal, Message, NodeId, ProposalId, ProposalResult, ReadTicket,
    Recovered, Replica, SnapshotMeta, Term,
};
use single::{ONE, THREE, TWO, accept, append, position, receive, replica_of, step, sync, win};

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
    let effects = receive(
        &mut leader,
        TWO,
        2,
        Message::HeartbeatReply {
            read_round,
            disk_full: false,
        },
    );
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
    let reply = |read_round| Message::HeartbeatReply {
        read_round,
        disk_full: false,
    };
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
fn a_quorum_is_counted_over_both_halves_of_a_joint_membership() {
    let members = (1..=6).map(|id| (NodeId(id), Member::new(Arc::from(&b""[..]))));
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
