//! Small clusters in this process: joining, fail-over, snapshots, removal, priorities, and members that move.

use super::*;

#[test]
fn joined_nodes_become_voters_and_hold_the_same() {
    let directories: Vec<_> = (0..3)
        .map(|_| tempfile::tempdir().expect("temporary directory"))
        .collect();
    let paths: Vec<PathBuf> = directories
        .iter()
        .map(|directory| directory.path().to_owned())
        .collect();
    let (nodes, _) = cluster(&paths);
    let mut last = 0;
    for id in 0..50 {
        last = write(&nodes, id);
    }
    let hashes: BTreeSet<String> = nodes.iter().map(|node| hash_at(node, last)).collect();
    assert_eq!(hashes.len(), 1, "{hashes:?}");
    for node in &nodes {
        node.stop();
    }
}

#[test]
fn the_lead_moves_when_the_leader_stops_and_it_catches_up_afterwards() {
    let directories: Vec<_> = (0..3)
        .map(|_| tempfile::tempdir().expect("temporary directory"))
        .collect();
    let paths: Vec<PathBuf> = directories
        .iter()
        .map(|directory| directory.path().to_owned())
        .collect();
    let (mut nodes, configs) = cluster(&paths);
    for id in 0..20 {
        write(&nodes, id);
    }
    let leader = nodes
        .iter()
        .position(|node| node.status().role == RoleName::Leader)
        .expect("somebody leads");
    let stopped = nodes.remove(leader);
    assert_eq!(stopped.stop(), ExitReason::Stopped);
    for id in 20..40 {
        write(&nodes, id);
    }
    let back = start(configs[leader].clone()).expect("starts again");
    nodes.push(back);
    let last = write(&nodes, 40);
    let hashes: BTreeSet<String> = nodes.iter().map(|node| hash_at(node, last)).collect();
    assert_eq!(hashes.len(), 1, "{hashes:?}");
    for node in &nodes {
        node.stop();
    }
}

#[test]
fn an_empty_follower_is_filled_from_a_snapshot() {
    let directories: Vec<_> = (0..2)
        .map(|_| tempfile::tempdir().expect("temporary directory"))
        .collect();
    let mut first = config(directories[0].path(), &[]);
    first.log_retained_entries = 1;
    first.memtable_bytes = 16 << 10;
    let leader = start(first.clone()).expect("starts");
    for id in 0..500 {
        write(std::slice::from_ref(&leader), id);
    }
    leader.stop();
    let leader = start(first.clone()).expect("starts again");
    write(std::slice::from_ref(&leader), 500);
    let follower = start(config(
        directories[1].path(),
        std::slice::from_ref(&first.peer_listen),
    ))
    .expect("joins");
    assert!(leader.wait_until(PATIENCE, |status| status.membership.voters.len() == 2));
    // The follower has no versions older than its snapshot: they are compared at a later index.
    let later = write(std::slice::from_ref(&leader), 501);
    assert_eq!(hash_at(&follower, later), hash_at(&leader, later));
    assert_eq!(count(&follower), 502);
    // The generation it began with is read by nobody any more.
    let engine = directories[1].path().join("engine");
    let deadline = Instant::now() + PATIENCE;
    while engine.join("1").exists() || engine.join("incoming").exists() {
        assert!(Instant::now() < deadline, "what is over is still there");
        std::thread::yield_now();
    }
    assert!(engine.join("2").exists());
    follower.stop();
    leader.stop();
}

/// Whoever is away must not fill the others' disks: what they keep is bounded in bytes too, and it gets a snapshot instead.
#[test]
fn the_log_stays_within_its_bound_while_a_member_is_away() {
    const RETAINED: u64 = 256 << 10;
    const SEGMENT: u64 = 64 << 10;
    const MEMTABLE: u64 = 64 << 10;
    let directories: Vec<_> = (0..3)
        .map(|_| tempfile::tempdir().expect("temporary directory"))
        .collect();
    let paths: Vec<PathBuf> = directories
        .iter()
        .map(|directory| directory.path().to_owned())
        .collect();
    let (mut nodes, configs) = cluster_with(&paths, |config| {
        config.log_retained_bytes = RETAINED;
        config.log_segment_bytes = SEGMENT;
        config.memtable_bytes = MEMTABLE;
    });
    let away = nodes
        .iter()
        .position(|node| !node.status().writable)
        .expect("two follow");
    nodes.remove(away).stop();
    for id in 0..200 {
        write_text(&nodes, id, 20_000);
    }
    // What is kept on purpose, what is not in tables yet, and the segments these begin and end in; the next in waiting.
    let bound = RETAINED + 3 * MEMTABLE + 4 * SEGMENT;
    let mut ids = 2_000..;
    for node in &nodes {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // What is not needed any more goes with the next sync; there is none for that alone.
            write(&nodes, ids.next().expect("there is no end to them"));
            let space = node.space();
            assert!(space.log_spare_bytes <= 4 * SEGMENT, "{space:?}");
            if space.log_bytes <= bound {
                assert!(node.metrics().log.written_bytes > 2 * bound, "{space:?}");
                break;
            }
            assert!(Instant::now() < deadline, "{space:?}, not {bound}");
        }
    }
    nodes.push(start(configs[away].clone()).expect("starts again"));
    let last = write(&nodes, 1_000);
    let hashes: BTreeSet<String> = nodes.iter().map(|node| hash_at(node, last)).collect();
    assert_eq!(hashes.len(), 1, "{hashes:?}");
    for node in &nodes {
        node.stop();
    }
}

/// The swap of a snapshot is durable before the log is reset to it: a crash in between is mended at the next start.
#[test]
fn a_crash_between_the_swap_of_a_snapshot_and_the_reset_of_the_log_is_mended() {
    let directories: Vec<_> = (0..3)
        .map(|_| tempfile::tempdir().expect("temporary directory"))
        .collect();
    let paths: Vec<PathBuf> = directories
        .iter()
        .map(|directory| directory.path().to_owned())
        .collect();
    let (mut nodes, configs) = cluster(&paths);
    for id in 0..20 {
        write(&nodes, id);
    }
    nodes.pop().expect("three nodes").stop();
    for id in 20..40 {
        write(&nodes, id);
    }
    for node in nodes {
        node.stop();
    }
    let engine = storage_engine::LsmEngine::open(
        &paths[0].join("engine/1"),
        storage_engine::Options::default(),
    )
    .expect("opens");
    let machine = state_machine::StateMachine::open(engine).expect("opens");
    let export = state_machine::Export::new(machine.reader().snapshot()).expect("the latest");
    let root = paths[2].join("engine");
    let staged = crate::engine_dirs::stage(&OsDisk, &root).expect("stages");
    let mut import = {
        let loader = storage_engine::BulkLoader::create(&staged).expect("begins");
        state_machine::SnapshotImport::new(Box::new(loader), export.applied().index)
    };
    for chunk in export {
        import.chunk(&chunk.expect("no fault")).expect("is taken");
    }
    import.finish().expect("is whole");
    let index = LogIndex(machine.applied().index);
    crate::engine_dirs::make_current(&OsDisk, &root, &staged, index).expect("swaps");
    drop(machine);
    for _ in 0..2 {
        let nodes: Vec<Node> = configs
            .iter()
            .map(|config| start(config.clone()).expect("starts"))
            .collect();
        let last = write(
            &nodes,
            nodes
                .iter()
                .map(|node| count(node) as i32)
                .max()
                .unwrap_or(0),
        );
        let hashes: BTreeSet<String> = nodes.iter().map(|node| hash_at(node, last)).collect();
        assert_eq!(hashes.len(), 1, "{hashes:?}");
        for node in nodes {
            node.stop();
        }
    }
}

/// Nobody is where the others remember it: one address given by `--join` is enough for all of them.
#[test]
fn members_that_all_restart_on_new_addresses_find_each_other() {
    let directories: Vec<tempfile::TempDir> = (0..3)
        .map(|_| tempfile::tempdir().expect("temporary directory"))
        .collect();
    let paths: Vec<PathBuf> = directories
        .iter()
        .map(|directory| directory.path().to_owned())
        .collect();
    let (nodes, _) = cluster(&paths);
    let index = write(&nodes, 1);
    nodes.iter().for_each(|node| drop(node.stop()));
    let first = config(&paths[0], &[]);
    let join = [first.peer_listen.clone()];
    let mut moved = vec![first];
    moved.extend(paths[1..].iter().map(|path| config(path, &join)));
    let nodes: Vec<Node> = moved
        .iter()
        .map(|config| start(config.clone()).expect("starts"))
        .collect();
    assert!(write(&nodes, 2) > index);
    for (node, config) in nodes.iter().zip(&moved) {
        let (id, address) = (node.status().id, config.peer_listen.clone());
        for other in &nodes {
            let address = address.clone();
            let known = other.wait_until(PATIENCE, move |status| {
                status.member(id).expect("a member").addresses.peer == address
            });
            assert!(known, "{}", describe(other));
        }
    }
    nodes.iter().for_each(|node| drop(node.stop()));
}

#[test]
fn a_member_is_removed_while_it_is_away_and_learns_of_it_when_it_comes_back() {
    let directories: Vec<tempfile::TempDir> = (0..3)
        .map(|_| tempfile::tempdir().expect("temporary directory"))
        .collect();
    let paths: Vec<PathBuf> = directories
        .iter()
        .map(|directory| directory.path().to_owned())
        .collect();
    let (mut nodes, configs) = cluster(&paths);
    write(&nodes, 1);
    let away = nodes.pop().expect("three");
    let id = away.status().id;
    away.stop();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let leader = nodes.iter().find(|node| node.status().writable);
        let outcome = leader.map(|leader| {
            let (sender, receiver) = crossbeam_channel::bounded(1);
            let done = move |outcome| sender.send(outcome).expect("the test waits");
            leader.change_membership(crate::MembershipChange::Remove(id), Box::new(done));
            receiver.recv_timeout(PATIENCE).expect("answered")
        });
        if matches!(outcome, Some(crate::MembershipOutcome::Applied { .. })) {
            break;
        }
        assert!(Instant::now() < deadline, "{outcome:?}");
        std::thread::yield_now();
    }
    let back = start(configs[2].clone()).expect("its directory is sound");
    assert!(back.wait_until(PATIENCE, |status| status.removed));
    assert_eq!(nodes[0].status().membership.members.len(), 2);
    back.stop();
    nodes.iter().for_each(|node| drop(node.stop()));
}

/// With leases too, which are to change nothing but the cost of a read.
#[test]
fn the_member_of_the_highest_priority_is_handed_the_lead() {
    let directories: Vec<tempfile::TempDir> = (0..3)
        .map(|_| tempfile::tempdir().expect("temporary directory"))
        .collect();
    let first = config(directories[0].path(), &[]);
    let join = [first.peer_listen.clone()];
    let mut configs = vec![first];
    configs.extend(directories[1..].iter().map(|it| config(it.path(), &join)));
    configs.iter_mut().for_each(|config| config.leases = true);
    configs[2].priority = 5;
    let nodes: Vec<Node> = configs
        .into_iter()
        .map(|config| start(config).expect("starts"))
        .collect();
    let preferred = nodes[2].status().id;
    let leads = nodes[2].wait_until(PATIENCE, |status| status.writable);
    assert!(leads, "{}", describe(&nodes[2]));
    let recorded = nodes[0].status().membership.members[&preferred].priority;
    assert_eq!(recorded, 5);
    write(&nodes, 1);
    for node in &nodes {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let done = move |index| sender.send(index).expect("the test waits");
        node.read_index(Box::new(done));
        let index = receiver.recv_timeout(PATIENCE).expect("answered");
        index.expect("a leader is there");
        assert_eq!(count(node), 1);
    }
    nodes.iter().for_each(|node| drop(node.stop()));
}

/// It was admitted and went down before it heard of anybody; meanwhile its address became another.
#[test]
fn a_joiner_that_never_heard_of_its_cluster_finds_it_from_another_address() {
    let directories = [(); 2].map(|()| tempfile::tempdir().expect("temporary directory"));
    let first = config(directories[0].path(), &[]);
    let join = [first.peer_listen.clone()];
    let founder = start(first).expect("starts");
    assert!(founder.wait_until(PATIENCE, |status| status.writable));
    let data_dir = directories[1].path();
    let old = config(data_dir, &join);
    let directory = [9; 16];
    let context = crate::MemberContext::of(&old, directory).encode().to_vec();
    let request = peer_transport::JoinRequest::fresh(directory, context);
    let contact = [peer_transport::PeerAddress(join[0].clone())];
    let reply = peer_transport::request_join(&contact, &request, PATIENCE).expect("answered");
    let peer_transport::JoinReply::Accepted {
        cluster_id,
        node_id,
        ..
    } = reply
    else {
        panic!("{reply:?}");
    };
    let identity = Identity {
        cluster_id,
        node_id,
        directory,
        founder: false,
    };
    crate::start::begin_log(&OsDisk, &old, &directory).expect("writable");
    identity.store(&OsDisk, data_dir).expect("writable");
    let moved = start(config(data_dir, &join)).expect("starts");
    let votes = founder.wait_until(PATIENCE, |status| status.membership.voters.len() == 2);
    assert!(votes, "{} {}", describe(&founder), describe(&moved));
    moved.stop();
    founder.stop();
}
