//! What runs is shown while it runs, and can be stopped.

use std::time::Duration;

use bson::{Bson, Document, doc};

use super::harness::{TestClient, TestServer};

/// Anything here takes a moment; what takes this long is not coming.
const PATIENCE: Duration = Duration::from_secs(20);

/// A pipeline that is busy for much longer than a test.
fn endless() -> Document {
    let all = doc! {"$lookup": {"from": "c", "pipeline": [], "as": "all"}};
    let unwound = doc! {"$unwind": "$all"};
    let stages = [
        all.clone(),
        unwound.clone(),
        all.clone(),
        unwound.clone(),
        all,
        unwound,
    ];
    let counted = doc! {"$group": {"_id": null, "n": {"$sum": 1}}};
    let pipeline: Vec<Document> = stages.into_iter().chain([counted]).collect();
    doc! {"aggregate": "c", "pipeline": pipeline, "cursor": {}, "comment": "endless", "$db": "test"}
}

async fn filled() -> (TestServer, TestClient) {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let documents: Vec<Document> = (0..1_000).map(|id| doc! {"_id": id}).collect();
    client
        .command(&doc! {"insert": "c", "documents": documents, "$db": "test"})
        .await;
    (server, client)
}

/// The row of the pipeline, once it runs under its plan.
async fn found(client: &mut TestClient) -> Document {
    let asked = doc! {"currentOp": 1, "command.comment": "endless", "$db": "admin"};
    asked_until(client, &asked, |rows| match rows.first() {
        Some(Bson::Document(row)) if row.contains_key("planSummary") => Some(row.clone()),
        _ => None,
    })
    .await
}

/// Asks over and over until `look` finds what it looks for among the operations.
async fn asked_until<T>(
    client: &mut TestClient,
    asked: &Document,
    look: impl Fn(&bson::Array) -> Option<T>,
) -> T {
    let asking = async {
        loop {
            let reply = client.command(asked).await;
            if let Some(found) = look(reply.get_array("inprog").expect("rows")) {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .expect("what was looked for comes in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_running_command_is_shown_and_really_stops() {
    let (server, mut client) = filled().await;
    let mut busy = server.connect().await;
    busy.send_command(&endless(), 0).await;
    let row = found(&mut client).await;
    assert_eq!(row.get_str("op").ok(), Some("command"));
    assert_eq!(row.get_str("ns").ok(), Some("test.c"));
    assert_eq!(row.get_str("planSummary").ok(), Some("COLLSCAN"));
    assert_eq!(row.get_bool("active").ok(), Some(true));
    assert!(
        row.get_i64("microsecs_running")
            .is_ok_and(|micros| micros > 0)
    );
    assert!(row.get_i64("secs_running").is_ok());
    let command = row.get_document("command").expect("the command");
    assert_eq!(command.get_str("aggregate").ok(), Some("c"));

    let id = row.get_i32("opid").expect("a number");
    let kill = doc! {"killOp": 1, "op": id, "$db": "admin"};
    let reply = client.command(&kill).await;
    assert_eq!(reply.get_str("info").ok(), Some("attempting to kill op"));
    let stopped = tokio::time::timeout(PATIENCE, busy.reply());
    let reply = stopped.await.expect("it stops").expect("a reply");
    assert_eq!(reply.get_i32("code").ok(), Some(11601), "{reply}");
    // The connection goes on, and the number is nobody's now.
    client.command(&kill).await;
    let count = doc! {"count": "c", "query": {"_id": 1}, "$db": "test"};
    let reply = busy.command(&count).await;
    assert_eq!(reply.get_i32("n").ok(), Some(1));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_killed_batch_takes_its_cursor_along() {
    let (server, mut client) = filled().await;
    let mut busy = server.connect().await;
    let mut slow = endless();
    slow.insert("cursor", doc! {"batchSize": 0});
    let reply = busy.command(&slow).await;
    let cursor = reply.get_document("cursor").expect("a cursor");
    let more = doc! {
        "getMore": cursor.get_i64("id").expect("open"), "collection": "c",
        "comment": "endless", "$db": "test",
    };
    busy.send_command(&more, 0).await;
    let row = found(&mut client).await;
    assert_eq!(row.get_str("op").ok(), Some("getmore"));
    assert_eq!(row.get_str("ns").ok(), Some("test.c"));
    let id = row.get_i32("opid").expect("a number");
    client
        .command(&doc! {"killOp": 1, "op": id, "$db": "admin"})
        .await;
    let stopped = tokio::time::timeout(PATIENCE, busy.reply());
    let reply = stopped.await.expect("it stops").expect("a reply");
    assert_eq!(reply.get_i32("code").ok(), Some(11601), "{reply}");
    let reply = busy.command(&more).await;
    assert_eq!(reply.get_i32("code").ok(), Some(43), "{reply}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_wait_are_shown_when_asked_for_and_gone_when_they_end() {
    let (server, mut client) = filled().await;
    let mut other = server.connect().await;
    other.command(&doc! {"ping": 1, "$db": "admin"}).await;
    let idle = |all: bool| doc! {"currentOp": 1, "$all": all, "active": false, "$db": "admin"};
    let rows = |reply: &Document| reply.get_array("inprog").expect("rows").len();
    assert_eq!(rows(&client.command(&idle(true)).await), 1);
    assert_eq!(rows(&client.command(&idle(false)).await), 0);
    drop(other);
    asked_until(&mut client, &idle(true), |rows| {
        rows.is_empty().then_some(())
    })
    .await;
    server.stop().await;
}
