//! The handshake and the streaming `hello` that drivers follow fail-overs with.

use bson::{Bson, Document, doc};

use super::harness::TestServer;
use crate::mongo_wire::frame::{self, EXHAUST_ALLOWED, HEADER_BYTES, MORE_TO_COME, OP_QUERY};

fn without_version(command: Document) -> Document {
    let mut command = command;
    command.insert("$db", "admin");
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_handshake_is_answered_and_nothing_else_comes_that_way() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    for (name, expected) in [
        ("ismaster", 1.0),
        ("isMaster", 1.0),
        ("hello", 1.0),
        ("find", 0.0),
    ] {
        let mut body = Vec::new();
        doc! {name: 1, "helloOk": true}
            .to_writer(&mut body)
            .expect("a document");
        let content = [&[0; 4][..], b"admin.$cmd\0", &[0; 8], &body].concat();
        let mut message = Vec::new();
        frame::write_header(&mut message, HEADER_BYTES + content.len(), 1, 0, OP_QUERY);
        message.extend_from_slice(&content);
        client.send(&message).await;
        let reply = client.reply().await.expect("a reply");
        assert_eq!(reply.get_f64("ok").ok(), Some(expected), "{name}: {reply}");
        if expected == 1.0 {
            let flag = if name == "hello" {
                "isWritablePrimary"
            } else {
                "ismaster"
            };
            assert_eq!(reply.get_bool(flag).ok(), Some(true));
            assert_eq!(reply.get_str("setName").ok(), Some("cstore"));
            assert_eq!(reply.get_str("me").ok(), Some(server.address.as_str()));
            assert_eq!(
                reply.get_array("hosts").ok(),
                Some(&vec![Bson::from(server.address.clone())])
            );
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_hello_is_told_of_a_change_and_then_goes_on_by_itself() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let first = client.command(&without_version(doc! {"hello": 1})).await;
    let version = first
        .get_document("topologyVersion")
        .expect("a version")
        .clone();
    let counter = version.get_i64("counter").expect("a long");
    let waiting = doc! {"hello": 1, "topologyVersion": version, "maxAwaitTimeMS": 600_000};
    client
        .send_command(&without_version(waiting), EXHAUST_ALLOWED)
        .await;
    let mut other = server.connect().await;
    assert!(other.is_served().await, "a waiting hello holds up nobody");
    server.server.topology.announce_stop();
    let (flags, reply) = client.message().await.expect("a push");
    assert_eq!(flags, MORE_TO_COME);
    assert_eq!(
        reply
            .get_document("topologyVersion")
            .and_then(|v| v.get_i64("counter"))
            .ok(),
        Some(counter + 1)
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hello_answers_at_once_to_another_process_id_and_refuses_half_a_request() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let foreign = doc! {"processId": bson::oid::ObjectId::from_bytes([1; 12]), "counter": 99i64};
    let asked = doc! {"hello": 1, "topologyVersion": foreign.clone(), "maxAwaitTimeMS": 600_000};
    assert_eq!(
        client
            .command(&without_version(asked))
            .await
            .get_f64("ok")
            .ok(),
        Some(1.0)
    );
    for half in [
        doc! {"hello": 1, "topologyVersion": foreign},
        doc! {"hello": 1, "maxAwaitTimeMS": 10},
    ] {
        assert_eq!(
            client
                .command(&without_version(half))
                .await
                .get_f64("ok")
                .ok(),
            Some(0.0)
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_wants_no_reply_gets_none() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let silent =
        doc! {"insert": "c", "documents": [{"_id": 1}], "writeConcern": {"w": 0}, "$db": "test"};
    client.send_command(&silent, MORE_TO_COME).await;
    let reply = client.command(&doc! {"count": "c", "$db": "test"}).await;
    assert_eq!(
        reply.get_i32("n").ok(),
        Some(1),
        "the first reply belongs to the second command"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fail_point_reaches_a_hello_that_goes_on_by_itself() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let first = client.command(&without_version(doc! {"hello": 1})).await;
    let version = first.get_document("topologyVersion").expect("a version");
    let waiting = doc! {"hello": 1, "topologyVersion": version.clone(), "maxAwaitTimeMS": 10};
    client
        .send_command(&without_version(waiting), EXHAUST_ALLOWED)
        .await;
    let (flags, _) = client.message().await.expect("the first of the stream");
    assert_eq!(flags, MORE_TO_COME);
    let fail_point = doc! {
        "configureFailPoint": "failCommand",
        "mode": {"times": 1},
        "data": {"failCommands": ["hello"], "errorCode": 91},
    };
    let mut other = server.connect().await;
    other.command(&without_version(fail_point)).await;
    loop {
        let (flags, reply) = client.message().await.expect("a reply");
        if reply.get_f64("ok").ok() == Some(0.0) {
            assert_eq!(flags, 0, "a failure ends the stream");
            assert_eq!(reply.get_i32("code").ok(), Some(91));
            break;
        }
    }
    assert!(client.is_served().await);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_does_not_lead_refuses_a_write_that_would_find_nothing() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let delete = doc! {"delete": "c", "deletes": [{"q": {"a": 1}, "limit": 1}], "$db": "test"};
    assert_eq!(client.command(&delete).await.get_i32("n").ok(), Some(0));
    let mut status = (*server.server.node.status()).clone();
    status.role = node::RoleName::Follower;
    status.leader = None;
    server.server.topology.update(&status);
    let refused = client.command(&delete).await;
    assert_eq!(refused.get_i32("code").ok(), Some(10107), "{refused}");
    server.stop().await;
}
