//! `cstore check`: asks every member for a hash of every collection as of one log index, and whether its indexes agree with its
//! documents, and reports what differs and what is wrong where. Writes may go on meanwhile: all look at the same state. With
//! `--data-dir` it reads a stopped directory instead.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use bson::{Bson, Document, rawdoc};
use node::DirectoryReport;
use platform::OsDisk;

use super::{CliError, ClusterArgs, status};
use crate::client::{ClientError, Connection};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A member whose engine has dropped the versions of that index cannot hash it any more; a newer index is tried then.
const ATTEMPTS_MAX: usize = 5;

/// The flags of `check`.
#[derive(clap::Args, Debug)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Print the hashes, differences and errors as one JSON document
    #[arg(long)]
    json: bool,
    /// Compare the members, and leave out whether their indexes agree with their documents
    #[arg(long)]
    no_indexes: bool,
    /// Give up on a member that has not hashed everything by then
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// Instead: read a stopped directory, compare every file of it with its checksum, and its indexes with its documents
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Collection to hash, of one member.
type Hashes = BTreeMap<String, String>;
/// Member to what is wrong in it.
type Errors = BTreeMap<String, Vec<String>>;

/// All members at one log index.
#[derive(Default)]
struct Found {
    index: i64,
    hashes: BTreeMap<String, Hashes>,
    errors: Errors,
}

pub(crate) fn run(args: &CheckArgs) -> Result<ExitCode, CliError> {
    if let Some(directory) = &args.data_dir {
        return check_directory(directory);
    }
    let found = hash_all(args)?;
    let differences = compare(&found.hashes);
    let text = if args.json {
        as_json(&found, &differences)
    } else {
        as_text(&found, &differences, !args.no_indexes)
    };
    super::print(&text)?;
    Ok(if differences.is_empty() && found.errors.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn check_directory(directory: &Path) -> Result<ExitCode, CliError> {
    let report = node::examine_directory(&OsDisk, directory)
        .map_err(|error| CliError::Failed(error.to_string()))?;
    super::print(&directory_text(directory, &report))?;
    Ok(match report.damage.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// What stands in a stopped directory.
pub(crate) fn directory_text(directory: &Path, report: &DirectoryReport) -> String {
    let mut text = format!("{}\n", directory.display());
    for line in &report.lines {
        text.push_str(&format!("  {line}\n"));
    }
    for damage in &report.damage {
        text.push_str(&format!("  DAMAGED: {damage}\n"));
    }
    if report.damage.is_empty() {
        text.push_str("  everything is as it was written\n");
    }
    text
}

/// Asks all members at one index.
fn hash_all(args: &CheckArgs) -> Result<Found, CliError> {
    let mut last = None;
    for _ in 0..ATTEMPTS_MAX {
        let document = status::fetch(&args.cluster)?;
        let members = status::members(&document)?;
        if let Some(lost) = members.iter().find(|member| !member.reachable) {
            return Err(CliError::Failed(format!(
                "member {} ({}) cannot be reached; start it and check again",
                lost.id, lost.listen
            )));
        }
        let index = members
            .iter()
            .filter_map(|member| member.applied_index)
            .max();
        let index = index
            .ok_or_else(|| CliError::Reply("the server".to_owned(), "members.applied_index"))?;
        let timeout = Duration::from_secs(args.timeout);
        let verify = !args.no_indexes;
        let asked: Vec<_> = members
            .into_iter()
            .map(|member| {
                thread::spawn(move || {
                    let hashed = hash(&member.listen, index, verify, timeout);
                    (member.listen, hashed)
                })
            })
            .collect();
        let mut found = Found {
            index,
            ..Found::default()
        };
        for thread in asked {
            let (member, hashed) = thread
                .join()
                .map_err(|_| CliError::Failed("a thread broke".to_owned()))?;
            match hashed {
                Ok(Some((hashes, errors))) => {
                    if !errors.is_empty() {
                        found.errors.insert(member.clone(), errors);
                    }
                    found.hashes.insert(member, hashes);
                }
                Ok(None) => last = Some(format!("{member} hashed another index than {index}")),
                Err(error @ ClientError::Network { .. }) => return Err(error.into()),
                Err(error) => last = Some(error.to_string()),
            }
        }
        match last.take() {
            None => return Ok(found),
            failed => last = failed,
        }
    }
    Err(CliError::Failed(format!(
        "the members could not be hashed at one index; last: {}",
        last.unwrap_or_default()
    )))
}

/// One member's hashes at `index` and what is wrong in it, or `None` when it hashed another state.
fn hash(
    address: &str,
    index: i64,
    verify: bool,
    timeout: Duration,
) -> Result<Option<(Hashes, Vec<String>)>, ClientError> {
    let mut connection = Connection::open(address, CONNECT_TIMEOUT, timeout)?;
    let mut command = rawdoc! { "cstoreHash": 1, "atIndex": index };
    if verify {
        command.append(bson::raw::cstr!("verifyIndexes"), true);
    }
    let reply = connection.run("admin", command)?;
    if crate::client::integer(&reply, "index").is_some_and(|at| at != index) {
        return Ok(None);
    }
    let malformed = |reason: String| ClientError::Protocol {
        address: address.to_owned(),
        reason,
    };
    let document = Document::try_from(&*reply).map_err(|error| malformed(error.to_string()))?;
    let collections = document
        .get_array("collections")
        .map_err(|_| malformed("a reply without collections".to_owned()))?;
    let mut hashes = Hashes::new();
    let mut errors = said(&document, "");
    for collection in collections {
        let (name, hash) = named_hash(collection)
            .ok_or_else(|| malformed("a collection without ns and hash".to_owned()))?;
        if let Some(collection) = collection.as_document() {
            errors.extend(said(collection, &format!("{name}: ")));
        }
        hashes.insert(name, hash);
    }
    Ok(Some((hashes, errors)))
}

/// The errors in a document, each with something in front.
fn said(document: &Document, of: &str) -> Vec<String> {
    let errors = document.get_array("errors").map(Vec::as_slice);
    let errors = errors.unwrap_or_default().iter().filter_map(Bson::as_str);
    errors.map(|error| format!("{of}{error}")).collect()
}

fn named_hash(collection: &Bson) -> Option<(String, String)> {
    let collection = collection.as_document()?;
    let text = |field: &str| collection.get_str(field).ok().map(str::to_owned);
    Some((text("ns")?, text("hash")?))
}

/// The collections whose hashes differ, or that some member lacks.
fn compare(hashes: &BTreeMap<String, Hashes>) -> BTreeSet<String> {
    let all: BTreeSet<&String> = hashes.values().flat_map(BTreeMap::keys).collect();
    all.into_iter()
        .filter(|name| {
            hashes
                .values()
                .map(|of_member| of_member.get(*name))
                .collect::<BTreeSet<_>>()
                .len()
                > 1
        })
        .cloned()
        .collect()
}

fn as_text(found: &Found, differences: &BTreeSet<String>, verified: bool) -> String {
    let (index, hashes) = (found.index, &found.hashes);
    let count = hashes.values().map(BTreeMap::len).max().unwrap_or(0);
    let mut text = if differences.is_empty() {
        format!(
            "{count} collections are identical on {} members at index {index}\n",
            hashes.len()
        )
    } else {
        format!(
            "{} collections DIFFER at index {index}:\n",
            differences.len()
        )
    };
    for name in differences {
        text.push_str(&format!("{name}\n"));
        for (member, of_member) in hashes {
            let hash = of_member.get(name).map_or("(missing)", String::as_str);
            text.push_str(&format!("  {member}  {hash}\n"));
        }
    }
    for (member, errors) in &found.errors {
        text.push_str(&format!("{member} is DAMAGED:\n"));
        for error in errors {
            text.push_str(&format!("  {error}\n"));
        }
    }
    if verified && found.errors.is_empty() {
        text.push_str("on each of them, indexes and documents agree\n");
    }
    text
}

fn as_json(found: &Found, differences: &BTreeSet<String>) -> String {
    let value = serde_json::json!({
        "index": found.index, "identical": differences.is_empty(), "differences": differences, "members": found.hashes,
        "errors": found.errors,
    });
    format!(
        "{}\n",
        serde_json::to_string_pretty(&value).expect("JSON values always print")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(of: &[(&str, &[(&str, &str)])]) -> BTreeMap<String, Hashes> {
        let owned = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect()
        };
        of.iter()
            .map(|(member, pairs)| ((*member).to_owned(), owned(pairs)))
            .collect()
    }

    #[test]
    fn equal_members_do_not_differ() {
        let hashes = hashes(&[("a:1", &[("d.c", "1")]), ("b:1", &[("d.c", "1")])]);
        assert!(compare(&hashes).is_empty());
        let found = Found {
            index: 9,
            hashes,
            errors: Errors::new(),
        };
        assert_eq!(
            as_text(&found, &BTreeSet::new(), true),
            "1 collections are identical on 2 members at index 9\non each of them, indexes and documents agree\n"
        );
    }

    #[test]
    fn other_hashes_and_missing_collections_differ() {
        let hashes = hashes(&[
            ("a:1", &[("d.c", "1"), ("d.e", "5")]),
            ("b:1", &[("d.c", "2")]),
        ]);
        let differences = compare(&hashes);
        assert_eq!(differences.iter().collect::<Vec<_>>(), ["d.c", "d.e"]);
        let errors = Errors::from([("b:1".to_owned(), vec!["d.c: index 'a' …".to_owned()])]);
        let found = Found {
            index: 9,
            hashes,
            errors,
        };
        let text = as_text(&found, &differences, true);
        assert!(text.contains("  b:1  (missing)\n"), "{text}");
        assert!(
            text.contains("b:1 is DAMAGED:\n  d.c: index 'a' …\n"),
            "{text}"
        );
        assert!(!text.contains("agree"), "{text}");
    }
}
