//! Quorums against a count by hand, changes and their refusals, and the history.

use std::collections::BTreeSet;

use super::history::MembershipHistory;
use super::quorum::VoteOutcome;
use super::*;
use crate::position::LogIndex;

fn context() -> Payload {
    Payload::from(&b"host"[..])
}

fn of(voters: &[u64], outgoing: Option<&[u64]>) -> Membership {
    let set = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
    let all = set(voters)
        .into_iter()
        .chain(set(outgoing.unwrap_or_default()));
    Membership {
        members: all.map(|id| (id, Member::new(context()))).collect(),
        voters: set(voters),
        outgoing: outgoing.map(set),
        next_node_id: 10,
    }
}

#[test]
fn a_majority_of_each_half_is_a_quorum() {
    type Case<'a> = (&'a [u64], Option<&'a [u64]>, &'a [u64], bool);
    let cases: &[Case<'_>] = &[
        (&[1], None, &[1], true),
        (&[1], None, &[2], false),
        (&[1, 2], None, &[1], false),
        (&[1, 2, 3], None, &[2, 3], true),
        (&[1, 2, 3, 4], None, &[1, 2], false),
        (&[1, 2, 3], Some(&[3, 4, 5]), &[1, 2, 3], false),
        (&[1, 2, 3], Some(&[3, 4, 5]), &[2, 3, 4], true),
        (&[], None, &[1], false),
    ];
    for (voters, outgoing, agreeing, expected) in cases {
        let found = of(voters, *outgoing).has_quorum(|id| agreeing.contains(&id.0));
        assert_eq!(found, *expected, "{voters:?} {outgoing:?} {agreeing:?}");
    }
}

#[test]
fn the_quorum_index_is_the_highest_that_a_quorum_reached() {
    let reached = |id: NodeId| LogIndex([0, 10, 20, 30, 40, 50][usize::try_from(id.0).unwrap()]);
    assert_eq!(of(&[1], None).quorum_index(reached), LogIndex(10));
    assert_eq!(of(&[1, 2], None).quorum_index(reached), LogIndex(10));
    assert_eq!(of(&[1, 2, 3], None).quorum_index(reached), LogIndex(20));
    assert_eq!(of(&[2, 3, 4, 5], None).quorum_index(reached), LogIndex(30));
    assert_eq!(
        of(&[3, 4, 5], Some(&[1, 2, 3])).quorum_index(reached),
        LogIndex(20)
    );
    assert_eq!(of(&[], None).quorum_index(reached), LogIndex(0));
}

#[test]
fn a_vote_is_lost_once_it_cannot_be_won() {
    let three = of(&[1, 2, 3], None);
    let outcome = |votes: &[(u64, bool)]| {
        three.vote_outcome(|id| {
            votes
                .iter()
                .find(|(voter, _)| *voter == id.0)
                .map(|(_, vote)| *vote)
        })
    };
    assert_eq!(outcome(&[(1, true)]), VoteOutcome::Pending);
    assert_eq!(outcome(&[(1, true), (2, false)]), VoteOutcome::Pending);
    assert_eq!(
        outcome(&[(1, true), (2, false), (3, false)]),
        VoteOutcome::Lost
    );
    assert_eq!(
        outcome(&[(1, true), (2, false), (3, true)]),
        VoteOutcome::Won
    );
}

#[test]
fn a_member_joins_as_a_learner_is_promoted_and_leaves() {
    let add = |id| MembershipChange::AddLearner {
        id: NodeId(id),
        context: context(),
        priority: 1,
    };
    let one = bootstrap(NodeId(1), context());
    let two = one.changed(&add(2)).unwrap();
    assert!(two.is_learner(NodeId(2)) && !two.is_voter(NodeId(2)));
    assert_eq!(
        two.changed(&add(2)),
        Err(MembershipRefusal::AlreadyMember(NodeId(2)))
    );
    let promoted = two.changed(&MembershipChange::Promote(NodeId(2))).unwrap();
    assert!(promoted.is_voter(NodeId(2)));
    assert_eq!(
        promoted.changed(&MembershipChange::Promote(NodeId(2))),
        Err(MembershipRefusal::AlreadyVoter(NodeId(2)))
    );
    let left = promoted
        .changed(&MembershipChange::Remove(NodeId(2)))
        .unwrap();
    assert_eq!(
        left.changed(&add(2)),
        Err(MembershipRefusal::IdAlreadyUsed {
            id: NodeId(2),
            lowest_free: NodeId(3)
        }),
        "ids are never reused"
    );
    assert_eq!(
        left.changed(&MembershipChange::Remove(NodeId(1))),
        Err(MembershipRefusal::LastVoter(NodeId(1)))
    );
    assert_eq!(
        left.changed(&MembershipChange::Remove(NodeId(7))),
        Err(MembershipRefusal::UnknownMember(NodeId(7)))
    );
}

#[test]
fn there_are_at_most_seven_voters() {
    let mut full = of(&[1, 2, 3, 4, 5, 6, 7], None);
    full.members.insert(NodeId(8), Member::new(context()));
    assert_eq!(
        full.changed(&MembershipChange::Promote(NodeId(8))),
        Err(MembershipRefusal::TooManyVoters)
    );
}

#[test]
fn the_history_knows_the_membership_at_every_point_of_truncation() {
    let mut history = MembershipHistory::new(LogIndex(0), of(&[1], None));
    history.append(LogIndex(5), of(&[1, 2], None));
    history.append(LogIndex(9), of(&[1, 2, 3], None));
    assert_eq!(history.as_of(LogIndex(8)).1.voters.len(), 2);
    history.truncate(LogIndex(9));
    assert_eq!(
        (history.latest_index(), history.latest().voters.len()),
        (LogIndex(5), 2)
    );
    history.compact(LogIndex(7));
    history.truncate(LogIndex(8));
    assert_eq!(
        (history.latest_index(), history.latest().voters.len()),
        (LogIndex(5), 2)
    );
    history.check_invariants(LogIndex(7));
}
