//! Export and import.

use std::path::Path;

use bson::doc;
use storage_engine::{BulkLoader, LsmEngine, Options};

use super::host::{Host, contents, create_index, insert, places, under_session, update, write};
use crate::limits::EXPORT_CHUNK_BYTES_MAX;
use crate::{Command, Export, ImportError, SnapshotImport, StateMachine};

pub fn import_into(staging: &Path) -> SnapshotImport {
    let loader = BulkLoader::create(staging).expect("an empty directory");
    SnapshotImport::new(Box::new(loader))
}

fn filled() -> Host {
    let mut host = Host::new();
    host.machine.apply_membership(1, 3, b"members");
    let index = 2;
    let create = create_index(doc! { "a": 1 }, "a", doc! { "unique": true });
    host.machine
        .apply(index, 3, &create.encode())
        .expect("sound");
    let text = "a document of some length ".repeat(20);
    for number in 0..2000i32 {
        let command = Command::Write(under_session(
            write(vec![insert(
                doc! { "_id": number, "a": number, "text": &text },
            )]),
            i64::from(number),
        ));
        let index = host.machine.applied().index + 1;
        host.machine
            .apply(index, 3, &command.encode())
            .expect("sound");
    }
    let large = Command::Write(write(vec![insert(
        doc! { "_id": "large", "text": "x".repeat(1 << 20) },
    )]));
    let index = host.machine.applied().index + 1;
    host.machine
        .apply(index, 3, &large.encode())
        .expect("sound");
    host
}

#[test]
fn an_imported_state_is_the_exported_one() {
    let mut host = filled();
    let snapshot = host.snapshot();
    let export = Export::new(snapshot.clone()).expect("a snapshot of the applied index");
    let announced = export.applied().clone();
    // Writes go on meanwhile, and are not in it.
    let late = Command::Write(write(vec![update(
        doc! { "_id": 5 },
        doc! { "$set": { "a": -1 } },
        vec![],
    )]));
    let index = host.machine.applied().index + 1;
    host.machine.apply(index, 3, &late.encode()).expect("sound");

    let dir = tempfile::tempdir().expect("a temporary directory");
    let staging = dir.path().join("engine");
    let mut import = import_into(&staging);
    for chunk in export {
        let chunk = chunk.expect("sound");
        assert!(chunk.len() <= EXPORT_CHUNK_BYTES_MAX);
        import.chunk(&chunk).expect("a sound stream");
    }
    assert_eq!(import.finish().expect("a whole stream"), announced);

    let engine = LsmEngine::open(&staging, Options::default()).expect("a sound engine");
    let mut imported = Host::on(engine);
    assert_eq!(imported.machine.applied(), announced);
    assert_eq!(
        imported.contents(),
        contents(&*host.engine, announced.index)
    );
    assert_eq!(
        imported
            .snapshot()
            .collection_hash(&places())
            .expect("sound"),
        snapshot.collection_hash(&places()).expect("sound")
    );
    imported.check();
    let index = imported.machine.applied().index + 1;
    imported
        .machine
        .apply(index, 3, &late.encode())
        .expect("sound");
    assert_eq!(imported.contents(), host.contents());
    imported.check();
}

#[test]
fn a_stream_that_is_cut_or_changed_is_refused() {
    let host = filled();
    let stream: Vec<u8> = Export::new(host.snapshot())
        .expect("a snapshot of the applied index")
        .flat_map(|chunk| chunk.expect("sound"))
        .collect();
    let import = |bytes: &[u8]| -> Result<(), ImportError> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut import = import_into(&dir.path().join("engine"));
        for chunk in bytes.chunks(100_000) {
            import.chunk(chunk)?;
        }
        import.finish().map(|_| ())
    };
    import(&stream).expect("whole");
    assert!(matches!(
        import(&stream[..stream.len() - 1]),
        Err(ImportError::Incomplete(_))
    ));
    assert!(matches!(
        import(&stream[..stream.len() / 2]),
        Err(ImportError::Incomplete(_))
    ));
    assert!(matches!(
        import(&[&stream[..], b"x"].concat()),
        Err(ImportError::Incomplete(_))
    ));
    let mut newer = stream.clone();
    newer[0] = 9;
    assert!(matches!(import(&newer), Err(ImportError::Version(9))));
    let mut moved = stream;
    moved[1] ^= 1;
    assert!(matches!(import(&moved), Err(ImportError::Position)));
}

#[test]
fn only_the_applied_index_can_be_exported() {
    let host = filled();
    let past = host
        .machine
        .reader()
        .snapshot_at(10)
        .expect("sound")
        .expect("readable");
    assert!(Export::new(past).is_none());
}

#[test]
fn an_empty_state_can_be_exported_too() {
    let mut host = Host::new();
    host.machine.apply_noop(1, 1);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let staging = dir.path().join("engine");
    let mut import = import_into(&staging);
    for chunk in Export::new(host.snapshot()).expect("of the applied index") {
        import.chunk(&chunk.expect("sound")).expect("sound");
    }
    import.finish().expect("whole");
    let engine = LsmEngine::open(&staging, Options::default()).expect("a sound engine");
    assert_eq!(
        StateMachine::open(engine).expect("sound").applied().index,
        1
    );
}
