//! `cstore bench`: throughput and latency of one kind of operation, with many connections on few threads.
//!
//! It must itself be cheap, since it shares the machine with what it measures: messages are built once and only their
//! numbers change, replies are only looked at, latencies go into one histogram per thread and second. Writes carry a session and a
//! number as drivers' do, so an operation repeated after a fail-over counts, and has its effect, once.

mod connection;
mod live;
mod load;
mod pace;
mod plot;
mod prepared;
mod report;
mod storage;
mod timeline;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bson::{RawDocumentBuf, rawdoc};

use super::{CliError, ClusterArgs};
use crate::client::{Client, ClientError};
use storage::{Cost, Counters};

/// Documents that are loaded at once before reads and updates begin.
const LOAD_BATCH: i64 = 1000;

/// The flags of `bench`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// What every connection does, over and over
    #[arg(long, value_enum, default_value_t = Workload::Insert)]
    workload: Workload,
    /// Connections, each with one operation under way
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: u32,
    /// How long to measure [default: 10, unless --operations is given]
    #[arg(long, value_name = "SECONDS")]
    duration: Option<f64>,
    /// How many operations to measure
    #[arg(long, value_name = "N", conflicts_with = "duration")]
    operations: Option<u64>,
    /// Run this long before measuring
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    warmup: f64,
    /// Size of a document
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u32).range(64..=16_000_000))]
    document_bytes: u32,
    /// insertMany: documents per operation
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: u32,
    /// read, update, mixed: documents loaded beforehand
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    documents: u32,
    /// Threads that drive the connections
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: u8,
    /// Database
    #[arg(long, default_value = "bench")]
    db: String,
    /// Collection; dropped first
    #[arg(long, default_value = "bench")]
    collection: String,
    /// Begin so many operations a second, however long they take; latency then counts from when an operation was due
    #[arg(long, value_name = "PER_SECOND", value_parser = positive)]
    rate: Option<f64>,
    /// Draw latency and throughput over time
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// The result with its second-by-second series as one JSON document, into a file or to standard output
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("a number above 0 is needed".to_owned()),
    }
}

/// One kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Workload {
    /// Insert one document
    Insert,
    /// Insert a batch of documents
    #[value(name = "insertMany", alias = "insert-many")]
    InsertMany,
    /// Find one document by its _id, linearizably
    Read,
    /// Increment a counter in one document
    Update,
    /// Half reads, half updates
    Mixed,
}

impl Workload {
    fn needs_documents(self) -> bool {
        matches!(self, Workload::Read | Workload::Update | Workload::Mixed)
    }

    /// As the command line spells it.
    fn name(self) -> String {
        use clap::ValueEnum;
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode, CliError> {
    if args
        .duration
        .is_some_and(|seconds| !seconds.is_finite() || seconds <= 0.0)
        || !(0.0..1e6).contains(&args.warmup)
    {
        return Err(CliError::Failed(
            "--duration and --warmup are positive numbers of seconds".to_owned(),
        ));
    }
    if u64::from(args.batch) * u64::from(args.document_bytes) > 40_000_000 {
        return Err(CliError::Failed(
            "a batch may have 40 MB; lower --batch or --document-bytes".to_owned(),
        ));
    }
    let mut client = args.cluster.client();
    prepare(&mut client, args)?;
    let before = Counters::of_leader(&args.cluster)?;
    let outcome = load::run(args, client.primary()?.address().to_owned())?;
    let after = Counters::of_leader(&args.cluster)?;
    let cost = Cost::between(before, after, &outcome);
    if let Some(file) = &args.plot {
        let (title, figures) = (report::title(args), report::figures(&outcome));
        write(file, &plot::svg(&title, &figures, &outcome.points))?;
    }
    if args.json_to_output() {
        super::print(&report::as_json(args, &outcome, cost.as_ref()))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(file) = &args.json {
        write(file, &report::as_json(args, &outcome, cost.as_ref()))?;
    }
    super::print(&report::as_text(args, &outcome, cost.as_ref()))?;
    Ok(ExitCode::SUCCESS)
}

fn write(file: &Path, content: &str) -> Result<(), CliError> {
    std::fs::write(file, content)
        .map_err(|error| CliError::Failed(format!("cannot write {}: {error}", file.display())))
}

/// An empty collection, or one with the documents that reads and updates name.
fn prepare(client: &mut Client, args: &BenchArgs) -> Result<(), CliError> {
    match client.run(&args.db, &rawdoc! { "drop": args.collection.as_str() }) {
        // NamespaceNotFound: there was none.
        Ok(_) | Err(ClientError::Command { code: 26, .. }) => {}
        Err(error) => return Err(error.into()),
    }
    if !args.workload.needs_documents() {
        return Ok(());
    }
    let command = rawdoc! { "insert": args.collection.as_str() };
    let count = i64::from(args.documents);
    for start in (0..count).step_by(LOAD_BATCH as usize) {
        let ids = start..count.min(start + LOAD_BATCH);
        let batch: Vec<RawDocumentBuf> = ids
            .map(|id| prepared::document(id, args.document_bytes as usize))
            .collect();
        client.write(&args.db, &command, Some(("documents", &batch)))?;
    }
    Ok(())
}

impl BenchArgs {
    /// Whether standard output is to carry JSON and nothing else.
    fn json_to_output(&self) -> bool {
        self.json.as_deref() == Some(Path::new("-"))
    }

    /// Whether somebody may be watching.
    fn watched(&self) -> bool {
        !self.json_to_output()
    }

    fn measured(&self) -> Measured {
        match self.operations {
            Some(operations) => Measured::Operations(operations),
            None => Measured::For(Duration::from_secs_f64(self.duration.unwrap_or(10.0))),
        }
    }
}

/// When the measurement ends.
#[derive(Clone, Copy, Debug)]
enum Measured {
    For(Duration),
    Operations(u64),
}
