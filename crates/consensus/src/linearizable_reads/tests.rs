//! Rounds and forwarded reads by themselves.

use super::forwarded::ForwardedReads;
use super::lease::Lease;
use super::rounds::{ReadRounds, Reader};
use crate::membership::bootstrap;
use crate::position::{LogIndex, NodeId, ReadTicket};

const OWN: NodeId = NodeId(1);

fn three() -> crate::membership::Membership {
    let mut membership = bootstrap(OWN, std::sync::Arc::from(&b""[..]));
    membership.voters.extend([NodeId(2), NodeId(3)]);
    membership
}

#[test]
fn one_round_is_under_way_while_the_next_gathers() {
    let mut rounds = ReadRounds::default();
    rounds.gather(Reader::Local(ReadTicket(1)));
    assert!(rounds.can_start());
    rounds.start(10, LogIndex(5));
    rounds.gather(Reader::Local(ReadTicket(2)));
    assert!(!rounds.can_start());
    assert_eq!(rounds.len(), 2);
    assert_eq!(rounds.finish(OWN, &three()), None);
    rounds.confirm(NodeId(2), 9);
    assert_eq!(rounds.finish(OWN, &three()), None, "that was another round");
    rounds.confirm(NodeId(9), 10);
    assert_eq!(rounds.finish(OWN, &three()), None, "nobody knows node 9");
    rounds.confirm(NodeId(2), 10);
    let (index, readers) = rounds.finish(OWN, &three()).unwrap();
    assert_eq!(
        (index, readers),
        (LogIndex(5), vec![Reader::Local(ReadTicket(1))])
    );
    assert!(rounds.can_start());
    assert_eq!(rounds.into_readers(), [Reader::Local(ReadTicket(2))]);
}

#[test]
#[should_panic(expected = "used before")]
fn a_round_number_is_never_used_twice() {
    let mut rounds = ReadRounds::default();
    rounds.gather(Reader::Local(ReadTicket(1)));
    rounds.start(10, LogIndex(5));
    rounds.confirm(NodeId(2), 10);
    let _ = rounds.finish(OWN, &three());
    rounds.gather(Reader::Local(ReadTicket(2)));
    rounds.start(10, LogIndex(5));
}

#[test]
fn forwarded_reads_are_answered_together_and_expire() {
    let mut reads = ForwardedReads::default();
    reads.gather(ReadTicket(1));
    reads.gather(ReadTicket(2));
    reads.ask(7);
    reads.gather(ReadTicket(3));
    assert!(reads.answered(8).is_empty());
    assert_eq!(reads.answered(7), [ReadTicket(1), ReadTicket(2)]);
    assert!(
        reads.answered(7).is_empty(),
        "a repeated answer finds nobody"
    );
    reads.ask(9);
    assert!(reads.tick(1).is_empty());
    assert_eq!(reads.tick(1), [ReadTicket(3)]);
    assert_eq!(reads.len(), 0);
}

#[test]
fn a_lease_runs_from_when_the_answered_heartbeat_was_sent_first() {
    let mut lease = Lease::new(3);
    lease.sent(7);
    assert!(!lease.holds(OWN, &three()), "nobody has answered");
    lease.tick();
    lease.tick();
    lease.sent(7);
    lease.answered(NodeId(2), 7);
    assert!(lease.holds(OWN, &three()), "sent two ticks ago");
    lease.tick();
    assert!(!lease.holds(OWN, &three()), "three ticks ago");
    lease.sent(7);
    lease.answered(NodeId(2), 7);
    assert!(
        !lease.holds(OWN, &three()),
        "when it was repeated does not matter"
    );
    lease.sent(8);
    lease.answered(NodeId(9), 8);
    assert!(!lease.holds(OWN, &three()), "nobody knows node 9");
    lease.answered(NodeId(3), 8);
    assert!(lease.holds(OWN, &three()));
    lease.forget();
    lease.answered(NodeId(3), 8);
    assert!(
        !lease.holds(OWN, &three()),
        "it is not known how old that is"
    );
    lease.sent(9);
    lease.answered(NodeId(3), 9);
    assert!(lease.holds(OWN, &three()));
    lease.end();
    lease.sent(10);
    lease.answered(NodeId(3), 10);
    assert!(!lease.holds(OWN, &three()), "a successor was asked");
}
