//! What counts as durable while writes and truncations overtake each other.

use super::*;

#[test]
fn a_write_under_way_counts_only_below_later_truncations() {
    let mut disk = Durability::new(LogIndex(0));
    disk.appended(LogIndex(1));
    let first = disk.issue(LogIndex(5));
    disk.truncated(LogIndex(3));
    disk.appended(LogIndex(3));
    let second = disk.issue(LogIndex(4));
    disk.durable(first);
    assert_eq!(disk.last(), LogIndex(2));
    assert!(disk.is_durable(first) && !disk.is_durable(second));
    disk.durable(second);
    assert_eq!(disk.last(), LogIndex(4));
    disk.durable(first);
    assert_eq!(disk.last(), LogIndex(4), "a late report changes nothing");
}

#[test]
fn one_report_may_cover_several_writes() {
    let mut disk = Durability::new(LogIndex(0));
    for last in 1..=3 {
        disk.appended(LogIndex(last));
        let _ = disk.issue(LogIndex(last));
    }
    disk.tick();
    assert_eq!(disk.waiting_ticks(), 1);
    disk.durable(PersistPosition(3));
    assert_eq!((disk.last(), disk.waiting_ticks()), (LogIndex(3), 0));
}

#[test]
fn a_reset_log_is_durable_only_with_its_own_write() {
    let mut disk = Durability::new(LogIndex(9));
    let position = LogPosition {
        index: LogIndex(20),
        ..LogPosition::ZERO
    };
    disk.reset(position);
    assert_eq!(disk.last(), LogIndex(0));
    assert_eq!(disk.pending(), (Some(position), None));
    let write = disk.issue(LogIndex(20));
    disk.durable(write);
    assert_eq!(disk.last(), LogIndex(20));
}

#[test]
#[should_panic(expected = "only w0 was issued")]
fn nothing_is_durable_before_it_was_issued() {
    Durability::new(LogIndex(0)).durable(PersistPosition(1));
}
