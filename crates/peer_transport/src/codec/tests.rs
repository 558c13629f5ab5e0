//! Every message survives the codec; no bytes make it panic.

use super::*;
use proptest::prelude::*;

fn position() -> impl Strategy<Value = LogPosition> {
    (any::<u64>(), any::<u64>()).prop_map(|(index, term)| LogPosition {
        index: LogIndex(index),
        term: Term(term),
    })
}

fn bytes() -> impl Strategy<Value = Payload> {
    prop::collection::vec(any::<u8>(), 0..200).prop_map(Payload::from)
}

fn membership() -> impl Strategy<Value = Membership> {
    (
        prop::collection::btree_map(any::<u64>(), (bytes(), 0..4_u32), 0..7),
        any::<[bool; 2]>(),
        any::<u64>(),
    )
        .prop_map(|(contexts, [all_vote, joint], next_node_id)| {
            let members: BTreeMap<NodeId, Member> = contexts
                .into_iter()
                .map(|(id, (context, priority))| (NodeId(id), Member { context, priority }))
                .collect();
            let ids: BTreeSet<NodeId> = members.keys().copied().collect();
            let voters = if all_vote {
                ids.clone()
            } else {
                ids.iter().copied().take(1).collect()
            };
            Membership {
                members,
                voters,
                outgoing: joint.then_some(ids),
                next_node_id,
            }
        })
}

fn entry() -> impl Strategy<Value = Entry> {
    let kind = prop_oneof![
        Just(EntryKind::Noop),
        bytes().prop_map(EntryKind::Command),
        membership().prop_map(EntryKind::Membership),
    ];
    (any::<u64>(), any::<u64>(), kind).prop_map(|(index, term, kind)| Entry {
        index: LogIndex(index),
        term: Term(term),
        kind,
    })
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        position().prop_map(|last| Message::PreVoteRequest { last }),
        any::<bool>().prop_map(|granted| Message::PreVoteReply { granted }),
        (position(), any::<bool>())
            .prop_map(|(last, transfer)| Message::VoteRequest { last, transfer }),
        any::<bool>().prop_map(|granted| Message::VoteReply { granted }),
        (
            position(),
            prop::collection::vec(entry(), 0..5),
            any::<u64>()
        )
            .prop_map(|(previous, entries, commit)| {
                Message::AppendRequest {
                    previous,
                    entries,
                    commit: LogIndex(commit),
                }
            }),
        any::<u64>().prop_map(|index| Message::AppendReply {
            outcome: AppendOutcome::Accepted {
                match_index: LogIndex(index)
            }
        }),
        (any::<u64>(), position()).prop_map(|(previous, conflict)| Message::AppendReply {
            outcome: AppendOutcome::Rejected {
                previous: LogIndex(previous),
                conflict
            }
        }),
        any::<[u64; 2]>().prop_map(|[commit, read_round]| Message::Heartbeat {
            commit: LogIndex(commit),
            read_round
        }),
        (any::<u64>(), any::<bool>()).prop_map(|(read_round, disk_full)| {
            Message::HeartbeatReply {
                read_round,
                disk_full,
            }
        }),
        any::<u64>().prop_map(|request| Message::ReadIndexRequest { request }),
        (any::<u64>(), any::<Option<u64>>()).prop_map(|(request, index)| Message::ReadIndexReply {
            request,
            index: index.map(LogIndex)
        }),
        Just(Message::TimeoutNow),
    ]
}

fn envelope() -> impl Strategy<Value = Envelope> {
    (any::<[u64; 3]>(), message()).prop_map(|([from, to, term], message)| Envelope {
        from: NodeId(from),
        to: NodeId(to),
        term: Term(term),
        message,
    })
}

proptest! {
    #[test]
    fn messages_round_trip_within_the_estimated_size(envelopes in prop::collection::vec(envelope(), 0..6)) {
        let mut buffer = Vec::new();
        encode_messages(&mut buffer, envelopes.clone());
        prop_assert!(buffer.len() <= envelopes.iter().map(envelope_bytes).sum::<usize>());
        prop_assert_eq!(decode_messages(buffer.into()).expect("decodes"), envelopes);
    }

    #[test]
    fn a_snapshot_description_round_trips(
        leader in any::<u64>(), leader_term in any::<u64>(), position in position(), membership in membership(),
    ) {
        let meta = SnapshotMeta { leader: NodeId(leader), leader_term: Term(leader_term), position, membership };
        let mut buffer = Vec::new();
        encode_snapshot_meta(&mut buffer, &meta);
        prop_assert_eq!(decode_snapshot_meta(buffer.into()).expect("decodes"), meta);
    }

    #[test]
    fn garbage_never_panics(garbage in prop::collection::vec(any::<u8>(), 0..300)) {
        let garbage = Bytes::from(garbage);
        let _ = decode_messages(garbage.clone());
        let _ = decode_snapshot_meta(garbage.clone());
        let _ = decode_join(garbage.clone());
        let _ = decode_join_reply(garbage);
    }

    #[test]
    fn damaged_messages_never_panic(
        envelopes in prop::collection::vec(envelope(), 1..4), at in any::<prop::sample::Index>(), bit in 0..8u32,
    ) {
        let mut buffer = Vec::new();
        encode_messages(&mut buffer, envelopes);
        let at = at.index(buffer.len());
        buffer[at] ^= 1 << bit;
        let _ = decode_messages(buffer.clone().into());
        buffer.truncate(at);
        let _ = decode_messages(buffer.into());
    }
}

#[test]
fn join_messages_round_trip() {
    let fresh = JoinRequest::fresh([7; 16], b"here".to_vec());
    let known = JoinRequest {
        cluster_id: Some([1; 16]),
        member: Some(NodeId(3)),
        replaces: Some(NodeId(2)),
        ..fresh.clone()
    };
    for request in [fresh, known] {
        let mut buffer = Vec::new();
        encode_join(&mut buffer, &request);
        assert_eq!(decode_join(buffer.into()).expect("decodes"), request);
    }
    for reply in [
        JoinReply::Accepted {
            cluster_id: [9; 16],
            node_id: NodeId(4),
            context: b"members".to_vec(),
        },
        JoinReply::Redirect {
            leader: PeerAddress::from("elsewhere:1"),
        },
        JoinReply::NotNow {
            reason: "no leader".to_owned(),
        },
        JoinReply::Refused {
            reason: "no".to_owned(),
        },
        JoinReply::Removed {
            reason: "gone".to_owned(),
        },
    ] {
        let mut buffer = Vec::new();
        encode_join_reply(&mut buffer, &reply);
        assert_eq!(decode_join_reply(buffer.into()).expect("decodes"), reply);
    }
}

#[test]
fn an_id_of_the_wrong_length_is_malformed() {
    let mut buffer = Vec::new();
    encode_body(
        &mut buffer,
        &wire::Join {
            directory_id: Bytes::from_static(b"short"),
            context: Bytes::new(),
            ..Default::default()
        },
    );
    assert!(matches!(
        decode_join(buffer.into()),
        Err(FrameError::Body {
            kind: Kind::Join,
            ..
        })
    ));
}

#[test]
fn a_voter_that_is_no_member_is_malformed() {
    let membership = wire::Membership {
        voters: vec![3],
        ..Default::default()
    };
    assert!(membership_from_wire(membership, Kind::Messages).is_err());
}

#[test]
fn a_message_of_a_newer_version_is_an_error_not_a_default() {
    let mut buffer = Vec::new();
    let unknown = wire::Messages {
        envelopes: vec![wire::Envelope {
            from: 1,
            to: 2,
            term: 3,
            message: None,
        }],
    };
    encode_body(&mut buffer, &unknown);
    assert!(decode_messages(buffer.into()).is_err());
}

/// Taken for an entry without content it would be skipped, and this member would hold something else than the others.
#[test]
fn an_entry_of_a_newer_version_is_an_error_not_an_empty_one() {
    let mut buffer = Vec::new();
    let newer = wire::Messages {
        envelopes: vec![wire::Envelope {
            from: 1,
            to: 2,
            term: 3,
            message: Some(wire::Message::AppendRequest(wire::AppendRequest {
                entries: vec![wire::Entry {
                    index: 7,
                    term: 3,
                    content: None,
                    feature_level: ENTRY_FEATURE_LEVEL_MAX + 1,
                }],
                ..Default::default()
            })),
        }],
    };
    encode_body(&mut buffer, &newer);
    let error = decode_messages(buffer.into()).expect_err("newer");
    assert!(
        matches!(error, FrameError::NewerEntry { index: 7, .. }),
        "{error}"
    );
}
