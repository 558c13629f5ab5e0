//! What other members send: frames, and the protobuf bodies behind their checksums.

use bytes::{Bytes, BytesMut};
use consensus::{
    Entry, EntryKind, Envelope, GroupId, LogIndex, LogPosition, Member, Membership, Message,
    NodeId, Payload, SnapshotMeta, Term,
};
use peer_transport::frame::{self, BODY_BYTES_MAX, GREETING_BYTES_MAX, HEADER_BYTES, Kind};
use peer_transport::{JoinReply, JoinRequest, PeerAddress, codec};

const CHECKSUM_AT: usize = 12;

/// A stream of frames, as it is and with checksums that match, with the bounds before and after a greeting.
pub(crate) fn frame(data: &[u8]) -> bool {
    let mut sealed = data.to_vec();
    if sealed.len() >= HEADER_BYTES {
        let announced = u32::from_le_bytes(sealed[8..12].try_into().expect("four bytes")) as usize;
        let end = HEADER_BYTES.saturating_add(announced).min(sealed.len());
        let header = crc32c::crc32c(&sealed[..CHECKSUM_AT]);
        let sum = crc32c::crc32c_append(header, &sealed[CHECKSUM_AT + 4..end]);
        sealed[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&sum.to_le_bytes());
    }
    let accepted = frames(data, GREETING_BYTES_MAX);
    frames(data, BODY_BYTES_MAX);
    frames(&sealed, BODY_BYTES_MAX) > 0 && accepted > 0
}

fn frames(data: &[u8], body_bytes_max: usize) -> usize {
    let mut buffer = BytesMut::from(data);
    let mut accepted = 0;
    loop {
        let before = buffer.len();
        match frame::decode(&mut buffer, body_bytes_max) {
            Ok(Some(_)) => {
                assert!(buffer.len() + HEADER_BYTES <= before, "a frame was taken");
                accepted += 1;
            }
            Ok(None) => {
                assert!(frame::bytes_missing(&buffer) > 0, "something is missing");
                return accepted;
            }
            Err(_) => return accepted,
        }
    }
}

pub(crate) fn frame_seeds() -> Vec<Vec<u8>> {
    let mut stream = Vec::new();
    for (kind, body) in [
        (Kind::Hello, &b""[..]),
        (Kind::Ping, b"12345678"),
        (Kind::SnapshotChunk, &[7; 200]),
    ] {
        frame::encode(&mut stream, kind, GroupId(1), |buffer| {
            buffer.extend_from_slice(body);
        });
    }
    vec![stream]
}

pub(crate) fn messages(data: &[u8]) -> bool {
    let Ok(envelopes) = codec::decode_messages(Bytes::copy_from_slice(data)) else {
        return false;
    };
    let mut again = Vec::new();
    codec::encode_messages(&mut again, envelopes.clone());
    let again = codec::decode_messages(again.into());
    assert_eq!(
        again.as_ref(),
        Ok(&envelopes),
        "what was read can be written and read again"
    );
    true
}

fn position(index: u64, term: u64) -> LogPosition {
    LogPosition {
        index: LogIndex(index),
        term: Term(term),
    }
}

fn some_members() -> Membership {
    let mut membership = Membership {
        next_node_id: 4,
        ..Membership::default()
    };
    for id in 1..=3 {
        let context = Payload::from(b"peer=127.0.0.1:1\n".to_vec());
        membership.members.insert(NodeId(id), Member::new(context));
        membership.voters.insert(NodeId(id));
    }
    membership
}

pub(crate) fn message_seeds() -> Vec<Vec<u8>> {
    let entries = [
        EntryKind::Noop,
        EntryKind::Command(Payload::from(b"a command".to_vec())),
        EntryKind::Membership(some_members()),
    ];
    let entries = entries.into_iter().enumerate().map(|(at, kind)| Entry {
        index: LogIndex(8 + at as u64),
        term: Term(3),
        kind,
    });
    let all = [
        Message::PreVoteRequest {
            last: position(7, 2),
        },
        Message::PreVoteReply { granted: true },
        Message::VoteRequest {
            last: position(7, 2),
            transfer: true,
        },
        Message::AppendRequest {
            previous: position(7, 2),
            entries: entries.collect(),
            commit: LogIndex(6),
        },
    ];
    let envelope = |message| Envelope {
        from: NodeId(1),
        to: NodeId(2),
        term: Term(3),
        message,
    };
    all.into_iter()
        .map(|message| {
            let mut seed = Vec::new();
            codec::encode_messages(&mut seed, vec![envelope(message)]);
            seed
        })
        .collect()
}

pub(crate) fn snapshot_meta(data: &[u8]) -> bool {
    let Ok(meta) = codec::decode_snapshot_meta(Bytes::copy_from_slice(data)) else {
        return false;
    };
    let mut again = Vec::new();
    codec::encode_snapshot_meta(&mut again, &meta);
    assert_eq!(
        codec::decode_snapshot_meta(again.into()).as_ref(),
        Ok(&meta)
    );
    true
}

pub(crate) fn snapshot_meta_seeds() -> Vec<Vec<u8>> {
    let meta = SnapshotMeta {
        leader: NodeId(1),
        leader_term: Term(4),
        position: position(90, 3),
        membership: some_members(),
    };
    let mut seed = Vec::new();
    codec::encode_snapshot_meta(&mut seed, &meta);
    vec![seed]
}

pub(crate) fn join(data: &[u8]) -> bool {
    let Ok(request) = codec::decode_join(Bytes::copy_from_slice(data)) else {
        return false;
    };
    let mut again = Vec::new();
    codec::encode_join(&mut again, &request);
    assert_eq!(codec::decode_join(again.into()).as_ref(), Ok(&request));
    true
}

pub(crate) fn join_seeds() -> Vec<Vec<u8>> {
    let request = JoinRequest {
        cluster_id: Some([9; 16]),
        member: Some(NodeId(2)),
        replaces: Some(NodeId(1)),
        ..JoinRequest::fresh([7; 16], b"peer=127.0.0.1:1\n".to_vec())
    };
    let mut seed = Vec::new();
    codec::encode_join(&mut seed, &request);
    vec![seed]
}

pub(crate) fn join_reply(data: &[u8]) -> bool {
    let Ok(reply) = codec::decode_join_reply(Bytes::copy_from_slice(data)) else {
        return false;
    };
    let mut again = Vec::new();
    codec::encode_join_reply(&mut again, &reply);
    assert_eq!(codec::decode_join_reply(again.into()).as_ref(), Ok(&reply));
    true
}

pub(crate) fn join_reply_seeds() -> Vec<Vec<u8>> {
    let replies = [
        JoinReply::Accepted {
            cluster_id: [3; 16],
            node_id: NodeId(4),
            context: b"x".to_vec(),
        },
        JoinReply::Redirect {
            leader: PeerAddress("127.0.0.1:37017".to_owned()),
        },
        JoinReply::NotNow {
            reason: "later".to_owned(),
        },
    ];
    let encode = |reply: &JoinReply| {
        let mut seed = Vec::new();
        codec::encode_join_reply(&mut seed, reply);
        seed
    };
    replies.iter().map(encode).collect()
}
