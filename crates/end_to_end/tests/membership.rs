//! The cluster is changed while it works, by one `cstore member` command at a time: no operation of a driver with its
//! default settings fails, and nothing is lost or doubled. And what the commands say, refusals first of all.

use std::time::Duration;

use bson::{Document, doc};
use end_to_end::Cluster;
use end_to_end::load::{Load, verify};

/// Ids as `cstore member` wants them.
async fn id_of(cluster: &Cluster, asked: usize, member: usize) -> String {
    let status = cluster.command(asked, doc! { "cstoreStatus": 1 }).await;
    let status = status.expect("a running member tells the status");
    let members = status.get_array("members").expect("it names the members");
    let found = members
        .iter()
        .filter_map(bson::Bson::as_document)
        .find(|it| it.get_str("listen").ok() == Some(cluster.listen(member)));
    let found: &Document = found.expect("it is a member");
    found.get_i64("id").expect("it has an id").to_string()
}

/// Three members become five, and three again of which two are new; `remove` lists who leaves by which command.
async fn grow_and_shrink(remove: impl Fn(usize, usize) -> Vec<Vec<usize>>) {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 8);
    load.progress(200).await;
    for _ in 0..2 {
        let new = cluster.add_member();
        let peer = cluster.peer_listen(new).to_owned();
        let said = cluster.cstore(&["member", "add", &peer]).await;
        assert!(said.contains("votes; the cluster has"), "{said}");
        load.progress(100).await;
    }
    cluster.wait_for_voters(5).await;

    let leader = cluster.leader().await;
    let other = (0..3).find(|member| *member != leader);
    let other = other.expect("two of the first three do not lead");
    for leaving in remove(leader.min(2), other) {
        let addresses: Vec<String> = leaving
            .iter()
            .map(|member| cluster.listen(*member).to_owned())
            .collect();
        let mut command = vec!["member", "remove"];
        command.extend(addresses.iter().map(String::as_str));
        let said = cluster.cstore(&command).await;
        assert!(said.contains("was removed"), "{said}");
        for member in leaving {
            let ended = cluster.wait_for_end(member).await;
            let log = cluster.log(member);
            assert_eq!(ended.code(), Some(0), "{log}");
            assert!(log.contains("was removed from the cluster"), "{log}");
        }
        load.progress(100).await;
    }
    cluster.wait_for_voters(3).await;
    assert_eq!(cluster.running().len(), 3);
    let written = load.finish().await;
    verify(&cluster, &client, written).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_grows_and_shrinks_under_load_two_members_leaving_at_once() {
    grow_and_shrink(|leader, other| vec![vec![leader, other]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_grows_and_shrinks_under_load_one_member_at_a_time() {
    grow_and_shrink(|leader, other| vec![vec![leader], vec![other]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lead_is_handed_over_on_request_and_no_operation_fails() {
    let cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 8);
    for _ in 0..3 {
        load.progress(50).await;
        let leader = cluster.leader().await;
        let next = (leader + 1) % 3;
        let id = id_of(&cluster, leader, next).await;
        let said = cluster.cstore(&["member", "transfer-leader", &id]).await;
        assert!(
            said.starts_with(&format!("member {id} ({}) leads now", cluster.listen(next))),
            "{said}"
        );
        let again = cluster.cstore(&["member", "transfer-leader", &id]).await;
        assert!(again.contains("leads already"), "{again}");
    }
    let before = cluster.leader().await;
    let said = cluster.cstore(&["member", "transfer-leader"]).await;
    assert!(said.contains("leads now; before it was"), "{said}");
    assert_ne!(cluster.leader().await, before);
    load.progress(50).await;
    let written = load.finish().await;
    verify(&cluster, &client, written).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_done_is_explained() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let others: Vec<usize> = (0..3).filter(|member| *member != leader).collect();
    let id = id_of(&cluster, leader, leader).await;
    let [dead, alive] = [
        id_of(&cluster, leader, others[0]).await,
        id_of(&cluster, leader, others[1]).await,
    ];

    let said = cluster.cstore_refuses(&["member", "remove", "17"]).await;
    assert!(
        said.contains("there is no member 17; the members are 1, 2, 3"),
        "{said}"
    );
    let said = cluster
        .cstore_refuses(&["member", "remove", "127.0.0.1:1"])
        .await;
    assert!(
        said.contains("no member is reached at 127.0.0.1:1"),
        "{said}"
    );
    let said = cluster
        .cstore_refuses(&["member", "remove", "1", "2", "3"])
        .await;
    assert!(said.contains("is the last voter"), "{said}");
    let said = cluster.cstore(&["member", "promote", &alive]).await;
    assert!(said.contains("votes already"), "{said}");
    let said = cluster
        .cstore_refuses(&["member", "add", "127.0.0.1:1", "--timeout", "1"])
        .await;
    assert!(said.contains("cstore serve --data-dir DIR"), "{said}");

    // With one member dead the other follower is needed: the dead one must go first, which takes one command.
    cluster.kill(others[0]);
    let said = cluster.cstore_refuses(&["member", "remove", &alive]).await;
    assert!(said.contains("would lose its quorum"), "{said}");
    let said = cluster.cstore(&["member", "remove", &dead]).await;
    assert!(said.contains("should it come back"), "{said}");
    assert!(said.contains("the cluster has 2 voters now"), "{said}");
    let said = cluster.cstore(&["member", "remove", &dead]).await;
    assert!(said.contains("was removed before"), "{said}");

    // It comes back, and learns of it.
    cluster.start_member(others[0]);
    assert_eq!(cluster.wait_for_end(others[0]).await.code(), Some(0));
    let log = cluster.log(others[0]);
    assert!(
        log.contains(&format!("member {dead} was removed from the cluster")),
        "{log}"
    );

    let json = cluster
        .cstore(&["member", "remove", &alive, "--json"])
        .await;
    let outcome: serde_json::Value = serde_json::from_str(&json).expect("one JSON document");
    assert_eq!(outcome["removed"][0].to_string(), alive);
    let said = cluster.cstore_refuses(&["member", "remove", &id]).await;
    assert!(said.contains("is the last voter"), "{said}");
    let said = cluster.cstore_refuses(&["member", "transfer-leader"]).await;
    assert!(said.contains("no other member votes"), "{said}");
}

/// A machine whose disk was replaced comes back under its address with nothing on it: it takes the place of the member it
/// was, without anybody removing that one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_machine_takes_its_old_place() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 4);
    load.progress(100).await;
    let wiped = (0..3).rfind(|member| *member > 0).expect("one that joined");
    let leader = cluster.leader().await;
    let old = id_of(&cluster, leader, wiped).await;
    cluster.kill(wiped);
    std::fs::remove_dir_all(cluster.data_dir(wiped)).expect("its data goes");
    cluster.start_member(wiped);
    let peer = cluster.peer_listen(wiped).to_owned();
    load.progress(100).await;
    // The old member at this address votes until the new one takes its place.
    let new = loop {
        let leader = cluster.leader().await;
        let new = id_of(&cluster, leader, wiped).await;
        if new != old {
            break new;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let said = cluster.cstore(&["member", "add", &peer]).await;
    assert!(said.contains(&format!("member {new}")), "{said}");
    cluster.wait_for_voters(3).await;
    let list = cluster.cstore(&["member", "list"]).await;
    assert_eq!(list.lines().count(), 4, "{list}");
    load.progress(50).await;
    let written = load.finish().await;
    verify(&cluster, &client, written).await;
}

/// The machine of the leader hangs: its process neither answers nor closes its connections. It is given up by one command,
/// and learns of it when it wakes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_leader_is_removed() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let things = client.database("test").collection::<Document>("things");
    things.insert_one(doc! { "_id": 1 }).await.expect("inserts");
    let leader = cluster.leader().await;
    let id = id_of(&cluster, leader, leader).await;
    cluster.pause(leader);
    let said = cluster.cstore(&["member", "remove", &id]).await;
    assert!(said.contains("the cluster has 2 voters now"), "{said}");
    things.insert_one(doc! { "_id": 2 }).await.expect("inserts");
    cluster.resume(leader);
    assert_eq!(cluster.wait_for_end(leader).await.code(), Some(0));
    assert!(cluster.log(leader).contains("was removed from the cluster"));
    let count = things.count_documents(doc! {}).await.expect("counts");
    assert_eq!(count, 2);
}
