//! `queries`: what reads, reports and index builds cost on one node.
//!
//! Promises: one node with default settings and a set of documents; one client, one request under way. Point reads are taken
//! in turns with `ping` on the same connection, and compared with what they cannot do without: that round trip, and the read
//! of the same documents from the same engine, opened in this process once the node has stopped. Every answer is checked
//! outside the time that is taken. What a whole core does is counted in the node's processor time, so that neighbours on the
//! machine do not show in it.
//! Does not: measure a driver, several clients, or several members.

mod documents;
mod engine_read;
mod measure;
mod report;

use std::path::PathBuf;

use clap::Args;

use crate::catch_up::beside_this_program;
use crate::cluster::{self, ClusterError};
use crate::load::LoadError;
use crate::mongo::Exchange;
use crate::settle;
use benchmarks::machine::Machine;
use documents::Documents;

const COLLECTION: &str = "queries";
const BATCH: u64 = 1_000;

/// Flags of the queries.
#[derive(Debug, Args)]
pub(crate) struct QueriesArgs {
    /// Documents, each of about 300 bytes
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    documents: u64,
    /// Reads of each kind that are timed
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    reads: u64,
    /// Times the whole collection is grouped
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    groups: u64,
    /// Our server; by default the one beside this program
    #[arg(long, value_name = "PROGRAM")]
    cstore: Option<PathBuf>,
    /// Where data directory and logs go; should be on the disk that matters
    #[arg(long, default_value = "target/queries", value_name = "DIR")]
    work_dir: PathBuf,
    /// End with exit code 2 when a goal is missed
    #[arg(long)]
    check: bool,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueriesError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Engine(#[from] storage_engine::StorageFault),
    #[error("{}: {source}", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{what}: asked for {expected}, answered with {answer}")]
    Wrong {
        what: &'static str,
        expected: String,
        answer: String,
    },
    #[error("the engine in {} holds {found} documents, not {expected}", path.display())]
    Lost {
        path: PathBuf,
        found: u64,
        expected: u64,
    },
}

/// Measures, prints, and says whether the goals are reached (or were not asked for).
pub(crate) fn run(args: &QueriesArgs) -> Result<bool, QueriesError> {
    let directory = args.work_dir.join(format!("run-{}", std::process::id()));
    let file = |source| QueriesError::File {
        path: directory.clone(),
        source,
    };
    std::fs::create_dir_all(&directory).map_err(file)?;
    let machine = Machine::probe(&directory).map_err(file)?;
    let program = args.cstore.clone().unwrap_or_else(beside_this_program);
    let mut cluster = cluster::start_members(&program, &directory, 1, &[])?;
    let member = cluster.wait_ready()?;
    let mut connection = Exchange::connect(member)?;
    let documents = Documents::new(args.documents);
    eprintln!("writing {} documents", args.documents);
    load(&mut connection, &documents)?;
    settle::wait_merged(&directory);
    let mut figures = measure::all(args, &cluster, &directory, &mut connection, &documents)?;
    cluster.stop(0)?;
    let data = directory.join("cstore-0");
    figures.engine = engine_read::times(&data, args.documents, args.reads)?;
    drop(cluster);
    std::fs::remove_dir_all(&directory).map_err(file)?;
    Ok(report::print(args, &machine, &mut figures) || !args.check)
}

fn load(connection: &mut Exchange, documents: &Documents) -> Result<(), QueriesError> {
    let mut batch = Vec::with_capacity(BATCH as usize);
    for number in 0..documents.count() {
        batch.push(documents.document(number));
        if batch.len() as u64 == BATCH || number + 1 == documents.count() {
            connection.insert(COLLECTION, &batch)?;
            batch.clear();
        }
    }
    Ok(())
}
