//! Golden scripts of updates, projections, sorts, expressions and pipelines: `tests/golden/<subject>/*.txt`.
//!
//! The first line is a comment that states the claim. `doc DOCUMENT` sets the documents to this one, `and DOCUMENT`
//! adds one; `filter DOCUMENT` is the query of upserts and of `$`. The other lines are `COMMAND ARGUMENT -> ANSWER`,
//! where the answer of a refused command is `error CODE MESSAGE`. All is Extended JSON; int64 is always written
//! out. With `GOLDEN_ACCEPT=1` the answers are replaced by those given now, to be reviewed as a diff.

use bson::raw::{RawArrayBuf, RawBson, RawDocumentBuf};
use bson::{Bson, Document};
use document::aggregation::Pipeline;
use document::expression::Expression;
use document::filter::Filter;
use document::projection::Projection;
use document::sort::{SortSpec, Sorter};
use document::update::{Update, UpdateContext, matched_element};
use document::{Context, DocumentError};
use std::fs;
use std::path::Path;

const SUBJECTS: &[&str] = &["aggregate", "expression", "projection", "sort", "update"];
const NOW_MS: i64 = 1_700_000_000_000;

fn parse(json: &str) -> Bson {
    let json: serde_json::Value =
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
    Bson::try_from(json).expect("Extended JSON")
}

fn parse_document(json: &str) -> RawDocumentBuf {
    let value = parse(json);
    let tree = value.as_document().expect("a document");
    RawDocumentBuf::try_from(tree).expect("valid names")
}

fn parse_raw(json: &str) -> RawBson {
    RawBson::try_from(parse(json)).expect("valid names")
}

fn show(value: &Bson) -> String {
    match value {
        Bson::Int32(integer) => integer.to_string(),
        Bson::Double(double) if double.is_finite() => format!("{double:?}"),
        Bson::Document(document) => show_document(document),
        Bson::Array(members) => {
            let members: Vec<String> = members.iter().map(show).collect();
            format!("[{}]", members.join(", "))
        }
        other => other.clone().into_canonical_extjson().to_string(),
    }
}

fn show_document(document: &Document) -> String {
    let fields: Vec<String> = document
        .iter()
        .map(|(name, value)| format!("{name:?}: {}", show(value)))
        .collect();
    format!("{{{}}}", fields.join(", "))
}

fn show_raw(document: &RawDocumentBuf) -> String {
    show_document(&Document::try_from(document).expect("a well-formed document"))
}

fn show_all(documents: &[RawDocumentBuf]) -> String {
    if documents.is_empty() {
        return "nothing".to_owned();
    }
    documents.iter().map(show_raw).collect::<Vec<_>>().join(" ")
}

/// A fixed time and seed.
fn context() -> Context {
    Context::at(NOW_MS, 1)
}

struct Script {
    documents: Vec<RawDocumentBuf>,
    filter: RawDocumentBuf,
}

impl Script {
    fn context(&self) -> UpdateContext {
        UpdateContext {
            now_ms: NOW_MS,
            inserting: false,
            matched_element: matched_element(&self.filter, &self.documents[0]),
        }
    }

    fn update(&self, argument: &str) -> Result<Update, DocumentError> {
        let (update, filters) = argument.split_once(" with ").unwrap_or((argument, "[]"));
        let filters: Vec<RawDocumentBuf> = match parse(filters) {
            Bson::Array(filters) => filters
                .iter()
                .map(|filter| filter.as_document().expect("a document"))
                .map(|filter| RawDocumentBuf::try_from(filter).expect("valid names"))
                .collect(),
            _ => panic!("array filters are an array"),
        };
        Update::parse_in(&parse_raw(update), &filters, &context())
    }

    fn answer(&self, command: &str, argument: &str) -> Result<String, DocumentError> {
        let first = &self.documents[0];
        Ok(match command {
            "update" => match self.update(argument)?.apply(first, &self.context())? {
                Some(updated) => show_raw(&updated),
                None => "unchanged".to_owned(),
            },
            "upsert" => {
                let filter = Filter::parse(&self.filter)?;
                let id = Some(Bson::String("generated".to_owned()));
                let update = self.update(argument)?;
                show_raw(&update.upsert(&filter, id, &self.context())?)
            }
            "project" => {
                let projection = Projection::parse_in(&parse_document(argument), &context())?;
                let projected = self
                    .documents
                    .iter()
                    .map(|document| projection.apply_to_match(document, &self.filter));
                show_all(&projected.collect::<Result<Vec<_>, _>>()?)
            }
            "sort" => {
                let sort = SortSpec::parse(&parse_document(argument))?;
                let mut sorter = Sorter::new(None);
                for document in &self.documents {
                    sorter.push(sort.key(document)?, document.clone(), 0)?;
                }
                show_all(&sorter.finish())
            }
            "evaluate" => {
                let expression = {
                    let written = parse_raw(argument);
                    Expression::parse(written.as_raw_bson_ref(), &context())?
                };
                match expression.evaluate(first)? {
                    Some(value) => show(&Bson::try_from(value.into_owned()).expect("well-formed")),
                    None => "missing".to_owned(),
                }
            }
            "aggregate" => {
                let pipeline = Pipeline::parse(&parse_stages(argument), &context())?;
                let input = self.documents.clone().into_iter().map(Ok);
                let output: Result<Vec<_>, _> = pipeline.run(Box::new(input)).collect();
                show_all(&output?)
            }
            "split" => split(argument)?,
            other => panic!("no command called {other}"),
        })
    }
}

fn parse_stages(json: &str) -> RawArrayBuf {
    match parse_raw(json) {
        RawBson::Array(stages) => stages,
        _ => panic!("a pipeline is an array"),
    }
}

fn split(argument: &str) -> Result<String, DocumentError> {
    let (leading, rest) = Pipeline::parse(&parse_stages(argument), &context())?.split_leading()?;
    let sort: Vec<&str> = leading
        .sort
        .iter()
        .flat_map(|sort| sort.fields())
        .map(|field| field.path.as_str())
        .collect();
    let count = leading.count.map(|count| match count.id {
        None => count.field,
        Some(id) => format!("{} under {}", count.field, show(&id)),
    });
    Ok(format!(
        "filter {} sort {sort:?} skip {} limit {:?} count {count:?} rest {}",
        show_raw(&leading.filter_document),
        leading.skip,
        leading.limit,
        if rest.is_empty() { "empty" } else { "some" }
    ))
}

/// The script with the answers that are given now.
fn replay(text: &str) -> String {
    let mut script = Script {
        documents: vec![RawDocumentBuf::new()],
        filter: RawDocumentBuf::new(),
    };
    let mut replayed = String::new();
    for line in text.lines() {
        match line.split_once(' ') {
            None | Some(("#", _)) => replayed.push_str(line),
            Some(("doc", json)) => {
                script.documents = vec![parse_document(json)];
                script.filter = RawDocumentBuf::new();
                replayed.push_str(line);
            }
            Some(("and", json)) => {
                script.documents.push(parse_document(json));
                replayed.push_str(line);
            }
            Some(("filter", json)) => {
                script.filter = parse_document(json);
                replayed.push_str(line);
            }
            Some((command, asked)) => {
                let argument = asked
                    .split(" -> ")
                    .next()
                    .expect("split gives one at least");
                let answer = script
                    .answer(command, argument)
                    .unwrap_or_else(|e| format!("error {} {}", e.kind.code(), e.message));
                replayed.push_str(&format!("{command} {argument} -> {answer}"));
            }
        }
        replayed.push('\n');
    }
    replayed
}

#[test]
fn scripts_answer_as_they_say() {
    let accept = std::env::var_os("GOLDEN_ACCEPT").is_some();
    for subject in SUBJECTS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden")
            .join(subject);
        let mut count = 0;
        for entry in fs::read_dir(&folder).expect("the folder of scripts") {
            let path = entry.expect("an entry").path();
            let script = fs::read_to_string(&path).expect("a text file");
            assert!(
                script.starts_with("# "),
                "{}: the first line states the claim",
                path.display()
            );
            let replayed = replay(&script);
            if accept {
                fs::write(&path, replayed).expect("a writable script");
            } else {
                let lines = script.lines().zip(replayed.lines());
                for (number, (expected, found)) in lines.enumerate() {
                    assert_eq!(expected, found, "{}:{}", path.display(), number + 1);
                }
            }
            count += 1;
        }
        assert!(count > 0, "no scripts in {}", folder.display());
    }
}
