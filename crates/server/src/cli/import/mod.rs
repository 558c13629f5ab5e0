//! `cstore import`: JSON lines, a JSON array, or CSV into a collection.
//!
//! One thread reads and parses; a few send batches, each on its own connection. A batch is repeated after a fail-over and
//! has its effect once. Documents the server refuses are counted and the first few shown; the others go in.

mod csv_source;
mod json_source;
mod progress;
mod sender;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use bson::oid::ObjectId;
use bson::{Document, RawDocumentBuf, rawdoc};

use super::{CliError, ClusterArgs};
use progress::{Counted, Progress};
use sender::Senders;

/// A batch is sent when it reaches either bound; the server takes up to 100,000 documents and 48 MB.
const BATCH_BYTES_MAX: usize = 4 << 20;
const DATABASE_DEFAULT: &str = "test";

/// The flags of `import`.
#[derive(clap::Args, Debug)]
pub(crate) struct ImportArgs {
    /// The file to read; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Database [default: the one in the connection string, or test]
    #[arg(long, short)]
    db: Option<String>,
    /// Collection [default: the file's name up to its first dot]
    #[arg(long, short)]
    collection: Option<String>,
    /// Format [default: by the file's name, else by its first character]
    #[arg(long = "type", value_name = "FORMAT")]
    format: Option<Format>,
    /// CSV: the first line names the fields (the default unless --fields is given)
    #[arg(long)]
    headerline: bool,
    /// CSV: names of the fields; then the first line is data, unless --headerline says otherwise
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    fields: Vec<String>,
    /// CSV: character between fields
    #[arg(long, value_name = "CHAR", default_value = ",")]
    delimiter: char,
    /// CSV: keep every value a string
    #[arg(long)]
    no_type_inference: bool,
    /// CSV: leave out fields without a value
    #[arg(long)]
    ignore_blanks: bool,
    /// Drop the collection first
    #[arg(long)]
    drop: bool,
    /// Documents sent at once
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch_size: u32,
    /// Connections that send batches side by side
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    connections: u8,
    /// No progress bar
    #[arg(long, short)]
    quiet: bool,
}

/// What the file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// One JSON document after another, or one array of them
    Json,
    /// Comma-separated values
    Csv,
}

/// What became of an import.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Totals {
    pub inserted: u64,
    pub failed: u64,
    /// The first few refusals, in the server's words.
    pub failures: Vec<String>,
}

pub(crate) fn run(args: &ImportArgs) -> Result<ExitCode, CliError> {
    let database = args
        .db
        .clone()
        .or_else(|| args.cluster.uri.database.clone());
    let database = database.unwrap_or_else(|| DATABASE_DEFAULT.to_owned());
    let collection = collection(args)?;
    let (input, length) = open(&args.file)?;
    if args.drop {
        args.cluster
            .client()
            .run(&database, &rawdoc! { "drop": collection.as_str() })
            .map(drop)
            .or_else(|error| {
                // NamespaceNotFound: nothing to drop.
                if matches!(error, crate::client::ClientError::Command { code: 26, .. }) {
                    Ok(())
                } else {
                    Err(error)
                }
            })?;
    }
    let progress = Progress::new(length, args.quiet);
    let started = Instant::now();
    let mut input = BufReader::with_capacity(1 << 20, Counted::new(input, progress.clone()));
    let format = args
        .format
        .map_or_else(|| guess(&args.file, &mut input), Ok)?;
    let senders = Senders::start(
        &args.cluster,
        usize::from(args.connections),
        &database,
        &collection,
    )?;
    let mut batcher = Batcher {
        senders: &senders,
        progress: &progress,
        batch: Vec::new(),
        bytes: 0,
        limit: args.batch_size as usize,
    };
    let parsed = match format {
        Format::Json => json_source::read(&mut input, &mut |document| batcher.push(document)),
        Format::Csv => csv_source::read(&mut input, args, &mut |document| batcher.push(document)),
    };
    let flushed = batcher.flush();
    let totals = senders.finish();
    progress.finish();
    report(&totals?, &database, &collection, started)?;
    // Reported after the totals: what was read before the damage is in.
    named(parsed, &args.file)?;
    flushed?;
    Ok(ExitCode::SUCCESS)
}

fn report(
    totals: &Totals,
    database: &str,
    collection: &str,
    started: Instant,
) -> Result<(), CliError> {
    let seconds = started.elapsed().as_secs_f64();
    let rate = totals.inserted as f64 / seconds.max(1e-9);
    super::print(&format!(
        "{} documents imported into {database}.{collection} in {seconds:.1} s ({rate:.0}/s)\n",
        totals.inserted
    ))?;
    if totals.failed == 0 {
        return Ok(());
    }
    let shown = totals.failures.join("\n  ");
    Err(CliError::Failed(format!(
        "{} documents were refused; the first:\n  {shown}",
        totals.failed
    )))
}

/// Errors of the input name the file.
fn named(parsed: Result<(), SourceError>, file: &Path) -> Result<(), CliError> {
    parsed.map_err(|error| match error {
        SourceError::Input(reason) => CliError::File {
            path: file.display().to_string(),
            reason,
        },
        SourceError::Sending(error) => error,
    })
}

/// Why reading ended early.
#[derive(Debug)]
pub(crate) enum SourceError {
    /// The input is not what its format promises.
    Input(String),
    /// A batch could not be sent.
    Sending(CliError),
}

/// Gathers documents into batches.
struct Batcher<'a> {
    senders: &'a Senders,
    progress: &'a Progress,
    batch: Vec<RawDocumentBuf>,
    bytes: usize,
    limit: usize,
}

impl Batcher<'_> {
    /// Takes one document; gives it an `_id` if it has none, so that a repeated batch inserts the same documents.
    fn push(&mut self, document: Document) -> Result<(), SourceError> {
        let document = with_id(document);
        let raw = RawDocumentBuf::try_from(&document)
            .map_err(|error| SourceError::Input(format!("a document that is no BSON: {error}")))?;
        self.bytes += raw.as_bytes().len();
        self.batch.push(raw);
        if self.batch.len() >= self.limit || self.bytes >= BATCH_BYTES_MAX {
            self.flush().map_err(SourceError::Sending)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), CliError> {
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        self.progress.documents(batch.len());
        self.senders.send(batch)
    }
}

fn with_id(document: Document) -> Document {
    if document.contains_key("_id") {
        return document;
    }
    let mut with_id = Document::new();
    with_id.insert("_id", ObjectId::new());
    with_id.extend(document);
    with_id
}

fn collection(args: &ImportArgs) -> Result<String, CliError> {
    if let Some(collection) = &args.collection {
        return Ok(collection.clone());
    }
    let name = args
        .file
        .file_name()
        .and_then(|name| name.to_str())
        .and_then(|name| name.split('.').next());
    name.filter(|name| !name.is_empty() && *name != "-")
        .map(str::to_owned)
        .ok_or_else(|| {
            CliError::Failed(
                "which collection? the file's name does not say; give --collection NAME".to_owned(),
            )
        })
}

fn open(file: &Path) -> Result<(Box<dyn Read>, Option<u64>), CliError> {
    if file == Path::new("-") {
        return Ok((Box::new(io::stdin()), None));
    }
    let failed = |error: io::Error| CliError::File {
        path: file.display().to_string(),
        reason: error.to_string(),
    };
    let opened = File::open(file).map_err(failed)?;
    let metadata = opened.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(CliError::File {
            path: file.display().to_string(),
            reason: "is a directory".to_owned(),
        });
    }
    Ok((
        Box::new(opened),
        metadata.is_file().then_some(metadata.len()),
    ))
}

/// By the name's ending; else JSON if the first character can only begin JSON.
fn guess(file: &Path, input: &mut impl BufRead) -> Result<Format, CliError> {
    match file.extension().and_then(|ending| ending.to_str()) {
        Some("csv") => return Ok(Format::Csv),
        Some("json" | "jsonl" | "ndjson") => return Ok(Format::Json),
        _ => {}
    }
    let start = input.fill_buf().map_err(|error| CliError::File {
        path: file.display().to_string(),
        reason: error.to_string(),
    })?;
    let start = start
        .strip_prefix(json_source::BYTE_ORDER_MARK)
        .unwrap_or(start);
    match start.trim_ascii_start().first() {
        Some(b'{' | b'[') => Ok(Format::Json),
        _ => Err(CliError::Failed(format!(
            "{}: JSON or CSV? say which with --type",
            file.display()
        ))),
    }
}
