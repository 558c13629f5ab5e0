//! The log against a plain vector of entries, and the hint for diverged logs.

use std::sync::Arc;

use super::*;
use crate::position::EntryKind;
use crate::random::Random;

const ON_DISK: (Vec<(LogIndex, Term)>, LogIndex) = (Vec::new(), LogIndex(0));

fn entry(index: u64, term: u64) -> Entry {
    let kind = EntryKind::Command(Arc::from(&b"0123456789"[..]));
    Entry {
        index: LogIndex(index),
        term: Term(term),
        kind,
    }
}

fn log(terms: &[u64]) -> Log {
    let entries = (1..)
        .zip(terms)
        .map(|(index, term)| entry(index, *term))
        .collect();
    Log::new(LogPosition::ZERO, ON_DISK, entries, usize::MAX)
}

#[test]
fn a_log_answers_like_a_plain_vector() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut log = Log::new(LogPosition::ZERO, ON_DISK, Vec::new(), 200);
        let mut model: Vec<u64> = Vec::new();
        let (mut start, mut applied, mut term) = (0, 0, 1);
        for _ in 0..100 {
            let last = model.len() as u64;
            match random.ticks(0, 5) {
                0 if last > applied => {
                    let from = applied + 1 + random.next() % (last - applied);
                    log.truncate(LogIndex(from));
                    model.truncate(usize::try_from(from - 1).unwrap());
                    term += 1;
                }
                1 if last > applied => {
                    applied += 1;
                    log.evict(LogIndex(applied));
                }
                2 if applied > start => {
                    start += 1 + random.next() % (applied - start);
                    let at = usize::try_from(start - 1).unwrap();
                    log.compact(LogPosition {
                        index: LogIndex(start),
                        term: Term(model[at]),
                    });
                }
                3 => term += 1,
                _ => {
                    log.append(entry(last + 1, term));
                    model.push(term);
                }
            }
            log.check_invariants();
            assert!(log.cache_first().0 <= applied + 1);
            for index in 1..model.len() as u64 + 3 {
                let expected = usize::try_from(index - 1).ok().and_then(|at| model.get(at));
                let expected = expected.filter(|_| index >= start).map(|term| Term(*term));
                assert_eq!(
                    log.term_at(LogIndex(index)),
                    expected,
                    "index {index} of {model:?}"
                );
            }
            assert_eq!(log.last_index().0, model.len() as u64);
        }
    }
}

#[test]
fn the_hint_is_the_highest_index_whose_term_is_small_enough() {
    let log = log(&[1, 1, 1, 4, 4, 5, 5, 6]);
    let hint = |index, term| {
        log.last_index_with_term_at_most(LogIndex(index), Term(term))
            .map(|index| index.0)
    };
    assert_eq!(hint(8, 6), Some(8));
    assert_eq!(hint(20, 9), Some(8));
    assert_eq!(hint(8, 3), Some(3));
    assert_eq!(hint(2, 3), Some(2));
    assert_eq!(hint(7, 4), Some(5));
    assert_eq!(
        hint(5, 0),
        Some(0),
        "the place before everything always agrees"
    );
}

#[test]
fn the_hint_says_when_a_compacted_log_cannot_know() {
    let mut log = log(&[1, 1, 3, 3]);
    log.compact(LogPosition {
        index: LogIndex(3),
        term: Term(3),
    });
    assert_eq!(log.last_index_with_term_at_most(LogIndex(4), Term(2)), None);
    assert_eq!(
        log.last_index_with_term_at_most(LogIndex(1), Term(1)),
        Some(LogIndex(1))
    );
    assert_eq!(
        log.last_index_with_term_at_most(LogIndex(4), Term(3)),
        Some(LogIndex(4))
    );
}

#[test]
fn entries_that_are_on_disk_only_are_known_by_their_terms() {
    let all: Vec<Entry> = (1..)
        .zip([1, 1, 3, 4, 4])
        .map(|(index, term)| entry(index, term))
        .collect();
    let runs = [
        (LogIndex(1), Term(1)),
        (LogIndex(3), Term(3)),
        (LogIndex(4), Term(4)),
    ];
    for through in [3, 4, 5] {
        let on_disk = runs
            .iter()
            .copied()
            .filter(|(first, _)| first.0 <= through)
            .collect();
        let rest = all[through as usize..].to_vec();
        let mut log = Log::new(
            LogPosition::ZERO,
            (on_disk, LogIndex(through)),
            rest,
            usize::MAX,
        );
        assert_eq!(log.last(), all[4].position());
        assert_eq!(log.cache_first(), LogIndex(through + 1));
        for entry in &all {
            assert_eq!(log.term_at(entry.index), Some(entry.term));
        }
        log.append(entry(6, 4));
        log.compact(all[3].position());
        log.check_invariants();
        assert_eq!(log.cached(LogIndex(6), LogIndex(6)).count(), 1);
    }
}

#[test]
fn requests_are_cut_by_weight_but_hold_one_entry_at_least() {
    let log = log(&[1; 10]);
    let one = entry(1, 1).bytes();
    assert_eq!(log.cached_up_to_bytes(LogIndex(2), 3 * one).len(), 3);
    assert_eq!(log.cached_up_to_bytes(LogIndex(2), 1).len(), 1);
    assert_eq!(log.cached_up_to_bytes(LogIndex(11), 1).len(), 0);
}
