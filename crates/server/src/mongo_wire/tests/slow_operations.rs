//! What the log of slow operations tells, and what it leaves alone.

use bson::{Bson, Document, doc};

use super::harness::{TestClient, TestServer};

impl TestServer {
    /// The one line that was written since this was asked last.
    fn slow_line(&self) -> Document {
        let lines = std::mem::take(&mut *self.slow_lines.lock());
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line: serde_json::Value = serde_json::from_str(&lines[0]).expect("JSON");
        let line = Bson::try_from(line).expect("extended JSON");
        line.as_document().expect("a document").clone()
    }
}

async fn run(client: &mut TestClient, command: Document) -> Document {
    let mut command = command;
    if !command.contains_key("$db") {
        command.insert("$db", "test");
    }
    client.command(&command).await
}

/// A server with a hundred documents and an index on `a`, which logs everything from here on.
async fn talkative() -> (TestServer, TestClient) {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let documents: Vec<Document> = (0..100).map(|id| doc! {"_id": id, "a": id % 10}).collect();
    run(&mut client, doc! {"insert": "c", "documents": documents}).await;
    let index = doc! {"key": {"a": 1}, "name": "a_1"};
    run(&mut client, doc! {"createIndexes": "c", "indexes": [index]}).await;
    run(&mut client, doc! {"profile": 0, "slowms": -1}).await;
    server.slow_lines.lock().clear();
    (server, client)
}

fn told(line: &Document) -> &Document {
    assert_eq!(line.get_str("msg").ok(), Some("Slow query"));
    line.get_document("attr").expect("what is told")
}

/// Plan, keys, documents and rows.
fn counts(line: &Document) -> (&str, i64, i64, Option<i64>) {
    let told = told(line);
    let number = |name: &str| match told.get(name) {
        Some(Bson::Int32(number)) => Some(i64::from(*number)),
        Some(Bson::Int64(number)) => Some(*number),
        _ => None,
    };
    (
        told.get_str("planSummary").expect("a plan"),
        number("keysExamined").expect("counted"),
        number("docsExamined").expect("counted"),
        number("nreturned"),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_read_is_told_with_its_plan_and_what_it_looked_at() {
    let (server, mut client) = talkative().await;
    run(&mut client, doc! {"find": "c", "filter": {"a": 3}}).await;
    let line = server.slow_line();
    assert_eq!(counts(&line), ("IXSCAN { a: 1 }", 10, 10, Some(10)));
    let about = told(&line);
    assert_eq!(about.get_str("ns").ok(), Some("test.c"));
    assert_eq!(about.get_str("name").ok(), Some("find"));
    let command = about.get_document("command").expect("the command");
    assert_eq!(command.get_document("filter").ok(), Some(&doc! {"a": 3}));
    assert!(about.contains_key("durationMillis"));

    let cases = [
        (
            doc! {"find": "c", "filter": {"_id": 3}},
            ("IDHACK", 1, 1, Some(1)),
        ),
        (
            doc! {"find": "c", "filter": {"b": 3}},
            ("COLLSCAN", 0, 100, Some(0)),
        ),
        (
            doc! {"count": "c", "query": {"a": 3}},
            ("COUNT_SCAN { a: 1 }", 10, 0, None),
        ),
        (doc! {"count": "c"}, ("RECORD_STORE_FAST_COUNT", 0, 0, None)),
        (
            doc! {"aggregate": "c", "pipeline": [{"$match": {"a": 3}}, {"$group": {"_id": "$a"}}], "cursor": {}},
            ("IXSCAN { a: 1 }", 10, 10, Some(1)),
        ),
        (
            doc! {"update": "c", "updates": [{"q": {"a": 3}, "u": {"$set": {"b": 1}}, "multi": true}]},
            ("IXSCAN { a: 1 }", 10, 10, None),
        ),
    ];
    for (command, expected) in cases {
        run(&mut client, command).await;
        assert_eq!(counts(&server.slow_line()), expected);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_batch_of_a_cursor_is_told_for_itself() {
    let (server, mut client) = talkative().await;
    let reply = run(&mut client, doc! {"find": "c", "batchSize": 30}).await;
    assert_eq!(counts(&server.slow_line()), ("COLLSCAN", 0, 30, Some(30)));
    let cursor = reply.get_document("cursor").expect("a cursor");
    let id = cursor.get_i64("id").expect("open");
    run(
        &mut client,
        doc! {"getMore": id, "collection": "c", "batchSize": 20},
    )
    .await;
    let line = server.slow_line();
    assert_eq!(counts(&line), ("COLLSCAN", 0, 20, Some(20)));
    assert_eq!(told(&line).get_str("ns").ok(), Some("test.c"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_threshold_and_the_sample_rate_are_kept_to() {
    let (server, mut client) = talkative().await;
    run(&mut client, doc! {"profile": 0, "slowms": 40}).await;
    server.slow_lines.lock().clear();
    run(&mut client, doc! {"ping": 1}).await;
    assert_eq!(server.slow_lines.lock().len(), 0);
    let blocked = doc! {
        "configureFailPoint": "failCommand", "mode": {"times": 1},
        "data": {"failCommands": ["count"], "blockConnection": true, "blockTimeMS": 60},
        "$db": "admin",
    };
    run(&mut client, blocked).await;
    run(&mut client, doc! {"count": "c"}).await;
    let lines = server.slow_lines.lock().clone();
    assert!(
        lines.iter().any(|line| line.contains("\"name\":\"count\"")),
        "{lines:?}"
    );
    run(
        &mut client,
        doc! {"profile": 0, "slowms": -1, "sampleRate": 0},
    )
    .await;
    server.slow_lines.lock().clear();
    run(&mut client, doc! {"ping": 1}).await;
    assert_eq!(server.slow_lines.lock().len(), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_command_is_cut_and_a_failure_has_its_code() {
    let (server, mut client) = talkative().await;
    let many: Vec<i32> = (0..20_000).collect();
    let filter = doc! {"$nonsense": many};
    run(&mut client, doc! {"find": "c", "filter": filter}).await;
    let line = server.slow_lines.lock()[0].clone();
    assert!(line.len() < 4_096, "{}", line.len());
    let line = server.slow_line();
    let command = told(&line).get_document("command").expect("begun");
    assert_eq!(command.get_bool("$truncated").ok(), Some(true));
    assert_eq!(told(&line).get_i32("errCode").ok(), Some(2));
    server.stop().await;
}
