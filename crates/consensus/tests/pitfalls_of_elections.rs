//! The classic mistakes of Raft implementations in elections, each with a test that names it.

mod cluster;
mod single;

use cluster::{Cluster, voters};
use consensus::{
    AppendOutcome, Config, Effects, Input, LogIndex, LogPosition, Message, NodeId, PersistPosition,
    Recovered, Replica, RoleName, Term,
};
use single::{
    ONE, THREE, TWO, append, command, log, position, receive, replica_of, step, sync, win,
};

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
                    disk_full: number() % 2 == 0,
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

#[test]
fn no_vote_goes_to_a_log_that_is_less_complete() {
    for (last, deserves) in [
        (position(9, 1), false),
        (position(1, 2), false),
        (position(2, 2), true),
        (position(1, 3), true),
    ] {
        let mut voter = replica_of(voters(3), 3, &[1, 2]);
        let effects = receive(&mut voter, TWO, 4, Message::PreVoteRequest { last });
        assert_eq!(
            effects.send_now[0].message,
            Message::PreVoteReply { granted: deserves }
        );
        let request = Message::VoteRequest {
            last,
            transfer: false,
        };
        let effects = receive(&mut voter, TWO, 4, request);
        let granted = Message::VoteReply { granted: deserves };
        assert_eq!(
            effects.send_after_sync[0].message, granted,
            "a log that ends at {last}"
        );
    }
}

#[test]
fn one_term_one_vote() {
    let mut voter = replica_of(voters(3), 1, &[]);
    let request = || Message::VoteRequest {
        last: position(1, 1),
        transfer: false,
    };
    for (from, expected) in [(TWO, true), (THREE, false), (TWO, true)] {
        let effects = receive(&mut voter, from, 2, request());
        let granted = Message::VoteReply { granted: expected };
        assert_eq!(effects.send_after_sync[0].message, granted);
    }
}

#[test]
fn who_hears_a_leader_refuses_others_but_not_its_chosen_successor() {
    let mut follower = replica_of(voters(3), 1, &[]);
    let heartbeat = Message::Heartbeat {
        commit: LogIndex(0),
        read_round: 0,
    };
    let _ = receive(&mut follower, TWO, 1, heartbeat);
    let request = |transfer| Message::VoteRequest {
        last: position(5, 1),
        transfer,
    };
    let effects = receive(&mut follower, THREE, 2, request(false));
    assert!(effects.send_after_sync.is_empty() && effects.send_now.is_empty());
    assert_eq!(follower.term(), Term(1), "not even the term is taken over");
    let effects = receive(&mut follower, THREE, 2, request(true));
    assert_eq!(
        effects.send_after_sync[0].message,
        Message::VoteReply { granted: true }
    );
}

#[test]
fn who_lost_its_connection_to_the_leader_grants_a_pre_vote_at_once() {
    let mut follower = replica_of(voters(3), 1, &[]);
    let heartbeat = || Message::Heartbeat {
        commit: LogIndex(0),
        read_round: 0,
    };
    let _ = receive(&mut follower, TWO, 1, heartbeat());
    let request = || Message::PreVoteRequest {
        last: position(5, 1),
    };
    let reply = |effects: &Effects| {
        effects
            .send_now
            .iter()
            .find(|envelope| envelope.to == THREE)
            .map(|e| e.message.clone())
    };
    let effects = receive(&mut follower, THREE, 2, request());
    assert_eq!(
        reply(&effects),
        Some(Message::PreVoteReply { granted: false })
    );
    let _ = step(&mut follower, Input::PeerDisconnected(TWO));
    let effects = receive(&mut follower, THREE, 2, request());
    assert_eq!(
        reply(&effects),
        Some(Message::PreVoteReply { granted: true })
    );
    let _ = receive(&mut follower, TWO, 1, heartbeat());
    let effects = receive(&mut follower, THREE, 2, request());
    assert_eq!(
        reply(&effects),
        Some(Message::PreVoteReply { granted: false }),
        "it lives"
    );
}

#[test]
fn a_leader_whose_large_message_is_still_arriving_is_not_given_up() {
    let mut follower = replica_of(voters(3), 1, &[1]);
    let _ = append(&mut follower, 1, position(1, 1), Vec::new(), 1);
    let patience = 10 * Config::new(ONE, 1).election_ticks_max;
    for _ in 0..patience {
        let _ = step(&mut follower, Input::Tick);
        let _ = step(&mut follower, Input::PeerHeard(TWO));
    }
    assert_eq!(follower.role(), RoleName::Follower);
    assert_eq!(follower.leader(), Some(TWO));
    // Another peer's bytes say nothing of the leader.
    for _ in 0..patience {
        let _ = step(&mut follower, Input::Tick);
        let _ = step(&mut follower, Input::PeerHeard(THREE));
    }
    assert_ne!(follower.leader(), Some(TWO));
}
