//! `soak`: mixed load at a share of what the cluster can do, for a long time, on a data set of a given size.
//!
//! Promises: the set is loaded first, then capacity is measured with clients that never pause, on that set; then clients go
//! at a fixed rate, and each operation is timed from when it was due, so that a stall is not hidden by those who wait for it.
//! Meanwhile the memory of every member and the bytes on its disk are sampled. Goals are checked; `--series` writes what was
//! seen second by second, to be drawn. Does not: spread over machines; members and load share the processors.

mod report;
mod samples;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use benchmarks::disk_watch::DiskWatch;
use clap::Args;
use tokio::runtime;
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::catch_up::beside_this_program;
use crate::cluster::{self, ClusterError};
use crate::load::{self, Connector, Ids, LoadError, Shape, Values};
use crate::mongo::{self, Connections, Kind, Mixed, MixedClient, Operation};

use crate::settle;
use crate::slow_spells::{SlowSpells, Watch};
use samples::{Sample, Seconds};

/// BSON of one document: `_id` and 256 bytes.
const DOCUMENT_BYTES: u64 = 286;
const LOAD_CLIENTS: usize = 8;
const LOAD_BATCH: usize = 100;
const LOAD_STEP: Duration = Duration::from_secs(5);
const SAMPLE_PERIOD: Duration = Duration::from_secs(1);

/// Flags of the soak.
#[derive(Debug, Args)]
pub(crate) struct SoakArgs {
    /// Members of the cluster
    #[arg(long, default_value_t = 3)]
    members: usize,
    /// Size of the data set
    #[arg(long, default_value_t = 5.0, value_name = "GIB")]
    gib: f64,
    /// Length of the soak
    #[arg(long, default_value_t = 1800, value_name = "SECONDS")]
    seconds: u64,
    /// Share of the capacity that the load takes
    #[arg(long, default_value_t = 0.7)]
    share: f64,
    /// Operations per second, instead of a share of the capacity
    #[arg(long)]
    rate: Option<f64>,
    /// Clients that share the rate
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// How long the machine is watched before anything runs on it
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    idle_seconds: u64,
    /// How long the capacity is measured; in little time merging puts off what it has to do later
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    capacity_seconds: u64,
    /// Memory that each member may take
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    memory: u64,
    /// Log kept for members that are away
    #[arg(long, default_value_t = 512, value_name = "MIB")]
    log_retained_mib: u64,
    /// Where the figures of each second go, as CSV
    #[arg(long, value_name = "FILE")]
    series: Option<PathBuf>,
    /// Our server; by default the one beside this program
    #[arg(long, value_name = "PROGRAM")]
    cstore: Option<PathBuf>,
    /// Where data directories and logs go; should be on the disk that matters
    #[arg(long, default_value = "target/soak", value_name = "DIR")]
    work_dir: PathBuf,
    /// End with exit code 2 when a goal is missed
    #[arg(long)]
    check: bool,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SoakError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("{}: {source}", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// What was seen.
struct Outcome {
    seconds: Seconds,
    samples: Vec<Sample>,
    /// When the processors were slow, and when the disk was.
    slow: SlowSpells,
    disk_slow: SlowSpells,
}

/// Measures, prints, and says whether the goals are reached (or were not asked for).
pub(crate) fn run(args: &SoakArgs) -> Result<bool, SoakError> {
    let directory = args.work_dir.join(format!("run-{}", std::process::id()));
    let file = |path: &Path| {
        let path = path.to_owned();
        |source| SoakError::File { path, source }
    };
    std::fs::create_dir_all(&directory).map_err(file(&directory))?;
    let disk = DiskWatch::start(&directory).map_err(file(&directory))?;
    let watch = Watch::start();
    thread::sleep(Duration::from_secs(args.idle_seconds));
    report::print_idle(args, &watch.spells(), &SlowSpells::of_disk(&disk));
    drop(disk);
    let program = args.cstore.clone().unwrap_or_else(beside_this_program);
    let arguments = [
        "--memory".to_owned(),
        args.memory.to_string(),
        "--log-retained-mib".to_owned(),
        args.log_retained_mib.to_string(),
    ];
    let mut cluster = cluster::start_members(&program, &directory, args.members, &arguments)?;
    let leader = cluster.wait_ready()?;
    let ids = Ids::fresh();
    load_set(args, leader, &ids)?;
    let values = Values::new(23);
    let set = Mixed::new(ids, values, mongo::WRITE_COLLECTION);
    wait_merged(&directory);
    let rate = match args.rate {
        Some(rate) => rate,
        None => capacity(args, leader, &set)? * args.share,
    };
    // What clients that never pause have left to merge is not the doing of the load at its rate.
    wait_merged(&directory);
    println!(
        "{} documents of {DOCUMENT_BYTES} bytes; {rate:.0} operations/s for {} s",
        set.documents(),
        args.seconds
    );
    let stop = AtomicBool::new(false);
    let disk = DiskWatch::start(&directory).map_err(file(&directory))?;
    let outcome = thread::scope(|scope| {
        let load = scope.spawn(|| {
            let outcome = soak(args, leader, &set, rate);
            stop.store(true, Ordering::Release);
            outcome
        });
        let watch = Watch::start();
        let mut samples = Vec::new();
        while !stop.load(Ordering::Acquire) {
            let live_bytes = set.documents() * DOCUMENT_BYTES;
            samples.push(Sample::take(&cluster, &directory, live_bytes));
            thread::sleep(SAMPLE_PERIOD);
        }
        let seconds = load.join().unwrap_or(Err(LoadError::ThreadLost))?;
        Ok::<_, SoakError>(Outcome {
            seconds,
            samples,
            slow: watch.spells(),
            disk_slow: SlowSpells::of_disk(&disk),
        })
    })?;
    drop(cluster);
    std::fs::remove_dir_all(&directory).map_err(file(&directory))?;
    if let Some(path) = &args.series {
        std::fs::write(path, report::series(&outcome)).map_err(file(path))?;
    }
    Ok(report::print(args, &outcome) || !args.check)
}

fn wait_merged(directory: &Path) {
    if !settle::wait_merged(directory) {
        eprintln!("merging goes on: the figures may come out too low or too high");
    }
}

fn load_set(args: &SoakArgs, leader: SocketAddr, ids: &Ids) -> Result<(), SoakError> {
    let documents = (args.gib * (1_u64 << 30) as f64) as u64 / DOCUMENT_BYTES;
    let connections = Connections {
        member: leader,
        collection: mongo::WRITE_COLLECTION,
        operation: Operation::Insert {
            ids: ids.clone(),
            batch: LOAD_BATCH,
        },
        values: Values::new(22),
    };
    while ids.taken() < documents {
        let shape = Shape {
            clients: LOAD_CLIENTS,
            threads: 1,
            warm_up: Duration::ZERO,
            measure: LOAD_STEP,
        };
        let measured = load::run(&connections, shape, || {})?;
        eprintln!(
            "{} of {documents} documents, {:.0}/s",
            ids.taken(),
            measured.per_second()
        );
    }
    Ok(())
}

/// Operations per second of clients that never pause.
fn capacity(args: &SoakArgs, leader: SocketAddr, set: &Mixed) -> Result<f64, SoakError> {
    let closed = Closed {
        set: set.clone(),
        leader,
    };
    let shape = Shape {
        clients: args.clients,
        threads: 1,
        warm_up: Duration::from_secs(2),
        measure: Duration::from_secs(args.capacity_seconds),
    };
    let measured = load::run(&closed, shape, || {})?;
    println!(
        "capacity: {:.0} operations/s, p50 {:.2} ms, p99 {:.2} ms",
        measured.per_second(),
        measured.quantile_ms(0.5),
        measured.quantile_ms(0.99)
    );
    Ok(measured.per_second())
}

struct Closed {
    set: Mixed,
    leader: SocketAddr,
}

impl Connector for Closed {
    type Client = MixedClient;

    async fn connect(
        &self,
        clients: std::ops::Range<usize>,
        _total: usize,
    ) -> Result<Vec<MixedClient>, LoadError> {
        let mut made = Vec::new();
        for client in clients {
            made.push(self.set.connect(self.leader, client).await?);
        }
        Ok(made)
    }
}

/// The load at its rate.
fn soak(args: &SoakArgs, leader: SocketAddr, set: &Mixed, rate: f64) -> Result<Seconds, LoadError> {
    // It stands for other machines, whose clients do not wait for the members' merging.
    let _ = platform::prefer_short_turns();
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = LocalSet::new();
    let period = Duration::from_secs_f64(args.clients as f64 / rate.max(1.0));
    local.block_on(&runtime, async {
        let mut clients = Vec::new();
        for client in 0..args.clients {
            // Numbers beyond those that measured the capacity, so that sessions are others.
            clients.push(set.connect(leader, args.clients + client).await?);
        }
        let begin = Instant::now();
        let end = begin + Duration::from_secs(args.seconds);
        let seconds = Rc::new(RefCell::new(Seconds::new(begin.into_std())));
        let mut tasks = Vec::new();
        for (number, client) in clients.into_iter().enumerate() {
            let first = begin + period.mul_f64(number as f64 / args.clients as f64);
            let seconds = Rc::clone(&seconds);
            tasks.push(tokio::task::spawn_local(repeat(
                client,
                (first, period, end),
                seconds,
            )));
        }
        for task in tasks {
            task.await.map_err(|_| LoadError::ThreadLost)??;
        }
        let seconds = Rc::try_unwrap(seconds).map_err(|_| LoadError::ThreadLost)?;
        Ok(seconds.into_inner())
    })
}

async fn repeat(
    mut client: MixedClient,
    (first, period, end): (Instant, Duration, Instant),
    seconds: Rc<RefCell<Seconds>>,
) -> Result<(), LoadError> {
    let mut due = first;
    while due < end {
        let late = Instant::now() > due;
        tokio::time::sleep_until(due).await;
        // The timer's own grain is not the server's doing; an operation that held up this one is.
        let from = if late { due } else { Instant::now() };
        let kind = client.next().await?;
        if kind == Kind::Write {
            let now = Instant::now();
            seconds.borrow_mut().record(from.into_std(), now.into_std());
        }
        due += period;
    }
    Ok(())
}
