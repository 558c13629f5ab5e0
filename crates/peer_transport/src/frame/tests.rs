//! Frames survive any cutting of the stream; damage and lies are errors, never panics or large allocations.

use super::*;
use proptest::prelude::*;

fn frame(kind: Kind, group: u64, body: &[u8]) -> Vec<u8> {
    let mut buffer = Vec::new();
    encode(&mut buffer, kind, GroupId(group), |out| {
        out.extend_from_slice(body)
    });
    buffer
}

proptest! {
    #[test]
    fn frames_survive_any_cutting(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 1..5), cut in 1..40usize,
    ) {
        let mut stream = Vec::new();
        for (group, body) in bodies.iter().enumerate() {
            stream.extend(frame(Kind::SnapshotChunk, group as u64, body));
        }
        let mut buffer = BytesMut::new();
        let mut got = Vec::new();
        for piece in stream.chunks(cut) {
            buffer.extend_from_slice(piece);
            while let Some(frame) = decode(&mut buffer, 1000).expect("sound frames") {
                prop_assert_eq!(frame.group.0, got.len() as u64);
                got.push(frame.body.to_vec());
            }
        }
        prop_assert_eq!(got, bodies);
    }

    #[test]
    fn any_damaged_bit_is_noticed(
        body in prop::collection::vec(any::<u8>(), 0..50), at in any::<prop::sample::Index>(), bit in 0..8u32,
    ) {
        let mut bytes = frame(Kind::Messages, 5, &body);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let mut buffer = BytesMut::from(&bytes[..]);
        // A longer length waits for bytes that never come; everything else is an error.
        prop_assert!(!matches!(decode(&mut buffer, 1 << 20), Ok(Some(_))));
    }

    #[test]
    fn garbage_never_panics(garbage in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&mut BytesMut::from(&garbage[..]), 1000);
    }
}

#[test]
fn a_lying_length_is_refused_from_the_header_alone() {
    let mut bytes = frame(Kind::Messages, 0, b"");
    bytes[LENGTH_AT..CHECKSUM_AT].copy_from_slice(&u32::MAX.to_le_bytes());
    let error = decode(&mut BytesMut::from(&bytes[..]), 1000).expect_err("too long");
    assert_eq!(
        error,
        FrameError::TooLong {
            announced: u32::MAX as usize,
            allowed: 1000
        }
    );
}

#[test]
fn another_protocol_is_named_as_such() {
    let mut http = BytesMut::from(&b"GET / HTTP/1.1\r\nHost: nowhere\r\n\r\n"[..]);
    assert!(matches!(
        decode(&mut http, 1000),
        Err(FrameError::NotAFrame { .. })
    ));
}

#[test]
fn an_unknown_kind_or_layout_is_an_error() {
    let mut bytes = frame(Kind::Messages, 0, b"");
    bytes[VERSION_AT] = 9;
    assert_eq!(
        decode(&mut BytesMut::from(&bytes[..]), 10),
        Err(FrameError::UnknownVersion { found: 9 })
    );
    let mut bytes = frame(Kind::Messages, 0, b"");
    bytes[KIND_AT] = 200;
    let sum = checksum(&bytes);
    bytes[CHECKSUM_AT..GROUP_AT].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(
        decode(&mut BytesMut::from(&bytes[..]), 10),
        Err(FrameError::UnknownKind { found: 200 })
    );
}
