//! Cursors whose batches follow by themselves or come too late, and writes whose connection breaks.

use bson::{Document, doc};

use super::harness::TestServer;
use crate::mongo_wire::frame::{EXHAUST_ALLOWED, MORE_TO_COME};

async fn server_with_documents(count: i32) -> TestServer {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let documents: Vec<Document> = (0..count).map(|id| doc! {"_id": id}).collect();
    let reply = client
        .command(&doc! {"insert": "c", "documents": documents, "$db": "test"})
        .await;
    assert_eq!(reply.get_i32("n").ok(), Some(count));
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_follow_by_themselves_until_the_cursor_is_at_its_end() {
    let server = server_with_documents(7).await;
    let mut client = server.connect().await;
    let first = client
        .command(&doc! {"find": "c", "batchSize": 2, "$db": "test"})
        .await;
    let id = first
        .get_document("cursor")
        .expect("a cursor")
        .get_i64("id");
    let id = id.expect("an id");
    let get_more = doc! {"getMore": id, "collection": "c", "batchSize": 2, "$db": "test"};
    client.send_command(&get_more, EXHAUST_ALLOWED).await;
    for (documents, more) in [(2, true), (2, true), (1, false)] {
        let (flags, reply) = client.message().await.expect("a batch");
        let cursor = reply.get_document("cursor").expect("a cursor");
        let batch = cursor.get_array("nextBatch").expect("a batch");
        assert_eq!(batch.len(), documents, "{reply}");
        assert_eq!(flags & MORE_TO_COME != 0, more, "{reply}");
        assert_eq!(cursor.get_i64("id").ok(), Some(if more { id } else { 0 }));
    }
    assert!(client.is_served().await);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_cut_short_is_finished_by_its_retry() {
    let server = server_with_documents(1).await;
    let mut client = server.connect().await;
    let fail_point = doc! {
        "configureFailPoint": "onPrimaryTransactionalWrite",
        "mode": {"skip": 1},
        "data": {"failBeforeCommitExceptionCode": 1},
        "$db": "admin",
    };
    client.command(&fail_point).await;
    let session = bson::Uuid::from_bytes([9; 16]);
    let insert = doc! {
        "insert": "c",
        "documents": [{"_id": 10}, {"_id": 11}],
        "lsid": {"id": session},
        "txnNumber": 1_i64,
        "$db": "test",
    };
    client.send_command(&insert, 0).await;
    assert!(client.reply().await.is_none(), "closed without a reply");
    let mut client = server.connect().await;
    let count = doc! {"count": "c", "$db": "test"};
    assert_eq!(client.command(&count).await.get_i32("n").ok(), Some(2));
    let off =
        doc! {"configureFailPoint": "onPrimaryTransactionalWrite", "mode": "off", "$db": "admin"};
    client.command(&off).await;
    let retried = client.command(&insert).await;
    assert_eq!(retried.get_i32("n").ok(), Some(2), "{retried}");
    assert_eq!(client.command(&count).await.get_i32("n").ok(), Some(3));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_limit_of_a_cursor_holds_for_its_later_batches() {
    let server = server_with_documents(9).await;
    let mut client = server.connect().await;
    let mut ids = Vec::new();
    for find in [
        doc! {"find": "c", "batchSize": 2, "maxTimeMS": 600_000, "$db": "test"},
        doc! {"find": "c", "batchSize": 2, "$db": "test"},
    ] {
        let reply = client.command(&find).await;
        let cursor = reply.get_document("cursor").expect("a cursor");
        ids.push(cursor.get_i64("id").expect("an id"));
    }
    let fail_point =
        doc! {"configureFailPoint": "maxTimeAlwaysTimeOut", "mode": "alwaysOn", "$db": "admin"};
    client.command(&fail_point).await;
    let mut codes = Vec::new();
    for id in ids {
        let get_more = doc! {"getMore": id, "collection": "c", "batchSize": 2, "$db": "test"};
        codes.push(client.command(&get_more).await.get_i32("code").ok());
    }
    assert_eq!(codes, [Some(50), None], "only the first has a limit");
    server.stop().await;
}
