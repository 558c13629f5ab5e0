//! Requests that are well-formed and ask for too much: each gets an error of MongoDB's or its answer, and the server goes on.

use bson::{Bson, Document, doc};

use super::harness::{TestClient, TestServer};

async fn code(client: &mut TestClient, mut command: Document) -> i32 {
    command.insert("$db", "test");
    let reply = client.command(&command).await;
    let write_error = reply
        .get_array("writeErrors")
        .ok()
        .and_then(|errors| errors.first()?.as_document()?.get_i32("code").ok());
    write_error.unwrap_or_else(|| reply.get_i32("code").unwrap_or(0))
}

fn find(filter: Document) -> Document {
    doc! { "find": "c", "filter": filter }
}

/// `{operator: [{operator: [… {a: 1}]}]}`
fn deep(operator: &str, levels: usize) -> Document {
    (0..levels).fold(doc! { "a": 1 }, |inner, _| doc! { operator: [inner] })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_asks_for_too_much_is_refused_or_answered() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let long = "a".repeat(100_000);
    let documents = doc! { "insert": "c", "documents": [{ "_id": 1, "s": long, "n": 1 }] };
    assert_eq!(code(&mut client, documents).await, 0);

    // Patterns that take exponential time elsewhere.
    for pattern in [
        "(a*)*b",
        "(a|a)*b",
        "(a|aa)+$b",
        "(.*)(.*)(.*)(.*)(.*)(.*)(.*)b",
    ] {
        assert_eq!(
            code(&mut client, find(doc! { "s": { "$regex": pattern } })).await,
            0,
            "{pattern}"
        );
    }
    // Repetitions that would be a large program.
    let large = doc! { "s": { "$regex": "((a{1,1000}){1,1000}){1,1000}" } };
    assert_eq!(code(&mut client, find(large)).await, 51091);

    for operator in ["$or", "$and", "$nor"] {
        assert_eq!(code(&mut client, find(deep(operator, 60))).await, 0);
        assert_ne!(
            code(&mut client, find(deep(operator, 150))).await,
            0,
            "{operator}"
        );
    }
    let nested = (0..190).fold(Bson::Int32(1), |inner, _| doc! { "$abs": inner }.into());
    assert_ne!(code(&mut client, find(doc! { "$expr": nested })).await, 0);

    let values: Vec<i32> = (0..500_000).collect();
    assert_eq!(
        code(&mut client, find(doc! { "n": { "$in": values } })).await,
        0
    );

    let bomb = |twice: Document| {
        doc! { "$reduce": { "input": { "$range": [0, 60] }, "initialValue": "ab", "in": twice } }
    };
    let text = bomb(doc! { "$concat": ["$$value", "$$value"] });
    let project = doc! { "aggregate": "c", "pipeline": [{ "$project": { "x": text.clone() } }], "cursor": {} };
    assert_eq!(code(&mut client, project).await, 13548);
    // Inside a write it is evaluated by every member, before the next command.
    let update = doc! { "update": "c", "updates": [{ "q": { "_id": 1 }, "u": [{ "$set": { "x": text } }] }] };
    assert_eq!(code(&mut client, update).await, 13548);
    let range = doc! { "$range": [0, 100_000] };
    let loops = doc! { "$map": { "input": range.clone(), "in": { "$size": { "$filter": { "input": range, "cond": false } } } } };
    let update = doc! { "update": "c", "updates": [{ "q": { "_id": 1 }, "u": [{ "$set": { "x": loops } }] }] };
    assert_eq!(code(&mut client, update).await, 2);

    let stages: Vec<Document> = (0..2_000).map(|_| doc! { "$match": {} }).collect();
    assert_eq!(
        code(
            &mut client,
            doc! { "aggregate": "c", "pipeline": stages, "cursor": {} }
        )
        .await,
        7_749_501
    );
    let mut fields = find(doc! {});
    fields.extend((0..100_000).map(|number| (format!("{number}"), Bson::Null)));
    assert_eq!(code(&mut client, fields).await, 2);
    let key = "k".repeat(3_000);
    assert_eq!(
        code(
            &mut client,
            doc! { "insert": "c", "documents": [{ "_id": key }] }
        )
        .await,
        17280
    );
    assert!(client.is_served().await);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_limit_ends_long_work() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let documents: Vec<Document> = (0..300).map(|id| doc! { "_id": id }).collect();
    assert_eq!(
        code(&mut client, doc! { "insert": "c", "documents": documents }).await,
        0
    );
    // 300⁴ rows: a scan, a group and a sort that would take hours.
    let lookup = |to: &str| doc! { "$lookup": { "from": "c", "pipeline": [], "as": to } };
    let unwind = |path: &str| doc! { "$unwind": path };
    let pipeline = vec![
        lookup("a"),
        unwind("$a"),
        lookup("b"),
        unwind("$b"),
        lookup("d"),
        unwind("$d"),
        doc! { "$group": { "_id": null, "n": { "$sum": 1 } } },
    ];
    let aggregate = doc! { "aggregate": "c", "pipeline": pipeline, "cursor": {}, "maxTimeMS": 200 };
    assert_eq!(code(&mut client, aggregate).await, 50);
    assert!(client.is_served().await);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_in_memory_goes_to_disk_or_is_refused() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    const DOCUMENTS: i32 = 112;
    let text = "x".repeat(1 << 20);
    for first in (0..DOCUMENTS).step_by(8) {
        let documents: Vec<Document> = (first..first + 8)
            .map(|id| doc! { "_id": id, "n": DOCUMENTS - id, "s": &text })
            .collect();
        assert_eq!(
            code(&mut client, doc! { "insert": "c", "documents": documents }).await,
            0
        );
    }
    let sort = doc! { "$sort": { "n": 1 } };
    // The text passes through the stages and is left out of the reply only.
    let ids = doc! { "$project": { "_id": 1 } };
    let group = doc! { "$group": { "_id": "$n", "s": { "$push": "$s" } } };
    let size = doc! { "$project": { "size": { "$strLenBytes": { "$first": "$s" } } } };
    let all = doc! { "$group": { "_id": "$size", "n": { "$sum": 1 } } };
    for pipeline in [
        vec![sort.clone(), ids.clone()],
        vec![group.clone(), size.clone(), all.clone()],
    ] {
        let refused =
            doc! { "aggregate": "c", "pipeline": pipeline, "cursor": {}, "allowDiskUse": false };
        assert_eq!(code(&mut client, refused).await, 292);
    }
    let find = doc! { "find": "c", "sort": { "n": 1 }, "allowDiskUse": false, "batchSize": 1 };
    assert_eq!(code(&mut client, find).await, 292);
    let sorted = doc! { "aggregate": "c", "pipeline": [sort, ids], "cursor": { "batchSize": 1_000 }, "$db": "test" };
    let reply = client.command(&sorted).await;
    let batch = reply
        .get_document("cursor")
        .and_then(|cursor| cursor.get_array("firstBatch"));
    let found: Vec<i32> = batch
        .expect("a batch")
        .iter()
        .filter_map(|row| row.as_document()?.get_i32("_id").ok())
        .collect();
    assert_eq!(found, (0..DOCUMENTS).rev().collect::<Vec<i32>>());
    let grouped =
        doc! { "aggregate": "c", "pipeline": [group, size, all], "cursor": {}, "$db": "test" };
    let reply = client.command(&grouped).await;
    let batch = reply
        .get_document("cursor")
        .and_then(|cursor| cursor.get_array("firstBatch"));
    assert_eq!(
        batch.expect("a batch"),
        &vec![Bson::Document(doc! { "_id": 1 << 20, "n": DOCUMENTS })]
    );

    let find = doc! { "find": "c", "sort": { "n": 1 }, "batchSize": 1 };
    let explain = doc! { "explain": find.clone(), "verbosity": "executionStats", "$db": "test" };
    let reply = client.command(&explain).await;
    let stages = reply
        .get_document("executionStats")
        .and_then(|statistics| statistics.get_document("executionStages"));
    let stages = stages.expect("statistics");
    assert_eq!(stages.get_str("stage").ok(), Some("SORT"));
    assert_eq!(stages.get_bool("usedDisk").ok(), Some(true));

    assert_eq!(server.server.spill.used_bytes(), 0);
    assert_eq!(server.server.query_memory.held_bytes(), 0);
    let mut open = find;
    open.insert("$db", "test");
    let reply = client.command(&open).await;
    assert!(server.server.spill.used_bytes() > 64 << 20);
    assert_ne!(server.server.query_memory.held_bytes(), 0);
    let cursor = reply.get_document("cursor").expect("a cursor");
    let killed = doc! { "killCursors": "c", "cursors": [cursor.get_i64("id").expect("open")] };
    assert_eq!(code(&mut client, killed).await, 0);
    assert_eq!(server.server.spill.used_bytes(), 0);
    server.stop().await;
}
