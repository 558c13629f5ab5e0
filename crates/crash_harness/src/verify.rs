//! Whether a server holds what its clients were told, no more and no less.
//!
//! Read are: the collection in its own order; the collection through each of its indexes, as `hint` names them; the
//! counters; and what the server says of itself (`validate`).

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};

use crate::client::Client;
use crate::connection::{Connection, ConnectionError, number, succeeded};
use crate::workload::{COUNTERS, DATABASE, DOCUMENTS, Documents, indexes};

/// Of an operation, whose documents are padded.
const EXPLAINED_CHARACTERS_MAX: usize = 400;

/// Why there is no verdict, or a bad one.
#[derive(Debug, thiserror::Error)]
pub enum Verdict {
    /// The server went away meanwhile.
    #[error(transparent)]
    Gone(#[from] ConnectionError),
    /// Something is not as it must be.
    #[error("{0}")]
    Wrong(String),
}

fn wrong<T>(what: impl Into<String>) -> Result<T, Verdict> {
    Err(Verdict::Wrong(what.into()))
}

/// Creates the collection's indexes, those that are there already included.
pub fn create_indexes(connection: &mut Connection) -> Result<(), Verdict> {
    let specifications: Vec<Document> = indexes()
        .into_iter()
        .map(|(name, key, unique)| doc! { "name": name, "key": key, "unique": unique })
        .collect();
    let command = doc! { "createIndexes": DOCUMENTS, "indexes": specifications };
    run(connection, &command).map(drop)
}

fn run(connection: &mut Connection, command: &Document) -> Result<Document, Verdict> {
    let reply = connection.run(DATABASE, command)?;
    match succeeded(&reply) {
        true => Ok(reply),
        false => wrong(format!("{command} was refused: {reply}")),
    }
}

/// All documents of a collection, in the order of what `hint` names.
fn scan(
    connection: &mut Connection,
    collection: &str,
    hint: Document,
) -> Result<Vec<Document>, Verdict> {
    let command = doc! { "find": collection, "hint": hint, "batchSize": 1_000_000 };
    let reply = run(connection, &command)?;
    let cursor = reply.get_document("cursor").cloned().unwrap_or_default();
    let Ok(batch) = cursor.get_array("firstBatch") else {
        return wrong(format!("a reply to find without a batch: {reply}"));
    };
    if number(&cursor, "id") != Some(0) {
        return wrong("more documents than one reply holds: the test grew beyond its reader");
    }
    Ok(batch
        .iter()
        .filter_map(Bson::as_document)
        .cloned()
        .collect())
}

fn by_id(documents: Vec<Document>, how: &str) -> Result<Documents, Verdict> {
    let count = documents.len();
    let mut found = Documents::new();
    for document in documents {
        match number(&document, "_id") {
            Some(id) => found.insert(id, document),
            None => return wrong(format!("a document that nobody wrote: {document}")),
        };
    }
    match found.len() == count {
        true => Ok(found),
        false => wrong(format!("a document shows twice in {how}")),
    }
}

/// Reads everything and compares it with what the clients know; tells them what became of their unanswered operations.
pub fn verify(connection: &mut Connection, clients: &mut [Client]) -> Result<(), Verdict> {
    let all = by_id(
        scan(connection, DOCUMENTS, doc! { "$natural": 1 })?,
        "the collection",
    )?;
    for (name, key, _) in indexes() {
        let through = scan(connection, DOCUMENTS, key.clone())?;
        check_order(&through, &key)?;
        let through = by_id(through, name)?;
        if through != all {
            return wrong(format!(
                "index {name} and the collection do not agree: {}",
                difference(&all, &through)
            ));
        }
    }
    let validated = run(connection, &doc! { "validate": DOCUMENTS })?;
    if !validated.get_bool("valid").unwrap_or(false) {
        return wrong(format!("validate: {validated}"));
    }
    let counters = scan(connection, COUNTERS, doc! { "$natural": 1 })?;
    judge(all, &counters, clients)
}

/// An index on one field that holds no array shows documents in its order.
fn check_order(documents: &[Document], key: &Document) -> Result<(), Verdict> {
    let Some((field, _)) = key.iter().next().filter(|(field, _)| *field != "tags") else {
        return Ok(());
    };
    let values: Vec<Option<i64>> = documents.iter().map(|it| number(it, field)).collect();
    match values.is_sorted() {
        true => Ok(()),
        false => wrong(format!("the index on {field} is out of order")),
    }
}

fn judge(all: Documents, counters: &[Document], clients: &mut [Client]) -> Result<(), Verdict> {
    let mut of_client: BTreeMap<i64, Documents> = BTreeMap::new();
    for (id, document) in all {
        let owner = number(&document, "owner").unwrap_or(-1);
        of_client.entry(owner).or_default().insert(id, document);
    }
    let total = counters.first().cloned().unwrap_or_default();
    let by = total.get_document("by").cloned().unwrap_or_default();
    let sum: i64 = by.iter().filter_map(|(name, _)| number(&by, name)).sum();
    if number(&total, "n").unwrap_or(0) != sum || counters.len() > 1 {
        return wrong(format!("a count was half applied: {counters:?}"));
    }
    for client in clients {
        let documents = of_client.remove(&client.id).unwrap_or_default();
        let counted = number(&by, &format!("c{}", client.id)).unwrap_or(0);
        let possible = client.possible();
        let found = possible
            .iter()
            .find(|(_, there, count)| *there == documents && *count == counted);
        match found {
            Some((happened, ..)) => client.found(*happened),
            None => return wrong(explain(client, &possible, &documents, counted)),
        }
    }
    match of_client.first_key_value() {
        None => Ok(()),
        Some((owner, _)) => wrong(format!("documents of a client {owner} that does not exist")),
    }
}

fn explain(
    client: &Client,
    possible: &[(bool, Documents, i64)],
    found: &Documents,
    counted: i64,
) -> String {
    let mut text = format!(
        "client {}: what is there is not what was acknowledged",
        client.id
    );
    for (happened, documents, count) in possible {
        let which = match happened {
            true => "with the unanswered operation",
            false => "as acknowledged",
        };
        text.push_str(&format!(
            "\n  {which}: {}; counted {count}, found {counted}",
            difference(documents, found)
        ));
    }
    let unanswered: String = format!("{:?}", client.unanswered);
    text.push_str("\n  unanswered: ");
    text.extend(unanswered.chars().take(EXPLAINED_CHARACTERS_MAX));
    text
}

fn difference(expected: &Documents, found: &Documents) -> String {
    let mut lines = Vec::new();
    for (id, document) in expected {
        match found.get(id) {
            None => lines.push(format!("{id} is missing")),
            Some(other) if other != document => {
                lines.push(format!("{id} is {}, not {}", brief(other), brief(document)));
            }
            Some(_) => {}
        }
    }
    let extra = found.keys().filter(|id| !expected.contains_key(id));
    lines.extend(extra.map(|id| format!("{id} should not be there")));
    match lines.is_empty() {
        true => "the documents agree".to_owned(),
        false => lines.join(", "),
    }
}

/// A document without its padding.
fn brief(document: &Document) -> Document {
    let mut document = document.clone();
    document.remove("pad");
    document
}
