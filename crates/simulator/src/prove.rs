//! `cargo sim prove`: shows that every planted fault is found.
//!
//! Copies the workspace's sources below the target directory, and for each patch: applies it to the copy, builds what changed, runs
//! seeds until one finds something, and restores the copy. Fails if the sources as they are give a finding, if a patch no
//! longer fits, if it does not compile, or if no seed below the bound notices it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::planted::{self, Patch};

/// Seeds that the sources as they are must pass first.
const SOUND_SEEDS: u64 = 50;
/// Bytes of a finding in the table.
const FINDING_SHOWN_MAX: usize = 110;

/// What to prove.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seeds per fault.
    pub seeds_max: u64,
    /// Only these faults; all if empty.
    pub names: BTreeSet<String>,
}

/// How a fault fared.
struct Row {
    name: String,
    seeds: Option<u64>,
    seconds: f64,
    finding: String,
}

/// The workspace's root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Runs the proof; prints a line per fault as it goes, and the table at the end.
pub fn run(options: &Options) -> Result<(), String> {
    let root = root();
    let patches: Vec<Patch> = planted::load(&root.join("crates/simulator/planted"))?
        .into_iter()
        .filter(|patch| options.names.is_empty() || options.names.contains(&patch.name))
        .collect();
    // All at once, before any long work.
    for patch in &patches {
        patch.applied(&root)?;
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let place = Place {
        sources: target.join("planted/sources"),
        build: target.join("planted/build"),
    };
    place.copy(&root)?;
    place.build()?;
    if let Some((seed, finding)) = place.hunt(SOUND_SEEDS)? {
        return Err(format!(
            "without any planted fault seed {seed} finds: {finding}"
        ));
    }
    println!("{SOUND_SEEDS} seeds of the sources as they are: nothing found");
    let mut rows = Vec::new();
    for patch in &patches {
        let row = place.prove(patch, options.seeds_max)?;
        println!("{}", row.line());
        rows.push(row);
    }
    print_table(&rows);
    let missed: Vec<&str> = rows
        .iter()
        .filter(|row| row.seeds.is_none())
        .map(|row| row.name.as_str())
        .collect();
    match missed.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "not found within {} seeds: {}",
            options.seeds_max,
            missed.join(", ")
        )),
    }
}

struct Place {
    sources: PathBuf,
    build: PathBuf,
}

impl Place {
    /// Makes the copy equal to the sources; touches only files that differ, so that only what changed is built again.
    fn copy(&self, root: &Path) -> Result<(), String> {
        for name in ["Cargo.toml", "Cargo.lock"] {
            copy_file(&root.join(name), &self.sources.join(name))?;
        }
        copy_directory(&root.join("crates"), &self.sources.join("crates"))
    }

    fn build(&self) -> Result<(), String> {
        let output = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
            .args(["build", "--quiet", "--profile", "sim", "-p", "simulator"])
            // Many builds and few seeds each: quick builds are worth more than quick seeds.
            .args(["--config", "profile.sim.opt-level=1"])
            .args(["--config", "profile.sim.debug=false"])
            .arg("--target-dir")
            .arg(&self.build)
            .current_dir(&self.sources)
            .output()
            .map_err(|error| format!("cannot run cargo: {error}"))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// The first seed that finds something, and what.
    fn hunt(&self, seeds_max: u64) -> Result<Option<(u64, String)>, String> {
        let mut child = Command::new(self.build.join("sim/simulator"))
            .args(["--seeds", &format!("0..{seeds_max}")])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot run the simulator: {error}"))?;
        let output = child.stdout.take().ok_or("the simulator has no output")?;
        let mut found = None;
        let mut last = String::new();
        for line in BufReader::new(output).lines() {
            let line = line.map_err(|error| format!("cannot read the simulator: {error}"))?;
            if let Some((seed, finding)) = line.split_once(" FOUND ") {
                let seed = seed.trim_start_matches("seed ").trim();
                found = seed.parse().ok().map(|seed| (seed, finding.to_owned()));
            }
            last = line;
        }
        let status = child
            .wait()
            .map_err(|error| format!("cannot wait for the simulator: {error}"))?;
        match (&found, status.success()) {
            (None, false) => Err(format!("the simulator ended with {status}: {last}")),
            _ => Ok(found),
        }
    }

    fn prove(&self, patch: &Patch, seeds_max: u64) -> Result<Row, String> {
        let mut originals = Vec::new();
        for (path, text) in patch.applied(&self.sources)? {
            let path = self.sources.join(path);
            let original = fs::read(&path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            write_if_different(&path, text.as_bytes())?;
            originals.push((path, original));
        }
        let built = self.build();
        let began = Instant::now();
        let found = built
            .map_err(|errors| format!("{} does not compile:\n{errors}", patch.name))
            .and_then(|()| self.hunt(seeds_max));
        let seconds = began.elapsed().as_secs_f64();
        for (path, original) in originals {
            write_if_different(&path, &original)?;
        }
        let found = found?;
        Ok(Row {
            name: patch.name.clone(),
            seeds: found.as_ref().map(|(seed, _)| seed + 1),
            seconds,
            finding: found.map_or("nothing".to_owned(), |(_, finding)| finding),
        })
    }
}

impl Row {
    fn line(&self) -> String {
        let seeds = self
            .seeds
            .map_or("not found".to_owned(), |it| it.to_string());
        let finding: String = self.finding.chars().take(FINDING_SHOWN_MAX).collect();
        format!(
            "| {} | {seeds} | {:.1} | {} |",
            self.name,
            self.seconds,
            finding.replace('|', "/")
        )
    }
}

fn print_table(rows: &[Row]) {
    println!("\n| planted fault | seeds | seconds | found as |\n|---|---|---|---|");
    for row in rows {
        println!("{}", row.line());
    }
}

fn copy_directory(from: &Path, to: &Path) -> Result<(), String> {
    let list = |directory: &Path| -> Result<BTreeSet<PathBuf>, String> {
        let entries = fs::read_dir(directory)
            .map_err(|error| format!("cannot list {}: {error}", directory.display()))?;
        Ok(entries
            .filter_map(|entry| Some(PathBuf::from(entry.ok()?.file_name())))
            .filter(|name| name != Path::new("target") && name != Path::new("node_modules"))
            .collect())
    };
    fs::create_dir_all(to).map_err(|error| format!("cannot create {}: {error}", to.display()))?;
    let names = list(from)?;
    for gone in list(to)?.difference(&names) {
        let gone = to.join(gone);
        let removed = match gone.is_dir() {
            true => fs::remove_dir_all(&gone),
            false => fs::remove_file(&gone),
        };
        removed.map_err(|error| format!("cannot remove {}: {error}", gone.display()))?;
    }
    for name in names {
        let (from, to) = (from.join(&name), to.join(&name));
        match from.is_dir() {
            true => copy_directory(&from, &to)?,
            false => copy_file(&from, &to)?,
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<(), String> {
    let bytes =
        fs::read(from).map_err(|error| format!("cannot read {}: {error}", from.display()))?;
    write_if_different(to, &bytes)
}

fn write_if_different(to: &Path, bytes: &[u8]) -> Result<(), String> {
    if fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    if let Some(directory) = to.parent() {
        fs::create_dir_all(directory)
            .map_err(|error| format!("cannot create {}: {error}", directory.display()))?;
    }
    fs::write(to, bytes).map_err(|error| format!("cannot write {}: {error}", to.display()))
}
