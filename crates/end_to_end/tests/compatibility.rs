//! `docs/compatibility.md` cannot lie: every row is run against a real node.

use bson::{Bson, Document, doc};
use end_to_end::Cluster;
use futures_util::TryStreamExt;
use mongodb::Database;
use mongodb::options::ReturnDocument;

/// One row: the heading it stands under, what it names, whether it is there, an example.
struct Row {
    section: String,
    name: String,
    here: bool,
    example: Document,
}

fn rows() -> Vec<Row> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/compatibility.md");
    let page = std::fs::read_to_string(path).expect("the page is there");
    let mut section = String::new();
    let mut rows = Vec::new();
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.to_owned();
        }
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, here @ ("yes" | "no"), example] = cells[..] else {
            continue;
        };
        let example: serde_json::Value =
            serde_json::from_str(example.trim_matches('`')).expect("an example is JSON");
        let Ok(Bson::Document(example)) = Bson::try_from(example) else {
            panic!("an example is a document: {line}")
        };
        rows.push(Row {
            section: section.clone(),
            name: name.trim_matches('`').to_owned(),
            here: here == "yes",
            example,
        });
    }
    rows
}

/// What finds the document: scores are there for a text search only.
fn searched(row: &Row) -> Document {
    match row.name.starts_with("$meta") {
        true => doc! { "$text": { "$search": "abc" } },
        false => doc! {},
    }
}

async fn run(database: &Database, row: &Row) -> Result<(), String> {
    let collection = database.collection::<Document>("c");
    let example = row.example.clone();
    let outcome = match row.section.as_str() {
        "Filters" => match collection.find(example).await {
            Ok(found) => found.try_collect::<Vec<_>>().await.map(drop),
            Err(error) => Err(error),
        },
        "Updates" => collection
            .find_one_and_update(doc! { "_id": 1 }, example)
            .return_document(ReturnDocument::After)
            .await
            .map(drop),
        "Projection" => match collection.find(searched(row)).projection(example).await {
            Ok(found) => found.try_collect::<Vec<_>>().await.map(drop),
            Err(error) => Err(error),
        },
        "Stages" | "Accumulators" | "Window functions" | "Expressions" => {
            let searched = doc! { "$match": searched(row) };
            let pipeline = [searched, example];
            // Some stages have to come first.
            let skipped = usize::from(row.name != "$meta");
            match collection.aggregate(pipeline[skipped..].to_vec()).await {
                Ok(found) => found.try_collect::<Vec<_>>().await.map(drop),
                Err(error) => Err(error),
            }
        }
        "Commands" | "Indexes and collection options" => {
            database.run_command(example).await.map(drop)
        }
        other => panic!("say here how the rows under {other:?} are run"),
    };
    outcome.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_of_the_compatibility_page_is_true() {
    let rows = rows();
    assert!(rows.len() > 100, "the page was read: {} rows", rows.len());
    let cluster = Cluster::start(1).await;
    let client = cluster.client().await;
    let database = client.database("compatibility");
    let collection = database.collection::<Document>("c");
    let text = doc! { "key": { "s": "text" }, "name": "text" };
    let create = doc! { "createIndexes": "c", "indexes": [text] };
    database
        .run_command(create)
        .await
        .expect("an index for $text");
    let mut wrong = Vec::new();
    for row in &rows {
        let fresh = doc! { "n": 3, "s": "abc", "a": [1, 2], "l": [1, 2], "o": { "x": 1 } };
        collection
            .replace_one(doc! { "_id": 1 }, fresh)
            .upsert(true)
            .await
            .expect("the document of the examples is put back");
        let outcome = run(&database, row).await;
        if outcome.is_ok() != row.here {
            wrong.push(format!("{} {}: {outcome:?}", row.section, row.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
