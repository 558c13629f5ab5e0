//! The Rust driver with its default settings against three real members: what an application does all day.

use bson::{Bson, Document, doc};
use end_to_end::Cluster;
use futures_util::TryStreamExt;
use mongodb::options::{IndexOptions, ReadPreference, ReturnDocument, SelectionCriteria};
use mongodb::{Collection, IndexModel};

type Things = Collection<Document>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rust_driver_does_its_daily_work() {
    let cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let database = client.database("shop");
    let things = database.collection::<Document>("things");
    inserts_and_reads(&things).await;
    filters(&things).await;
    updates(&things).await;
    find_and_modify(&things).await;
    indexes(&things).await;
    aggregates(&things).await;
    errors_carry_mongodb_codes(&things).await;
    a_follower_serves_reads(&things).await;
    let names = database.list_collection_names().await.expect("lists");
    assert_eq!(names, ["things"]);
    assert!(
        client
            .list_database_names()
            .await
            .expect("lists")
            .contains(&"shop".to_owned())
    );
    things.drop().await.expect("drops");
    assert_eq!(things.count_documents(doc! {}).await.expect("counts"), 0);
    let hashes = cluster.hashes().await;
    assert!(
        hashes.windows(2).all(|pair| pair[0] == pair[1]),
        "{hashes:#?}"
    );
}

async fn ids(things: &Things, filter: Document) -> Vec<i32> {
    let cursor = things
        .find(filter)
        .sort(doc! { "_id": 1 })
        .await
        .expect("finds");
    let found: Vec<Document> = cursor.try_collect().await.expect("reads on");
    found
        .iter()
        .map(|document| document.get_i32("_id").expect("an id"))
        .collect()
}

async fn inserts_and_reads(things: &Things) {
    let many: Vec<Document> = (0..500)
        .map(|n| doc! { "_id": n, "n": n, "even": n % 2 == 0, "tags": [format!("t{}", n % 5), "all"], "at": { "x": n % 10 } })
        .collect();
    let inserted = things.insert_many(many).await.expect("inserts");
    assert_eq!(inserted.inserted_ids.len(), 500);
    let generated = things
        .insert_one(doc! { "generated": true })
        .await
        .expect("inserts")
        .inserted_id;
    assert!(matches!(generated, Bson::ObjectId(_)));
    assert_eq!(
        things
            .delete_one(doc! { "_id": generated })
            .await
            .expect("deletes")
            .deleted_count,
        1
    );
    let mut cursor = things.find(doc! {}).batch_size(70).await.expect("finds");
    let mut seen = 0;
    while cursor.try_next().await.expect("reads on").is_some() {
        seen += 1;
    }
    assert_eq!(seen, 500);
    let page: Vec<Document> = things
        .find(doc! {})
        .sort(doc! { "at.x": -1, "n": 1 })
        .skip(2)
        .limit(3)
        .projection(doc! { "_id": 0, "n": 1 })
        .await
        .expect("finds")
        .try_collect()
        .await
        .expect("reads on");
    assert_eq!(page, [doc! { "n": 29 }, doc! { "n": 39 }, doc! { "n": 49 }]);
    assert_eq!(
        things
            .count_documents(doc! { "even": true })
            .await
            .expect("counts"),
        250
    );
    assert_eq!(
        things.estimated_document_count().await.expect("counts"),
        500
    );
    assert_eq!(
        things
            .distinct("at.x", doc! {})
            .await
            .expect("distinct")
            .len(),
        10
    );
}

async fn filters(things: &Things) {
    assert_eq!(
        ids(things, doc! { "n": { "$gt": 10, "$lte": 12 } }).await,
        [11, 12]
    );
    assert_eq!(ids(things, doc! { "n": { "$in": [3, 1] } }).await, [1, 3]);
    assert_eq!(
        ids(things, doc! { "$or": [{ "n": 5 }, { "n": { "$lt": 1 } }] }).await,
        [0, 5]
    );
    assert_eq!(
        ids(things, doc! { "$nor": [{ "n": { "$gte": 2 } }] }).await,
        [0, 1]
    );
    assert_eq!(
        ids(things, doc! { "n": { "$not": { "$gte": 2 } } }).await,
        [0, 1]
    );
    assert_eq!(
        ids(things, doc! { "tags": "t3", "n": { "$lt": 10 } }).await,
        [3, 8]
    );
    assert_eq!(
        ids(
            things,
            doc! { "tags": { "$regex": "^T4$", "$options": "i" }, "n": { "$lt": 10 } }
        )
        .await,
        [4, 9]
    );
    assert_eq!(
        ids(
            things,
            doc! { "missing": { "$exists": false }, "n": { "$lt": 2 } }
        )
        .await,
        [0, 1]
    );
    assert_eq!(
        ids(
            things,
            doc! { "n": { "$nin": (2..500).collect::<Vec<i32>>() } }
        )
        .await,
        [0, 1]
    );
    assert_eq!(
        ids(
            things,
            doc! { "$and": [{ "at.x": 3 }, { "n": { "$ne": 3 } }, { "n": { "$lt": 20 } }] }
        )
        .await,
        [13]
    );
}

async fn updates(things: &Things) {
    let outcome = things
        .update_one(
            doc! { "_id": 1 },
            doc! { "$set": { "name": "one" }, "$inc": { "n": 100 }, "$unset": { "even": "" }, "$push": { "tags": "new" },
                   "$min": { "at.x": -1 }, "$max": { "at.y": 7 } },
        )
        .await
        .expect("updates");
    assert_eq!((outcome.matched_count, outcome.modified_count), (1, 1));
    let one = things
        .find_one(doc! { "_id": 1 })
        .await
        .expect("finds")
        .expect("is there");
    assert_eq!(one.get_i32("n").ok(), Some(101));
    assert_eq!(
        one.get_document("at").expect("at"),
        &doc! { "x": -1, "y": 7 }
    );
    assert_eq!(one.get_array("tags").expect("tags").len(), 3);
    things
        .update_one(
            doc! { "_id": 1 },
            doc! { "$addToSet": { "tags": "new" }, "$pull": { "tags": "all" } },
        )
        .await
        .expect_err("two operators on one path conflict");
    things
        .update_one(doc! { "_id": 1 }, doc! { "$pull": { "tags": "all" } })
        .await
        .expect("updates");
    let same = things
        .update_one(doc! { "_id": 1 }, doc! { "$addToSet": { "tags": "new" } })
        .await
        .expect("updates");
    assert_eq!((same.matched_count, same.modified_count), (1, 0));
    let many = things
        .update_many(
            doc! { "n": { "$gte": 400 } },
            doc! { "$set": { "late": true } },
        )
        .await
        .expect("updates");
    assert_eq!(many.modified_count, 100);
    let upserted = things
        .update_one(
            doc! { "_id": 9000, "kind": "upsert" },
            doc! { "$setOnInsert": { "first": true }, "$set": { "n": 1 } },
        )
        .upsert(true)
        .await
        .expect("upserts");
    assert_eq!(upserted.upserted_id, Some(Bson::Int32(9000)));
    let made = things
        .find_one(doc! { "_id": 9000 })
        .await
        .expect("finds")
        .expect("is there");
    assert_eq!(
        (made.get_str("kind").ok(), made.get_bool("first").ok()),
        (Some("upsert"), Some(true))
    );
    things
        .replace_one(doc! { "_id": 9000 }, doc! { "replaced": true })
        .await
        .expect("replaces");
    assert_eq!(
        things.find_one(doc! { "_id": 9000 }).await.expect("finds"),
        Some(doc! { "_id": 9000, "replaced": true })
    );
    assert_eq!(
        things
            .delete_many(doc! { "_id": { "$gte": 9000 } })
            .await
            .expect("deletes")
            .deleted_count,
        1
    );
}

async fn find_and_modify(things: &Things) {
    let before = things
        .find_one_and_update(doc! { "_id": 2 }, doc! { "$inc": { "n": 5 } })
        .await
        .expect("updates");
    assert_eq!(before.expect("was there").get_i32("n").ok(), Some(2));
    let after = things
        .find_one_and_update(doc! { "even": true }, doc! { "$set": { "first": true } })
        .sort(doc! { "_id": -1 })
        .return_document(ReturnDocument::After)
        .projection(doc! { "first": 1 })
        .await
        .expect("updates");
    assert_eq!(after, Some(doc! { "_id": 498, "first": true }));
    let gone = things
        .find_one_and_delete(doc! { "_id": 499 })
        .await
        .expect("deletes");
    assert!(gone.is_some());
    assert_eq!(
        things
            .find_one_and_delete(doc! { "_id": 499 })
            .await
            .expect("nothing to delete"),
        None
    );
}

async fn indexes(things: &Things) {
    let compound = IndexModel::builder()
        .keys(doc! { "at.x": 1, "n": -1 })
        .build();
    let unique = IndexModel::builder()
        .keys(doc! { "serial": 1 })
        .options(IndexOptions::builder().unique(true).build())
        .build();
    assert_eq!(
        things
            .create_index(compound.clone())
            .await
            .expect("creates")
            .index_name,
        "at.x_1_n_-1"
    );
    things
        .create_index(compound)
        .await
        .expect("creating it again is nothing");
    // Nearly all documents lack the field, and missing counts as null.
    let error = things
        .create_index(unique.clone())
        .await
        .expect_err("duplicates");
    assert!(error.to_string().contains("11000"), "{error}");
    for id in 0..499 {
        things
            .update_one(doc! { "_id": id }, doc! { "$set": { "serial": id } })
            .await
            .expect("updates");
    }
    things.create_index(unique).await.expect("creates");
    let error = things
        .insert_one(doc! { "_id": 7777, "serial": 5 })
        .await
        .expect_err("a duplicate");
    assert!(
        error
            .to_string()
            .contains("E11000 duplicate key error collection: shop.things index: serial_1"),
        "{error}"
    );
    let mut names = things.list_index_names().await.expect("lists");
    names.sort();
    assert_eq!(names, ["_id_", "at.x_1_n_-1", "serial_1"]);
    let explain = doc! { "explain": { "find": "things", "filter": { "at.x": 4, "n": { "$gt": 100 } } }, "verbosity": "executionStats" };
    let plan = things
        .client()
        .database("shop")
        .run_command(explain)
        .await
        .expect("explains")
        .to_string();
    assert!(
        plan.contains("IXSCAN") && plan.contains("at.x_1_n_-1"),
        "{plan}"
    );
    let found = ids(things, doc! { "at.x": 4, "n": { "$gt": 480 } }).await;
    assert_eq!(found, [484, 494]);
    things.drop_index("serial_1").await.expect("drops");
}

async fn aggregates(things: &Things) {
    let pipeline = [
        doc! { "$match": { "n": { "$lt": 100 } } },
        doc! { "$group": { "_id": "$at.x", "sum": { "$sum": "$n" }, "avg": { "$avg": "$n" }, "min": { "$min": "$n" },
        "max": { "$max": "$n" } } },
        doc! { "$sort": { "_id": 1 } },
        doc! { "$skip": 3 },
        doc! { "$limit": 1 },
        doc! { "$project": { "_id": 0, "sum": 1, "avg": 1, "min": 1, "max": 1 } },
    ];
    let cursor = things.aggregate(pipeline).await.expect("aggregates");
    let rows: Vec<Document> = cursor.try_collect().await.expect("reads on");
    assert_eq!(
        rows,
        [doc! { "sum": 480, "avg": 48.0, "min": 3, "max": 93 }]
    );
    let counted: Vec<Document> = things
        .aggregate([doc! { "$count": "all" }])
        .await
        .expect("aggregates")
        .try_collect()
        .await
        .expect("reads on");
    assert_eq!(counted, [doc! { "all": 499 }]);
}

async fn errors_carry_mongodb_codes(things: &Things) {
    let duplicate = things
        .insert_one(doc! { "_id": 3 })
        .await
        .expect_err("a duplicate")
        .to_string();
    assert!(duplicate.contains("11000"), "{duplicate}");
    let operator = things
        .find(doc! { "n": { "$almost": 3 } })
        .await
        .expect_err("unknown operator")
        .to_string();
    assert!(operator.contains("$almost"), "{operator}");
    let stage = things
        .aggregate([doc! { "$juggle": {} }])
        .await
        .expect_err("unknown stage")
        .to_string();
    assert!(
        stage.contains("40324") && stage.contains("$juggle"),
        "{stage}"
    );
    let database = things.client().database("shop");
    let command = database
        .run_command(doc! { "frobnicate": 1 })
        .await
        .expect_err("unknown command")
        .to_string();
    assert!(
        command.contains("no such command") && command.contains("59"),
        "{command}"
    );
}

async fn a_follower_serves_reads(things: &Things) {
    let secondary = SelectionCriteria::ReadPreference(ReadPreference::Secondary { options: None });
    let majority = mongodb::options::ReadConcern::majority();
    things
        .insert_one(doc! { "_id": 8000 })
        .await
        .expect("inserts");
    let found = things
        .find_one(doc! { "_id": 8000 })
        .selection_criteria(secondary)
        .read_concern(majority)
        .await;
    assert!(
        found.expect("reads").is_some(),
        "a majority read on a follower sees what was acknowledged"
    );
    things
        .delete_one(doc! { "_id": 8000 })
        .await
        .expect("deletes");
}
