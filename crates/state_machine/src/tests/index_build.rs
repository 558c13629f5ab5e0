//! Building indexes beside writes.

use bson::doc;

use super::host::{Host, create_index, delete, insert, places, update, updated, write};
use crate::{
    CatalogReply, Command, CommandError, IndexBuildProgress, IndexState, Reply, StatementResult,
};

fn building(host: &mut Host, command: &Command) -> u32 {
    match host.apply(command) {
        Reply::Catalog(CatalogReply::IndexesCreated { building, .. }) if building.len() == 1 => {
            building[0]
        }
        other => panic!("{other:?}"),
    }
}

fn chunk(host: &mut Host, index_id: u32, limit: u32) -> Reply {
    host.apply(&Command::IndexBuildChunk { index_id, limit })
}

fn progress(reply: Reply) -> IndexBuildProgress {
    match reply {
        Reply::Catalog(CatalogReply::IndexBuild(progress)) => progress,
        other => panic!("{other:?}"),
    }
}

fn with_documents(count: i32) -> Host {
    let mut host = Host::new();
    host.write(write(
        (0..count)
            .map(|number| insert(doc! { "_id": number, "a": number, "tags": [number, "x"] }))
            .collect(),
    ));
    host
}

#[test]
fn writes_go_on_while_an_index_is_built() {
    let mut host = with_documents(100);
    let id = building(
        &mut host,
        &create_index(doc! { "a": 1, "tags": -1 }, "at", doc! {}),
    );
    let mut round = 0;
    loop {
        // Behind, at and ahead of where the build is.
        for place in [round * 10, round * 10 + 5, 99 - round] {
            host.write(write(vec![update(
                doc! { "_id": place },
                doc! { "$inc": { "a": 1000 } },
                vec![],
            )]));
        }
        host.write(write(vec![
            insert(doc! { "_id": 1000 + round, "a": round }),
            insert(doc! { "_id": -1 - round, "a": round }),
            delete(doc! { "_id": 50 + round }, vec![]),
        ]));
        let snapshot = host.snapshot();
        let collection = snapshot.collection(&places()).expect("exists");
        assert_eq!(
            collection.ready_indexes().count(),
            1,
            "not used while building"
        );
        round += 1;
        match progress(chunk(&mut host, id, 10)) {
            IndexBuildProgress::More => {}
            other => {
                assert_eq!(other, IndexBuildProgress::Complete);
                break;
            }
        }
    }
    assert!(round >= 10);
    assert_eq!(
        progress(chunk(&mut host, id, 10)),
        IndexBuildProgress::Complete
    );
    let finish = Command::IndexBuildFinish { index_id: id };
    assert_eq!(
        host.machine.reader().background_command(),
        Some(finish.clone())
    );
    assert_eq!(progress(host.apply(&finish)), IndexBuildProgress::Ready);
    assert_eq!(progress(host.apply(&finish)), IndexBuildProgress::Ready);
    assert_eq!(host.machine.reader().background_command(), None);
    let snapshot = host.snapshot();
    let index = snapshot
        .collection(&places())
        .expect("exists")
        .index("at")
        .expect("exists")
        .clone();
    assert!(index.is_ready() && index.multikey);
    host.check();
}

#[test]
fn a_build_that_meets_a_duplicate_fails_and_drops_the_index() {
    let mut host = with_documents(20);
    host.one(insert(doc! { "_id": 100, "a": 15 }));
    let id = building(
        &mut host,
        &create_index(doc! { "a": 1 }, "a", doc! { "unique": true }),
    );
    assert_eq!(progress(chunk(&mut host, id, 10)), IndexBuildProgress::More);
    assert_eq!(progress(chunk(&mut host, id, 10)), IndexBuildProgress::More);
    let reply = chunk(&mut host, id, 10);
    assert!(
        matches!(&reply, Reply::Failed(CommandError::DuplicateKey { index, .. }) if index == "a"),
        "{reply:?}"
    );
    assert!(matches!(
        chunk(&mut host, id, 10),
        Reply::Failed(CommandError::IndexNotFound { .. })
    ));
    while host.apply(&Command::Reclaim { limit: 100 }) == (Reply::Reclaimed { more: true }) {}
    assert!(
        !host
            .contents()
            .iter()
            .any(|(key, _)| key[0] == crate::keyspace::INDEX_ENTRIES)
    );
    host.check();
}

#[test]
fn an_unscanned_document_that_leaves_a_key_does_not_take_anothers_entry() {
    let mut host = with_documents(20);
    let id = building(
        &mut host,
        &create_index(doc! { "a": 1 }, "a", doc! { "unique": true }),
    );
    // 19 is not scanned yet, so its key looks free.
    assert_eq!(
        host.one(insert(doc! { "_id": -1, "a": 19 })),
        StatementResult::Inserted
    );
    assert_eq!(
        host.one(update(
            doc! { "_id": 19 },
            doc! { "$set": { "a": 500 } },
            vec![]
        )),
        updated(1, 1)
    );
    while progress(chunk(&mut host, id, 7)) == IndexBuildProgress::More {}
    host.apply(&Command::IndexBuildFinish { index_id: id });
    assert!(matches!(
        host.one(insert(doc! { "_id": -2, "a": 19 })),
        StatementResult::Failed(CommandError::DuplicateKey { .. })
    ));
    host.check();
}

#[test]
fn a_build_survives_a_restart() {
    let mut host = with_documents(30);
    let id = building(&mut host, &create_index(doc! { "a": 1 }, "a", doc! {}));
    chunk(&mut host, id, 10);
    host.rotate();
    let mut host = Host::on(host.durable_copy());
    let command = host
        .machine
        .reader()
        .background_command()
        .expect("a build goes on");
    assert!(matches!(command, Command::IndexBuildChunk { index_id, .. } if index_id == id));
    while progress(chunk(&mut host, id, 10)) == IndexBuildProgress::More {}
    host.apply(&Command::IndexBuildFinish { index_id: id });
    host.check();
}

#[test]
fn asking_again_names_the_index_that_is_being_built() {
    let mut host = with_documents(5);
    let command = create_index(doc! { "a": 1 }, "a", doc! {});
    let id = building(&mut host, &command);
    assert_eq!(building(&mut host, &command), id);
    let snapshot = host.snapshot();
    let index = snapshot
        .collection(&places())
        .expect("exists")
        .index("a")
        .expect("exists")
        .clone();
    assert!(matches!(
        index.state,
        IndexState::Building {
            complete: false,
            ..
        }
    ));
    host.apply(&Command::DropCollection {
        namespace: places(),
    });
    assert!(matches!(
        chunk(&mut host, id, 1),
        Reply::Failed(CommandError::IndexNotFound { .. })
    ));
    assert!(matches!(
        host.machine.reader().background_command(),
        Some(Command::Reclaim { .. })
    ));
}
