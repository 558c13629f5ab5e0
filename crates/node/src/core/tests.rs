//! The core by itself, its workers played by the test.

use std::sync::{Arc, Mutex};

use consensus::{
    AppendOutcome, Config, EntryKind, HardState, Membership, Message, Payload, PersistPosition,
    Recovered, Term,
};

use peer_transport::JoinRequest;

use super::*;
use crate::config::{FEATURE_LEVEL, LOG_HELD_ENTRIES_MAX};
use crate::events::ProposeDone;
use crate::memory::QueueLimits;

pub(super) const OWN: NodeId = NodeId(1);
pub(super) const OTHER: NodeId = NodeId(2);
const MIB: usize = 1 << 20;
/// So late that no proposal is held.
pub(super) const LATER: Duration = Duration::MAX;

/// Entries of a mebibyte that fill the queue of the apply thread.
fn unapplied_max() -> usize {
    QueueLimits::default().unapplied_bytes.div_ceil(MIB)
}

pub(super) fn core(log_start: u64, voters: &[NodeId]) -> Core {
    let mut membership: Membership = consensus::bootstrap(OWN, Payload::from(&b""[..]));
    let member = membership.members[&OWN].clone();
    membership.members = voters.iter().map(|id| (*id, member.clone())).collect();
    membership.voters = voters.iter().copied().collect();
    membership.next_node_id = voters.len() as u64 + 1;
    core_with(log_start, membership)
}

pub(super) fn core_with(log_start: u64, membership: Membership) -> Core {
    let term = Term(1);
    let index = LogIndex(log_start);
    let (replica, first) = Replica::new(
        Config::new(OWN, 7),
        Recovered {
            hard_state: HardState {
                term,
                vote: None,
                commit: index,
            },
            membership,
            log_start: LogPosition { index, term },
            applied: index,
            terms: Vec::new(),
            entries: Vec::new(),
        },
    );
    let mut core = Core::new(replica, [0; 16], FEATURE_LEVEL, 1, index);
    drop(core.begin(first));
    core
}

/// Steps, with a disk that is done at once; what the apply thread would get stays with it.
pub(super) fn step(core: &mut Core, event: Event, ticks: u32) -> Outputs {
    let mut out = core.process(&mut vec![event], ticks, LATER);
    while let Some(position) = synced(&out) {
        let more = core.process(&mut vec![Event::Durable(position)], 0, LATER);
        out.log = more.log;
        out.send_now.extend(more.send_now);
        out.answers.extend(more.answers);
        out.send_snapshot.extend(more.send_snapshot);
    }
    for answer in std::mem::take(&mut out.answers) {
        answer();
    }
    out
}

fn synced(out: &Outputs) -> Option<PersistPosition> {
    let persists = out.log.iter().filter_map(|work| match work {
        LogWork::Persist { persist, .. } => persist.as_ref().map(|persist| persist.position),
        LogWork::RemovePrefix(_) | LogWork::LookForRoom => None,
    });
    persists.max()
}

pub(super) fn lead(core: &mut Core) {
    while !core.writable() {
        step(core, Event::Applied(core.replica.commit()), 1);
    }
    step(core, Event::Applied(core.replica.commit()), 0);
}

/// What became of a proposal so far.
fn propose(core: &mut Core, bytes: usize) -> Option<ProposeOutcome> {
    let outcome = Arc::new(Mutex::new(None));
    let told = outcome.clone();
    let done: ProposeDone = Box::new(move |it| *told.lock().expect("one thread") = Some(it));
    let payload = Payload::from(vec![0; bytes]);
    drop(step(core, Event::Propose { payload, done }, 0));
    outcome.lock().expect("one thread").take()
}

pub(super) fn from_other(core: &Core, message: Message) -> Event {
    Event::Received(vec![Envelope {
        from: OTHER,
        to: OWN,
        term: core.replica.term(),
        message,
    }])
}

#[test]
fn proposals_wait_for_the_round_under_way_and_are_turned_away_where_it_is_the_last() {
    let mut core = core(0, &[OWN]);
    lead(&mut core);
    let now = Duration::from_secs(1);
    let outcome = Arc::new(Mutex::new(None));
    let proposal = || {
        let told = outcome.clone();
        let done: ProposeDone = Box::new(move |it| *told.lock().expect("one thread") = Some(it));
        let payload = Payload::from(vec![0; 10]);
        Event::Propose { payload, done }
    };
    let first = core.process(&mut vec![proposal()], 0, now);
    let position = synced(&first).expect("a lone proposal goes at once");
    let more = core.process(&mut vec![proposal(), proposal()], 0, now);
    assert!(synced(&more).is_none() && core.held.len() == 2);
    let next = core.process(&mut vec![Event::Durable(position)], 0, now);
    assert!(synced(&next).is_some() && core.held.is_empty());
    let before = core.replica.last();
    drop(core.process(&mut vec![proposal()], 0, now));
    for answer in core.turn_away(&mut Vec::new()) {
        answer();
    }
    assert!(matches!(
        outcome.lock().expect("one thread").take(),
        Some(ProposeOutcome::Stopping)
    ));
    assert_eq!(core.replica.last(), before);
    // The first is the apply thread's now.
    assert_eq!(core.abandon().len(), 2);
}

#[test]
fn a_lone_proposal_after_a_crowd_wakes_the_core() {
    let mut core = core(0, &[OWN]);
    lead(&mut core);
    let proposals = || {
        let done: ProposeDone = Box::new(drop);
        let payload = Payload::from(vec![0; 10]);
        Event::Propose { payload, done }
    };
    let mut now = Duration::from_secs(1);
    let tick = Duration::from_millis(10);
    let out = core.process(&mut (0..64).map(|_| proposals()).collect(), 0, now);
    let rest = core.rest(now, tick);
    assert!(rest.time < tick && rest.until_more > 64, "it is under way");
    let position = synced(&out).expect("nothing was before them");
    core.process(&mut vec![Event::Durable(position)], 0, now);
    let rest = core.rest(now, tick);
    assert!(rest.time < tick && rest.until_more == 64, "they come back");
    now += rest.time;
    let rest = core.rest(now, tick);
    assert_eq!((rest.time, rest.until_more), (tick, 0));
}

#[test]
fn a_leader_whose_apply_thread_falls_behind_refuses_proposals() {
    let mut core = core(0, &[OWN]);
    lead(&mut core);
    for _ in 0..unapplied_max() {
        assert!(propose(&mut core, MIB).is_none(), "there is room");
    }
    assert!(matches!(
        propose(&mut core, 1),
        Some(ProposeOutcome::Overloaded)
    ));
    let committed = core.replica.commit();
    step(&mut core, Event::Applied(committed), 0);
    assert!(propose(&mut core, 1).is_none(), "there is room again");
}

#[test]
fn a_follower_that_falls_behind_takes_no_entries_but_hears_its_leader() {
    let mut core = core(0, &[OWN, OTHER]);
    let append = |core: &Core, at: u64| {
        let index = LogIndex(at);
        let entry = Entry {
            index,
            term: Term(1),
            kind: EntryKind::Command(Payload::from(vec![0; MIB])),
        };
        let previous = LogPosition {
            index: LogIndex(at - 1),
            term: Term(1),
        };
        let message = Message::AppendRequest {
            previous,
            entries: vec![entry],
            commit: index,
        };
        from_other(core, message)
    };
    let last = unapplied_max() as u64;
    for at in 1..=last {
        let event = append(&core, at);
        step(&mut core, event, 0);
    }
    assert_eq!(core.replica.last().index, LogIndex(last));
    let more = append(&core, last + 1);
    step(&mut core, more, 0);
    assert_eq!(core.replica.last().index, LogIndex(last), "it is full");
    let heartbeat = from_other(
        &core,
        Message::Heartbeat {
            commit: LogIndex(last),
            read_round: 3,
        },
    );
    let out = step(&mut core, heartbeat, 0);
    assert!(matches!(
        out.send_now[..],
        [Envelope {
            message: Message::HeartbeatReply {
                read_round: 3,
                disk_full: false,
            },
            ..
        }]
    ));
    step(&mut core, Event::Applied(LogIndex(last)), 0);
    let more = append(&core, last + 1);
    step(&mut core, more, 0);
    assert_eq!(core.replica.last().index, LogIndex(last + 1));
}

/// Else a snapshot that takes longer than the retained entries last would be followed by another, for ever.
#[test]
fn the_log_goes_on_where_a_snapshot_under_way_will_end() {
    let start = 5 * LOG_HELD_ENTRIES_MAX;
    let mut core = core(start, &[OWN]);
    lead(&mut core);
    let request = JoinRequest::fresh([9; 16], b"new".to_vec());
    let (reply, _answer) = crossbeam_channel::bounded(1);
    step(&mut core, Event::Join { request, reply }, 0);
    let asked_at = core.replica.commit();
    step(&mut core, Event::Applied(asked_at), 0);
    let rejected = Message::AppendReply {
        outcome: AppendOutcome::Rejected {
            previous: core.replica.progress()[&OTHER].next_index.previous(),
            conflict: LogPosition::default(),
        },
    };
    let rejected = from_other(&core, rejected);
    let out = step(&mut core, rejected, 0);
    assert_eq!(out.send_snapshot, [OTHER]);
    for _ in 0..10 {
        propose(&mut core, 1);
    }
    let last = core.replica.last().index;
    step(&mut core, Event::Applied(last), 0);
    step(&mut core, Event::Flushed(last), 0);
    assert!(
        core.removed <= asked_at,
        "entries up to {} are gone, the snapshot may end at {asked_at}",
        core.removed
    );
    let failed = Event::SnapshotSent {
        to: OTHER,
        position: LogPosition {
            index: asked_at,
            term: Term(2),
        },
        delivered: false,
    };
    step(&mut core, failed, 0);
    step(&mut core, Event::Flushed(last), 0);
    assert!(
        core.removed <= asked_at,
        "the stream may go on where it broke"
    );
    step(&mut core, Event::SnapshotUnpinned { to: OTHER }, 0);
    step(&mut core, Event::Flushed(last), 0);
    assert_eq!(core.removed.0, last.0 - 1, "nobody needs them any longer");
}

#[test]
fn the_log_waits_for_the_archive_within_bounds() {
    let mut core = core(0, &[OWN]);
    core.hold_log_for_archive();
    lead(&mut core);
    for _ in 0..10 {
        propose(&mut core, 1);
    }
    let last = core.replica.last().index;
    step(&mut core, Event::Applied(last), 0);
    step(&mut core, Event::Flushed(last), 0);
    assert_eq!(core.removed, LogIndex(0), "nothing is archived yet");
    step(&mut core, Event::Archived(LogIndex(4)), 0);
    assert_eq!(core.removed, LogIndex(4));
    step(&mut core, Event::Archived(last), 0);
    assert_eq!(core.removed.0, last.0 - 1, "one is kept for others");

    // One that has stood still for too long.
    let start = 2 * LOG_HELD_ENTRIES_MAX;
    let mut core = self::core(start, &[OWN]);
    lead(&mut core);
    for _ in 0..10 {
        propose(&mut core, 1);
    }
    let last = core.replica.last().index;
    step(&mut core, Event::Archived(LogIndex(start / 4)), 0);
    step(&mut core, Event::Applied(last), 0);
    step(&mut core, Event::Flushed(last), 0);
    assert_eq!(
        core.removed.0,
        last.0 - 1,
        "it is not waited for without end"
    );
}

#[test]
fn requests_that_come_with_the_end_are_answered() {
    let mut core = core(0, &[OWN]);
    let answered = Arc::new(Mutex::new(Vec::new()));
    let (one, two) = (answered.clone(), answered.clone());
    let mut events = vec![
        Event::Stop,
        Event::Propose {
            payload: Payload::from(&b""[..]),
            done: Box::new(move |it| one.lock().expect("one thread").push(format!("{it:?}"))),
        },
        Event::Read {
            done: Box::new(move |it| two.lock().expect("one thread").push(format!("{it:?}"))),
        },
    ];
    for answer in core.turn_away(&mut events) {
        answer();
    }
    assert_eq!(
        *answered.lock().expect("one thread"),
        ["Stopping", "Err(Stopping)"]
    );
}

/// Makes it the leader of two, with the other's votes.
fn elect(core: &mut Core) {
    for _ in 0..100 {
        let term = core.replica.term();
        let (term, message) = match core.replica.role() {
            RoleName::Leader => return,
            RoleName::PreCandidate => (term.next(), Message::PreVoteReply { granted: true }),
            RoleName::Candidate => (term, Message::VoteReply { granted: true }),
            RoleName::Follower | RoleName::Learner => {
                step(core, Event::Applied(LogIndex(0)), 1);
                continue;
            }
        };
        let reply = Envelope {
            from: OTHER,
            to: OWN,
            term,
            message,
        };
        step(core, Event::Received(vec![reply]), 0);
    }
    panic!("it never led");
}

/// Deposes a leader with a proposal under way by a successor whose entry at that index has `term` and is committed.
fn deposed(successor_keeps_it: bool) -> (Outputs, Arc<Mutex<Option<ProposeOutcome>>>) {
    let mut core = core(0, &[OWN, OTHER]);
    elect(&mut core);
    let before = core.replica.last();
    let outcome = Arc::new(Mutex::new(None));
    let told = outcome.clone();
    let payload = Payload::from(&b"proposed"[..]);
    let done: ProposeDone = Box::new(move |it| *told.lock().expect("one thread") = Some(it));
    step(
        &mut core,
        Event::Propose {
            payload: payload.clone(),
            done,
        },
        0,
    );
    let own = core.replica.last();
    assert_eq!(own.index, before.index.next(), "the proposal is in the log");
    let noop = |position: LogPosition| Entry {
        index: position.index,
        term: position.term,
        kind: EntryKind::Noop,
    };
    let newer = Term(own.term.0 + 1);
    let (previous, entry) = match successor_keeps_it {
        true => (
            own,
            noop(LogPosition {
                index: own.index.next(),
                term: newer,
            }),
        ),
        false => (
            before,
            noop(LogPosition {
                index: own.index,
                term: newer,
            }),
        ),
    };
    let commit = entry.index;
    let message = Message::AppendRequest {
        previous,
        entries: vec![entry],
        commit,
    };
    let append = vec![Envelope {
        from: OTHER,
        to: OWN,
        term: newer,
        message,
    }];
    let mut out = step(&mut core, Event::Received(append), 0);
    assert_ne!(core.replica.role(), RoleName::Leader);
    for answer in out.answers.drain(..) {
        answer();
    }
    (out, outcome)
}

/// Two faults within one operation are one more than drivers make good: a deposed leader says what became of it.
#[test]
fn a_deposed_leader_answers_what_its_successor_kept() {
    let (out, outcome) = deposed(true);
    assert!(outcome.lock().expect("one thread").is_none());
    let waiters = out.apply.iter().filter(|work| {
        matches!(
            work,
            ApplyWork::Entry {
                waiter: Waiter::Client(_),
                ..
            }
        )
    });
    assert_eq!(waiters.count(), 1, "the apply thread will answer");
}

#[test]
fn a_deposed_leader_knows_what_its_successor_ruled_out() {
    let (_out, outcome) = deposed(false);
    let outcome = outcome.lock().expect("one thread").take();
    assert!(
        matches!(
            outcome,
            Some(ProposeOutcome::NotLeader {
                leader: Some(OTHER)
            })
        ),
        "{outcome:?}"
    );
}
