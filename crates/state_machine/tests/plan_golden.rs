//! Golden scripts: what plans and commands come out of finds and writes. Lines that start with `> ` are given; the
//! lines after each are what came of it. `UPDATE_GOLDEN=1` accepts what comes now; review it as a diff.
#![allow(clippy::unwrap_used)]

mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use bson::{Bson, Document, RawBson, RawDocumentBuf};
use state_machine::plan::{
    FindAndModifyOperation, FindAndModifyRequest, InsertRequest, StatementOutcome, WriteOptions,
    WriteOutcome, WritePlanner,
};
use state_machine::query::{
    AggregateRequest, CountRequest, DistinctRequest, ExplainRequest, Explained, FindRequest, Hint,
    Interrupt, QueryError, Verbosity,
};
use state_machine::{Operation, WriteCommand};
use support::{Database, namespace, parse_json, raw, rows, to_json};

#[test]
fn golden_scripts() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/plan");
    let mut scripts: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty(), "no scripts in {}", directory.display());
    let accept = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut failed = Vec::new();
    for path in scripts {
        let expected = fs::read_to_string(&path).unwrap();
        let actual = run(&expected);
        if actual == expected {
            continue;
        }
        if accept {
            fs::write(&path, actual).unwrap();
        } else {
            failed.push(format!("{}:\n{actual}", path.display()));
        }
    }
    assert!(
        failed.is_empty(),
        "scripts gave something else:\n{}",
        failed.join("\n")
    );
}

fn run(script: &str) -> String {
    let mut database = Database::new();
    let mut output = String::new();
    for line in script.lines() {
        if line.starts_with('#') {
            writeln!(output, "{line}").unwrap();
        } else if let Some(command) = line.strip_prefix("> ") {
            writeln!(output, "{line}").unwrap();
            let result = execute(&mut database, command);
            let text = result.unwrap_or_else(|error| format!("error: {error}\n"));
            output.push_str(&text);
        } else if line.is_empty() {
            output.push('\n');
        }
    }
    // Blank lines are kept where they stood in front of a command.
    output
}

fn execute(database: &mut Database, command: &str) -> Result<String, QueryError> {
    let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
    match verb {
        "index" => {
            let spec = document(parse_json(rest).0);
            database.create_index(raw(&spec))?;
            Ok(String::new())
        }
        "insert" => {
            let mut documents = Vec::new();
            let mut rest = rest;
            while !rest.is_empty() {
                let (value, left) = parse_json(rest);
                documents.push(raw(&document(value)));
                rest = left;
            }
            let planner = WritePlanner::insert(options(), InsertRequest { documents });
            write(database, planner, false)
        }
        "fill" => {
            // `fill N`: documents {_id: i, a: i % 10, b: i} for i below N.
            let count: i32 = rest.parse().unwrap();
            let documents = (0..count)
                .map(|i| raw(&bson::doc! { "_id": i, "a": i % 10, "b": i }))
                .collect();
            write(
                database,
                WritePlanner::insert(options(), InsertRequest { documents }),
                false,
            )
        }
        "grid" => {
            // `grid N x y`: documents {_id: i, a: i % x, b: i % y} for i below N.
            let numbers: Vec<i32> = rest.split(' ').map(|word| word.parse().unwrap()).collect();
            let [count, x, y] = numbers[..] else {
                panic!("grid N x y");
            };
            let documents = (0..count)
                .map(|i| raw(&bson::doc! { "_id": i, "a": i % x, "b": i % y }))
                .collect();
            write(
                database,
                WritePlanner::insert(options(), InsertRequest { documents }),
                false,
            )
        }
        "find" => find(database, rest),
        "explain" => {
            let request = find_request(rest);
            let explained = database.reader().snapshot().explain(ExplainRequest {
                explained: Explained::Find(request),
                verbosity: Verbosity::ExecutionStats,
            })?;
            let json = to_json(&Bson::Document(explained));
            Ok(serde_json::to_string_pretty(&json).unwrap() + "\n")
        }
        "trials" => trials(database, rest),
        "count" => {
            let (filter, _) = parse_json(rest);
            let request = CountRequest {
                namespace: namespace(),
                filter: raw(&document(filter)),
                skip: 0,
                limit: None,
                hint: None,
                context: document::Context::at(0, 1),
                interrupt: Interrupt::never(),
            };
            let explained = Explained::Count(request.clone());
            let count = database.reader().snapshot().count(request)?;
            Ok(format!("{}n={count}\n", plan(database, explained)?))
        }
        "distinct" => {
            let (key, rest) = parse_json(rest);
            let request = DistinctRequest {
                namespace: namespace(),
                key: key.as_str().unwrap().to_owned(),
                filter: raw(&document(parse_json(rest).0)),
                hint: None,
                context: document::Context::at(0, 1),
                interrupt: Interrupt::never(),
            };
            let tree = plan(database, Explained::Distinct(request.clone()))?;
            let values = database.reader().snapshot().distinct(request)?;
            let values = Bson::try_from(RawBson::Array(values)).unwrap();
            Ok(format!("{tree}{values}\n"))
        }
        "create" => {
            let options = raw(&document(parse_json(rest).0));
            database.apply(state_machine::Command::CreateCollection {
                namespace: namespace(),
                options,
            });
            Ok(String::new())
        }
        "aggregate" => aggregate(database, rest),
        "update" | "updateOne" => write(database, update(rest), true),
        "delete" | "deleteOne" => write(database, delete(rest), true),
        "findAndModify" => write(database, find_and_modify(rest), true),
        other => panic!("unknown verb {other}"),
    }
}

fn options() -> WriteOptions {
    WriteOptions::new(namespace())
}

fn document(value: Bson) -> Document {
    value.as_document().expect("an object").clone()
}

/// A filter, then any of `sort {…}`, `skip n`, `limit n`, `projection {…}`, `hint …`.
fn find_request(text: &str) -> FindRequest {
    let (filter, mut rest) = parse_json(text);
    let mut request = FindRequest::new(namespace(), raw(&document(filter)));
    while !rest.is_empty() {
        let (word, tail) = rest.split_once(' ').expect("a word and its value");
        let (value, left) = parse_json(tail);
        match word {
            "sort" => request.sort = Some(raw(&document(value))),
            "projection" => request.projection = Some(raw(&document(value))),
            "skip" => request.skip = u64::try_from(value.as_i32().unwrap()).unwrap(),
            "limit" => request.limit = Some(u64::try_from(value.as_i32().unwrap()).unwrap()),
            "hint" => request.hint = hint(value),
            "collation" => {
                let collation = document::Collation::parse(&raw(&self::document(value))).unwrap();
                request.context = request.context.with_collation(collation);
            }
            "min" => request.min = Some(raw(&document(value))),
            "max" => request.max = Some(raw(&document(value))),
            "returnKey" => request.return_key = value == Bson::Boolean(true),
            "showRecordId" => request.show_record_id = value == Bson::Boolean(true),
            other => panic!("unknown word {other}"),
        }
        rest = left;
    }
    request
}

fn hint(value: Bson) -> Option<Hint> {
    let value = RawBson::try_from(value).unwrap();
    Hint::parse(value.as_raw_bson_ref()).unwrap()
}

fn find(database: &Database, text: &str) -> Result<String, QueryError> {
    let request = find_request(text);
    let tree = plan(database, Explained::Find(request.clone()))?;
    let found = rows(database.reader().snapshot().find(request))?;
    Ok(format!("{tree}{}", list(&found)))
}

/// What each plan of a find does when it is tried.
fn trials(database: &Database, text: &str) -> Result<String, QueryError> {
    let explained = database.reader().snapshot().explain(ExplainRequest {
        explained: Explained::Find(find_request(text)),
        verbosity: Verbosity::AllPlansExecution,
    })?;
    let statistics = explained.get_document("executionStats").unwrap();
    let mut text = String::new();
    for trial in statistics.get_array("allPlansExecution").unwrap() {
        let trial = trial.as_document().unwrap();
        let stages = trial.get_document("executionStages").unwrap();
        tree(stages, 0, &mut text);
        let figures = |document: &Document, names: &[&str]| -> String {
            let figures = names
                .iter()
                .map(|name| format!("{name}={}", document.get(*name).unwrap()));
            figures.collect::<Vec<_>>().join(" ")
        };
        let of_trial = ["nReturned", "totalKeysExamined", "totalDocsExamined"];
        let of_stages = ["works", "advanced", "needTime", "isEOF"];
        writeln!(text, "{}", figures(trial, &of_trial)).unwrap();
        writeln!(text, "{}", figures(stages, &of_stages)).unwrap();
    }
    let of_run = ["nReturned", "totalKeysExamined", "totalDocsExamined"];
    let run = of_run.map(|name| format!("{name}={}", statistics.get(name).unwrap()));
    writeln!(text, "run: {}", run.join(" ")).unwrap();
    Ok(text)
}

fn aggregate(database: &Database, text: &str) -> Result<String, QueryError> {
    let pipeline = parse_json(text).0;
    let stages = pipeline
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| RawBson::try_from(stage.clone()).unwrap());
    let request = AggregateRequest {
        namespace: namespace(),
        pipeline: stages.collect(),
        hint: None,
        context: document::Context::at(0, 1),
        interrupt: Interrupt::never(),
    };
    let tree = plan(database, Explained::Aggregate(request.clone()))?;
    let found = rows(database.reader().snapshot().aggregate(request))?;
    Ok(format!("{tree}{}", list(&found)))
}

/// Few documents as they are, many as a number.
fn list(found: &[Document]) -> String {
    if found.len() > 8 {
        return format!("{} documents\n", found.len());
    }
    found
        .iter()
        .map(|document| format!("{document}\n"))
        .collect()
}

fn plan(database: &Database, explained: Explained) -> Result<String, QueryError> {
    let explained = database.reader().snapshot().explain(ExplainRequest {
        explained,
        verbosity: Verbosity::ExecutionStats,
    })?;
    let find = match explained.get_array("stages") {
        Ok(stages) => stages[0]
            .as_document()
            .unwrap()
            .get_document("$cursor")
            .unwrap(),
        Err(_) => &explained,
    };
    let planner = find.get_document("queryPlanner").unwrap();
    let winning = planner.get_document("winningPlan").unwrap();
    let mut text = String::new();
    tree(winning, 0, &mut text);
    for rejected in planner.get_array("rejectedPlans").unwrap() {
        let mut one = String::new();
        tree(rejected.as_document().unwrap(), 0, &mut one);
        let names = one.lines().map(str::trim).collect::<Vec<_>>().join(" < ");
        writeln!(text, "rejected: {names}").unwrap();
    }
    let statistics = find.get_document("executionStats").unwrap();
    writeln!(
        text,
        "keys={} documents={}",
        statistics.get_i64("totalKeysExamined").unwrap(),
        statistics.get_i64("totalDocsExamined").unwrap()
    )
    .unwrap();
    Ok(text)
}

fn tree(stage: &Document, depth: usize, text: &mut String) {
    write!(
        text,
        "{}{}",
        "  ".repeat(depth),
        stage.get_str("stage").unwrap()
    )
    .unwrap();
    let shown = [
        "limitAmount",
        "skipAmount",
        "sortPattern",
        "indexName",
        "direction",
        "isMultiKey",
        "indexBounds",
        "filter",
    ];
    for name in shown {
        match stage.get(name) {
            None | Some(Bson::Boolean(false)) => {}
            Some(Bson::String(value)) => write!(text, " {value}").unwrap(),
            Some(Bson::Boolean(true)) => write!(text, " {name}").unwrap(),
            Some(value) => write!(text, " {name}={value}").unwrap(),
        }
    }
    text.push('\n');
    if let Ok(input) = stage.get_document("inputStage") {
        tree(input, depth + 1, text);
    }
    for input in stage.get_array("inputStages").into_iter().flatten() {
        tree(input.as_document().unwrap(), depth + 1, text);
    }
}

/// A filter, an update, then any of `multi`, `upsert`, `sort {…}`.
fn update(text: &str) -> WritePlanner {
    let (filter, rest) = parse_json(text);
    let (update, mut rest) = parse_json(rest);
    let update = RawBson::try_from(update).unwrap();
    let mut statement = support::update_one(&document(filter), update);
    while !rest.is_empty() {
        let (word, tail) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = tail;
        match word {
            "multi" => statement.multi = true,
            "upsert" => statement.upsert = true,
            _ => {
                let (value, left) = parse_json(tail);
                match word {
                    "sort" => statement.sort = Some(raw(&document(value))),
                    "collation" => statement.collation = Some(raw(&document(value))),
                    "hint" => statement.hint = hint(value),
                    other => panic!("unknown word {other}"),
                }
                rest = left;
            }
        }
    }
    WritePlanner::update(options(), vec![statement])
}

/// A filter, then perhaps `multi`.
fn delete(text: &str) -> WritePlanner {
    let (filter, rest) = parse_json(text);
    let statement = support::delete(&document(filter), rest == "multi");
    WritePlanner::delete(options(), vec![statement])
}

/// The fields of a `findAndModify` command.
fn find_and_modify(text: &str) -> WritePlanner {
    let command = document(parse_json(text).0);
    let field = |name: &str| -> Option<RawDocumentBuf> { command.get_document(name).ok().map(raw) };
    let operation = match command.get("update") {
        None => FindAndModifyOperation::Remove,
        Some(update) => FindAndModifyOperation::Update {
            update: RawBson::try_from(update.clone()).unwrap(),
            array_filters: Vec::new(),
            upsert: command.get_bool("upsert").unwrap_or(false),
            return_new: command.get_bool("new").unwrap_or(false),
        },
    };
    let request = FindAndModifyRequest {
        filter: field("query").unwrap_or_default(),
        sort: field("sort"),
        projection: field("fields"),
        operation,
        hint: None,
        collation: None,
    };
    WritePlanner::find_and_modify(options(), request)
}

fn write(database: &mut Database, planner: WritePlanner, show: bool) -> Result<String, QueryError> {
    database.commands.clear();
    let outcome = database.write(planner)?;
    let mut text = String::new();
    if show {
        for command in &database.commands {
            describe_command(command, &mut text);
        }
    }
    describe_outcome(&outcome, &mut text);
    Ok(text)
}

fn describe_command(command: &WriteCommand, text: &mut String) {
    for statement in &command.statements {
        let (name, candidates, extra) = match &statement.operation {
            Operation::Insert { document } => ("insert", Vec::new(), format!("{document:?}")),
            Operation::Update {
                candidates,
                multi,
                upsert,
                ..
            } => {
                let upsert = if upsert.is_some() { " upsert" } else { "" };
                (
                    "update",
                    candidates.clone(),
                    format!("{}{upsert}", if *multi { " multi" } else { "" }),
                )
            }
            Operation::Delete {
                candidates, multi, ..
            } => (
                "delete",
                candidates.clone(),
                if *multi { " multi" } else { "" }.to_owned(),
            ),
        };
        let candidates: Vec<String> = candidates
            .iter()
            .map(|id| Bson::try_from(id.clone()).unwrap().to_string())
            .collect();
        let candidates = match candidates.len() {
            0..=20 => candidates.join(" "),
            count => format!("{count} ids"),
        };
        writeln!(text, "propose {name} [{candidates}]{extra}").unwrap();
    }
}

fn describe_outcome(outcome: &WriteOutcome, text: &mut String) {
    let failures = outcome.errors().count();
    let inserted = outcome
        .statements
        .iter()
        .filter(|statement| **statement == StatementOutcome::Inserted)
        .count();
    if inserted > 0 && failures == 0 {
        return;
    }
    write!(text, "n={}", outcome.n()).unwrap();
    if outcome.modified() > 0 {
        write!(text, " nModified={}", outcome.modified()).unwrap();
    }
    for (index, id) in outcome.upserted() {
        write!(text, " upserted[{index}]={id}").unwrap();
    }
    for (index, error) in outcome.errors() {
        write!(text, " error[{index}]={error}").unwrap();
    }
    if let Some(value) = &outcome.value {
        write!(text, " value={}", Document::try_from(value).unwrap()).unwrap();
    }
    text.push('\n');
}
