//! `backup`: what writers notice of a backup, and that what is restored from it is whole.
//!
//! Promises: one load of paced writers runs throughout; undisturbed is the same load on the same data, right before the backup
//! and right after it. The backup is then verified and restored, which compares every collection's hash with the backup's.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::catch_up::beside_this_program;
use crate::cluster::{self, ClusterError};
use crate::load::{self, Ids, LoadError, Shape, Values};
use crate::mongo::{self, Connections, Operation};
use crate::paced::{self, Span, Timed};

const LOAD_CLIENTS: usize = 256;
const LOAD_STEP: Duration = Duration::from_secs(2);
/// What the writers' p99 may be, against the higher of the two undisturbed ones.
const FACTOR_MAX: f64 = 2.0;

/// Flags of the backup measurement.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// Documents there are before the backup
    #[arg(long, default_value_t = 1_000_000)]
    documents: u64,
    /// Writes per second that go on throughout and are timed
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// Clients that share this rate
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Length of each undisturbed measurement
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    seconds: u64,
    /// The backup's pace; by default its own
    #[arg(long, value_name = "MIB")]
    mib_per_second: Option<u64>,
    /// Our server; by default the one beside this program
    #[arg(long, value_name = "PROGRAM")]
    cstore: Option<PathBuf>,
    /// Where data directories, the backup and logs go; should be on the disk that matters
    #[arg(long, default_value = "target/backup-run", value_name = "DIR")]
    work_dir: PathBuf,
    /// End with exit code 2 when the writers' p99 is more than twice the undisturbed one
    #[arg(long)]
    check: bool,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("{}: {source}", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cstore {arguments:?} failed: {said}")]
    Failed {
        arguments: Vec<String>,
        said: String,
    },
}

struct Phases {
    before: Span,
    backup: Span,
    after: Span,
}

/// Measures, prints, and says whether the goal is reached (or was not asked for).
pub(crate) fn run(args: &BackupArgs) -> Result<bool, BackupError> {
    let directory = args.work_dir.join(format!("run-{}", std::process::id()));
    let file = |source| BackupError::File {
        path: directory.clone(),
        source,
    };
    std::fs::create_dir_all(&directory).map_err(file)?;
    let program = args.cstore.clone().unwrap_or_else(beside_this_program);
    eprintln!("starting three members");
    let mut cluster = cluster::start_cstore(&program, &directory)?;
    let leader = cluster.wait_ready()?;
    let connections = Connections {
        member: leader,
        collection: mongo::WRITE_COLLECTION,
        operation: Operation::Insert {
            ids: Ids::fresh(),
            batch: 1,
        },
        values: Values::new(7),
    };
    fill(args, &connections)?;
    let uri = format!("mongodb://{leader}");
    let backup = directory.join("everything.backup");
    let stop = AtomicBool::new(false);
    let outcome = thread::scope(|scope| {
        let writers = scope.spawn(|| paced::write(&connections, args.rate, args.clients, &stop));
        let phases = measure(args, &program, &uri, &backup);
        stop.store(true, Ordering::Release);
        let timed = writers.join().unwrap_or(Err(LoadError::ThreadLost))?;
        Ok::<_, BackupError>((phases?, timed))
    });
    let (phases, timed) = outcome?;
    drop(cluster);
    let reached = report(&phases, &timed);
    restore(&program, &backup, &directory.join("restored"))?;
    std::fs::remove_dir_all(&directory).map_err(file)?;
    Ok(reached || !args.check)
}

fn fill(args: &BackupArgs, connections: &Connections) -> Result<(), BackupError> {
    eprintln!("writing {} documents", args.documents);
    let mut written = 0;
    while written < args.documents {
        let shape = Shape {
            clients: LOAD_CLIENTS,
            threads: 2,
            warm_up: Duration::ZERO,
            measure: LOAD_STEP,
        };
        written += load::run(connections, shape, || {})?.handled;
    }
    // Flushes and compactions of the load end first.
    thread::sleep(LOAD_STEP);
    Ok(())
}

fn measure(
    args: &BackupArgs,
    program: &Path,
    uri: &str,
    backup: &Path,
) -> Result<Phases, BackupError> {
    eprintln!("undisturbed for {} s", args.seconds);
    thread::sleep(LOAD_STEP);
    let before = paced::quiet(args.seconds);
    eprintln!("backup");
    let backup = backup.to_string_lossy().into_owned();
    let mut arguments = vec!["backup", "--uri", uri, "--out", &backup, "--quiet"];
    let pace = args.mib_per_second.map(|mib| mib.to_string());
    if let Some(pace) = &pace {
        arguments.extend(["--mib-per-second", pace]);
    }
    let from = Instant::now();
    let said = cstore(program, &arguments)?;
    let span = (from, Instant::now());
    eprint!("{said}");
    eprintln!("undisturbed for {} s", args.seconds);
    thread::sleep(LOAD_STEP);
    Ok(Phases {
        before,
        backup: span,
        after: paced::quiet(args.seconds),
    })
}

/// Verifies and restores; the restore reads everything back and compares it with the backup's hashes.
fn restore(program: &Path, backup: &Path, into: &Path) -> Result<(), BackupError> {
    let (backup, into) = (backup.to_string_lossy(), into.to_string_lossy());
    let from = Instant::now();
    cstore(program, &["backup", "--verify", &backup, "--quiet"])?;
    let verified = from.elapsed();
    let from = Instant::now();
    cstore(
        program,
        &["restore", "--from", &backup, "--data-dir", &into, "--quiet"],
    )?;
    println!(
        "verified in {:.1} s; restored, with equal hashes, in {:.1} s",
        verified.as_secs_f64(),
        from.elapsed().as_secs_f64()
    );
    Ok(())
}

fn cstore(program: &Path, arguments: &[&str]) -> Result<String, BackupError> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|source| BackupError::File {
        path: program.to_owned(),
        source,
    })?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(BackupError::Failed {
            arguments: arguments.iter().map(|it| (*it).to_owned()).collect(),
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
        }),
    }
}

/// Prints the table; whether the goal is reached.
fn report(phases: &Phases, timed: &[Timed]) -> bool {
    paced::print_heads();
    let line = |name: &str, span: Span| paced::print_line(name, span, timed);
    let before = line("undisturbed, before", phases.before);
    let during = line("while a backup is taken", phases.backup);
    let after = line("undisturbed, after", phases.after);
    let factor = during / before.max(after);
    println!(
        "p99 while a backup is taken is {factor:.2} times the undisturbed one, at most {FACTOR_MAX} asked for"
    );
    factor <= FACTOR_MAX
}
