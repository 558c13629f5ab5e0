use consensus::{
    Entry, EntryKind, Envelope, LogIndex, LogPosition, Message, NodeId, Payload, Term,
};

use super::*;

fn finding(messages: &[Envelope]) -> Option<String> {
    let mut checkers = all();
    for message in messages {
        for checker in &mut checkers {
            if let Err(finding) = checker.sent(message) {
                return Some(finding);
            }
        }
    }
    None
}

fn vote(from: u64, to: u64, term: u64) -> Envelope {
    Envelope {
        from: NodeId(from),
        to: NodeId(to),
        term: Term(term),
        message: Message::VoteReply { granted: true },
    }
}

fn append(command: &[u8], term: u64) -> Envelope {
    let entry = Entry {
        index: LogIndex(7),
        term: Term(term),
        kind: EntryKind::Command(Payload::from(command.to_vec())),
    };
    Envelope {
        from: NodeId(1),
        to: NodeId(2),
        term: Term(5),
        message: Message::AppendRequest {
            previous: LogPosition {
                index: LogIndex(6),
                term: Term(1),
            },
            entries: vec![entry],
            commit: LogIndex(6),
        },
    }
}

#[test]
fn a_second_vote_in_a_term_is_found() {
    assert_eq!(
        finding(&[vote(1, 2, 5), vote(1, 2, 5), vote(1, 3, 6)]),
        None
    );
    let found = finding(&[vote(1, 2, 5), vote(1, 3, 5)]).unwrap();
    assert!(found.contains("voted for"), "{found}");
}

#[test]
fn a_candidate_that_votes_for_another_is_found() {
    let asks = Envelope {
        message: Message::VoteRequest {
            last: LogPosition {
                index: LogIndex(0),
                term: Term(0),
            },
            transfer: false,
        },
        ..vote(1, 2, 5)
    };
    assert!(finding(&[asks, vote(1, 3, 5)]).is_some());
}

#[test]
fn two_entries_of_one_index_and_term_are_found() {
    assert_eq!(finding(&[append(b"a", 4), append(b"b", 5)]), None);
    let found = finding(&[append(b"a", 5), append(b"b", 5)]).unwrap();
    assert!(found.contains("log matching"), "{found}");
}
