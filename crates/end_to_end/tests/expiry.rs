//! Indexes with `expireAfterSeconds`, seen by the Rust driver: expired documents vanish on every member, the same ones, whoever
//! leads; what has not expired stays.

use std::time::{Duration, Instant, SystemTime};

use bson::{Bson, DateTime, Document, doc};
use end_to_end::Cluster;
use mongodb::options::{IndexOptions, ReadConcern, ReadPreference, SelectionCriteria};
use mongodb::{Collection, IndexModel};

const PATIENCE: Duration = Duration::from_secs(90);
const HOUR: Duration = Duration::from_secs(3600);

fn ago(time: Duration) -> Bson {
    Bson::DateTime(DateTime::from_system_time(SystemTime::now() - time))
}

async fn insert(things: &Collection<Document>, from: i32, count: i32, at: &Bson) {
    let documents = (from..from + count).map(|id| doc! { "_id": id, "at": at.clone() });
    let inserted = things.insert_many(documents).await.expect("inserts");
    assert_eq!(inserted.inserted_ids.len(), count as usize);
}

/// Waits until the collection holds `count` documents on the member that `things` reads from.
async fn wait_for(things: &Collection<Document>, count: u64, whom: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // A fail-over may be under way: asked again.
        let found = things.count_documents(doc! {}).await;
        if found.as_ref().is_ok_and(|found| *found == count) {
            return;
        }
        assert!(Instant::now() < deadline, "{whom}: {found:?}, not {count}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn wait_for_all(cluster: &Cluster, things: &Collection<Document>, count: u64) {
    wait_for(things, count, "the leader").await;
    for member in cluster.running() {
        let options = mongodb::options::CollectionOptions::builder()
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Nearest {
                options: Default::default(),
            }))
            .read_concern(ReadConcern::local())
            .build();
        let client = cluster.direct(member).await;
        let things = client
            .database("test")
            .collection_with_options("things", options);
        wait_for(&things, count, &format!("member {member}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_documents_vanish_on_all_members_whoever_leads() {
    let mut cluster = Cluster::start_with(3, &["--ttl-seconds", "1"]).await;
    let client = cluster.client().await;
    let things = client.database("test").collection::<Document>("things");
    insert(&things, 0, 450, &ago(2 * HOUR)).await;
    insert(&things, 1_000, 20, &ago(Duration::ZERO)).await;
    insert(&things, 2_000, 5, &Bson::Null).await;
    let dates = Bson::Array(vec![ago(Duration::ZERO), ago(2 * HOUR), "x".into()]);
    insert(&things, 3_000, 5, &dates).await;
    let options = IndexOptions::builder().expire_after(HOUR).build();
    let model = IndexModel::builder()
        .keys(doc! { "at": 1 })
        .options(options)
        .build();
    things.create_index(model).await.expect("creates");
    wait_for_all(&cluster, &things, 25).await;

    let leader = cluster.leader().await;
    let status = cluster.command(leader, doc! { "serverStatus": 1 }).await;
    let status = status.expect("serverStatus");
    let ttl = status
        .get_document("metrics")
        .and_then(|it| it.get_document("ttl"));
    let ttl = ttl.expect("serverStatus counts");
    assert_eq!(ttl.get_i64("deletedDocuments").ok(), Some(455));

    cluster.kill(leader);
    insert(&things, 10_000, 130, &ago(2 * HOUR)).await;
    insert(&things, 20_000, 10, &ago(Duration::ZERO)).await;
    wait_for_all(&cluster, &things, 35).await;
    cluster.start_member(leader);
    cluster.wait_until_whole().await;
    wait_for_all(&cluster, &things, 35).await;
    let hashes = cluster.hashes().await;
    assert!(
        hashes.windows(2).all(|pair| pair[0] == pair[1]),
        "{hashes:#?}"
    );
}
