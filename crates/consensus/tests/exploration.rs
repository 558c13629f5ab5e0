//! Bounded exhaustive exploration of small clusters: see `explorer/mod.rs` for what is explored, reduced and checked.
//!
//! Small scenarios are explored to the end, the others up to a number of states, nearest first, which `CONSENSUS_STATES=n`
//! sets (`cargo test --release -p consensus --test exploration -- --nocapture`: some 100,000 a second). The number
//! explored, and whether that was all there is, is printed.

mod explorer;

use std::sync::Arc;

use consensus::{Member, Membership, MembershipChange, NodeId, RoleName, Term};
use explorer::node::{Event, Node};
use explorer::{Budget, Explorer, Scenario, World};

/// What a scenario that is too large to be explored to the end explores inside `cargo test`.
const STATES_MAX: usize = 30_000;
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
fn explore(name: &str, world: World, scenario: Scenario) {
    let states_max = std::env::var("CONSENSUS_STATES").ok();
    let states_max = states_max.and_then(|text| text.parse().ok());
    search(name, world, scenario, states_max.unwrap_or(STATES_MAX));
}

/// Explores every state there is.
fn exhaust(name: &str, world: World, scenario: Scenario) {
    let exhausted = search(name, world, scenario, STATES_OF_SMALL_SCENARIOS);
    assert!(exhausted, "{name} has become too large");
}

fn search(name: &str, world: World, scenario: Scenario, states_max: usize) -> bool {
    let found = Explorer::new(scenario).explore(world, states_max);
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

/// Everybody may time out, crash, and have a slow disk.
fn anybody() -> Scenario {
    Scenario {
        changes: vec![],
        time_out: vec![0, 1, 2],
        quiet: vec![0, 1, 2],
        crash: vec![0, 1, 2],
        lag: vec![0, 1, 2],
        cut: None,
    }
}

fn three() -> Membership {
    membership(&[1, 2, 3], &[])
}

fn reconfigure(promote: &[u64], remove: u64) -> Vec<MembershipChange> {
    vec![MembershipChange::Reconfigure {
        promote: promote.iter().copied().map(NodeId).collect(),
        remove: [NodeId(remove)].into(),
    }]
}

#[test]
fn an_election_and_a_crash() {
    let world = World::new(
        nodes(&three()),
        Budget {
            timeouts: 1,
            crashes: 1,
            lags: 1,
            ..Budget::default()
        },
    );
    let scenario = Scenario {
        time_out: vec![0],
        crash: vec![0, 1],
        lag: vec![0, 1],
        ..Scenario::default()
    };
    exhaust("an election and a crash", world, scenario);
}

#[test]
fn two_candidates() {
    let world = World::new(
        nodes(&three()),
        Budget {
            timeouts: 2,
            ..Budget::default()
        },
    );
    explore("two candidates", world, anybody());
}

#[test]
fn two_candidates_and_a_voter_that_crashes() {
    let world = World::new(
        nodes(&three()),
        Budget {
            timeouts: 2,
            crashes: 1,
            lags: 1,
            ..Budget::default()
        },
    );
    let scenario = Scenario {
        time_out: vec![0, 2],
        crash: vec![1],
        lag: vec![1],
        ..Scenario::default()
    };
    explore("two candidates, a voter crashes", world, scenario);
}

#[test]
fn two_proposals_and_a_crash() {
    let world = led(&three()).with_budget(Budget {
        proposals: 2,
        crashes: 1,
        lags: 1,
        ..Budget::default()
    });
    let scenario = Scenario {
        crash: vec![1],
        lag: vec![1],
        ..Scenario::default()
    };
    exhaust("two proposals and a crash", world, scenario);
}

#[test]
fn a_proposal_and_a_change_of_leader() {
    let world = led(&three()).with_budget(Budget {
        proposals: 1,
        timeouts: 1,
        quiets: 1,
        ..Budget::default()
    });
    let scenario = Scenario {
        time_out: vec![2],
        quiet: vec![1],
        ..Scenario::default()
    };
    exhaust("a proposal and a change of leader", world, scenario);
}

#[test]
fn a_proposal_and_connections_that_are_reset() {
    let world = led(&three()).with_budget(Budget {
        proposals: 1,
        resets: 2,
        ..Budget::default()
    });
    exhaust("a proposal and reset connections", world, anybody());
}

#[test]
fn a_proposal_a_change_of_leader_and_a_follower_that_crashes() {
    let world = led(&three()).with_budget(Budget {
        proposals: 1,
        timeouts: 1,
        crashes: 1,
        lags: 1,
        ..Budget::default()
    });
    let scenario = Scenario {
        time_out: vec![2],
        crash: vec![1],
        lag: vec![1],
        ..Scenario::default()
    };
    explore(
        "a proposal, two leaders, a follower crashes",
        world,
        scenario,
    );
}

#[test]
fn a_proposal_a_change_of_leader_and_a_leader_that_crashes() {
    let world = led(&three()).with_budget(Budget {
        proposals: 1,
        timeouts: 1,
        crashes: 1,
        lags: 2,
        ..Budget::default()
    });
    let scenario = Scenario {
        time_out: vec![2],
        crash: vec![0],
        lag: vec![0],
        ..Scenario::default()
    };
    explore(
        "a proposal, two leaders, the first crashes",
        world,
        scenario,
    );
}

/// The whole of it: more than can be explored to the end here.
#[test]
fn two_proposals_a_change_of_leader_a_crash_and_a_partition() {
    let world = led(&three()).with_budget(Budget {
        proposals: 2,
        timeouts: 1,
        quiets: 1,
        crashes: 1,
        lags: 1,
        ..Budget::default()
    });
    explore("two proposals, two leaders, a crash", world, anybody());
}

/// Figure 8 of the Raft paper, from the point where it becomes dangerous.
#[test]
fn entries_of_older_terms() {
    // Node 3 led term 3 and has heard of term 4, which node 1 will lead.
    let disks: [(u64, &[u64]); 3] = [(3, &[1, 2]), (3, &[1]), (4, &[1, 3])];
    let nodes = (1..).zip(disks).map(|(id, (term, log))| {
        let id = NodeId(id);
        Node::with_log(id, three(), Term(term), log)
    });
    let world = World::new(
        nodes.collect(),
        Budget {
            timeouts: 2,
            quiets: 1,
            ..Budget::default()
        },
    );
    let scenario = Scenario {
        time_out: vec![0, 2],
        quiet: vec![1],
        cut: Some((0, 2)),
        ..Scenario::default()
    };
    explore("entries of older terms", world, scenario);
}

#[test]
fn a_joint_change_and_a_crash() {
    let world = led(&membership(&[1, 2], &[3])).with_budget(Budget {
        changes: 1,
        crashes: 1,
        lags: 1,
        ..Budget::default()
    });
    let scenario = Scenario {
        changes: reconfigure(&[3], 2),
        crash: vec![0],
        lag: vec![0],
        ..Scenario::default()
    };
    exhaust("a joint change and a crash", world, scenario);
}

#[test]
fn a_joint_change_and_a_change_of_leader() {
    let world = led(&membership(&[1, 2], &[3])).with_budget(Budget {
        changes: 1,
        timeouts: 1,
        quiets: 1,
        ..Budget::default()
    });
    let scenario = Scenario {
        changes: reconfigure(&[3], 2),
        ..anybody()
    };
    exhaust("a joint change and two leaders", world, scenario);
}

#[test]
fn a_leader_that_leaves_in_a_joint_change() {
    let world = led(&membership(&[1, 2], &[3])).with_budget(Budget {
        changes: 1,
        timeouts: 1,
        crashes: 1,
        lags: 1,
        ..Budget::default()
    });
    let scenario = Scenario {
        changes: reconfigure(&[3], 1),
        ..anybody()
    };
    explore("a leader that leaves", world, scenario);
}

/// The halves have no voter in common: only the joint membership ties them together.
#[test]
fn a_lone_voter_that_leaves_to_two_others_and_crashes() {
    let world = led(&membership(&[1], &[2, 3])).with_budget(Budget {
        changes: 1,
        timeouts: 1,
        crashes: 1,
        lags: 3,
        ..Budget::default()
    });
    let scenario = Scenario {
        changes: reconfigure(&[2, 3], 1),
        time_out: vec![0],
        crash: vec![0],
        lag: vec![0],
        ..Scenario::default()
    };
    explore("from one voter to two others", world, scenario);
}

#[test]
fn a_lone_voter_that_leaves_to_two_others_who_campaign() {
    let world = led(&membership(&[1], &[2, 3])).with_budget(Budget {
        changes: 1,
        timeouts: 2,
        quiets: 1,
        crashes: 1,
        lags: 1,
        ..Budget::default()
    });
    let scenario = Scenario {
        changes: reconfigure(&[2, 3], 1),
        time_out: vec![0, 1],
        quiet: vec![2],
        crash: vec![0],
        lag: vec![0],
        ..Scenario::default()
    };
    explore("from one voter to two that campaign", world, scenario);
}
