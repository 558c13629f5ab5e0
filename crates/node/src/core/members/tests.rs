//! Joins and changes of the members, as a leader and as a member that does not lead.

use std::sync::{Arc, Mutex};

use consensus::{AppendOutcome, LogIndex, Membership, Message};

use super::*;
use crate::config::{Addresses, FEATURE_LEVEL};
use crate::core::tests::{LATER, OTHER, OWN, core_with, from_other, lead, step};
use crate::events::{ApplyWork, Event, MembershipOutcome};

const THIRD: NodeId = NodeId(3);

fn context(directory: u8, peer: &str) -> MemberContext {
    MemberContext {
        directory: [directory; 16],
        addresses: Addresses {
            peer: peer.to_owned(),
            ..Addresses::default()
        },
        feature_level: FEATURE_LEVEL,
        ..MemberContext::default()
    }
}

/// Members 1, 2, … of which the first so many vote.
fn members(voters: u64, contexts: &[MemberContext]) -> Membership {
    let ids = (1..).map(NodeId);
    let members = ids.zip(contexts.iter().map(|it| Member::new(it.encode())));
    Membership {
        members: members.collect(),
        voters: (1..=voters).map(NodeId).collect(),
        outgoing: None,
        next_node_id: contexts.len() as u64 + 1,
    }
}

fn fresh(context: &MemberContext) -> JoinRequest {
    JoinRequest::fresh(context.directory, context.encode().to_vec())
}

/// Asks to join; the answer if there is one at once, and the membership in force afterwards.
fn join(core: &mut Core, request: JoinRequest) -> (Option<JoinReply>, Membership) {
    let (reply, answer) = crossbeam_channel::bounded(1);
    step(core, Event::Join { request, reply }, 0);
    (answer.try_recv().ok(), core.replica.membership().clone())
}

fn change(
    core: &mut Core,
    change: MembershipChange,
) -> (Arc<Mutex<Option<MembershipOutcome>>>, Outputs) {
    let outcome = Arc::new(Mutex::new(None));
    let told = outcome.clone();
    let done = Box::new(move |it| *told.lock().expect("one thread") = Some(it));
    let out = step(core, Event::ChangeMembership { change, done }, 0);
    (outcome, out)
}

/// The other member has everything.
fn acknowledge(core: &mut Core) -> Outputs {
    let last = core.replica.last().index;
    let accepted = Message::AppendReply {
        outcome: AppendOutcome::Accepted { match_index: last },
    };
    let event = from_other(core, accepted);
    step(core, event, 0)
}

fn pass(core: &mut Core, ticks: u32) {
    for _ in 0..ticks {
        let applied = Event::Applied(core.replica.commit());
        step(core, applied, 1);
    }
}

/// Applies what comes out, as the apply thread would, and answers whoever waits for it.
fn apply(out: Outputs) -> Vec<LogIndex> {
    let mut memberships = Vec::new();
    for work in out.apply {
        let ApplyWork::Entry { entry, waiter } = work else {
            continue;
        };
        if matches!(entry.kind, EntryKind::Membership(_)) {
            memberships.push(entry.index);
        }
        if let Waiter::Change(done) = waiter {
            done(MembershipOutcome::Applied {
                index: entry.index.0,
            });
        }
    }
    memberships
}

/// One voter leads; the second member is a learner that was never heard of.
fn leader_and_a_silent_learner(learner: &MemberContext) -> Core {
    let mut core = core_with(0, members(1, &[context(1, "a:1"), learner.clone()]));
    lead(&mut core);
    core
}

#[test]
fn a_wiped_machine_takes_the_place_of_the_member_at_its_address() {
    let mut core = leader_and_a_silent_learner(&context(2, "b:1"));
    let (answer, membership) = join(&mut core, fresh(&context(9, "b:1")));
    assert_eq!(answer, None, "answered when it is applied");
    assert!(!membership.members.contains_key(&OTHER), "{membership:?}");
    assert!(membership.members.contains_key(&THIRD), "{membership:?}");
}

#[test]
fn a_member_that_was_heard_of_a_moment_ago_is_not_replaced() {
    let mut core = leader_and_a_silent_learner(&context(2, "b:1"));
    acknowledge(&mut core);
    for request in [
        fresh(&context(9, "b:1")),
        JoinRequest {
            replaces: Some(OTHER),
            ..fresh(&context(9, "c:1"))
        },
    ] {
        let (answer, membership) = join(&mut core, request);
        let Some(JoinReply::NotNow { reason }) = answer else {
            panic!("{answer:?}");
        };
        assert!(reason.contains("member 2"), "{reason}");
        assert!(membership.members.contains_key(&OTHER));
    }
}

#[test]
fn a_directory_that_names_whose_place_it_takes_gets_it() {
    let mut core = leader_and_a_silent_learner(&context(2, "b:1"));
    let request = JoinRequest {
        replaces: Some(OTHER),
        ..fresh(&context(9, "c:1"))
    };
    let (_, membership) = join(&mut core, request);
    let ids: Vec<NodeId> = membership.members.into_keys().collect();
    assert_eq!(ids, [OWN, THIRD]);
}

#[test]
fn a_removed_member_is_told_so_by_whoever_knows_and_stays_out() {
    // Two members are left of three; this one follows.
    let mut left = members(2, &[context(1, "a:1"), context(2, "b:1")]);
    left.next_node_id = 4;
    let mut core = core_with(5, left);
    let announcement = |member: u64| JoinRequest {
        cluster_id: Some([0; 16]),
        member: Some(NodeId(member)),
        ..fresh(&context(3, "c:1"))
    };
    let (answer, membership) = join(&mut core, announcement(3));
    assert!(
        matches!(&answer, Some(JoinReply::Removed { reason }) if reason.contains("member 3 was removed")),
        "{answer:?}"
    );
    assert_eq!(membership.members.len(), 2);
    // One that this member cannot know of yet may have been added since.
    let (answer, _) = join(&mut core, announcement(4));
    assert!(
        matches!(answer, Some(JoinReply::NotNow { .. })),
        "{answer:?}"
    );
}

#[test]
fn a_member_learns_that_it_was_removed_from_its_log_or_from_others() {
    let mut left = members(1, &[context(1, "a:1"), context(2, "b:1")]);
    left.members.remove(&OWN);
    left.voters = [OTHER].into();
    assert!(core_with(5, left).removed());
    // A joiner that has the membership of before it came is not removed.
    let mut core = core_with(
        5,
        Membership {
            members: [(OTHER, Member::new(context(2, "b:1").encode()))].into(),
            voters: [OTHER].into(),
            outgoing: None,
            next_node_id: 1,
        },
    );
    assert!(!core.removed());
    let out = step(&mut core, Event::Removed, 0);
    assert!(core.removed() && out.status_changed);
}

#[test]
fn a_directory_of_another_cluster_or_a_copied_one_is_refused() {
    let mut core = leader_and_a_silent_learner(&context(2, "b:1"));
    let stray = JoinRequest {
        cluster_id: Some([7; 16]),
        ..fresh(&context(9, "c:1"))
    };
    let copied = JoinRequest {
        member: Some(OTHER),
        ..fresh(&context(9, "c:1"))
    };
    for (request, says) in [(stray, "cluster"), (copied, "another data directory")] {
        let (answer, membership) = join(&mut core, request);
        assert!(
            matches!(&answer, Some(JoinReply::Refused { reason }) if reason.contains(says)),
            "{answer:?}"
        );
        assert_eq!(membership.members.len(), 2);
    }
}

/// Members that all restarted on new addresses find each other by it, though nobody leads.
#[test]
fn a_member_that_says_where_it_is_now_is_reached_there_whoever_leads() {
    let both = members(2, &[context(1, "a:1"), context(2, "b:1")]);
    let mut core = core_with(5, both);
    let moved = JoinRequest {
        member: Some(OTHER),
        ..fresh(&context(2, "elsewhere:1"))
    };
    let (answer, _) = join(&mut core, moved);
    assert!(matches!(answer, Some(JoinReply::NotNow { .. })));
    assert_eq!(core.peer_addresses()[&OTHER].0, "elsewhere:1");
}

#[test]
fn nothing_is_written_that_a_member_cannot_read() {
    let old = MemberContext {
        feature_level: 1,
        ..context(2, "b:1")
    };
    let mut core = leader_and_a_silent_learner(&old);
    assert_eq!(core.feature_level(), (1, Some(OTHER)));
    let several = MembershipChange::Reconfigure {
        promote: [OTHER].into(),
        remove: [OWN].into(),
    };
    let (outcome, _) = change(&mut core, several);
    let refused = MembershipOutcome::TooOld {
        member: OTHER,
        level: 1,
        needed: 2,
    };
    assert_eq!(outcome.lock().expect("one thread").take(), Some(refused));
    // A priority waits.
    let preferred = MemberContext {
        priority: 5,
        ..context(8, "d:1")
    };
    let (_, membership) = join(&mut core, fresh(&preferred));
    assert_eq!(membership.members[&THIRD].priority, DEFAULT_PRIORITY);
}

#[test]
fn a_program_too_old_for_the_cluster_is_not_admitted() {
    let mut core = core_with(0, members(1, &[context(1, "a:1")]));
    lead(&mut core);
    let old = MemberContext {
        feature_level: 1,
        ..context(9, "c:1")
    };
    let (answer, membership) = join(&mut core, fresh(&old));
    assert!(
        matches!(&answer, Some(JoinReply::Refused { reason }) if reason.contains("newer version")),
        "{answer:?}"
    );
    assert_eq!(membership.members.len(), 1);
}

#[test]
fn a_priority_is_recorded_with_the_member_that_asks_for_it() {
    let mut core = core_with(0, members(1, &[context(1, "a:1")]));
    lead(&mut core);
    let preferred = MemberContext {
        priority: 5,
        ..context(9, "c:1")
    };
    let (_, membership) = join(&mut core, fresh(&preferred));
    assert_eq!(membership.members[&OTHER].priority, 5);
}

#[test]
fn a_change_through_a_joint_membership_is_answered_by_the_last_of_the_two() {
    // The own member and two dead ones vote, the other member learns and keeps up.
    let mut core = core_with(0, members(1, &[context(1, "a:1"), context(2, "b:1")]));
    lead(&mut core);
    acknowledge(&mut core);
    let several = MembershipChange::Reconfigure {
        promote: [OTHER].into(),
        remove: [OWN].into(),
    };
    let (outcome, _) = change(&mut core, several);
    pass(&mut core, 5);
    assert!(core.replica.membership().outgoing.is_none(), "not proven");
    acknowledge(&mut core);
    pass(&mut core, 1);
    assert!(core.replica.membership().outgoing.is_some(), "it is joint");
    let joint = apply(acknowledge(&mut core));
    assert_eq!(joint.len(), 1);
    assert_eq!(*outcome.lock().expect("one thread"), None, "not yet");
    assert!(core.replica.membership().outgoing.is_none(), "left at once");
    let left = apply(acknowledge(&mut core));
    assert_eq!(
        outcome.lock().expect("one thread").take(),
        Some(MembershipOutcome::Applied { index: left[0].0 })
    );
    assert!(core.removed());
}

#[test]
fn who_asks_for_a_change_is_answered_at_the_end() {
    let mut core = leader_and_a_silent_learner(&context(2, "b:1"));
    let (outcome, _) = change(&mut core, MembershipChange::Promote(OTHER));
    let not_yet = MembershipOutcome::Refused(MembershipRefusal::NotCaughtUp(OTHER));
    assert_eq!(outcome.lock().expect("one thread").take(), Some(not_yet));
    core.set_stopping();
    let (outcome, _) = change(&mut core, MembershipChange::Remove(OTHER));
    let stopping = outcome.lock().expect("one thread").take();
    assert_eq!(stopping, Some(MembershipOutcome::Stopping));
}

#[test]
fn a_member_reads_of_itself_what_it_wrote() {
    let own = MemberContext {
        priority: 7,
        ..context(1, "a:1")
    };
    assert_eq!(MemberContext::decode(&own.encode()), own);
    // As the first version wrote it.
    let old = MemberContext::decode(b"directory=01010101010101010101010101010101\npeer=a:1\n");
    assert_eq!((old.feature_level, old.priority), (1, DEFAULT_PRIORITY));
}

/// Found by the simulator: the wiped machine waited for ever for the upgrade of the member it was.
#[test]
fn what_a_lost_member_could_read_does_not_keep_its_machine_out() {
    let old = |directory, peer| MemberContext {
        feature_level: 1,
        ..context(directory, peer)
    };
    let mut core = leader_and_a_silent_learner(&old(2, "b:1"));
    let (_, membership) = join(&mut core, fresh(&context(9, "b:1")));
    let ids: Vec<NodeId> = membership.members.into_keys().collect();
    assert_eq!(ids, [OWN, THIRD], "replaced at once");

    let contexts = [context(1, "a:1"), old(2, "b:1"), old(3, "c:1")];
    let mut core = core_with(0, members(1, &contexts));
    lead(&mut core);
    let (answer, membership) = join(&mut core, fresh(&old(9, "b:1")));
    assert_eq!(answer, None, "answered when the place is free");
    let ids: Vec<NodeId> = membership.members.into_keys().collect();
    assert_eq!(ids, [OWN, THIRD], "the lost one goes first");
    let (_, membership) = join(&mut core, fresh(&old(9, "b:1")));
    let ids: Vec<NodeId> = membership.members.into_keys().collect();
    assert_eq!(ids, [OWN, THIRD, NodeId(4)]);
}

/// Found by the simulator: a voter was counted as there though its machine had been wiped a moment before, and another one
/// was removed. Nothing could ever be decided again.
#[test]
fn a_voter_that_died_a_moment_ago_is_not_counted_on() {
    let mut core = core_with(0, members(1, &[context(1, "a:1"), context(2, "b:1")]));
    lead(&mut core);
    acknowledge(&mut core);
    // It has everything and dies: its vote would be the one that is needed.
    let (outcome, _) = change(&mut core, MembershipChange::Promote(OTHER));
    pass(&mut core, 10);
    assert_eq!(*outcome.lock().expect("one thread"), None, "it waits");
    assert_eq!(core.replica.membership().voters.len(), 1);
    pass(&mut core, 30);
    let refused = outcome.lock().expect("one thread").take();
    assert!(
        matches!(
            refused,
            Some(MembershipOutcome::Refused(
                MembershipRefusal::WouldLoseQuorum { .. }
            ))
        ),
        "{refused:?}"
    );
    assert_eq!(core.replica.membership().voters.len(), 1);
}

/// Found by the simulator: the answer to a repeated question named an id that was only in the leader's log. The leader died, and
/// its successor gave the id to another directory.
#[test]
fn an_id_is_told_only_once_it_is_committed() {
    let mut core = core_with(0, members(1, &[context(1, "a:1")]));
    lead(&mut core);
    let ask = |core: &mut Core| {
        let (reply, answer) = crossbeam_channel::bounded(1);
        let request = fresh(&context(9, "c:1"));
        // The disk has not answered: what is appended is not committed.
        let out = core.process(&mut vec![Event::Join { request, reply }], 0, LATER);
        out.answers.into_iter().for_each(|answer| answer());
        answer.try_recv().ok()
    };
    assert_eq!(ask(&mut core), None);
    assert!(core.replica.membership().members.contains_key(&OTHER));
    let again = ask(&mut core);
    assert!(matches!(again, Some(JoinReply::NotNow { .. })), "{again:?}");
}
