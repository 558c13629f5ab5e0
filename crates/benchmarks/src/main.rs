//! `compare`: three members of Collection Store beside three of etcd, on one machine, in one run.
//!
//! Promises: both systems are driven by the same generator through their native protocols, three members each, with
//! default settings, on the same disk; measurements alternate between them, and while one is measured the processes of
//! the others are stopped (SIGSTOP). Every reply is checked. Prints a table, ratios and goals; `--json` keeps every sample.
//! Does not: spread over machines, inject faults, or measure through a driver.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod backup;
mod catch_up;
mod cluster;
mod compare;
mod etcd;
mod load;
mod mongo;
mod paced;
mod queries;
mod report;
mod restart;
mod settle;
mod slow_spells;
mod soak;
mod statistics;
mod workload;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use backup::BackupArgs;
use catch_up::CatchUpArgs;
use compare::CompareArgs;
use queries::QueriesArgs;
use restart::RestartArgs;
use soak::SoakArgs;

#[derive(Debug, Parser)]
#[command(
    name = "compare",
    about = "Collection Store beside etcd: writes, linearizable reads, bulk inserts",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Sub>,
    #[command(flatten)]
    compare: CompareArgs,
}

#[derive(Debug, Subcommand)]
enum Sub {
    /// How much writers notice of a backup, and whether a cluster restored from it is the same
    Backup(BackupArgs),
    /// How much writers notice of a member that catches up by snapshot
    CatchUp(CatchUpArgs),
    /// What reads, reports and index builds cost on one node
    Queries(QueriesArgs),
    /// How long a node that was killed takes until it serves again
    Restart(RestartArgs),
    /// Mixed load for a long time: latency, memory and disk
    Soak(SoakArgs),
    /// Answer inserts and finds at once with fixed replies, to know the generator's ceiling
    Stub(StubArgs),
}

#[derive(Debug, Args)]
struct StubArgs {
    /// Where to listen
    #[arg(long, value_name = "HOST:PORT")]
    listen: SocketAddr,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Some(Sub::Stub(stub)) => mongo::stub::serve(stub.listen)
            .map(|()| true)
            .map_err(|error| format!("the stub cannot serve on {}: {error}", stub.listen)),
        Some(Sub::Backup(args)) => kill_children_when_interrupted()
            .map_err(|error| format!("cannot watch for signals: {error}"))
            .and_then(|()| backup::run(&args).map_err(|error| error.to_string())),
        Some(Sub::CatchUp(args)) => kill_children_when_interrupted()
            .map_err(|error| format!("cannot watch for signals: {error}"))
            .and_then(|()| catch_up::run(&args).map_err(|error| error.to_string())),
        Some(Sub::Queries(args)) => kill_children_when_interrupted()
            .map_err(|error| format!("cannot watch for signals: {error}"))
            .and_then(|()| queries::run(&args).map_err(|error| error.to_string())),
        Some(Sub::Restart(args)) => kill_children_when_interrupted()
            .map_err(|error| format!("cannot watch for signals: {error}"))
            .and_then(|()| restart::run(&args).map_err(|error| error.to_string())),
        Some(Sub::Soak(args)) => kill_children_when_interrupted()
            .map_err(|error| format!("cannot watch for signals: {error}"))
            .and_then(|()| soak::run(&args).map_err(|error| error.to_string())),
        None => kill_children_when_interrupted()
            .map_err(|error| format!("cannot watch for signals: {error}"))
            .and_then(|()| compare::run(&cli.compare).map_err(|error| error.to_string())),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A paused member would outlive an interrupt and never notice.
fn kill_children_when_interrupted() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let interrupted = runtime.block_on(async {
                let mut interrupt = signal(SignalKind::interrupt())?;
                let mut terminate = signal(SignalKind::terminate())?;
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                Ok::<(), std::io::Error>(())
            });
            if interrupted.is_ok() {
                cluster::process::kill_all();
                std::process::exit(130);
            }
        })?;
    Ok(())
}
