//! Restarts: the state is what the engine had durable, and replay brings back the rest.

use std::sync::atomic::{AtomicBool, Ordering};

use bson::doc;

use super::host::{Host, create_index, documents, insert, places, under_session, update, write};
use crate::{Command, StateMachine};

#[test]
fn the_durable_position_and_membership_come_back() {
    let mut host = Host::new();
    host.machine.apply_membership(1, 1, b"three members");
    host.one(insert(doc! { "_id": 1 }));
    host.machine.apply_noop(3, 2);
    host.rotate();
    host.rotate();
    host.machine.apply_noop(4, 2);
    let machine = StateMachine::open(host.durable_copy()).expect("sound");
    let applied = machine.applied();
    assert_eq!((applied.index, applied.term), (3, 2));
    assert_eq!(applied.membership, b"three members");
    assert_eq!(machine.reader().applied_index(), 3);
    let snapshot = machine.reader().snapshot();
    assert_eq!(snapshot.counts(&places()).expect("exists").documents, 1);
}

#[test]
fn nothing_durable_is_an_empty_state() {
    let mut host = Host::new();
    host.one(insert(doc! { "_id": 1 }));
    let machine = StateMachine::open(host.durable_copy()).expect("sound");
    assert_eq!(machine.applied().index, 0);
    assert_eq!(machine.reader().snapshot().catalog().databases().len(), 0);
}

#[test]
fn replay_from_any_durable_point_gives_the_same_state_and_replies() {
    let commands: Vec<Command> = (0..40i32)
        .map(|number| match number % 8 {
            0 => create_index(
                doc! { format!("f{number}"): 1 },
                &format!("f{number}"),
                doc! {},
            ),
            1 => Command::Write(under_session(
                write(vec![update(
                    doc! { "_id": 3 },
                    doc! { "$inc": { "n": 1 }, "$set": { "f0": number } },
                    vec![],
                )]),
                i64::from(number / 16),
            )),
            7 => Command::IndexBuildChunk {
                index_id: 2,
                limit: 3,
            },
            _ => Command::Write(write(vec![insert(
                doc! { "_id": number, "f0": [number, 1] },
            )])),
        })
        .collect();
    for rotate_at in [1, 7, 20, 39] {
        let mut host = Host::new();
        let mut replies = Vec::new();
        for (number, command) in commands.iter().enumerate() {
            if number == rotate_at {
                host.rotate();
            }
            replies.push(host.apply(command));
        }
        let mut replayed = Host::on(host.durable_copy());
        assert_eq!(replayed.machine.applied().index, rotate_at as u64);
        for (command, reply) in commands.iter().zip(replies).skip(rotate_at) {
            assert_eq!(replayed.apply(command), reply);
        }
        assert_eq!(replayed.contents(), host.contents());
        replayed.check();
    }
}

#[test]
fn snapshots_of_the_past_stay_as_they_were() {
    let mut host = Host::new();
    host.one(insert(doc! { "_id": 1 }));
    host.apply(&create_index(doc! { "a": 1 }, "a", doc! {}));
    let reader = host.machine.reader();
    let hashes: Vec<_> = (0..20)
        .map(|number| {
            host.one(insert(doc! { "_id": 100 + number }));
            let snapshot = host.snapshot();
            (
                snapshot.as_of(),
                snapshot.collection_hash(&places()).expect("sound"),
            )
        })
        .collect();
    for (index, hash) in hashes {
        let past = reader.snapshot_at(index).expect("sound").expect("readable");
        assert_eq!(past.as_of(), index);
        assert_eq!(past.collection_hash(&places()).expect("sound"), hash);
        assert_eq!(documents(&past, &places()).len() as u64, index - 1);
    }
    let past = reader.snapshot_at(1).expect("sound").expect("readable");
    assert_eq!(past.collection(&places()).expect("exists").indexes.len(), 1);
    assert!(
        reader
            .snapshot_at(0)
            .expect("sound")
            .is_some_and(|empty| empty.catalog().databases().is_empty())
    );
    assert!(
        reader
            .snapshot_at(reader.applied_index() + 1)
            .expect("sound")
            .is_none()
    );
}

#[test]
fn old_versions_go_unless_a_snapshot_needs_them() {
    let mut host = Host::new();
    host.one(insert(doc! { "_id": 1, "n": 0 }));
    let old = host.snapshot();
    let reader = host.machine.reader();
    for index in 2..=20_000 {
        host.machine.apply_noop(index, 1);
    }
    assert!(
        reader.snapshot_at(1).expect("sound").is_some(),
        "a snapshot holds it"
    );
    drop(old);
    for index in 20_001..=20_480 {
        host.machine.apply_noop(index, 1);
    }
    assert!(reader.snapshot_at(1).expect("sound").is_none());
    assert!(reader.snapshot_at(10_480).expect("sound").is_some());
    let held = reader
        .snapshot_at(15_000)
        .expect("sound")
        .expect("readable");
    reader.release_old_versions();
    assert!(reader.snapshot_at(14_999).expect("sound").is_none());
    assert!(reader.snapshot_at(15_000).expect("sound").is_some());
    drop(held);
    reader.release_old_versions();
    assert!(reader.snapshot_at(20_479).expect("sound").is_none());
    assert!(reader.snapshot_at(20_480).expect("sound").is_some());
    assert_eq!(host.documents().len(), 1);
}

#[test]
fn a_snapshot_never_shows_half_a_command() {
    let mut host = Host::new();
    let reader = host.machine.reader();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let check = scope.spawn(|| {
            let mut seen = 0;
            while !done.load(Ordering::Acquire) {
                let snapshot = reader.snapshot();
                let index = snapshot.as_of();
                assert!(index >= seen, "the applied index never goes back");
                seen = index;
                let found = documents(&snapshot, &places());
                assert_eq!(found.len() as u64, 2 * index);
                if index > 0 {
                    let counts = snapshot
                        .counts(&places())
                        .expect("created by the first command");
                    assert!(counts.documents >= 2 * index);
                }
            }
            seen
        });
        for number in 0..300 {
            host.write(write(vec![
                insert(doc! { "_id": number }),
                insert(doc! { "_id": -1 - number }),
            ]));
        }
        done.store(true, Ordering::Release);
        check.join().expect("the reader saw nothing wrong");
    });
}
