//! Planted faults: patches against production code that a simulator worth its name must notice. They live in `planted/`, outside
//! every build; [`crate::prove`] applies them to a copy of the sources, one at a time.
//!
//! A patch is a unified diff whose lines before the first `---` say what it breaks. Its hunks are found by their lines, not by
//! their numbers, so that a patch outlives changes elsewhere in its file.

use std::path::Path;

/// One planted fault.
#[derive(Clone, Debug)]
pub struct Patch {
    /// The file's name without `.patch`.
    pub name: String,
    /// What it breaks.
    pub says: String,
    files: Vec<FilePatch>,
}

#[derive(Clone, Debug)]
struct FilePatch {
    path: String,
    hunks: Vec<Hunk>,
}

#[derive(Clone, Debug, Default)]
struct Hunk {
    /// The line it stood at when it was made, from 1 on.
    line: usize,
    before: Vec<String>,
    after: Vec<String>,
}

/// All patches of a directory, in the order of their names.
pub fn load(directory: &Path) -> Result<Vec<Patch>, String> {
    let entries = std::fs::read_dir(directory)
        .map_err(|error| format!("cannot list {}: {error}", directory.display()))?;
    let mut paths: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|it| it == "patch"))
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            parse(&name, &text).map_err(|what| format!("{}: {what}", path.display()))
        })
        .collect()
}

/// Reads a patch.
pub fn parse(name: &str, text: &str) -> Result<Patch, String> {
    let mut says = Vec::new();
    let mut files: Vec<FilePatch> = Vec::new();
    for line in text.lines() {
        if let Some(path) = line.strip_prefix("+++ ") {
            let path = path.strip_prefix("b/").unwrap_or(path);
            files.push(FilePatch {
                path: path.to_owned(),
                hunks: Vec::new(),
            });
            continue;
        }
        if line.starts_with("--- ") {
            continue;
        }
        let Some(file) = files.last_mut() else {
            says.push(line.trim().to_owned());
            continue;
        };
        if let Some(place) = line.strip_prefix("@@ -") {
            let digits: String = place.chars().take_while(char::is_ascii_digit).collect();
            let line = digits
                .parse()
                .map_err(|_| format!("no line number: {place}"))?;
            file.hunks.push(Hunk {
                line,
                ..Hunk::default()
            });
            continue;
        }
        let hunk = file
            .hunks
            .last_mut()
            .ok_or("a line stands before its hunk")?;
        match (line.chars().next(), line.get(1..).unwrap_or_default()) {
            (Some('-'), rest) => hunk.before.push(rest.to_owned()),
            (Some('+'), rest) => hunk.after.push(rest.to_owned()),
            (Some(' ') | None, rest) => {
                hunk.before.push(rest.to_owned());
                hunk.after.push(rest.to_owned());
            }
            _ => return Err(format!("not a line of a patch: {line}")),
        }
    }
    let says = says.join(" ").trim().to_owned();
    match (says.is_empty(), files.is_empty()) {
        (true, _) => Err("it does not say what it breaks".to_owned()),
        (_, true) => Err("it changes nothing".to_owned()),
        _ => Ok(Patch {
            name: name.to_owned(),
            says,
            files,
        }),
    }
}

impl Patch {
    /// The files it changes, below `root`, with what they become. `Err` if it does not fit the sources any more.
    pub fn applied(&self, root: &Path) -> Result<Vec<(String, String)>, String> {
        let changed = self.files.iter().map(|file| {
            let text = std::fs::read_to_string(root.join(&file.path))
                .map_err(|error| format!("{}: cannot read {}: {error}", self.name, file.path))?;
            let mut lines: Vec<&str> = text.lines().collect();
            for hunk in &file.hunks {
                let at = hunk.place(&lines).ok_or_else(|| {
                    format!(
                        "{}: the hunk at line {} does not fit {}",
                        self.name, hunk.line, file.path
                    )
                })?;
                let after = hunk.after.iter().map(String::as_str);
                lines.splice(at..at + hunk.before.len(), after);
            }
            Ok((file.path.clone(), lines.join("\n") + "\n"))
        });
        changed.collect()
    }
}

impl Hunk {
    /// Where its lines stand, nearest to where they stood.
    fn place(&self, lines: &[&str]) -> Option<usize> {
        let fits = |at: &usize| {
            let here = &lines[*at..*at + self.before.len()];
            here.iter()
                .zip(&self.before)
                .all(|(one, other)| one == other)
        };
        let last = lines.len().checked_sub(self.before.len())?;
        (0..=last)
            .filter(fits)
            .min_by_key(|at| at.abs_diff(self.line.saturating_sub(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "Says what it breaks,\nin two lines.\n--- a/one.rs\n+++ b/one.rs\n@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n";

    #[test]
    fn a_patch_is_found_by_its_lines() {
        let patch = parse("p", PATCH).unwrap();
        assert_eq!(patch.says, "Says what it breaks, in two lines.");
        let hunk = &patch.files[0].hunks[0];
        assert_eq!(hunk.place(&["new", "a", "b", "c"]), Some(1));
        assert_eq!(hunk.place(&["a", "b", "d"]), None);
        assert_eq!((hunk.before.len(), hunk.after[1].as_str()), (3, "x"));
    }

    #[test]
    fn a_patch_that_says_nothing_is_refused() {
        assert!(parse("p", &PATCH[PATCH.find("---").unwrap()..]).is_err());
        assert!(parse("p", "Says something.").is_err());
    }

    #[test]
    fn every_planted_fault_fits_the_sources() {
        let root = crate::prove::root();
        let patches = load(&root.join("crates/simulator/planted")).unwrap();
        assert!(patches.len() >= 14, "{} patches", patches.len());
        let broken: Vec<String> = patches
            .iter()
            .filter_map(|patch| patch.applied(&root).err())
            .collect();
        assert!(broken.is_empty(), "{broken:#?}");
    }
}
