//! What a collection's options do: validators, fields that are filled in, views.

use bson::{Bson, Document, doc};
use storage_engine::{LsmEngine, Options};

use super::host::{Host, id, insert, places, raw, under_session, update, updated, upsert, write};
use super::transfer::import_into;
use crate::{
    CatalogReply, Command, CommandError, Export, Namespace, Reply, StatementResult, WriteCommand,
    WriteTerms,
};

fn create(namespace: Namespace, options: Document) -> Command {
    Command::CreateCollection {
        namespace,
        options: raw(options),
    }
}

fn modify(changes: Document) -> Command {
    Command::ModifyCollection {
        namespace: places(),
        changes: raw(changes),
        index: None,
    }
}

fn with(options: Document) -> Host {
    let mut host = Host::new();
    let reply = host.apply(&create(places(), options));
    assert_eq!(reply, Reply::Catalog(CatalogReply::Created));
    host
}

/// The reason that the reply gives for a document that was refused.
fn refusal(result: StatementResult) -> Document {
    match result {
        StatementResult::Failed(CommandError::DocumentValidation { info }) => {
            Document::try_from(&*info).expect("BSON")
        }
        other => panic!("it was not refused: {other:?}"),
    }
}

#[test]
fn a_validator_refuses_inserts_updates_and_upserts() {
    let mut host = with(doc! { "validator": { "n": { "$gte": 0 } } });
    assert_eq!(
        host.one(insert(doc! { "_id": 1, "n": 5 })),
        StatementResult::Inserted
    );
    let info = refusal(host.one(insert(doc! { "_id": 2, "n": -1 })));
    assert_eq!(
        info,
        doc! { "failingDocumentId": 2, "details": {
            "operatorName": "$gte", "specifiedAs": { "n": { "$gte": 0 } }, "reason": "comparison failed",
            "consideredValue": -1,
        } }
    );
    let down = doc! { "$inc": { "n": -9 } };
    let info = refusal(host.one(update(doc! { "_id": 1 }, down, vec![])));
    assert_eq!(info.get("failingDocumentId"), Some(&Bson::Int32(1)));
    refusal(host.one(upsert(
        doc! { "_id": 3 },
        doc! { "$set": { "n": -1 } },
        None,
    )));
    assert_eq!(host.documents(), [doc! { "_id": 1, "n": 5 }]);
    host.check();
}

#[test]
fn a_command_may_bypass_the_validator() {
    let mut host = with(doc! { "validator": { "n": 1 } });
    let results = host.write(WriteCommand {
        terms: WriteTerms {
            bypass_validation: true,
            ..WriteTerms::default()
        },
        ..write(vec![insert(doc! { "_id": 1 })])
    });
    assert_eq!(results[0].1, StatementResult::Inserted);
}

#[test]
fn a_moderate_validator_leaves_old_documents_alone() {
    let mut host = Host::new();
    host.one(insert(doc! { "_id": 1, "n": "old" }));
    host.one(insert(doc! { "_id": 2, "n": 2 }));
    host.apply(&modify(
        doc! { "validator": { "n": { "$type": "int" } }, "validationLevel": "moderate" },
    ));
    let set = |n: Bson| doc! { "$set": { "n": n } };
    let old = host.one(update(doc! { "_id": 1 }, set("older".into()), vec![]));
    assert_eq!(old, updated(1, 1));
    refusal(host.one(update(doc! { "_id": 2 }, set("two".into()), vec![])));
    refusal(host.one(insert(doc! { "_id": 3, "n": "three" })));
    host.apply(&modify(doc! { "validationLevel": "strict" }));
    refusal(host.one(update(doc! { "_id": 1 }, set("oldest".into()), vec![])));
    host.apply(&modify(doc! { "validationAction": "warn" }));
    assert_eq!(
        host.one(insert(doc! { "_id": 3, "n": "three" })),
        StatementResult::Inserted
    );
    host.apply(&modify(doc! { "validator": Bson::Null }));
    let snapshot = host.snapshot();
    let collection = snapshot.collection(&places()).expect("it exists");
    assert!(collection.rules.validator.is_none());
    assert_eq!(
        collection.options,
        raw(doc! { "validationLevel": "strict", "validationAction": "warn" })
    );
}

#[test]
fn fields_may_be_required() {
    let mut host = with(doc! { "cstore": { "required": ["name"] } });
    let info = refusal(host.one(insert(doc! { "_id": 1 })));
    let details = info.get_document("details").expect("details");
    assert_eq!(
        details.get("operatorName"),
        Some(&Bson::from("$jsonSchema"))
    );
    refusal(host.one(insert(doc! { "_id": 1, "name": Bson::Null })));
    let there = doc! { "_id": 1, "name": "x" };
    assert_eq!(host.one(insert(there.clone())), StatementResult::Inserted);
    refusal(host.one(update(
        doc! { "_id": 1 },
        doc! { "$unset": { "name": 1 } },
        vec![],
    )));
    assert_eq!(host.documents(), [there]);
}

#[test]
fn a_sequence_counts_once_for_a_write_that_is_sent_twice() {
    let mut host = with(
        doc! { "cstore": { "autoIncrement": { "field": "n", "start": 10_i64, "step": 5_i64 } } },
    );
    let first = under_session(write(vec![insert(doc! { "_id": 1 })]), 1);
    host.write(first.clone());
    host.write(first);
    host.one(insert(doc! { "_id": 2 }));
    host.one(upsert(doc! { "_id": 3 }, doc! { "$set": { "x": 1 } }, None));
    // A number that comes along moves the sequence on; one below it does not.
    host.one(insert(doc! { "_id": 4, "n": 100 }));
    host.one(insert(doc! { "_id": 5, "n": 7 }));
    host.one(insert(doc! { "_id": 6 }));
    let numbers: Vec<Bson> = host
        .documents()
        .iter()
        .map(|document| document.get("n").expect("filled in").clone())
        .collect();
    let expected: [Bson; 6] = [
        10_i64.into(),
        15_i64.into(),
        20_i64.into(),
        100.into(),
        7.into(),
        105_i64.into(),
    ];
    assert_eq!(numbers, expected);
    assert!(matches!(
        host.one(insert(doc! { "_id": 7, "n": "seven" })),
        StatementResult::Failed(_)
    ));
    host.check();
}

#[test]
fn a_sequence_is_in_snapshots_and_ends_with_its_collection() {
    let options = doc! { "cstore": { "autoIncrement": { "field": "n" } } };
    let mut host = with(options.clone());
    host.one(insert(doc! { "_id": 1 }));
    let export = Export::new(host.snapshot()).expect("the applied index");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let staging = dir.path().join("engine");
    let mut import = import_into(&staging, export.applied().index);
    for chunk in export {
        import
            .chunk(&chunk.expect("sound"))
            .expect("a sound stream");
    }
    import.finish().expect("a whole stream");
    let engine = LsmEngine::open(&staging, Options::default()).expect("a sound engine");
    let mut copy = Host::on(engine);
    copy.one(insert(doc! { "_id": 2 }));
    assert_eq!(copy.documents()[1], doc! { "_id": 2, "n": 2_i64 });
    host.apply(&Command::DropCollection {
        namespace: places(),
    });
    host.apply(&create(places(), options));
    host.one(insert(doc! { "_id": 1 }));
    assert_eq!(host.documents(), [doc! { "_id": 1, "n": 1_i64 }]);
}

#[test]
fn times_are_the_commands() {
    let mut host =
        with(doc! { "cstore": { "timestamps": { "createdAt": "made", "updatedAt": "changed" } } });
    host.one(insert(doc! { "_id": 1 }));
    let at = bson::DateTime::from_millis;
    assert_eq!(
        host.documents(),
        [doc! { "_id": 1, "made": at(1_000), "changed": at(1_000) }]
    );
    // A replacement keeps the time of the insert.
    let results = host.write(WriteCommand {
        now_ms: 2_000,
        ..write(vec![update(
            doc! { "_id": 1 },
            doc! { "x": 1 },
            vec![id(1)],
        )])
    });
    assert_eq!(results[0].1, updated(1, 1));
    assert_eq!(
        host.documents(),
        [doc! { "_id": 1, "x": 1, "made": at(1_000), "changed": at(2_000) }]
    );
    // What changes nothing does not count.
    host.write(WriteCommand {
        now_ms: 3_000,
        ..write(vec![update(
            doc! { "_id": 1 },
            doc! { "$set": { "x": 1 } },
            vec![],
        )])
    });
    assert_eq!(
        host.documents()[0].get("changed"),
        Some(&Bson::DateTime(at(2_000)))
    );
    host.check();
}

#[test]
fn views_are_not_written_and_do_not_read_themselves() {
    let mut host = Host::new();
    let view = |name: &str, on: &str, pipeline: Vec<Document>| {
        create(
            Namespace::new("atlas", name),
            doc! { "viewOn": on, "pipeline": pipeline },
        )
    };
    host.apply(&view("places", "things", vec![]));
    let results = host.write(write(vec![insert(doc! { "_id": 1 })]));
    assert!(matches!(
        results[0].1,
        StatementResult::Failed(CommandError::NotOnView { .. })
    ));
    let error = host.refused(&view("things", "places", vec![]));
    assert_eq!(
        error.to_string(),
        "View cycle detected: atlas.things => atlas.places => atlas.things"
    );
    let looks_up = doc! { "$lookup": { "from": "places", "as": "x", "pipeline": [] } };
    let error = host.refused(&view("things", "else", vec![looks_up]));
    assert!(matches!(error, CommandError::ViewCycle { .. }));
    let error = host.refused(&Command::RenameCollection {
        from: places(),
        to: Namespace::new("atlas", "other"),
        drop_target: false,
    });
    assert!(matches!(error, CommandError::NotOnView { .. }));
    let error = host.refused(&modify(doc! { "viewOn": "places" }));
    assert!(matches!(error, CommandError::ViewCycle { .. }));
}

#[test]
fn constants_reach_filters_and_pipelines() {
    let mut host = Host::new();
    host.one(insert(doc! { "_id": 1, "n": 1 }));
    let change = crate::Operation::Update {
        filter: raw(doc! { "_id": 1, "$expr": { "$eq": ["$n", "$$one"] } }),
        update: bson::RawBson::try_from(Bson::Array(vec![
            doc! { "$set": { "n": "$$two" } }.into(),
        ]))
        .expect("BSON"),
        array_filters: vec![],
        candidates: vec![],
        multi: false,
        upsert: None,
        image: crate::Image::None,
    };
    let results = host.write(WriteCommand {
        terms: WriteTerms {
            variables: raw(doc! { "one": 1, "two": 2 }),
            ..WriteTerms::default()
        },
        ..write(vec![change])
    });
    assert_eq!(results[0].1, updated(1, 1));
    assert_eq!(host.documents(), [doc! { "_id": 1, "n": 2 }]);
}

#[test]
fn what_older_members_read_is_written_as_they_read_it() {
    assert_eq!(create(places(), doc! {}).encode()[0], 1);
    assert_eq!(create(places(), doc! { "validator": {} }).encode()[0], 2);
    assert_eq!(Command::Write(write(vec![])).encode()[0], 1);
    let terms = WriteTerms {
        bypass_validation: true,
        ..WriteTerms::default()
    };
    let bypassing = Command::Write(WriteCommand {
        terms,
        ..write(vec![])
    });
    assert_eq!(bypassing.encode()[0], 2);
}
