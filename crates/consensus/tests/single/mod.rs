//! One replica at a time: hand-made inputs, and helpers to bring it into a role.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::sync::Arc;

use consensus::{
    AppendOutcome, Config, Effects, Entry, EntryKind, Envelope, HardState, Input, LogIndex,
    LogPosition, Membership, Message, NodeId, Proposal, ProposalId, Recovered, Replica, RoleName,
    Term,
};

pub const ONE: NodeId = NodeId(1);
pub const TWO: NodeId = NodeId(2);
pub const THREE: NodeId = NodeId(3);

pub fn command(index: u64, term: u64) -> Entry {
    let payload = Arc::from(format!("{index}@{term}").into_bytes());
    Entry {
        index: LogIndex(index),
        term: Term(term),
        kind: EntryKind::Command(payload),
    }
}

pub fn log(terms: &[u64]) -> Vec<Entry> {
    (1..)
        .zip(terms)
        .map(|(index, term)| command(index, *term))
        .collect()
}

pub fn position(index: u64, term: u64) -> LogPosition {
    LogPosition {
        index: LogIndex(index),
        term: Term(term),
    }
}

/// Replica 1 with this membership, term and log on disk.
pub fn replica_of(membership: Membership, term: u64, terms: &[u64]) -> Replica {
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

pub fn step(replica: &mut Replica, input: Input) -> Effects {
    let effects = replica.step(input);
    replica.check_invariants();
    effects
}

pub fn receive(replica: &mut Replica, from: NodeId, term: u64, message: Message) -> Effects {
    let envelope = Envelope {
        from,
        to: replica.id(),
        term: Term(term),
        message,
    };
    step(replica, Input::Receive(envelope))
}

pub fn accept(replica: &mut Replica, from: NodeId, match_index: u64) -> Effects {
    let term = replica.term().0;
    let outcome = AppendOutcome::Accepted {
        match_index: LogIndex(match_index),
    };
    receive(replica, from, term, Message::AppendReply { outcome })
}

pub fn append(
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
pub fn sync(replica: &mut Replica, effects: &Effects) -> Effects {
    step(replica, Input::Durable(effects.sync_position))
}

/// Makes the replica campaign and win with the votes of `supporters`; nothing of its term is durable yet.
pub fn win(replica: &mut Replica, supporters: &[NodeId]) -> Effects {
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

pub fn propose(replica: &mut Replica, text: &str) -> Effects {
    let payload = Arc::from(text.as_bytes());
    step(
        replica,
        Input::Propose(vec![Proposal {
            id: ProposalId(1),
            payload,
        }]),
    )
}
