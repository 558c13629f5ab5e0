//! `cstore backup`: a consistent copy of everything, as of one log index, in one file or on standard output, while the cluster
//! works. Taken from a follower if there is one. `--verify` reads such a file and says what is damaged where.
//!
//! Every chunk is checked as it comes, and the hash of every collection goes into the trailer. A file gets its name when it is
//! whole and on disk; until then it is `FILE.part`.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use bson::raw::RawBsonRef;
use bson::{RawDocument, rawdoc};
use indicatif::{HumanBytes, HumanCount};
use node::{BackupHead, BackupReader, BackupSummary, BackupWriter, hex, unhex};

use super::status::MemberStatus;
use super::transfer_progress::TransferProgress;
use super::{CliError, ClusterArgs, status};
use crate::client::{Connection, integer};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A member that has no chunk by then is lost.
const REPLY_TIMEOUT: Duration = Duration::from_secs(120);

/// The flags of `backup`.
#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["out", "verify"]))]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The file to write; - for standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Instead: read a backup, and say whether it is whole; - for standard input
    #[arg(long, value_name = "FILE")]
    verify: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long, requires = "out")]
    force: bool,
    /// The member to take it from, by its client address [default: a follower]
    #[arg(long, value_name = "HOST:PORT", requires = "out")]
    member: Option<String>,
    /// Pace, so that writers notice little; of bytes as they are written; 0 for none
    #[arg(long, value_name = "MIB", default_value_t = 16)]
    mib_per_second: u64,
    /// No progress bar
    #[arg(long, short)]
    quiet: bool,
}

pub(crate) fn run(args: &BackupArgs) -> Result<ExitCode, CliError> {
    match (&args.out, &args.verify) {
        (_, Some(file)) => verify(file, args.quiet)?,
        (Some(out), None) if out == Path::new("-") => {
            let (_, text) = take(args, io::stdout().lock())?;
            eprint!("{text}");
        }
        (Some(out), None) => into_file(args, out)?,
        (None, None) => unreachable!("clap demands one of them"),
    }
    Ok(ExitCode::SUCCESS)
}

fn into_file(args: &BackupArgs, out: &Path) -> Result<(), CliError> {
    if !args.force && out.exists() {
        return Err(CliError::Failed(format!(
            "{} is there already; choose another name, or replace it with --force",
            out.display()
        )));
    }
    let mut part = out.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let failed = |error: io::Error| file_error(&part, error.to_string());
    let file = InSyncedPieces {
        file: File::create(&part).map_err(failed)?,
        unsynced_bytes: 0,
    };
    let taken = take(args, file).and_then(|(InSyncedPieces { file, .. }, text)| {
        file.sync_all().map_err(failed)?;
        std::fs::rename(&part, out).map_err(failed)?;
        let directory = match out.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(|error| file_error(directory, error.to_string()))?;
        Ok(text)
    });
    match taken {
        Ok(text) => super::print(&format!("{}: {text}", out.display())),
        Err(error) => {
            // Of no use; what cannot be removed is named as a part.
            std::fs::remove_file(&part).ok();
            Err(error)
        }
    }
}

/// Bytes after which what was written is synced.
const PIECE_BYTES: usize = 1 << 20;

/// A file that is synced as it grows. Left to its end that would be one long write, for which the syncs of a member on the
/// same disk would wait.
struct InSyncedPieces {
    file: File,
    unsynced_bytes: usize,
}

impl Write for InSyncedPieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(PIECE_BYTES - self.unsynced_bytes)];
        let written = self.file.write(piece)?;
        self.unsynced_bytes += written;
        if self.unsynced_bytes == PIECE_BYTES {
            self.file.sync_data()?;
            self.unsynced_bytes = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn file_error(path: &Path, reason: String) -> CliError {
    CliError::File {
        path: path.display().to_string(),
        reason,
    }
}

/// Takes a backup into `output`; gives that back, flushed, with a sentence for the operator.
fn take<W: Write>(args: &BackupArgs, output: W) -> Result<(W, String), CliError> {
    let started = Instant::now();
    let member = match &args.member {
        Some(member) => member.clone(),
        None => choose(status::members(&status::fetch(&args.cluster)?)?)?,
    };
    let mut connection = Connection::open(&member, CONNECT_TIMEOUT, REPLY_TIMEOUT)?;
    let begun = connection.run("admin", rawdoc! { "cstoreBackup": 1 })?;
    let (id, head) = begin(&member, &begun)?;
    let expected = integer(&begun, "bytes").and_then(|bytes| u64::try_from(bytes).ok());
    let progress = TransferProgress::new(expected, args.quiet);
    let failed = |error: node::BackupError| CliError::Failed(format!("the backup: {error}"));
    let mut writer = BackupWriter::new(output, &head).map_err(failed)?;
    let mut pace = Pace::new(args.mib_per_second << 20);
    while !writer.is_whole() {
        let reply = connection.run("admin", rawdoc! { "cstoreBackupNext": id })?;
        let chunks = reply
            .get_array("chunks")
            .map_err(|_| CliError::Reply(member.clone(), "chunks"))?;
        for chunk in chunks {
            let Ok(RawBsonRef::Binary(chunk)) = chunk else {
                return Err(CliError::Reply(member, "chunks"));
            };
            let taken = writer.chunk(chunk.bytes);
            if taken.is_err() {
                // It would be given up by itself; the reason it is not wanted matters more than whether this arrives.
                connection
                    .run("admin", rawdoc! { "cstoreBackupEnd": id })
                    .ok();
            }
            taken.map_err(failed)?;
            pace.passed(chunk.bytes.len());
        }
        let total = writer.total();
        progress.at(total.bytes, total.documents);
    }
    let (output, summary) = writer.finish().map_err(failed)?;
    progress.finish();
    let seconds = started.elapsed().as_secs_f64();
    let text = format!(
        "{}, taken from {member} in {seconds:.1} s\n",
        describe(&head, &summary)
    );
    Ok((output, text))
}

fn begin(member: &str, reply: &RawDocument) -> Result<(i64, BackupHead), CliError> {
    let missing = |field: &'static str| CliError::Reply(member.to_owned(), field);
    let number = |field: &'static str| {
        let value = integer(reply, field).and_then(|value| u64::try_from(value).ok());
        value.ok_or_else(|| missing(field))
    };
    let cluster = reply.get_str("cluster_id").ok().and_then(unhex);
    let taken = reply.get_datetime("taken");
    let head = BackupHead {
        cluster_id: cluster.ok_or_else(|| missing("cluster_id"))?,
        index: number("index")?,
        term: number("term")?,
        taken_ms: taken.map_err(|_| missing("taken"))?.timestamp_millis(),
    };
    let id = integer(reply, "backup").ok_or_else(|| missing("backup"))?;
    Ok((id, head))
}

/// The follower that lacks least; the leader only if there is no other.
fn choose(members: Vec<MemberStatus>) -> Result<String, CliError> {
    let reachable = members.into_iter().filter(|member| member.reachable);
    let best = reachable.min_by_key(|member| {
        let lag = member.lag_entries.unwrap_or(i64::MAX);
        (member.role == "leader", !member.voter, lag)
    });
    best.map(|member| member.listen)
        .ok_or_else(|| CliError::Failed("no member can be reached".to_owned()))
}

/// Keeps to so many bytes per second; 0 for no limit. A pause is not made up for.
struct Pace {
    bytes_per_second: u64,
    due: Instant,
}

impl Pace {
    fn new(bytes_per_second: u64) -> Self {
        Pace {
            bytes_per_second,
            due: Instant::now(),
        }
    }

    fn passed(&mut self, bytes: usize) {
        if self.bytes_per_second == 0 {
            return;
        }
        let now = Instant::now();
        self.due = self.due.max(now)
            + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        thread::sleep(self.due - now);
    }
}

/// What a backup holds, in a line.
pub(super) fn describe(head: &BackupHead, summary: &BackupSummary) -> String {
    let total = summary.total();
    format!(
        "{} collections, {} documents ({}; {} stored) of cluster {} as of entry {}, {}",
        summary.collections.len(),
        HumanCount(total.documents),
        HumanBytes(total.bytes),
        HumanBytes(summary.chunk_bytes),
        hex(&head.cluster_id),
        head.index,
        time(head.taken_ms)
    )
}

/// A time as people and `--to-time` write it.
pub(super) fn time(milliseconds: i64) -> String {
    let date = bson::DateTime::from_millis(milliseconds);
    let text = date.try_to_rfc3339_string();
    text.unwrap_or_else(|_| format!("{milliseconds} ms since 1970"))
}

/// A backup being read, from a file or a pipe.
pub(super) type Source = BackupReader<Box<dyn Read>>;

/// Opens a backup for reading, with its length where that is known.
pub(super) fn open(file: &Path) -> Result<(Source, Option<u64>), CliError> {
    let failed = |reason: String| file_error(file, reason);
    let (input, length): (Box<dyn Read>, _) = if file == Path::new("-") {
        (Box::new(io::stdin().lock()), None)
    } else {
        let opened = File::open(file).map_err(|error| failed(error.to_string()))?;
        let metadata = opened.metadata().ok().filter(std::fs::Metadata::is_file);
        (Box::new(opened), metadata.map(|metadata| metadata.len()))
    };
    let input: Box<dyn Read> = Box::new(BufReader::with_capacity(1 << 20, input));
    let reader = BackupReader::open(input).map_err(|error| failed(error.to_string()))?;
    Ok((reader, length))
}

fn verify(file: &Path, quiet: bool) -> Result<(), CliError> {
    let (reader, length) = open(file)?;
    let head = reader.head().clone();
    let progress = TransferProgress::new(length, quiet);
    let verified = reader.verify(|reader| progress.at(reader.offset(), reader.total().documents));
    progress.finish();
    let summary = verified.map_err(|error| file_error(file, error.to_string()))?;
    let mut text = format!("{}: whole; {}\n", file.display(), describe(&head, &summary));
    for collection in &summary.collections {
        text.push_str(&format!(
            "  {}  {}  {} documents\n",
            hex(&collection.hash),
            collection.namespace,
            HumanCount(collection.counts.documents)
        ));
    }
    super::print(&text)
}

impl From<node::RestoreError> for CliError {
    fn from(error: node::RestoreError) -> Self {
        CliError::Failed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(listen: &str, role: &str, lag: i64) -> MemberStatus {
        MemberStatus {
            listen: listen.to_owned(),
            role: role.to_owned(),
            voter: true,
            reachable: true,
            lag_entries: Some(lag),
            ..MemberStatus::default()
        }
    }

    #[test]
    fn a_backup_is_taken_from_a_follower_that_lacks_little() {
        let members = vec![
            member("leader:1", "leader", 0),
            member("far:1", "follower", 900),
            member("near:1", "follower", 3),
            MemberStatus {
                reachable: false,
                ..member("gone:1", "follower", 0)
            },
        ];
        assert_eq!(choose(members).expect("one is there"), "near:1");
        let alone = vec![member("leader:1", "leader", 0)];
        assert_eq!(choose(alone).expect("it is there"), "leader:1");
        choose(Vec::new()).expect_err("nobody");
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        let text = time(1_700_000_000_123);
        let read = bson::DateTime::parse_rfc3339_str(&text).expect("a time");
        assert_eq!(read.timestamp_millis(), 1_700_000_000_123);
    }
}
