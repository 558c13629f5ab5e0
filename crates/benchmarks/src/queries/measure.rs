//! The measurements on the node, each answer checked.

use std::path::Path;
use std::time::Duration;

use bson::raw::{RawArray, RawDocument, RawDocumentBuf};
use bson::{RawBsonRef, rawdoc};

use super::documents::{self, Documents, GROUPS};
use super::engine_read::EngineTimes;
use super::{COLLECTION, QueriesArgs, QueriesError};
use crate::cluster::Cluster;
use crate::load::Random;
use crate::mongo::{DATABASE, Exchange, number};
use crate::settle;

/// Point reads alternate with pings in so many turns.
const TURNS: u64 = 20;
/// Documents of a range read.
pub(super) const RANGE: u64 = 20;
/// Times the covered count is taken.
const COUNTS: u64 = 20;

/// An index build or a report over the whole collection.
#[derive(Debug, Clone)]
pub(super) struct Pass {
    pub name: &'static str,
    pub took: Duration,
    /// Processor seconds of the node meanwhile.
    pub processor: f64,
}

/// All times.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub ping: Vec<Duration>,
    pub by_id: Vec<Duration>,
    pub by_unique: Vec<Duration>,
    pub range: Vec<Duration>,
    /// Of the engine alone.
    pub engine: EngineTimes,
    pub builds: Vec<Pass>,
    pub groups: Vec<Pass>,
    pub count: Vec<Duration>,
    /// Documents that the covered count looked at, by its `explain`.
    pub count_examined: f64,
    /// Documents that the range read looked at.
    pub range_examined: f64,
}

pub(super) fn all(
    args: &QueriesArgs,
    cluster: &Cluster,
    directory: &Path,
    connection: &mut Exchange,
    documents: &Documents,
) -> Result<Figures, QueriesError> {
    let mut figures = Figures::default();
    eprintln!("building indexes");
    build_all(cluster, connection, &mut figures)?;
    settle::wait_merged(directory);
    eprintln!("reading");
    let mut random = Random::new(2);
    // The first turn warms up.
    for turn in 0..=TURNS {
        let mut of_turn = Figures::default();
        read_turn(
            args.reads / TURNS,
            connection,
            documents,
            &mut random,
            &mut of_turn,
        )?;
        if turn > 0 {
            figures.ping.append(&mut of_turn.ping);
            figures.by_id.append(&mut of_turn.by_id);
            figures.by_unique.append(&mut of_turn.by_unique);
            figures.range.append(&mut of_turn.range);
        }
    }
    figures.range_examined = examined(connection, &range_from(0))?;
    eprintln!("grouping");
    for _ in 0..args.groups {
        let pass = group(cluster, connection, documents)?;
        figures.groups.push(pass);
    }
    count(connection, documents, &mut figures)?;
    Ok(figures)
}

fn build_all(
    cluster: &Cluster,
    connection: &mut Exchange,
    figures: &mut Figures,
) -> Result<(), QueriesError> {
    for (name, unique) in [("n", true), ("group", false), ("amount", false)] {
        let mut key = RawDocumentBuf::new();
        key.append(cname(name), 1);
        let command = rawdoc! {
            "createIndexes": COLLECTION, "$db": DATABASE,
            "indexes": [rawdoc! { "key": key, "name": name, "unique": unique }],
        };
        let before = cluster.processor_seconds();
        let (_, took) = connection.run(&command)?;
        figures.builds.push(Pass {
            name,
            took,
            processor: cluster.processor_seconds() - before,
        });
    }
    Ok(())
}

fn cname(name: &str) -> bson::raw::CString {
    bson::raw::CString::try_from(name).expect("a constant without a zero byte")
}

fn read_turn(
    reads: u64,
    connection: &mut Exchange,
    documents: &Documents,
    random: &mut Random,
    figures: &mut Figures,
) -> Result<(), QueriesError> {
    let ping = rawdoc! { "ping": 1, "$db": DATABASE };
    for _ in 0..reads {
        figures.ping.push(connection.run(&ping)?.1);
    }
    for _ in 0..reads {
        let which = random.below(documents.count());
        let command = find_one(rawdoc! { "_id": which as i64 });
        let (answer, took) = connection.run(&command)?;
        only_document(answer, which)?;
        figures.by_id.push(took);
    }
    for _ in 0..reads {
        let which = random.below(documents.count());
        let command = find_one(rawdoc! { "n": documents::scattered(which) });
        let (answer, took) = connection.run(&command)?;
        only_document(answer, which)?;
        figures.by_unique.push(took);
    }
    for _ in 0..reads {
        let which = random.below(documents.count());
        let least = documents::scattered(which);
        let (answer, took) = connection.run(&range_from(least))?;
        check_range(answer, least)?;
        figures.range.push(took);
    }
    Ok(())
}

fn find_one(filter: RawDocumentBuf) -> RawDocumentBuf {
    rawdoc! { "find": COLLECTION, "filter": filter, "limit": 1, "singleBatch": true, "$db": DATABASE }
}

fn range_from(least: i64) -> RawDocumentBuf {
    rawdoc! {
        "find": COLLECTION, "filter": { "n": { "$gte": least } }, "sort": { "n": 1 }, "limit": RANGE as i64,
        "singleBatch": true, "$db": DATABASE,
    }
}

fn wrong(what: &'static str, expected: impl ToString, answer: &RawDocument) -> QueriesError {
    QueriesError::Wrong {
        what,
        expected: expected.to_string(),
        answer: format!("{answer:?}"),
    }
}

fn first_batch(answer: &RawDocument) -> Option<&RawArray> {
    let cursor = answer.get_document("cursor").ok()?;
    cursor.get_array("firstBatch").ok()
}

fn only_document(answer: &RawDocument, which: u64) -> Result<(), QueriesError> {
    let mut found = first_batch(answer).into_iter().flatten().flatten();
    match (found.next(), found.next()) {
        (Some(RawBsonRef::Document(document)), None)
            if number(document, "_id") == Some(which as f64) =>
        {
            Ok(())
        }
        _ => Err(wrong("a point read", which, answer)),
    }
}

/// In order, none below the least; at the upper end of all documents there may be fewer.
fn check_range(answer: &RawDocument, least: i64) -> Result<(), QueriesError> {
    let mut last = least as f64;
    let mut count = 0;
    for document in first_batch(answer).into_iter().flatten().flatten() {
        let n = match document {
            RawBsonRef::Document(document) => number(document, "n"),
            _ => None,
        };
        match n {
            Some(n) if n > last || count == 0 && n == last => last = n,
            _ => return Err(wrong("a range read", least, answer)),
        }
        count += 1;
    }
    if count == 0 || count > RANGE {
        return Err(wrong("a range read", least, answer));
    }
    Ok(())
}

/// Documents that a command looks at, by its `explain`.
fn examined(connection: &mut Exchange, command: &RawDocument) -> Result<f64, QueriesError> {
    let explain =
        rawdoc! { "explain": command.to_owned(), "verbosity": "executionStats", "$db": DATABASE };
    let (answer, _) = connection.run(&explain)?;
    let statistics = answer.get_document("executionStats").ok();
    let examined = statistics.and_then(|statistics| number(statistics, "totalDocsExamined"));
    examined.ok_or_else(|| wrong("explain", "totalDocsExamined", answer))
}

/// Count and sum of all documents by their group.
fn group(
    cluster: &Cluster,
    connection: &mut Exchange,
    documents: &Documents,
) -> Result<Pass, QueriesError> {
    let grouped =
        rawdoc! { "_id": "$group", "count": { "$sum": 1 }, "total": { "$sum": "$amount" } };
    let command = rawdoc! {
        "aggregate": COLLECTION, "pipeline": [rawdoc! { "$group": grouped }], "cursor": { "batchSize": 1000 }, "$db": DATABASE,
    };
    let before = cluster.processor_seconds();
    let (answer, took) = connection.run(&command)?;
    let (mut groups, mut count, mut total) = (0, 0.0, 0.0);
    for group in first_batch(answer).into_iter().flatten().flatten() {
        let RawBsonRef::Document(group) = group else {
            return Err(wrong("$group", "documents", answer));
        };
        groups += 1;
        count += number(group, "count").unwrap_or(f64::NAN);
        total += number(group, "total").unwrap_or(f64::NAN);
    }
    let all = (GROUPS, documents.count() as f64, documents.total());
    if (groups, count, total) != all {
        return Err(wrong("$group", format!("{all:?}"), answer));
    }
    Ok(Pass {
        name: "$group",
        took,
        processor: cluster.processor_seconds() - before,
    })
}

fn count(
    connection: &mut Exchange,
    documents: &Documents,
    figures: &mut Figures,
) -> Result<(), QueriesError> {
    for which in 0..COUNTS.min(GROUPS) {
        let command = count_of(which);
        let (answer, took) = connection.run(&command)?;
        let expected = documents.in_group(which);
        if number(answer, "n") != Some(expected as f64) {
            return Err(wrong("count", expected, answer));
        }
        figures.count.push(took);
    }
    let command = count_of(0);
    figures.count_examined = examined(connection, &command)?;
    Ok(())
}

fn count_of(which: u64) -> RawDocumentBuf {
    rawdoc! { "count": COLLECTION, "query": { "group": documents::group(which) }, "$db": DATABASE }
}
