//! Golden dialogues: `tests/dialogues/*.txt`. The first lines state the claim (`#`); a line `> {…}` is a command in
//! extended JSON (database `test` unless it says otherwise), the line `< {…}` after it the reply without the fields
//! that differ from run to run. Set `CSTORE_ACCEPT=1` to write the replies down, and review the difference.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use bson::{Bson, Document};

use super::harness::{TestClient, TestServer};

/// Fields that differ from run to run.
const VOLATILE: &[&str] = &[
    "$clusterTime",
    "operationTime",
    "topologyVersion",
    "uuid",
    "serverInfo",
    "atClusterTime",
];

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/mongo_wire/tests/dialogues")
}

fn strip(value: Bson) -> Bson {
    match value {
        Bson::Document(document) => Bson::Document(
            document
                .into_iter()
                .filter(|(key, _)| !VOLATILE.contains(&key.as_str()))
                .map(|(key, value)| (key, strip(value)))
                .collect(),
        ),
        Bson::Array(values) => Bson::Array(values.into_iter().map(strip).collect()),
        other => other,
    }
}

async fn answer(client: &mut TestClient, line: &str) -> String {
    let json: serde_json::Value =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    let command = Bson::try_from(json).expect("extended JSON");
    let mut command: Document = command.as_document().expect("a document").clone();
    if !command.contains_key("$db") {
        command.insert("$db", "test");
    }
    let reply = strip(Bson::Document(client.command(&command).await));
    reply.into_relaxed_extjson().to_string()
}

async fn play(client: &mut TestClient, script: &str) -> String {
    let mut played = String::new();
    for line in script.lines() {
        if line.starts_with("< ") {
            continue;
        }
        writeln!(played, "{line}").expect("strings take everything");
        if let Some(command) = line.strip_prefix("> ") {
            let reply = answer(client, command).await;
            writeln!(played, "< {reply}").expect("strings take everything");
        }
    }
    played
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dialogues_go_as_written() {
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(directory())
        .expect("the scripts")
        .map(|entry| entry.expect("readable").path())
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    for path in scripts {
        let server = TestServer::start().await;
        let mut client = server.connect().await;
        let script = std::fs::read_to_string(&path).expect("readable");
        let played = play(&mut client, &script).await;
        if std::env::var_os("CSTORE_ACCEPT").is_some() {
            std::fs::write(&path, &played).expect("writable");
        } else {
            assert_eq!(played, script, "{}", path.display());
        }
        server.stop().await;
    }
}
