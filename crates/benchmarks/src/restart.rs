//! `restart`: how long a node that was killed takes until it reads and writes again.
//!
//! Promises: one node with default settings; a set of documents, and writers at work when SIGKILL comes, so that log and
//! memtables hold what a crash leaves. Time counts from the start of the new process, and ends with the first answer at the
//! wire to a linearizable read and to an insert, tried over and over on fresh connections. A restart after a clean stop is
//! measured beside. What the node says of its own start is printed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::catch_up::beside_this_program;
use crate::cluster::{self, Cluster, ClusterError};
use crate::load::{self, Ids, LoadError, Shape, Values};
use crate::mongo::{self, Connections, Control, Operation};
use crate::statistics::median;

const LOAD_CLIENTS: usize = 16;
const BUSY_CLIENTS: usize = 64;
const LOAD_STEP: Duration = Duration::from_secs(2);
const POLL_PERIOD: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(120);
/// Documents up to which a restart may take half a second; beyond it may take a whole one.
const FEW_DOCUMENTS: u64 = 1_000_000;

/// Flags of the restart.
#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    /// Documents of 256 bytes that the node holds
    #[arg(long, default_value_t = 1_000_000)]
    documents: u64,
    /// Documents that one insert of the load brings
    #[arg(long, default_value_t = 100)]
    batch: usize,
    /// Times the node is killed
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long writers are at work before each kill
    #[arg(long, default_value_t = 3, value_name = "SECONDS")]
    busy_seconds: u64,
    /// Our server; by default the one beside this program
    #[arg(long, value_name = "PROGRAM")]
    cstore: Option<PathBuf>,
    /// Where data directories and logs go; should be on the disk that matters
    #[arg(long, default_value = "target/restart", value_name = "DIR")]
    work_dir: PathBuf,
    /// End with exit code 2 when a restart takes longer than half a second, or one with more than a million documents
    #[arg(long)]
    check: bool,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestartError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("{}: {source}", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the node does not serve after {0:?}: {1}")]
    NotServing(Duration, LoadError),
}

/// Measures, prints, and says whether the goal is reached (or was not asked for).
pub(crate) fn run(args: &RestartArgs) -> Result<bool, RestartError> {
    let directory = args.work_dir.join(format!("run-{}", std::process::id()));
    let file = |source| RestartError::File {
        path: directory.clone(),
        source,
    };
    std::fs::create_dir_all(&directory).map_err(file)?;
    let program = args.cstore.clone().unwrap_or_else(beside_this_program);
    let mut cluster = cluster::start_members(&program, &directory, 1, &[])?;
    let member = cluster.wait_ready()?;
    let ids = Ids::fresh();
    load_documents(args, member, &ids)?;
    let mut writes = Vec::new();
    for round in 1..=args.rounds {
        busy(args, member, &ids, |cluster| cluster.kill(0), &mut cluster)?;
        writes.push(again(&mut cluster, member, &format!("kill {round}"))?);
    }
    cluster.stop(0)?;
    again(&mut cluster, member, "clean stop")?;
    drop(cluster);
    std::fs::remove_dir_all(&directory).map_err(file)?;
    let worst = writes.iter().copied().fold(0.0, f64::max);
    let goal = if args.documents > FEW_DOCUMENTS {
        1_000.0
    } else {
        500.0
    };
    println!(
        "first write after kill -9: median {:.0} ms, worst {worst:.0} ms, at most {goal:.0} ms asked for",
        median(&mut writes).unwrap_or(f64::NAN)
    );
    Ok(worst <= goal || !args.check)
}

fn load_documents(args: &RestartArgs, member: SocketAddr, ids: &Ids) -> Result<(), RestartError> {
    let connections = Connections {
        member,
        collection: mongo::WRITE_COLLECTION,
        operation: Operation::Insert {
            ids: ids.clone(),
            batch: args.batch,
        },
        values: Values::new(11),
    };
    while ids.taken() < args.documents {
        let shape = Shape {
            clients: LOAD_CLIENTS,
            threads: 1,
            warm_up: Duration::ZERO,
            measure: LOAD_STEP,
        };
        load::run(&connections, shape, || {})?;
        eprintln!("{} documents", ids.taken());
    }
    Ok(())
}

/// Writes single documents, and does something to the cluster in the midst of it.
fn busy(
    args: &RestartArgs,
    member: SocketAddr,
    ids: &Ids,
    strike: impl FnOnce(&mut Cluster),
    cluster: &mut Cluster,
) -> Result<(), RestartError> {
    let connections = Connections {
        member,
        collection: mongo::WRITE_COLLECTION,
        operation: Operation::Insert {
            ids: ids.clone(),
            batch: 1,
        },
        values: Values::new(12),
    };
    let time = Duration::from_secs(args.busy_seconds);
    let shape = Shape {
        clients: BUSY_CLIENTS,
        threads: 1,
        warm_up: Duration::ZERO,
        // Longer than the node lives: its writers break off with it.
        measure: 2 * time + LOAD_STEP,
    };
    thread::scope(|scope| {
        let writers = scope.spawn(|| load::run(&connections, shape, || {}));
        thread::sleep(time);
        let before = ids.taken();
        strike(cluster);
        match writers.join().unwrap_or(Err(LoadError::ThreadLost)) {
            Ok(_) => Err(LoadError::ThreadLost.into()),
            // They lose their connections: that was to be.
            Err(_) => {
                eprintln!("killed at {before} documents");
                Ok(())
            }
        }
    })
}

/// Starts the node again and waits until it serves; returns when it wrote, in milliseconds.
fn again(cluster: &mut Cluster, member: SocketAddr, what: &str) -> Result<f64, RestartError> {
    let said = cluster.output(0).len();
    let start = Instant::now();
    cluster.start_again(0)?;
    let listens = until(start, || Control::connect(member).map(drop))?;
    let reads = until(start, || Control::connect(member)?.find_probe())?;
    let writes = until(start, || Control::connect(member)?.insert_probe())?;
    println!("{what}: listens {listens:.0} ms, reads {reads:.0} ms, writes {writes:.0} ms");
    let output = cluster.output(0);
    for line in output.get(said..).unwrap_or(&output).lines() {
        println!("    {line}");
    }
    Ok(writes)
}

fn until(
    start: Instant,
    mut attempt: impl FnMut() -> Result<(), LoadError>,
) -> Result<f64, RestartError> {
    loop {
        match attempt() {
            Ok(()) => return Ok(start.elapsed().as_secs_f64() * 1e3),
            Err(error) if start.elapsed() > PATIENCE => {
                return Err(RestartError::NotServing(PATIENCE, error));
            }
            Err(_) => thread::sleep(POLL_PERIOD),
        }
    }
}
