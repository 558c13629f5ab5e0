//! Bounded exhaustive exploration of small clusters: see `explorer/mod.rs` for what is explored, reduced and checked.
//!
//! Small scenarios are explored to the end, the others up to a number of states, nearest first, which `CONSENSUS_STATES=n`
//! sets (`cargo test --release -p consensus --test exploration -- --nocapture`: some 100,000 a second). The number
//! explored, and whether that was all there is, is printed.

mod explorer;

use std::sync::Arc;

use consensus::{Member, Membership, MembershipChange, NodeId, RoleName};
use explorer::node::{Event, Node};
use explorer::{Budget, Explorer, World};

/// What a scenario that is too large to be explored to the end explores inside `cargo test`.
const STATES_MAX: usize = 50_000;
/// More than the scenarios have that are.
const STATES_OF_SMALL_SCENARIOS: usize = 500_000;

fn membership(voters: &[u64], learners: &[u64]) -> Membership {
    let members = voters.iter().chain(learners);
    Membership {
        members: members
            .map(|id| (NodeId(*id), Member::new(Arc::from(&b""[..]))))
            .collect(),
        voters: voters.iter().copied().map(NodeId).collect(),
        outgoing: None,
        next_node_id: 9,
    }
}

fn nodes(membership: &Membership) -> Vec<Node> {
    let ids = membership.members.keys();
    ids.map(|id| Node::new(*id, membership.clone())).collect()
}

/// A cluster that node 1 leads, with nothing under way.
fn led(membership: &Membership) -> World {
    let mut world = World::new(nodes(membership), Budget::default());
    world.settle(0, &Event::Timeout);
    world.settle(0, &Event::Heartbeat);
    assert_eq!(world.replica(0).role(), RoleName::Leader);
    assert_eq!(world.replica(1).commit(), world.replica(0).commit());
    world
}

/// Explores as much as there is time for.
fn explore(name: &str, world: World, changes: Vec<MembershipChange>) {
    let states_max = std::env::var("CONSENSUS_STATES").ok();
    let states_max = states_max.and_then(|text| text.parse().ok());
    search(name, world, changes, states_max.unwrap_or(STATES_MAX));
}

/// Explores every state there is.
fn exhaust(name: &str, world: World, changes: Vec<MembershipChange>) {
    let exhausted = search(name, world, changes, STATES_OF_SMALL_SCENARIOS);
    assert!(exhausted, "{name} has become too large");
}

fn search(name: &str, world: World, changes: Vec<MembershipChange>, states_max: usize) -> bool {
    let found = Explorer::new(changes).explore(world, states_max);
    let all = if found.exhausted {
        ", all there are"
    } else {
        ""
    };
    println!(
        "{name}: {} states, up to {} events deep{all}",
        found.states, found.depth
    );
    found.exhausted
}

fn fresh(left: Budget) -> World {
    World::new(nodes(&membership(&[1, 2, 3], &[])), left)
}

fn replace(promote: u64, remove: u64) -> Vec<MembershipChange> {
    vec![MembershipChange::Reconfigure {
        promote: [NodeId(promote)].into(),
        remove: [NodeId(remove)].into(),
    }]
}

#[test]
fn an_election_and_a_crash() {
    let world = fresh(Budget {
        timeouts: 1,
        crashes: 1,
        lags: 1,
        ..Budget::default()
    });
    exhaust("an election and a crash", world, vec![]);
}

#[test]
fn two_candidates() {
    let world = fresh(Budget {
        timeouts: 2,
        ..Budget::default()
    });
    explore("two candidates", world, vec![]);
}

#[test]
fn two_proposals_and_a_crash() {
    let world = led(&membership(&[1, 2, 3], &[])).with_budget(Budget {
        proposals: 2,
        crashes: 1,
        lags: 1,
        ..Budget::default()
    });
    exhaust("two proposals and a crash", world, vec![]);
}

#[test]
fn a_proposal_and_a_change_of_leader() {
    let world = led(&membership(&[1, 2, 3], &[])).with_budget(Budget {
        proposals: 1,
        timeouts: 1,
        quiets: 1,
        ..Budget::default()
    });
    exhaust("a proposal and a change of leader", world, vec![]);
}

#[test]
fn a_proposal_and_connections_that_are_reset() {
    let world = led(&membership(&[1, 2, 3], &[])).with_budget(Budget {
        proposals: 1,
        resets: 2,
        ..Budget::default()
    });
    exhaust("a proposal and reset connections", world, vec![]);
}

/// The whole of it: more than can be explored to the end here.
#[test]
fn two_proposals_a_change_of_leader_a_crash_and_a_partition() {
    let world = led(&membership(&[1, 2, 3], &[])).with_budget(Budget {
        proposals: 2,
        timeouts: 1,
        quiets: 1,
        crashes: 1,
        lags: 1,
        ..Budget::default()
    });
    explore("two proposals, two leaders, a crash", world, vec![]);
}

#[test]
fn a_joint_change_and_a_crash() {
    let world = led(&membership(&[1, 2], &[3])).with_budget(Budget {
        changes: 1,
        crashes: 1,
        lags: 1,
        ..Budget::default()
    });
    exhaust("a joint change and a crash", world, replace(3, 2));
}

#[test]
fn a_joint_change_and_a_change_of_leader() {
    let world = led(&membership(&[1, 2], &[3])).with_budget(Budget {
        changes: 1,
        timeouts: 1,
        quiets: 1,
        ..Budget::default()
    });
    exhaust("a joint change and two leaders", world, replace(3, 2));
}

#[test]
fn a_joint_change_a_change_of_leader_and_a_crash() {
    let world = led(&membership(&[1, 2], &[3])).with_budget(Budget {
        changes: 1,
        timeouts: 1,
        quiets: 1,
        crashes: 1,
        ..Budget::default()
    });
    let name = "a joint change, two leaders, a crash";
    explore(name, world, replace(3, 2));
}

#[test]
fn a_leader_that_leaves_in_a_joint_change() {
    let world = led(&membership(&[1, 2], &[3])).with_budget(Budget {
        changes: 1,
        crashes: 1,
        lags: 1,
        timeouts: 1,
        ..Budget::default()
    });
    explore("a leader that leaves", world, replace(3, 1));
}
