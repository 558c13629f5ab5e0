//! The `document` crate against mingo, an independent implementation of MongoDB's semantics from npm, over random
//! documents. Installs mingo by itself, hence ignored: `cargo test -p end_to_end --test differential -- --ignored`.
//!
//! `DIFFERENTIAL_CASES` and `DIFFERENTIAL_SEED` say how many cases and which. mingo differs from MongoDB in known ways;
//! those are in `excused`, each with what MongoDB's documentation says. Anything else fails the test.

#[path = "../differential/excused.rs"]
mod excused;

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bson::raw::{RawArrayBuf, RawBson, RawDocumentBuf};
use bson::{Bson, Document};
use document::aggregation::Pipeline;
use document::expression::Expression;
use document::filter::Filter;
use document::update::{Update, UpdateContext};
use document::{Context, DocumentError};
use serde_json::Value;

const CASES: u32 = 20_000;
/// Disagreements shown at most, one of each kind.
const SHOWN_MAX: usize = 60;

fn number_of(name: &str, default: u32) -> u32 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Where npm puts mingo: beside other build results.
fn installed() -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("differential");
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("differential");
    std::fs::create_dir_all(&folder).expect("a folder for npm");
    std::fs::copy(sources.join("package.json"), folder.join("package.json")).expect("copied");
    if !folder.join("node_modules/mingo").exists() {
        let status = Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--silent"])
            .current_dir(&folder)
            .status()
            .expect("npm runs");
        assert!(status.success(), "npm could not install mingo");
    }
    folder
}

fn bson(value: &Value) -> Bson {
    Bson::try_from(value.clone()).expect("Extended JSON")
}

fn raw(value: &Value) -> RawBson {
    RawBson::try_from(bson(value)).expect("valid names")
}

fn raw_document(value: &Value) -> RawDocumentBuf {
    let tree = bson(value);
    RawDocumentBuf::try_from(tree.as_document().expect("a document")).expect("valid names")
}

/// What both sides can be compared by: numbers by value to twelve digits, fields by name.
fn canonical(value: &Bson) -> Value {
    let number = |double: f64| match double {
        _ if !double.is_finite() => Value::String(format!("{double}")),
        _ if double == 0.0 => Value::String("0".to_owned()),
        _ => Value::String(format!("{double:.11e}")),
    };
    match value {
        Bson::Int32(integer) => number(f64::from(*integer)),
        Bson::Int64(integer) => number(*integer as f64),
        Bson::Double(double) => number(*double),
        Bson::Document(document) => {
            let sorted: BTreeMap<String, Value> = document
                .iter()
                .map(|(name, value)| (name.clone(), canonical(value)))
                .collect();
            Value::Object(sorted.into_iter().collect())
        }
        Bson::Array(members) => Value::Array(members.iter().map(canonical).collect()),
        other => other.clone().into_relaxed_extjson(),
    }
}

fn of_raw(document: &RawDocumentBuf) -> Bson {
    Bson::Document(Document::try_from(document).expect("well-formed"))
}

/// Rows in any order.
fn sorted(rows: Value) -> Value {
    match rows {
        Value::Array(mut rows) => {
            rows.sort_by_key(Value::to_string);
            Value::Array(rows)
        }
        other => other,
    }
}

fn ours(case: &Value) -> Result<Value, DocumentError> {
    let context = Context::at(1_700_000_000_000, 1);
    let specification = &case["specification"];
    let documents = case["documents"]
        .as_array()
        .expect("documents")
        .iter()
        .map(raw_document);
    let documents: Vec<RawDocumentBuf> = documents.collect();
    Ok(match case["kind"].as_str().expect("a kind") {
        "filter" => {
            let filter = Filter::parse_in(&raw_document(specification), &context)?;
            let answers = documents
                .iter()
                .map(|document| filter.try_matches(document));
            let answers = answers.collect::<Result<Vec<bool>, _>>()?;
            Value::Array(answers.into_iter().map(Value::Bool).collect())
        }
        "expression" => {
            let expression = Expression::parse(raw(specification).as_raw_bson_ref(), &context)?;
            let mut answer = Document::new();
            if let Some(value) = expression.evaluate(&documents[0])? {
                let value = Bson::try_from(value.into_owned()).expect("well-formed");
                answer.insert("v", value);
            }
            canonical(&Bson::Document(answer))
        }
        "update" => {
            let update = Update::parse_in(raw(specification).as_raw_bson_ref(), &[], &context)?;
            let after = update.apply(&documents[0], &UpdateContext::default())?;
            canonical(&of_raw(after.as_ref().unwrap_or(&documents[0])))
        }
        "pipeline" => {
            let mut stages = RawArrayBuf::new();
            for stage in specification.as_array().expect("stages") {
                stages.push(raw(stage));
            }
            let pipeline = Pipeline::parse(&stages, &context)?;
            let rows = pipeline.run(Box::new(documents.into_iter().map(Ok)));
            let rows = rows.map(|row| row.map(|row| canonical(&of_raw(&row))));
            sorted(Value::Array(rows.collect::<Result<_, _>>()?))
        }
        other => panic!("no such kind: {other}"),
    })
}

/// The operators a specification names.
fn operators(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name.starts_with('$') && !found.contains(name) {
                    found.push(name.clone());
                }
                operators(value, found);
            }
        }
        Value::Array(members) => members.iter().for_each(|member| operators(member, found)),
        _ => {}
    }
}

#[test]
#[ignore = "installs mingo from npm"]
fn mingo_agrees_or_is_excused() {
    let (cases, seed) = (
        number_of("DIFFERENTIAL_CASES", CASES),
        number_of("DIFFERENTIAL_SEED", 1),
    );
    println!("seed {seed}, {cases} cases");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("differential/cases.mjs");
    let mut node = Command::new("node")
        .arg(script)
        .args([seed.to_string(), cases.to_string()])
        .current_dir(installed())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node runs");
    let output = std::io::BufReader::new(node.stdout.take().expect("piped"));
    let mut agreed = 0;
    let mut excuses: BTreeMap<&str, u32> = BTreeMap::new();
    let mut disagreements: BTreeMap<String, (u32, String)> = BTreeMap::new();
    for line in output.lines() {
        let line = line.expect("text");
        let case: Value = serde_json::from_str(&line).expect("a case is JSON");
        let ours = ours(&case);
        let mut named = Vec::new();
        operators(&case["specification"], &mut named);
        let theirs = case
            .get("answer")
            .map(|answer| match case["kind"].as_str() {
                Some("filter") => answer.clone(),
                Some("pipeline") => sorted(canonical_json(answer)),
                _ => canonical_json(answer),
            });
        let same = match (&ours, &theirs) {
            (Ok(ours), Some(theirs)) => ours == theirs,
            (Err(_), None) => true,
            _ => false,
        };
        if same {
            agreed += 1;
        } else if let Some(excuse) = excused::excused(&case, &named, &ours) {
            *excuses.entry(excuse).or_default() += 1;
        } else {
            let key = match &ours {
                Err(error) => format!("{} refused {}", case["kind"], error.kind.code()),
                Ok(_) => format!(
                    "{} {}",
                    case["kind"],
                    named.first().cloned().unwrap_or_default()
                ),
            };
            let shown = format!(
                "documents {}\n  specification {}\n  mingo {}\n  here  {}",
                case["documents"],
                case["specification"],
                theirs.map_or_else(|| case["error"].to_string(), |theirs| theirs.to_string()),
                ours.map_or_else(
                    |error| format!("error {}: {error}", error.kind.code()),
                    |ours| ours.to_string()
                ),
            );
            let (count, shortest) = disagreements.entry(key).or_insert((0, shown.clone()));
            *count += 1;
            if shown.len() < shortest.len() {
                *shortest = shown;
            }
        }
    }
    assert!(
        node.wait().expect("waited for").success(),
        "the script ended well"
    );
    println!("{agreed} agreed");
    for (excuse, count) in &excuses {
        println!("{count} excused: {excuse}");
    }
    for (key, (count, shortest)) in disagreements.iter().take(SHOWN_MAX) {
        println!("\n{count} x {key}\n  {shortest}");
    }
    assert!(
        disagreements.is_empty(),
        "{} kinds of disagreement",
        disagreements.len()
    );
}

fn canonical_json(value: &Value) -> Value {
    canonical(&bson(value))
}
