use super::*;

fn member(id: i64, port: u16, voter: bool) -> MemberStatus {
    MemberStatus {
        id,
        role: if voter { "follower" } else { "learner" }.to_owned(),
        voter,
        listen: format!("h:{port}"),
        peer_listen: format!("h:{}", port + 10_000),
        ..MemberStatus::default()
    }
}

fn cluster() -> Cluster {
    Cluster {
        leader: Some(1),
        members: vec![member(1, 1, true), member(2, 2, true), member(4, 4, false)],
    }
}

#[test]
fn a_member_is_named_by_id_or_by_any_of_its_addresses() {
    let cluster = cluster();
    assert_eq!(cluster.resolve("4").expect("an id"), 4);
    assert_eq!(cluster.resolve("9").expect("the leader decides"), 9);
    assert_eq!(cluster.resolve("H:2").expect("an address"), 2);
    assert_eq!(cluster.resolve("h:10004").expect("a peer address"), 4);
    let unknown = cluster.resolve("h:3").expect_err("nobody").to_string();
    assert!(unknown.ends_with("member 4 (h:4)"), "{unknown}");
}

#[test]
fn the_strength_counts_voters_only() {
    assert_eq!(
        cluster().strength(),
        "the cluster has 2 voters now and survives the loss of none of them"
    );
}
