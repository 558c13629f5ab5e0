//! Golden scripts of filters: `tests/golden/filter/*.txt`.
//!
//! The first line is a comment that states the claim. `doc DOCUMENT` sets the document; `FILTER -> ANSWER` asks,
//! where the answer is `true`, `false` or `error CODE MESSAGE`. Both are Extended JSON. With `GOLDEN_ACCEPT=1`
//! the answers in the files are replaced by those given now, to be reviewed as a diff.

use bson::raw::RawDocumentBuf;
use document::filter::Filter;
use std::fs;
use std::path::Path;

fn parse_document(json: &str) -> RawDocumentBuf {
    let json: serde_json::Value =
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
    let value = bson::Bson::try_from(json).expect("Extended JSON");
    let tree = value.as_document().expect("a document");
    RawDocumentBuf::try_from(tree).expect("valid names")
}

fn answer(filter: &str, document: &RawDocumentBuf) -> String {
    match Filter::parse(&parse_document(filter)) {
        Ok(filter) => filter.matches(document).to_string(),
        Err(error) => format!("error {} {}", error.kind.code(), error.message),
    }
}

/// The script with the answers that are given now.
fn replay(script: &str) -> String {
    let mut document = RawDocumentBuf::new();
    let mut replayed = String::new();
    for line in script.lines() {
        if let Some(json) = line.strip_prefix("doc ") {
            document = parse_document(json);
            replayed.push_str(line);
        } else if let Some((filter, _)) = line.rsplit_once(" -> ") {
            replayed.push_str(&format!("{filter} -> {}", answer(filter, &document)));
        } else {
            assert!(
                line.is_empty() || line.starts_with('#'),
                "not a line of a script: {line}"
            );
            replayed.push_str(line);
        }
        replayed.push('\n');
    }
    replayed
}

#[test]
fn filters_answer_as_the_scripts_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/filter");
    let accept = std::env::var_os("GOLDEN_ACCEPT").is_some();
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("the folder of scripts") {
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
            for (number, (expected, found)) in script.lines().zip(replayed.lines()).enumerate() {
                assert_eq!(expected, found, "{}:{}", path.display(), number + 1);
            }
        }
        count += 1;
    }
    assert!(count > 0, "no scripts found");
}
