//! The index of pitfalls names tests and scripts that exist.

use std::path::{Path, PathBuf};

fn sources(folder: &Path, into: &mut String) {
    let files = std::fs::read_dir(folder).expect("a readable folder");
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&std::fs::read_to_string(&path).expect("a readable source"));
        }
    }
}

#[test]
fn every_pitfall_has_a_test() {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    for folder in ["src", "tests", "../write_ahead_log/src"] {
        sources(&crate_folder.join(folder), &mut code);
    }
    let index = std::fs::read_to_string(crate_folder.join("tests/pitfalls.md"));
    let index = index.expect("the index");
    let rows: Vec<&str> = index
        .lines()
        .filter(|line| line.starts_with("| "))
        .collect();
    assert!(rows.len() > 20, "the index lost its rows");
    for row in &rows[1..] {
        let names: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for name in names {
            let exists = if name.ends_with(".txt") {
                crate_folder.join("tests/golden").join(name).exists()
            } else {
                code.contains(&format!("fn {name}()"))
            };
            assert!(exists, "{name} does not exist: {row}");
        }
    }
}
