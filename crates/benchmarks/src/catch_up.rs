//! `catch-up`: what writers notice of a member that was away for a million writes and catches up by snapshot.
//!
//! Promises: one load of paced writers runs throughout, and each of its writes is timed from when it was due, so that a
//! stall is not hidden by the writers that wait for it. Undisturbed is the same load on the same data, twice: right before
//! the member comes back, and after it has caught up. What the start of its process costs, on a machine that it shares with
//! the others, is shown by itself. Whether it came by snapshot is seen in the member's directory.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::cluster::{self, Cluster, ClusterError, MEMBERS};
use crate::load::{self, Ids, LoadError, Shape, Values};
use crate::mongo::{self, Connections, Control, Operation};
use crate::paced::{self, Span, Timed};

const LOAD_CLIENTS: usize = 256;
const LOAD_STEP: Duration = Duration::from_secs(2);
const POLL_PERIOD: Duration = Duration::from_millis(100);
/// A member that lacks no more than this has caught up.
const LAG_MAX: u64 = 500;
/// What the writers' p99 may be, against the higher of the two undisturbed ones.
const FACTOR_MAX: f64 = 2.0;

/// Flags of the catch-up.
#[derive(Debug, Args)]
pub(crate) struct CatchUpArgs {
    /// Writes that the member misses
    #[arg(long, default_value_t = 1_000_000)]
    writes: u64,
    /// Writes per second that go on throughout and are timed
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// Clients that share this rate
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Length of each undisturbed measurement
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    seconds: u64,
    /// How long the member may take to catch up
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    patience: u64,
    /// Our server; by default the one beside this program
    #[arg(long, value_name = "PROGRAM")]
    cstore: Option<PathBuf>,
    /// Where data directories and logs go; should be on the disk that matters
    #[arg(long, default_value = "target/catch-up", value_name = "DIR")]
    work_dir: PathBuf,
    /// End with exit code 2 when the writers' p99 is more than twice the undisturbed one
    #[arg(long)]
    check: bool,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CatchUpError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("{}: {source}", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the member has not caught up after {0} s; it lacks {1:?} entries")]
    NotCaughtUp(u64, Option<u64>),
    #[error("the member caught up, but from the log: no snapshot was sent; give more --writes")]
    NoSnapshot,
}

/// Measures, prints, and says whether the goal is reached (or was not asked for).
pub(crate) fn run(args: &CatchUpArgs) -> Result<bool, CatchUpError> {
    let directory = args.work_dir.join(format!("run-{}", std::process::id()));
    let file = |source| CatchUpError::File {
        path: directory.clone(),
        source,
    };
    std::fs::create_dir_all(&directory).map_err(file)?;
    let program = args.cstore.clone().unwrap_or_else(beside_this_program);
    eprintln!("starting three members");
    let mut cluster = cluster::start_cstore(&program, &directory)?;
    let leader = cluster.wait_ready()?;
    let away = (0..MEMBERS).rfind(|member| cluster.clients()[*member] != leader);
    let away = away.expect("of several members one does not lead");
    let connections = Connections {
        member: leader,
        collection: mongo::WRITE_COLLECTION,
        operation: Operation::Insert {
            ids: Ids::fresh(),
            batch: 1,
        },
        values: Values::new(7),
    };
    let stop = AtomicBool::new(false);
    let outcome = thread::scope(|scope| {
        let writers = scope.spawn(|| paced::write(&connections, args.rate, args.clients, &stop));
        let phases = measure(args, &mut cluster, leader, away, &directory, &connections);
        stop.store(true, Ordering::Release);
        let timed = writers.join().unwrap_or(Err(LoadError::ThreadLost))?;
        Ok::<_, CatchUpError>((phases?, timed))
    });
    let (phases, timed) = outcome?;
    drop(cluster);
    std::fs::remove_dir_all(&directory).map_err(file)?;
    Ok(report(&phases, &timed) || !args.check)
}

/// When what happened.
struct Phases {
    before: Span,
    starting: Span,
    catching_up: Span,
    after: Span,
    missed: u64,
}

fn measure(
    args: &CatchUpArgs,
    cluster: &mut Cluster,
    leader: SocketAddr,
    away: usize,
    directory: &Path,
    connections: &Connections,
) -> Result<Phases, CatchUpError> {
    let current = directory.join(format!("cstore-{away}/engine/CURRENT"));
    let generation = || std::fs::read_to_string(&current).unwrap_or_default();
    let first = generation();
    cluster.kill(away);
    eprintln!("one member is away; {} writes without it", args.writes);
    let mut missed = 0;
    while missed < args.writes {
        let shape = Shape {
            clients: LOAD_CLIENTS,
            threads: 2,
            warm_up: Duration::ZERO,
            measure: LOAD_STEP,
        };
        missed += load::run(connections, shape, || {})?.handled;
    }
    eprintln!("{missed} written; undisturbed for {} s", args.seconds);
    // Flushes and compactions of the load end first.
    thread::sleep(LOAD_STEP);
    let before = paced::quiet(args.seconds);
    cluster.start_again(away)?;
    eprintln!("the member is back");
    let started = Instant::now();
    let reached = wait_for_lag(args, cluster, leader, away, u64::MAX)?;
    let caught_up = wait_for_lag(args, cluster, leader, away, LAG_MAX)?;
    if generation() == first {
        return Err(CatchUpError::NoSnapshot);
    }
    eprintln!("it has caught up; undisturbed for {} s", args.seconds);
    thread::sleep(LOAD_STEP);
    Ok(Phases {
        before,
        starting: (started, reached),
        catching_up: (reached, caught_up),
        after: paced::quiet(args.seconds),
        missed,
    })
}

/// Waits until the leader reaches the member and it lacks no more than `lag_max` entries.
fn wait_for_lag(
    args: &CatchUpArgs,
    cluster: &Cluster,
    leader: SocketAddr,
    away: usize,
    lag_max: u64,
) -> Result<Instant, CatchUpError> {
    let deadline = Instant::now() + Duration::from_secs(args.patience);
    let mut control = Control::connect(leader)?;
    loop {
        let lag = control.lag_of(cluster.clients()[away])?;
        if lag.is_some_and(|lag| lag <= lag_max) {
            return Ok(Instant::now());
        }
        if Instant::now() >= deadline {
            return Err(CatchUpError::NotCaughtUp(args.patience, lag));
        }
        thread::sleep(POLL_PERIOD);
    }
}

/// Prints the table; whether the goal is reached.
fn report(phases: &Phases, timed: &[Timed]) -> bool {
    paced::print_heads();
    let line = |name: &str, span: Span| paced::print_line(name, span, timed);
    let before = line("undisturbed, before", phases.before);
    line("the member's start", phases.starting);
    let during = line("catching up by snapshot", phases.catching_up);
    let after = line("undisturbed, after", phases.after);
    let factor = during / before.max(after);
    println!(
        "{} writes missed; p99 while catching up is {factor:.2} times the undisturbed one, at most {FACTOR_MAX} asked for",
        phases.missed
    );
    factor <= FACTOR_MAX
}

pub(crate) fn beside_this_program() -> PathBuf {
    let mut path = std::env::current_exe().unwrap_or_default();
    path.set_file_name("cstore");
    path
}
