//! Export and import.

use std::path::Path;

use bson::doc;
use storage_engine::{BulkLoad, BulkLoader, LsmEngine, Options, StorageFault};

use super::host::{Host, contents, create_index, insert, places, under_session, update, write};
use crate::{
    ChunkError, Command, Export, ImportError, Progress, SnapshotImport, StateMachine, Survey,
    chunk_bytes,
};

pub fn import_into(staging: &Path, index: u64) -> SnapshotImport {
    let loader = BulkLoader::create(staging).expect("an empty directory");
    SnapshotImport::new(Box::new(loader), index)
}

/// An import that goes nowhere.
struct Nowhere;

impl BulkLoad for Nowhere {
    fn add(&mut self, _: &[u8], _: &[u8]) -> Result<(), StorageFault> {
        Ok(())
    }

    fn finish(self: Box<Self>, _: u64) -> Result<(), StorageFault> {
        Ok(())
    }
}

fn chunks(export: Export) -> Vec<Vec<u8>> {
    export.map(|chunk| chunk.expect("sound")).collect()
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
    let mut import = import_into(&staging, announced.index);
    for chunk in export {
        let chunk = chunk.expect("sound");
        let header = chunk.first_chunk().expect("a chunk has a header");
        assert_eq!(chunk_bytes(header), Some(chunk.len()));
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
fn a_survey_gives_the_hashes_of_the_state() {
    let mut host = filled();
    let other = crate::Namespace::new("atlas", "empty");
    let create = Command::CreateCollection {
        namespace: other.clone(),
        options: bson::RawDocumentBuf::new(),
    };
    let index = host.machine.applied().index + 1;
    host.machine
        .apply(index, 3, &create.encode())
        .expect("sound");
    let snapshot = host.snapshot();
    let export = Export::without_members(snapshot.clone()).expect("of the applied index");
    assert!(export.applied().membership.is_empty());
    let stream = chunks(export);
    let mut survey = Survey::new(index);
    for chunk in &stream {
        assert!(!survey.is_whole());
        survey.chunk(chunk).expect("sound");
    }
    let total = survey.total();
    let found = survey.finish().expect("whole");
    let names: Vec<_> = found.iter().map(|it| it.namespace.clone()).collect();
    assert_eq!(names, [other, places()]);
    for summary in &found {
        let hash = snapshot.collection_hash(&summary.namespace);
        assert_eq!(hash.expect("sound"), Some(summary.hash));
        assert_eq!(
            snapshot.counts(&summary.namespace).expect("it exists"),
            summary.counts
        );
    }
    assert_eq!(total.documents, 2001);
    let mut exchanged = stream.clone();
    exchanged.swap(1, 2);
    let mut survey = Survey::new(index);
    let outcomes: Vec<_> = exchanged.iter().map(|chunk| survey.chunk(chunk)).collect();
    assert!(matches!(outcomes[2], Err(ImportError::Order)));
    let mut cut = Survey::new(index);
    cut.chunk(&stream[0]).expect("sound");
    assert!(matches!(cut.finish(), Err(ImportError::Incomplete(_))));
}

#[test]
fn a_stream_that_is_cut_or_changed_is_refused() {
    let host = filled();
    let export = Export::new(host.snapshot()).expect("a snapshot of the applied index");
    let index = export.applied().index;
    let stream = chunks(export);
    assert!(stream.len() > 4 && stream.iter().map(Vec::len).sum::<usize>() < 500_000);
    let import = |stream: &[Vec<u8>]| -> Result<(), ImportError> {
        let mut import = SnapshotImport::new(Box::new(Nowhere), index);
        for chunk in stream {
            import.chunk(chunk)?;
        }
        import.finish().map(|_| ())
    };
    import(&stream).expect("whole");
    for end in 0..stream.len() {
        assert!(matches!(
            import(&stream[..end]),
            Err(ImportError::Incomplete(_))
        ));
        let mut without = stream.clone();
        without.remove(end);
        assert!(import(&without).is_err(), "chunk {end} is missing");
        let mut twice = stream.clone();
        twice.insert(end, stream[end].clone());
        assert!(import(&twice).is_err(), "chunk {end} comes twice");
    }
    let beyond = [&stream[..], &stream[..1]].concat();
    assert!(matches!(import(&beyond), Err(ImportError::Incomplete(_))));
    let mut newer = stream.clone();
    newer[0][0] = 9;
    let error = import(&newer).expect_err("newer");
    assert!(matches!(error, ImportError::Chunk(ChunkError::Version(9))));
}

#[test]
fn a_damaged_chunk_is_refused_and_the_right_one_taken_after_it() {
    let host = filled();
    let export = Export::new(host.snapshot()).expect("a snapshot of the applied index");
    let index = export.applied().index;
    let stream = chunks(export);
    let mut import = SnapshotImport::new(Box::new(Nowhere), index);
    for chunk in &stream {
        let bytes = chunk.len();
        for bit in [8, 40, 8 * bytes / 2, 8 * bytes - 1] {
            let mut damaged = chunk.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let error = import.chunk(&damaged).expect_err("damaged");
            assert!(matches!(error, ImportError::Chunk(_)), "{bit}: {error}");
        }
        for cut in [0, 1, 27, bytes - 1] {
            let error = import.chunk(&chunk[..cut]).expect_err("cut");
            assert!(matches!(error, ImportError::Chunk(_)), "{cut}: {error}");
        }
        import.chunk(chunk).expect("sound");
    }
    import.finish().expect("whole");
    let mut other = SnapshotImport::new(Box::new(Nowhere), index + 1);
    let error = other.chunk(&stream[0]).expect_err("another snapshot's");
    assert!(
        matches!(error, ImportError::Chunk(ChunkError::Index { .. })),
        "{error}"
    );
}

/// Exports again from every place an import can have come to, while the state moves on.
#[test]
fn a_stream_goes_on_from_any_chunk() {
    let mut host = filled();
    let export = Export::new(host.snapshot()).expect("a snapshot of the applied index");
    let applied = export.applied().clone();
    let snapshot = host.snapshot();
    let whole = chunks(export);
    for number in 0..300i32 {
        let index = host.machine.applied().index + 1;
        let late = Command::Write(write(vec![
            update(
                doc! { "_id": number },
                doc! { "$set": { "a": -1 - number } },
                vec![],
            ),
            insert(doc! { "_id": 10_000 + number, "a": 10_000 + number }),
        ]));
        host.machine.apply(index, 3, &late.encode()).expect("sound");
    }
    for come_to in 0..whole.len() {
        let mut import = SnapshotImport::new(Box::new(Nowhere), applied.index);
        for chunk in &whole[..come_to] {
            import.chunk(chunk).expect("sound");
        }
        let said = import.progress().encode();
        let progress = Progress::decode(applied.index, &said).expect("sound");
        assert_eq!(&progress, import.progress());
        let rest = chunks(Export::at(snapshot.clone(), applied.clone()).after(progress));
        assert!(rest == whole[come_to..], "after {come_to} chunks");
        for chunk in &rest {
            import.chunk(chunk).expect("sound");
        }
        assert_eq!(import.finish().expect("whole"), applied);
    }
    assert!(matches!(
        Progress::decode(applied.index + 1, &{
            let mut import = SnapshotImport::new(Box::new(Nowhere), applied.index);
            import.chunk(&whole[0]).expect("sound");
            import.progress().encode()
        }),
        Err(ChunkError::Index { .. })
    ));
    assert!(Progress::decode(1, &[1, 2, 3]).is_err());
}

/// A process that ends keeps a version readable over its restart by naming it before anything is applied.
#[test]
fn a_retained_version_is_exported_after_a_restart() {
    let engine = std::sync::Arc::new(storage_engine::MemoryEngine::new());
    let mut host = Host::on(engine.clone());
    for number in 0..20i32 {
        host.one(insert(doc! { "_id": number, "text": "old" }));
    }
    let export = Export::new(host.snapshot()).expect("of the applied index");
    let applied = export.applied().clone();
    let before = chunks(export);
    host.rotate();
    drop(host);
    let mut host = Host::on(engine);
    let retained = host.machine.reader().retain(applied.index);
    let beyond = crate::limits::READABLE_WINDOW as i32 + 1000;
    for number in 0..beyond {
        host.one(update(
            doc! { "_id": number % 20 },
            doc! { "$set": { "text": number } },
            vec![],
        ));
    }
    let reader = host.machine.reader();
    let snapshot = reader.snapshot_at(applied.index).expect("sound");
    let again = Export::at(snapshot.expect("retained"), applied.clone());
    assert!(chunks(again) == before);
    drop(retained);
    for _ in 0..600 {
        host.one(update(
            doc! { "_id": 1 },
            doc! { "$set": { "text": 1 } },
            vec![],
        ));
    }
    let gone = host.machine.reader().snapshot_at(applied.index);
    assert!(gone.expect("sound").is_none());
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
    let mut import = import_into(&staging, 1);
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
