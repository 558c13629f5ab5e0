//! `cstore check`: asks every member for a hash of every collection as of one log index, and reports what differs.
//! Writes may go on meanwhile: all hash the same state. With `--data-dir` it reads a stopped directory instead.

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
    /// Print the hashes and differences as one JSON document
    #[arg(long)]
    json: bool,
    /// Give up on a member that has not hashed everything by then
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// Instead: read a stopped directory, and compare every file of it with its checksum
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Collection to hash, of one member.
type Hashes = BTreeMap<String, String>;

pub(crate) fn run(args: &CheckArgs) -> Result<ExitCode, CliError> {
    if let Some(directory) = &args.data_dir {
        return check_directory(directory);
    }
    let (index, hashes) = hash_all(args)?;
    let differences = compare(&hashes);
    let text = if args.json {
        as_json(index, &hashes, &differences)
    } else {
        as_text(index, &hashes, &differences)
    };
    super::print(&text)?;
    Ok(if differences.is_empty() {
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

/// The index at which all members were hashed, and each member's hashes.
fn hash_all(args: &CheckArgs) -> Result<(i64, BTreeMap<String, Hashes>), CliError> {
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
        let asked: Vec<_> = members
            .into_iter()
            .map(|member| {
                thread::spawn(move || (member.listen.clone(), hash(&member.listen, index, timeout)))
            })
            .collect();
        let mut hashes = BTreeMap::new();
        for thread in asked {
            let (member, hashed) = thread
                .join()
                .map_err(|_| CliError::Failed("a thread broke".to_owned()))?;
            match hashed {
                Ok(Some(of_member)) => drop(hashes.insert(member, of_member)),
                Ok(None) => last = Some(format!("{member} hashed another index than {index}")),
                Err(error @ ClientError::Network { .. }) => return Err(error.into()),
                Err(error) => last = Some(error.to_string()),
            }
        }
        match last.take() {
            None => return Ok((index, hashes)),
            failed => last = failed,
        }
    }
    Err(CliError::Failed(format!(
        "the members could not be hashed at one index; last: {}",
        last.unwrap_or_default()
    )))
}

/// One member's hashes at `index`, or `None` when it hashed another state.
fn hash(address: &str, index: i64, timeout: Duration) -> Result<Option<Hashes>, ClientError> {
    let mut connection = Connection::open(address, CONNECT_TIMEOUT, timeout)?;
    let reply = connection.run("admin", rawdoc! { "cstoreHash": 1, "atIndex": index })?;
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
    collections
        .iter()
        .map(|collection| {
            named_hash(collection)
                .ok_or_else(|| malformed("a collection without ns and hash".to_owned()))
        })
        .collect::<Result<Hashes, _>>()
        .map(Some)
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

fn as_text(
    index: i64,
    hashes: &BTreeMap<String, Hashes>,
    differences: &BTreeSet<String>,
) -> String {
    let count = hashes.values().map(BTreeMap::len).max().unwrap_or(0);
    if differences.is_empty() {
        return format!(
            "{count} collections are identical on {} members at index {index}\n",
            hashes.len()
        );
    }
    let mut text = format!(
        "{} collections DIFFER at index {index}:\n",
        differences.len()
    );
    for name in differences {
        text.push_str(&format!("{name}\n"));
        for (member, of_member) in hashes {
            let hash = of_member.get(name).map_or("(missing)", String::as_str);
            text.push_str(&format!("  {member}  {hash}\n"));
        }
    }
    text
}

fn as_json(
    index: i64,
    hashes: &BTreeMap<String, Hashes>,
    differences: &BTreeSet<String>,
) -> String {
    let value = serde_json::json!({
        "index": index, "identical": differences.is_empty(), "differences": differences, "members": hashes,
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
        assert_eq!(
            as_text(9, &hashes, &BTreeSet::new()),
            "1 collections are identical on 2 members at index 9\n"
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
        assert!(as_text(9, &hashes, &differences).contains("  b:1  (missing)\n"));
    }
}
