//! The rules of the workspace that a program can check: who may use whom, how long files may be, what deterministic crates
//! must not touch, and that every third-party dependency says why it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Which of our crates each crate may use (DESIGN §1). Arrows go down only.
const MAY_USE: &[(&str, &[&str])] = &[
    ("consensus", &[]),
    ("platform", &[]),
    ("write_ahead_log", &["platform"]),
    ("document", &[]),
    ("storage_engine", &["platform"]),
    ("state_machine", &["document", "storage_engine"]),
    ("peer_transport", &["consensus", "platform"]),
    (
        "node",
        &[
            "consensus",
            "platform",
            "write_ahead_log",
            "document",
            "storage_engine",
            "state_machine",
            "peer_transport",
        ],
    ),
    ("server", &["node", "document", "state_machine", "platform"]),
    (
        "simulator",
        &[
            "consensus",
            "platform",
            "storage_engine",
            "state_machine",
            "peer_transport",
            "node",
        ],
    ),
    // The engine alone is what reads at the wire are compared with.
    (
        "benchmarks",
        &["end_to_end", "loopback_ports", "platform", "storage_engine"],
    ),
    (
        "fuzz_targets",
        &[
            "consensus",
            "platform",
            "write_ahead_log",
            "document",
            "storage_engine",
            "state_machine",
            "peer_transport",
            "node",
        ],
    ),
    // It talks to processes, and knows of nobody's code that they run.
    ("crash_harness", &["loopback_ports"]),
    (
        "end_to_end",
        &[
            "server",
            "node",
            "document",
            "loopback_ports",
            "platform",
            "simulator",
        ],
    ),
    ("loopback_ports", &[]),
];
/// Third-party crates of the deterministic parts; nothing else may come in.
const THIRD_PARTY: &[(&str, &[&str])] = &[
    ("consensus", &[]),
    (
        "document",
        &[
            "bson",
            "icu_collator",
            "icu_locale_core",
            "icu_normalizer",
            "jiff",
            "md-5",
            "regex",
            "rust-stemmers",
            "stop-words",
            "thiserror",
        ],
    ),
    (
        "write_ahead_log",
        &["crc32c", "lz4_flex", "thiserror", "parking_lot"],
    ),
    (
        "state_machine",
        &[
            "bson",
            "thiserror",
            "parking_lot",
            "md-5",
            "crc32c",
            "lz4_flex",
        ],
    ),
];
const DETERMINISTIC: &[&str] = &["consensus", "document", "state_machine"];
/// What a deterministic crate must not name outside its tests.
const BANNED: &[&str] = &[
    "std::time::",
    "SystemTime",
    "Instant::now",
    "std::thread",
    "std::fs",
    "std::net",
    "std::env",
    "HashMap",
    "HashSet",
    "rand::",
    "ObjectId::new()",
    "DateTime::now()",
    "async fn",
];
const FILE_LINES_MAX: usize = 700;
const TEST_FILE_LINES_MAX: usize = 1_200;

fn crates_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate stands in crates/")
        .to_owned()
}

fn crates() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(crates_dir())
        .expect("readable")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.join("Cargo.toml").exists())
        .map(|path| {
            path.file_name()
                .expect("named")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

/// Names under `[dependencies]` of a crate's manifest.
fn dependencies(name: &str) -> BTreeSet<String> {
    let manifest =
        std::fs::read_to_string(crates_dir().join(name).join("Cargo.toml")).expect("readable");
    let mut inside = false;
    let mut found = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            let end = line
                .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))
                .unwrap_or(line.len());
            found.insert(line[..end].to_owned());
        }
    }
    found
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for path in entries.map(|entry| entry.expect("readable").path()) {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn is_test(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.contains("/tests/") || text.ends_with("tests.rs") || text.contains("/tests_")
}

#[test]
fn arrows_between_crates_go_down_only() {
    let known: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let ours: BTreeSet<String> = crates().into_iter().collect();
    for name in &ours {
        let allowed = known
            .get(name.as_str())
            .unwrap_or_else(|| panic!("{name}: say in this table what it may use"));
        for used in dependencies(name).intersection(&ours) {
            assert!(
                allowed.contains(&used.as_str()),
                "{name} must not use {used}"
            );
        }
    }
}

#[test]
fn deterministic_crates_bring_in_nothing_more() {
    let ours: BTreeSet<String> = crates().into_iter().collect();
    for (name, allowed) in THIRD_PARTY {
        for used in dependencies(name).difference(&ours) {
            assert!(
                allowed.contains(&used.as_str()),
                "{name} must not use the third-party crate {used}"
            );
        }
    }
}

#[test]
fn deterministic_crates_touch_no_clock_no_chance_no_machine() {
    for name in DETERMINISTIC {
        let mut files = Vec::new();
        sources(&crates_dir().join(name).join("src"), &mut files);
        assert!(!files.is_empty(), "{name} has sources");
        for path in files.iter().filter(|path| !is_test(path)) {
            let text = std::fs::read_to_string(path).expect("readable");
            let code = text
                .lines()
                .enumerate()
                .filter(|(_, line)| !line.trim_start().starts_with("//"));
            for (number, line) in code {
                for banned in BANNED {
                    let named = line.match_indices(banned).any(|(at, _)| {
                        let before = line[..at].chars().next_back();
                        !before.is_some_and(|before| before.is_alphanumeric() || before == '_')
                    });
                    assert!(!named, "{}:{}: {banned}", path.display(), number + 1);
                }
            }
        }
    }
}

#[test]
fn files_hold_one_thought() {
    let mut files = Vec::new();
    sources(&crates_dir(), &mut files);
    for path in files {
        let lines = std::fs::read_to_string(&path)
            .expect("readable")
            .lines()
            .count();
        let limit = if is_test(&path) {
            TEST_FILE_LINES_MAX
        } else {
            FILE_LINES_MAX
        };
        assert!(
            lines <= limit,
            "{} has {lines} lines, more than {limit}",
            path.display()
        );
    }
}

#[test]
fn files_open_with_their_contract() {
    let mut files = Vec::new();
    sources(&crates_dir(), &mut files);
    for path in files.iter().filter(|path| !is_test(path)) {
        let text = std::fs::read_to_string(path).expect("readable");
        assert!(
            text.starts_with("//!"),
            "{} does not say what it promises",
            path.display()
        );
    }
}

#[test]
fn unsafe_code_is_forbidden() {
    for name in crates().iter().filter(|name| *name != "platform") {
        for root in ["src/lib.rs", "src/main.rs"] {
            let path = crates_dir().join(name).join(root);
            if let Ok(text) = std::fs::read_to_string(&path) {
                assert!(
                    text.contains("#![forbid(unsafe_code)]"),
                    "{}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn every_dependency_says_why_it_is_there() {
    let manifest =
        std::fs::read_to_string(crates_dir().parent().expect("the root").join("Cargo.toml"))
            .expect("readable");
    let section = manifest
        .split("[workspace.dependencies]")
        .nth(1)
        .expect("the section")
        .split("\n[")
        .next()
        .expect("text");
    let mut explained = false;
    for line in section.lines().map(str::trim) {
        if line.starts_with('#') {
            explained = true;
        } else if line.is_empty() {
            explained = false;
        } else if !line.contains("path =") {
            assert!(explained, "say why this dependency is there: {line}");
        }
    }
}
