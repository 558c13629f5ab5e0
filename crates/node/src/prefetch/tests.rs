use std::sync::Arc;
use std::time::Instant;

use consensus::{Entry, LogIndex, Term};
use state_machine::StateMachine;
use storage_engine::MemoryEngine;

use super::*;
use crate::events::Waiter;
use crate::tests::{PATIENCE, insert, insert_documents};

fn entry(index: u64, command: Vec<u8>) -> ApplyWork {
    ApplyWork::Entry {
        entry: Entry {
            index: LogIndex(index),
            term: Term(1),
            kind: EntryKind::Command(Payload::from(command)),
        },
        waiter: Waiter::Nobody,
    }
}

/// Inserts of so many documents in one command.
fn inserts(count: i32) -> Vec<u8> {
    insert_documents((0..count).map(|id| bson::rawdoc! { "_id": id }))
}

/// A machine that has applied inserts up to this index.
fn machine(applied: u64) -> StateMachine {
    let engine = Arc::new(MemoryEngine::new());
    let mut machine = StateMachine::open(engine).expect("it is empty");
    for index in 1..=applied {
        let reply = machine.apply(index, 1, &insert(index as i32));
        reply.expect("memory has no faults");
    }
    machine
}

/// Keys that helpers look up for `work`, until they have looked up `enough`.
fn looked_up(work: &[ApplyWork], applied: u64, enough: u64) -> u64 {
    let machine = machine(applied);
    let reader = RwLock::new(machine.reader());
    let gauges = Arc::new(Gauges::default());
    let prefetcher = Arc::new(Prefetcher::new(gauges.clone()));
    let look_ahead = LookAhead::new(prefetcher.clone());
    let count = || gauges.prefetched.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| prefetcher.help(&reader));
        }
        look_ahead.tell(work);
        let deadline = Instant::now() + PATIENCE;
        while count() < enough {
            assert!(Instant::now() < deadline, "{} of {enough}", count());
            std::thread::yield_now();
        }
        drop(look_ahead);
    });
    count()
}

#[test]
fn waiting_entries_are_looked_into_but_for_the_first_and_those_that_are_applied() {
    let work: Vec<_> = (2..8).map(|index| entry(index, insert(9))).collect();
    assert_eq!(looked_up(&work, 1, 5), 5);
    assert_eq!(looked_up(&work, 5, 2), 2);
}

#[test]
fn all_keys_of_a_long_command_are_looked_up() {
    let count = KEYS_AT_ONCE as i32 * 2 + 5;
    let work = [entry(2, insert(9)), entry(3, inserts(count))];
    assert_eq!(looked_up(&work, 1, count as u64), count as u64);
}

#[test]
fn what_is_no_command_is_passed_over() {
    let noop = ApplyWork::Entry {
        entry: Entry {
            index: LogIndex(3),
            term: Term(1),
            kind: EntryKind::Noop,
        },
        waiter: Waiter::Nobody,
    };
    let work = [
        entry(2, insert(9)),
        noop,
        entry(4, b"no command".to_vec()),
        entry(5, insert(9)),
    ];
    assert_eq!(looked_up(&work, 1, 1), 1);
}

#[test]
fn ahead_is_looked_while_applying_reads_from_a_disk() {
    let mut need = Need::default();
    for (bytes, expected) in [(0, false), (4096 * 16, true), (4096 * 15, false)] {
        need.entries += DECIDE_EVERY - 1;
        assert!(!need.is_due());
        need.entries += 1;
        assert!(need.is_due());
        need.decide(bytes);
        assert_eq!((need.is_there, need.is_due()), (expected, false));
    }
}
