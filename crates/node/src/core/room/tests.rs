use std::sync::{Arc, Mutex};

use consensus::{LogIndex, NodeId, Payload};

use super::*;
use crate::core::tests::{LATER, OTHER, OWN, core, from_other, lead, step};
use crate::events::{Event, ProposeDone};

const THIRD: NodeId = NodeId(3);
const SEGMENT_BYTES: u64 = 1 << 20;

fn says(part: StoragePart, what: Option<&str>) -> Event {
    let what = what.map(str::to_owned);
    Event::DiskFull { part, what }
}

fn propose(core: &mut Core) -> Option<ProposeOutcome> {
    let outcome = Arc::new(Mutex::new(None));
    let told = outcome.clone();
    let done: ProposeDone = Box::new(move |it| *told.lock().expect("one thread") = Some(it));
    let payload = Payload::from(vec![0; 10]);
    drop(step(core, Event::Propose { payload, done }, 0));
    outcome.lock().expect("one thread").take()
}

fn answers(core: &mut Core, from: NodeId, disk_full: bool) {
    let envelope = |message| Envelope {
        from,
        to: OWN,
        term: core.replica.term(),
        message,
    };
    let match_index = core.replica.last().index;
    let outcome = consensus::AppendOutcome::Accepted { match_index };
    let envelopes = vec![
        envelope(Message::AppendReply { outcome }),
        envelope(Message::HeartbeatReply {
            read_round: 0,
            disk_full,
        }),
    ];
    drop(step(core, Event::Received(envelopes), 0));
}

/// A tick on which everything is applied.
fn tick(core: &mut Core) -> Outputs {
    let applied = core.replica.applied();
    step(core, Event::Applied(applied), 1)
}

/// Leads two others.
fn leader_of_three() -> Core {
    let mut core = core(0, &[OWN, OTHER, THIRD]);
    core.watch_room("/data".to_owned(), SEGMENT_BYTES);
    while core.replica.role() != RoleName::Leader {
        tick(&mut core);
        let term = core.replica.term();
        let granted = match core.replica.role() {
            RoleName::PreCandidate => Some((Message::PreVoteReply { granted: true }, term.next())),
            RoleName::Candidate => Some((Message::VoteReply { granted: true }, term)),
            _ => None,
        };
        if let Some((message, term)) = granted {
            let envelope = Envelope {
                from: OTHER,
                to: OWN,
                term,
                message,
            };
            step(&mut core, Event::Received(vec![envelope]), 0);
        }
    }
    core
}

#[test]
fn a_lone_leader_refuses_while_log_or_engine_has_no_room_and_looks_for_it() {
    let mut core = core(0, &[OWN]);
    core.watch_room("/data".to_owned(), SEGMENT_BYTES);
    lead(&mut core);
    let out = step(
        &mut core,
        says(StoragePart::Segments, Some("no segment")),
        0,
    );
    assert!(out.status_changed && core.disk_full() == Some("no segment"));
    step(&mut core, says(StoragePart::Engine, Some("no table")), 0);
    let Some(ProposeOutcome::DiskFull { what }) = propose(&mut core) else {
        panic!("it refuses");
    };
    assert!(
        what.contains("/data") && what.contains("no segment"),
        "{what}"
    );
    assert!(core.writable(), "reads go on");
    // It looks again and again, ever more rarely.
    let mut looks = Vec::new();
    for tick in 0..1_000 {
        let out = core.process(&mut Vec::new(), 1, LATER);
        if out.log.iter().any(|it| matches!(it, LogWork::LookForRoom)) {
            looks.push(tick);
        }
    }
    let pauses: Vec<_> = looks.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(pauses.is_sorted() && pauses.len() >= 4, "{looks:?}");
    assert_eq!(pauses.last(), Some(&(LOOK_TICKS_MAX as usize)));
    step(&mut core, says(StoragePart::Segments, None), 0);
    assert!(
        matches!(propose(&mut core), Some(ProposeOutcome::DiskFull { .. })),
        "the engine has none yet"
    );
    step(&mut core, says(StoragePart::Engine, None), 0);
    assert!(propose(&mut core).is_none(), "it is taken");
}

#[test]
fn a_full_leader_sends_writers_to_the_member_that_takes_over() {
    let mut core = leader_of_three();
    answers(&mut core, OTHER, true);
    answers(&mut core, THIRD, false);
    assert!(propose(&mut core).is_none(), "two of three have room");
    answers(&mut core, THIRD, false);
    step(
        &mut core,
        says(StoragePart::Segments, Some("no segment")),
        0,
    );
    assert!(matches!(
        propose(&mut core),
        Some(ProposeOutcome::NotLeader { leader: None })
    ));
    let out = tick(&mut core);
    let asked = out.send_now.iter();
    let asked = asked.filter(|it| it.message == Message::TimeoutNow);
    assert_eq!(asked.map(|it| it.to).collect::<Vec<_>>(), [THIRD]);
}

#[test]
fn when_nobody_has_room_the_leader_refuses_and_still_leads() {
    let mut core = leader_of_three();
    answers(&mut core, OTHER, true);
    answers(&mut core, THIRD, true);
    let Some(ProposeOutcome::DiskFull { what }) = propose(&mut core) else {
        panic!("nothing could be committed");
    };
    assert!(what.contains("cstore status"), "{what}");
    step(
        &mut core,
        says(StoragePart::Segments, Some("no segment")),
        0,
    );
    for _ in 0..100 {
        answers(&mut core, OTHER, true);
        answers(&mut core, THIRD, true);
        tick(&mut core);
        assert!(matches!(
            propose(&mut core),
            Some(ProposeOutcome::DiskFull { .. })
        ));
        assert!(core.writable());
    }
    step(&mut core, says(StoragePart::Segments, None), 0);
    answers(&mut core, OTHER, false);
    assert!(propose(&mut core).is_none());
}

#[test]
fn a_full_follower_takes_changes_of_leader_and_few_commands() {
    let mut core = core(0, &[OWN, OTHER]);
    core.watch_room("/data".to_owned(), SEGMENT_BYTES);
    let append = |core: &Core, kinds: &[EntryKind]| {
        let last = core.replica.last();
        let term = core.replica.term();
        let entries = (last.index.0 + 1..).zip(kinds).map(|(index, kind)| Entry {
            index: LogIndex(index),
            term,
            kind: kind.clone(),
        });
        let message = Message::AppendRequest {
            previous: last,
            entries: entries.collect(),
            commit: LogIndex(0),
        };
        from_other(core, message)
    };
    let command = || EntryKind::Command(Payload::from(vec![0; 50 << 10]));
    step(&mut core, says(StoragePart::Engine, Some("no table")), 0);
    let mut taken = 0;
    for _ in 0..20 {
        let before = core.replica.last().index;
        let event = append(&core, &[command()]);
        step(&mut core, event, 0);
        taken += core.replica.last().index.0 - before.0;
    }
    assert_eq!(taken, 5, "a quarter of a segment");
    let event = append(&core, &[command(), EntryKind::Noop]);
    step(&mut core, event, 0);
    assert_eq!(core.replica.last().index.0, taken + 2);
    // It says so when its leader asks.
    let heartbeat = Message::Heartbeat {
        commit: LogIndex(0),
        read_round: 7,
    };
    let event = from_other(&core, heartbeat);
    let out = step(&mut core, event, 0);
    assert!(out.send_now.iter().any(|it| it.message
        == Message::HeartbeatReply {
            read_round: 7,
            disk_full: true
        }));
    step(&mut core, says(StoragePart::Engine, None), 0);
    let event = append(&core, &[command()]);
    step(&mut core, event, 0);
    assert_eq!(core.replica.last().index.0, taken + 3);
}
