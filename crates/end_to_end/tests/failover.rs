//! Nothing acknowledged is lost and nothing happens twice, whatever dies: writers with the driver's default settings on
//! one side, SIGKILL and SIGSTOP on the other.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use end_to_end::Cluster;
use end_to_end::load::{Load, verify};
use mongodb::Collection;
use mongodb::options::ReadConcern;

fn kills() -> usize {
    std::env::var("CSTORE_TEST_KILLS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_is_lost_when_leader_after_leader_is_killed() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 16);
    load.progress(200).await;
    let mut times = Vec::new();
    for _ in 0..kills() {
        let leader = cluster.leader().await;
        cluster.kill(leader);
        times.push(load.progress(1).await);
        load.progress(100).await;
        cluster.start_member(leader);
        load.progress(100).await;
    }
    times.sort();
    println!("from kill -9 of the leader to the next acknowledged write: {times:?}");
    let written = load.finish().await;
    verify(&cluster, &client, written).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_is_lost_when_all_members_are_killed_at_once() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 16);
    load.progress(400).await;
    // At once: one that took over in between would be a second fault to operations that drivers send again only once.
    for member in 0..3 {
        cluster.signal_kill(member);
    }
    for member in 0..3 {
        cluster.wait_for_exit(member);
    }
    for member in 0..3 {
        cluster.start_member(member);
    }
    load.progress(400).await;
    let written = load.finish().await;
    verify(&cluster, &client, written).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_stop_of_the_leader_loses_nothing() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 8);
    load.progress(100).await;
    let leader = cluster.leader().await;
    assert!(
        cluster.stop(leader),
        "a clean stop is a success: {}",
        cluster.log(leader)
    );
    load.progress(200).await;
    cluster.start_member(leader);
    load.progress(100).await;
    let written = load.finish().await;
    verify(&cluster, &client, written).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_acknowledged_and_nothing_stale_is_read() {
    let cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let things = client.database("test").collection::<Document>("things");
    things.insert_one(doc! { "_id": 0 }).await.expect("inserts");
    let leader = cluster.leader().await;
    let others: Vec<usize> = (0..3).filter(|member| *member != leader).collect();
    others.iter().for_each(|member| cluster.pause(*member));

    let direct = cluster.direct(leader).await;
    let lonely = direct.database("test").collection::<Document>("things");
    let limit = Duration::from_secs(3);
    let write = tokio::time::timeout(limit, lonely.insert_one(doc! { "_id": 1 })).await;
    assert!(
        !matches!(write, Ok(Ok(_))),
        "a write without a majority was acknowledged: {write:?}"
    );
    // A direct connection lets any member answer, so the guarantee is asked for by name.
    let linearizable = lonely
        .find_one(doc! { "_id": 0 })
        .read_concern(ReadConcern::linearizable());
    let read = tokio::time::timeout(limit, linearizable).await;
    assert!(
        !matches!(read, Ok(Ok(_))),
        "a read without a majority was answered: {read:?}"
    );

    cluster.resume(others[0]);
    let start = Instant::now();
    things
        .insert_one(doc! { "_id": 2 })
        .await
        .expect("writes go on");
    println!(
        "from one coming back to the next acknowledged write: {:?}",
        start.elapsed()
    );
    assert!(
        things
            .find_one(doc! { "_id": 2 })
            .await
            .expect("reads go on")
            .is_some()
    );
    cluster.resume(others[1]);
}

/// A leader that was frozen does not know that it was replaced: what waits for it when it wakes must not be answered
/// from what it remembers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_frozen_answers_nothing_stale_when_it_wakes() {
    let cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let things = client.database("load").collection::<Document>("things");
    things
        .insert_one(doc! { "_id": 0, "n": 0 })
        .await
        .expect("inserts");
    let load = Load::start(&client, 4);
    load.progress(40).await;
    for round in 1..=3 {
        let leader = cluster.leader().await;
        let direct = cluster.direct(leader).await;
        let lonely = direct.database("load").collection::<Document>("things");
        let read = |lonely: Collection<Document>| async move {
            lonely
                .find_one(doc! { "_id": 0 })
                .read_concern(ReadConcern::linearizable())
                .await
        };
        read(lonely.clone()).await.expect("it leads");
        cluster.pause(leader);
        // They lie in its sockets until it wakes.
        let waiting: Vec<_> = (0..4).map(|_| tokio::spawn(read(lonely.clone()))).collect();
        let late = lonely.clone();
        let late = tokio::spawn(async move { late.insert_one(doc! { "_id": round }).await });
        let others = cluster.client().await;
        let changed = others
            .database("load")
            .collection::<Document>("things")
            .update_one(doc! { "_id": 0 }, doc! { "$set": { "n": round } })
            .await
            .expect("the others go on");
        assert_eq!(changed.modified_count, 1);
        cluster.resume(leader);
        for read in waiting {
            if let Ok(document) = read.await.expect("no panic") {
                let n = document.expect("it is there").get_i32("n");
                assert_eq!(n.ok(), Some(round), "a stale read");
            }
        }
        let acknowledged = late.await.expect("no panic").is_ok();
        let found = things.find_one(doc! { "_id": round }).await;
        let found = found.expect("reads go on").is_some();
        assert!(found || !acknowledged, "an acknowledged write is gone");
        load.progress(40).await;
    }
    let written = load.finish().await;
    verify(&cluster, &client, written).await;
}
