//! Which waiters an applied entry settles, and how.

use std::sync::mpsc;

use consensus::{LogIndex, Term};

use super::*;
use crate::events::ProposeOutcome;

fn at(term: u64, index: u64) -> LogPosition {
    LogPosition {
        term: Term(term),
        index: LogIndex(index),
    }
}

/// Waiters for entries at `positions`; each reports its place in the list when it is answered.
fn waiting(positions: &[LogPosition]) -> (Awaited, mpsc::Receiver<usize>) {
    let (report, answered) = mpsc::channel();
    let mut awaited = Awaited::default();
    for (place, position) in positions.iter().enumerate() {
        let report = report.clone();
        let done = Box::new(move |_| report.send(place).expect("the test listens"));
        awaited.push(*position, Waiter::Client(done));
    }
    (awaited, answered)
}

fn places(waiters: Vec<Waiter>, answered: &mpsc::Receiver<usize>) -> Vec<usize> {
    for waiter in waiters {
        if let Waiter::Client(done) = waiter {
            done(ProposeOutcome::Unknown);
        }
    }
    answered.try_iter().collect()
}

#[test]
fn the_entry_itself_settles_its_own_waiter_whoever_leads_by_then() {
    let (mut awaited, answered) = waiting(&[at(1, 5), at(1, 6)]);
    assert!(awaited.pass(true, 1).is_empty());
    assert!(awaited.pass(false, 1).is_empty(), "deposed, in suspense");
    let settled = awaited.settle(at(1, 5));
    assert!(settled.lost.is_empty() && settled.unknown.is_empty());
    assert_eq!(places(vec![settled.own], &answered), [0]);
    assert_eq!(places(awaited.give_up(), &answered), [1]);
}

#[test]
fn an_entry_of_a_newer_term_rules_out_all_that_follow_it_in_an_older_one() {
    let (mut awaited, answered) = waiting(&[at(1, 5), at(1, 6), at(1, 7)]);
    let settled = awaited.settle(at(1, 5));
    assert_eq!(places(vec![settled.own], &answered), [0]);
    let settled = awaited.settle(at(2, 6));
    assert_eq!(places(settled.lost, &answered), [1, 2]);
    assert!(matches!(settled.own, Waiter::Nobody));
}

/// Led in term 1, deposed, leading again in term 3 with a shorter log.
#[test]
fn an_earlier_leadership_does_not_stand_in_the_way_of_a_later_one() {
    let (mut awaited, answered) = waiting(&[at(1, 9), at(1, 10), at(3, 8), at(3, 9)]);
    let settled = awaited.settle(at(2, 7));
    assert_eq!(places(settled.lost, &answered), [0, 1]);
    let settled = awaited.settle(at(3, 8));
    assert_eq!(places(vec![settled.own], &answered), [2]);
    let settled = awaited.settle(at(3, 9));
    assert_eq!(places(vec![settled.own], &answered), [3]);
}

#[test]
fn an_older_entry_settles_nothing() {
    let (mut awaited, answered) = waiting(&[at(3, 8)]);
    let settled = awaited.settle(at(1, 7));
    assert!(matches!(settled.own, Waiter::Nobody));
    assert!(settled.lost.is_empty() && settled.unknown.is_empty());
    assert_eq!(places(awaited.give_up(), &answered), [0]);
}

#[test]
fn what_a_snapshot_covers_stays_unknown() {
    let (mut awaited, answered) = waiting(&[at(1, 5), at(1, 6), at(1, 40)]);
    let settled = awaited.settle(at(2, 31));
    assert_eq!(places(settled.unknown, &answered), [0, 1]);
    assert_eq!(places(settled.lost, &answered), [2]);
}

#[test]
fn suspense_ends() {
    let (mut awaited, answered) = waiting(&[at(1, 5)]);
    assert!(awaited.pass(true, 10 * SUSPENSE_TICKS_MAX).is_empty());
    assert!(awaited.pass(false, 1).is_empty());
    assert!(awaited.pass(false, SUSPENSE_TICKS_MAX - 1).is_empty());
    assert_eq!(places(awaited.pass(false, 1), &answered), [0]);
    assert!(awaited.pass(false, SUSPENSE_TICKS_MAX).is_empty());
}
