//! Bytes that are not the protocol end in an error or a closed connection, and harm no other client.

use bson::{Document, doc};

use super::harness::{TestClient, TestServer};
use crate::mongo_wire::frame::{self, HEADER_BYTES, OP_MSG};

fn code(reply: &Document) -> i32 {
    reply.get_i32("code").expect("an error has a code")
}

/// A message with any header and content.
fn raw(length: i32, opcode: i32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for field in [length, 1, 0, opcode] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(content);
    out
}

fn whole(opcode: i32, content: &[u8]) -> Vec<u8> {
    raw((HEADER_BYTES + content.len()) as i32, opcode, content)
}

async fn is_closed(client: &mut TestClient) -> bool {
    client.reply().await.is_none()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_cannot_be_trusted_close_the_connection() {
    let server = TestServer::start().await;
    let mut other = server.connect().await;
    for bytes in [
        raw(0, OP_MSG, b""),
        raw(-1, OP_MSG, b""),
        raw(i32::MAX, OP_MSG, b""),
        raw(48_000_001, OP_MSG, b""),
        whole(2001, b"old update"),
        whole(9999, b"unknown"),
        whole(OP_MSG, b""),
        whole(OP_MSG, &[0, 0, 0, 0, 7]),
        whole(OP_MSG, &[16, 0, 0, 0, 0, 5, 0, 0, 0, 0]),
        whole(OP_MSG, &[0, 0, 0, 0, 0, 255, 255, 255, 127, 0]),
        whole(OP_MSG, &[0, 0, 0, 0, 1, 255, 255, 255, 127, b'd', 0]),
        whole(frame::OP_QUERY, b"\0\0\0\0no end of the name"),
        whole(
            frame::OP_COMPRESSED,
            &[221, 7, 0, 0, 255, 255, 255, 127, 1, 0],
        ),
        whole(frame::OP_COMPRESSED, &[221, 7, 0, 0, 100, 0, 0, 0, 2, 0]),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
    ] {
        let mut client = server.connect().await;
        client.send(&bytes).await;
        assert!(is_closed(&mut client).await, "{bytes:?}");
        assert!(other.is_served().await);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_frame_harms_nobody() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    client.send(&raw(1000, OP_MSG, b"\0\0\0\0")).await;
    let mut other = server.connect().await;
    assert!(other.is_served().await);
    drop(client);
    assert!(other.is_served().await);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_are_no_bson_are_refused_and_the_connection_lives() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    for body in [
        // A string that claims to be longer than the document.
        &b"\x12\x00\x00\x00\x02ping\x00\xff\x00\x00\x00x\x00\x00"[..],
        // Invalid UTF-8 in a string.
        &b"\x12\x00\x00\x00\x02ping\x00\x03\x00\x00\x00\xc3\x28\x00"[..],
        // An unknown element type.
        &b"\x0f\x00\x00\x00\x77ping\x00\x01\x00\x00\x00\x00"[..],
    ] {
        let mut message = Vec::new();
        let mut body = body.to_vec();
        let length = body.len() as i32;
        body[..4].copy_from_slice(&length.to_le_bytes());
        frame::write_message(&mut message, 1, 0, 0, &body);
        client.send(&message).await;
        let reply = client
            .reply()
            .await
            .expect("an error, not a closed connection");
        assert_eq!(reply.get_f64("ok").ok(), Some(0.0));
        assert!([22, 9].contains(&code(&reply)), "{reply}");
        assert!(client.is_served().await);
    }
    server.stop().await;
}

/// `{insert: "deep", documents: [{a: {a: … }}], $db: "test"}` with documents this deep inside the stored one. Built as
/// bytes: the library's own types would need a stack as deep.
fn deep_insert(levels: usize) -> Vec<u8> {
    let mut document = doc! {"a": 1}.to_vec().expect("a document");
    for _ in 0..levels {
        let length = (document.len() + 8) as i32;
        let mut outer = length.to_le_bytes().to_vec();
        outer.extend_from_slice(b"\x03a\0");
        outer.append(&mut document);
        outer.push(0);
        document = outer;
    }
    let sequence = [
        &((4 + 10 + document.len()) as i32).to_le_bytes()[..],
        b"documents\0",
        &document,
    ]
    .concat();
    let body = doc! {"insert": "deep", "$db": "test"}
        .to_vec()
        .expect("a document");
    whole(
        OP_MSG,
        &[&[0; 4][..], &[0], &body, &[1], &sequence].concat(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deep_nesting_is_refused() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    for levels in [150, 200, 1_000, 10_000] {
        client.send(&deep_insert(levels)).await;
        let reply = client
            .reply()
            .await
            .expect("an error, not a closed connection");
        let refused =
            reply.get_f64("ok").ok() == Some(0.0) || reply.get_array("writeErrors").is_ok();
        assert!(refused, "{levels} levels: {reply}");
        assert!(client.is_served().await);
    }
    client.send(&deep_insert(90)).await;
    let reply = client.reply().await.expect("a reply");
    assert_eq!(reply.get_i32("n").ok(), Some(1), "{reply}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_of_17_mebibytes_is_refused_by_name() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let large = doc! {"_id": 1, "a": "x".repeat(17 << 20)};
    let reply = client
        .command(&doc! {"insert": "large", "documents": [large], "$db": "test"})
        .await;
    let found = match reply.get_array("writeErrors") {
        Ok(errors) => code(errors[0].as_document().expect("a document")),
        Err(_) => code(&reply),
    };
    assert_eq!(
        found,
        10334,
        "{}",
        reply.get_str("errmsg").unwrap_or_default()
    );
    let fits = doc! {"_id": 2, "a": "x".repeat(15 << 20)};
    let reply = client
        .command(&doc! {"insert": "large", "documents": [fits], "$db": "test"})
        .await;
    assert_eq!(reply.get_i32("n").ok(), Some(1));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_reads_holds_up_itself_alone() {
    let server = TestServer::start().await;
    let mut deaf = server.connect().await;
    let document = doc! {"a": "x".repeat(1 << 20)};
    deaf.command(&doc! {"insert": "big", "documents": vec![document; 8], "$db": "test"})
        .await;
    let mut command = Vec::new();
    let mut body = Vec::new();
    doc! {"find": "big", "$db": "test"}
        .to_writer(&mut body)
        .expect("a document");
    frame::write_message(&mut command, 1, 0, 0, &body);
    // 800 MiB of replies are asked for and none is read: the server stops reading instead of gathering them.
    for _ in 0..100 {
        deaf.send(&command).await;
    }
    let mut other = server.connect().await;
    assert!(other.is_served().await);
    let asked = server
        .server
        .counters
        .queries
        .load(std::sync::atomic::Ordering::Relaxed);
    assert!(
        asked < 50,
        "{asked} replies were prepared for a client that reads none"
    );
    server.stop().await;
}
