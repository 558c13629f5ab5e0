use super::*;

/// `{ping: 1}`
const PING: &[u8] = b"\x0f\x00\x00\x00\x10ping\x00\x01\x00\x00\x00\x00";

fn message(flags: u32, sections: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_header(&mut out, HEADER_BYTES + 4 + sections.len(), 7, 0, OP_MSG);
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(sections);
    out
}

fn section(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind], content].concat()
}

fn sequence(name: &str, documents: &[&[u8]]) -> Vec<u8> {
    let documents = documents.concat();
    let length = 4 + name.len() + 1 + documents.len();
    let mut content = (length as i32).to_le_bytes().to_vec();
    content.extend_from_slice(name.as_bytes());
    content.push(0);
    content.extend_from_slice(&documents);
    section(SECTION_SEQUENCE, &content)
}

#[test]
fn what_is_written_is_read_back() {
    let mut out = Vec::new();
    write_message(&mut out, 9, 3, 0, PING);
    let header = Header::parse(&out).expect("sound header");
    assert_eq!(
        (header.length, header.request_id, header.opcode),
        (out.len(), 9, OP_MSG)
    );
    let parsed = parse_message(&out).expect("sound message");
    assert_eq!(parsed.body, PING);
    assert!(parsed.sequences.is_empty());
}

#[test]
fn sequences_stand_before_or_after_the_body() {
    let body = section(SECTION_BODY, PING);
    let documents = sequence("documents", &[PING, PING]);
    for sections in [
        [body.clone(), documents.clone()].concat(),
        [documents, body].concat(),
    ] {
        let bytes = message(0, &sections);
        let parsed = parse_message(&bytes).expect("sound message");
        assert_eq!(parsed.body, PING);
        assert_eq!(parsed.sequences[0].name, "documents");
        assert_eq!(
            parsed.sequences[0].documents().collect::<Vec<_>>(),
            [PING, PING]
        );
    }
}

#[test]
fn lengths_that_lie_are_refused() {
    for length in [i32::MIN, -1, 0, 15, 48_000_001, i32::MAX] {
        let mut bytes = message(0, &section(SECTION_BODY, PING));
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        assert_eq!(Header::parse(&bytes), Err(FrameError::Length(length)));
    }
    for length in [i32::MIN, -1, 0, 4, 16, i32::MAX] {
        let mut body = PING.to_vec();
        body[..4].copy_from_slice(&length.to_le_bytes());
        let bytes = message(0, &section(SECTION_BODY, &body));
        assert_eq!(parse_message(&bytes), Err(FrameError::InnerLength(length)));
        let bytes = message(0, &sequence("documents", &[&body]));
        assert_eq!(parse_message(&bytes), Err(FrameError::InnerLength(length)));
    }
}

#[test]
fn every_truncation_is_an_error_and_never_a_panic() {
    let sections = [section(SECTION_BODY, PING), sequence("documents", &[PING])].concat();
    let whole = message(0, &sections);
    let mut sound = 0;
    for end in 0..whole.len() {
        sound += usize::from(parse_message(&whole[..end]).is_ok());
        let _ = parse_query(&whole[..end]);
        let _ = parse_compressed(&whole[..end]);
    }
    assert_eq!(
        sound, 1,
        "only the cut right after the body leaves a whole message"
    );
}

#[test]
fn unknown_opcodes_flags_and_sections_are_refused() {
    let mut bytes = message(0, &section(SECTION_BODY, PING));
    bytes[12..16].copy_from_slice(&2001i32.to_le_bytes());
    assert_eq!(Header::parse(&bytes), Err(FrameError::Opcode(2001)));
    let bytes = message(1 << 4, &section(SECTION_BODY, PING));
    assert_eq!(parse_message(&bytes), Err(FrameError::Flags(16)));
    let bytes = message(1 << 20, &section(SECTION_BODY, PING));
    assert!(parse_message(&bytes).is_ok(), "optional bits are ignored");
    let bytes = message(0, &section(2, PING));
    assert_eq!(parse_message(&bytes), Err(FrameError::SectionKind(2)));
}

#[test]
fn a_message_has_exactly_one_body() {
    assert_eq!(parse_message(&message(0, &[])), Err(FrameError::Bodies(0)));
    let twice = [section(SECTION_BODY, PING), section(SECTION_BODY, PING)].concat();
    assert_eq!(
        parse_message(&message(0, &twice)),
        Err(FrameError::Bodies(2))
    );
}

#[test]
fn a_checksum_is_verified_when_present() {
    let mut bytes = message(CHECKSUM_PRESENT, &section(SECTION_BODY, PING));
    let length = (bytes.len() + 4) as i32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    assert!(parse_message(&bytes).is_ok());
    bytes[30] ^= 1;
    assert_eq!(parse_message(&bytes), Err(FrameError::Checksum));
}

#[test]
fn the_old_handshake_is_read_and_answered() {
    let mut bytes = Vec::new();
    let namespace = b"admin.$cmd\x00";
    write_header(
        &mut bytes,
        HEADER_BYTES + 4 + namespace.len() + 8 + PING.len(),
        1,
        0,
        OP_QUERY,
    );
    bytes.extend_from_slice(&0i32.to_le_bytes());
    bytes.extend_from_slice(namespace);
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(PING);
    let query = parse_query(&bytes).expect("sound query");
    assert_eq!((query.namespace, query.document), ("admin.$cmd", PING));
    let mut out = Vec::new();
    write_reply(&mut out, 2, 1, PING);
    assert_eq!(i32_at(&out, 0), Some(out.len() as i32));
    assert_eq!(&out[36..], PING);
}

#[test]
fn a_compressed_shell_names_a_bounded_size() {
    let mut bytes = Vec::new();
    write_header(&mut bytes, HEADER_BYTES + 9, 1, 0, OP_COMPRESSED);
    bytes.extend_from_slice(&OP_MSG.to_le_bytes());
    bytes.extend_from_slice(&48_000_000i32.to_le_bytes());
    bytes.push(1);
    assert_eq!(
        parse_compressed(&bytes),
        Err(FrameError::InnerLength(48_000_000))
    );
}
