//! Messages and checks against the `bson` library, and the clients against the stub.

use std::time::Duration;

use bson::raw::RawDocument;
use bson::{Document, doc, rawdoc};

use super::client::{Connections, Operation};
use super::message::{self, BODY_AT, Prepared, encode, places};
use super::reply::{FindCheck, InsertCheck, body, succeeded};
use super::stub;
use crate::load::{Ids, LoadError, Random, Shape, VALUE_BYTES, Values, run};

fn documents_of(bytes: &[u8]) -> (Document, Vec<Document>) {
    assert_eq!(message::length(bytes), Some(bytes.len()));
    let read = |at: usize| {
        let length = message::length(&bytes[at..]).unwrap();
        let raw = RawDocument::from_bytes(&bytes[at..at + length]).unwrap();
        (Document::try_from(raw).unwrap(), at + length)
    };
    let (body, mut at) = read(BODY_AT);
    let mut documents = Vec::new();
    if at < bytes.len() {
        assert_eq!(bytes[at], 1);
        assert_eq!(
            message::length(&bytes[at + 1..]),
            Some(bytes.len() - at - 1)
        );
        assert_eq!(&bytes[at + 5..at + 15], b"documents\0");
        at += 15;
        while at < bytes.len() {
            let (document, next) = read(at);
            documents.push(document);
            at = next;
        }
    }
    (body, documents)
}

#[test]
fn an_insert_is_a_retryable_write_with_the_parts_written_over() {
    let session = message::session(&mut Random::new(3));
    let time = rawdoc! { "clusterTime": 1 };
    let mut prepared = Prepared::insert("things", &session, Some(&time), 2);
    let ids = Ids::fresh();
    prepared.set_request_id(77);
    prepared.set_number(5);
    for which in 0..prepared.ids() {
        prepared.set_id(which, &ids.take());
        prepared.set_value(which, &[which as u8; VALUE_BYTES]);
    }
    assert_eq!(prepared.bytes()[4..8], 77_i32.to_le_bytes());
    let (body, documents) = documents_of(prepared.bytes());
    assert_eq!(body.get_str("insert").unwrap(), "things");
    assert_eq!(body.get_i64("txnNumber").unwrap(), 5);
    assert_eq!(
        body.get_document("$clusterTime").unwrap(),
        &doc! { "clusterTime": 1 }
    );
    let session_id = body.get_document("lsid").unwrap().get("id").unwrap();
    assert!(matches!(session_id, bson::Bson::Binary(id) if id.bytes.len() == 16));
    assert_eq!(documents.len(), 2);
    for (number, document) in documents.iter().enumerate() {
        let id = document.get_object_id("_id").unwrap();
        assert_eq!(id.bytes(), ids.at(number as u64));
        assert_eq!(
            document.get_binary_generic("v").unwrap(),
            &vec![number as u8; VALUE_BYTES]
        );
    }
}

#[test]
fn a_find_asks_for_the_id_written_over() {
    let session = message::session(&mut Random::new(3));
    let mut prepared = Prepared::find("things", &session, None);
    prepared.set_id(0, b"twelve bytes");
    let (body, _) = documents_of(prepared.bytes());
    let filter = body.get_document("filter").unwrap();
    assert_eq!(
        &filter.get_object_id("_id").unwrap().bytes(),
        b"twelve bytes"
    );
    assert!(!body.contains_key("readConcern"));
}

#[test]
fn sessions_differ_and_are_version_4() {
    let mut random = Random::new(9);
    let one = message::session(&mut random);
    assert_ne!(one, message::session(&mut random));
    let id = one.get_binary("id").unwrap();
    assert_eq!((id.bytes[6] >> 4, id.bytes[8] >> 6), (4, 2));
}

#[test]
fn places_do_not_overlap() {
    assert_eq!(places(b"aaaa", b"aa"), [0, 2]);
    assert_eq!(places(b"abcab", b"ab"), [0, 3]);
    assert!(places(b"a", b"ab").is_empty());
}

#[test]
fn an_insert_counts_when_all_its_documents_are_acknowledged() {
    let mut check = InsertCheck::new(2);
    for reply in [
        rawdoc! { "n": 2, "ok": 1.0 },
        rawdoc! { "electionId": 1, "n": 2, "ok": 1.0 },
        rawdoc! { "n": 2_i64, "ok": 1 },
    ] {
        check.check(&encode(&reply, None)).unwrap();
    }
    for reply in [
        rawdoc! { "n": 1, "ok": 1.0 },
        rawdoc! { "n": 2, "ok": 0.0, "errmsg": "no" },
        rawdoc! { "n": 2, "writeErrors": [{ "index": 1, "code": 11000 }], "ok": 1.0 },
        rawdoc! { "n": 2, "ok": 1.0, "writeConcernError": { "code": 64 } },
    ] {
        let refused = check.check(&encode(&reply, None));
        assert!(matches!(refused, Err(LoadError::Refused(_))), "{reply:?}");
    }
}

#[test]
fn a_find_counts_when_it_brings_the_document_asked_for() {
    let mut check = FindCheck::new();
    let reply = |id: [u8; 12]| {
        let found = rawdoc! { "_id": bson::oid::ObjectId::from_bytes(id) };
        encode(
            &rawdoc! { "cursor": { "firstBatch": [found] }, "ok": 1.0 },
            None,
        )
    };
    check.check(&reply([1; 12]), &[1; 12]).unwrap();
    check.check(&reply([2; 12]), &[2; 12]).unwrap();
    assert!(check.check(&reply([1; 12]), &[2; 12]).is_err());
    let failed = encode(&rawdoc! { "ok": 0.0 }, None);
    assert!(check.check(&failed, &[1; 12]).is_err());
}

#[test]
fn bytes_that_are_no_message_are_refused() {
    let message = encode(&rawdoc! { "ok": 1 }, None);
    assert!(succeeded(&message).is_ok());
    for length in 0..message.len() {
        assert!(body(&message[..length]).is_err());
    }
}

/// The stub's address; it serves until the test process ends.
fn start_stub() -> std::net::SocketAddr {
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            stub::accept(listener).await.unwrap();
        });
    });
    told.recv().unwrap()
}

fn measure(operation: Operation) -> Result<u64, LoadError> {
    let connections = Connections {
        member: start_stub(),
        collection: "things",
        operation,
        values: Values::new(1),
    };
    let shape = Shape {
        clients: 4,
        threads: 2,
        warm_up: Duration::from_millis(10),
        measure: Duration::from_millis(100),
    };
    run(&connections, shape, || {}).map(|measured| measured.handled)
}

#[test]
fn the_stub_answers_inserts_and_finds() {
    let ids = Ids::fresh();
    let insert = Operation::Insert {
        ids: ids.clone(),
        batch: 1,
    };
    assert!(measure(insert).unwrap() > 0);
    let find = Operation::Find { ids, documents: 10 };
    assert!(measure(find).unwrap() > 0);
}

#[test]
fn a_batch_acknowledged_as_one_document_is_an_error() {
    let many = Operation::Insert {
        ids: Ids::fresh(),
        batch: 3,
    };
    assert!(matches!(measure(many), Err(LoadError::Refused(_))));
}
