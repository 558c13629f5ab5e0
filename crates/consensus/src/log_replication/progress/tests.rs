//! One follower's states, as its leader walks through them.

use std::sync::Arc;

use super::*;
use crate::position::{Entry, EntryKind, NodeId, Term};

fn config() -> Config {
    Config {
        inflight_messages_max: 2,
        ..Config::new(NodeId(1), 1)
    }
}

fn log(count: u64) -> Log {
    let entry = |index| {
        let kind = EntryKind::Command(Arc::from(&b"x"[..]));
        Entry {
            index: LogIndex(index),
            term: Term(1),
            kind,
        }
    };
    Log::new(
        LogPosition::ZERO,
        (Vec::new(), LogIndex(0)),
        (1..=count).map(entry).collect(),
        0,
    )
}

#[test]
fn a_probe_goes_alone_and_is_repeated_only_after_a_sign_of_life() {
    let (config, log) = (config(), log(5));
    let mut progress = Progress::new(LogIndex(6));
    assert_eq!(progress.next(&log, &config), Next::Append);
    progress.sent(LogIndex(5), 0);
    assert_eq!(progress.next(&log, &config), Next::Wait);
    for _ in 0..config.heartbeat_ticks {
        progress.tick();
    }
    assert_eq!(
        progress.next(&log, &config),
        Next::Wait,
        "time alone changes nothing"
    );
    assert!(!progress.alive(&config));
    assert_eq!(progress.next(&log, &config), Next::Append);
}

#[test]
fn entries_are_pipelined_within_the_window() {
    let (config, log) = (config(), log(5));
    let mut progress = Progress::new(LogIndex(1));
    progress.accepted(LogIndex(1), &log);
    for last in [2, 3] {
        assert_eq!(progress.next(&log, &config), Next::Append);
        progress.sent(LogIndex(last), 10);
    }
    assert_eq!(
        progress.next(&log, &config),
        Next::Wait,
        "two are under way"
    );
    progress.accepted(LogIndex(2), &log);
    assert_eq!(progress.next(&log, &config), Next::Append);
    assert_eq!(progress.next_index(), LogIndex(4));
    progress.check_invariants(&log);
}

#[test]
fn a_window_that_makes_no_progress_is_asked_about() {
    let (config, log) = (config(), log(5));
    let mut progress = Progress::new(LogIndex(1));
    progress.accepted(LogIndex(1), &log);
    progress.sent(LogIndex(5), 10);
    assert!(!progress.alive(&config), "it was only just sent");
    for _ in 0..config.heartbeat_ticks {
        progress.tick();
    }
    assert!(progress.alive(&config));
    progress.rejected(
        LogIndex(5),
        LogPosition {
            index: LogIndex(1),
            term: Term(1),
        },
        &log,
    );
    assert_eq!(
        (progress.next(&log, &config), progress.next_index()),
        (Next::Append, LogIndex(2))
    );
}

#[test]
fn answers_to_former_requests_are_ignored() {
    let log = log(5);
    let mut progress = Progress::new(LogIndex(6));
    let nowhere = LogPosition::ZERO;
    progress.rejected(LogIndex(3), nowhere, &log);
    assert_eq!(progress.next_index(), LogIndex(6), "the probe was after 5");
    progress.rejected(
        LogIndex(5),
        LogPosition {
            index: LogIndex(4),
            term: Term(1),
        },
        &log,
    );
    assert_eq!(progress.next_index(), LogIndex(5));
    progress.accepted(LogIndex(5), &log);
    progress.rejected(LogIndex(4), nowhere, &log);
    assert_eq!(progress.next_index(), LogIndex(6), "4 is known to match");
    progress.accepted(LogIndex(2), &log);
    assert_eq!(progress.match_index(), Some(LogIndex(5)));
}

#[test]
fn entries_out_of_memory_are_fetched() {
    let (config, mut log) = (config(), log(5));
    log.evict(LogIndex(3));
    let mut progress = Progress::new(LogIndex(1));
    progress.accepted(LogIndex(1), &log);
    assert_eq!(progress.next(&log, &config), Next::Fetch);
    progress.fetching();
    assert_eq!(progress.next(&log, &config), Next::Wait);
    assert!(
        !progress.fetched(Some(LogIndex(4))),
        "not what was asked for"
    );
    assert!(progress.fetched(Some(LogIndex(2))));
    progress.sent(LogIndex(3), 10);
    assert_eq!(progress.next(&log, &config), Next::Append);
    assert!(!progress.fetched(Some(LogIndex(2))), "answered already");
}

#[test]
fn a_snapshot_goes_only_to_the_living_and_ends_with_its_acceptance() {
    let (config, mut log) = (config(), log(5));
    log.compact(LogPosition {
        index: LogIndex(3),
        term: Term(1),
    });
    let mut progress = Progress::new(LogIndex(2));
    assert_eq!(progress.next(&log, &config), Next::Wait);
    progress.alive(&config);
    assert_eq!(progress.next(&log, &config), Next::Snapshot);
    progress.snapshot_requested();
    let position = LogPosition {
        index: LogIndex(4),
        term: Term(1),
    };
    progress.snapshot_sent(position, true);
    assert_eq!(
        progress.next(&log, &config),
        Next::Wait,
        "it is being installed"
    );
    progress.accepted(LogIndex(4), &log);
    assert_eq!(
        (progress.next(&log, &config), progress.next_index()),
        (Next::Append, LogIndex(5))
    );
}

#[test]
fn a_snapshot_that_failed_is_tried_again_after_a_sign_of_life() {
    let (config, mut log) = (config(), log(5));
    log.compact(LogPosition {
        index: LogIndex(3),
        term: Term(1),
    });
    let mut progress = Progress::new(LogIndex(2));
    progress.alive(&config);
    progress.snapshot_requested();
    progress.snapshot_sent(LogPosition::ZERO, false);
    assert_eq!(progress.next(&log, &config), Next::Wait);
    for _ in 0..config.heartbeat_ticks {
        progress.tick();
    }
    progress.alive(&config);
    assert_eq!(progress.next(&log, &config), Next::Snapshot);
}

#[test]
fn acknowledgements_may_overtake_a_fetch() {
    let mut log = log(5);
    log.evict(LogIndex(4));
    let mut progress = Progress::new(LogIndex(1));
    progress.accepted(LogIndex(1), &log);
    progress.fetching();
    progress.accepted(LogIndex(4), &log);
    assert!(progress.fetched(Some(LogIndex(2))));
    progress.sent(LogIndex(3), 10);
    assert_eq!(progress.next_index(), LogIndex(5), "4 is known to match");
    progress.check_invariants(&log);
}

#[test]
fn a_follower_that_lost_what_it_acknowledged_is_not_asked_at_full_speed() {
    let (config, log) = (config(), log(5));
    let mut progress = Progress::new(LogIndex(1));
    progress.accepted(LogIndex(3), &log);
    progress.disconnected();
    progress.rejected(LogIndex(3), LogPosition::ZERO, &log);
    assert_eq!(
        (progress.next(&log, &config), progress.next_index()),
        (Next::Wait, LogIndex(4))
    );
    for _ in 0..config.heartbeat_ticks {
        progress.tick();
    }
    progress.alive(&config);
    assert_eq!(progress.next(&log, &config), Next::Append);
}
