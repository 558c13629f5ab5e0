//! `failover`: how long writes wait when the leader dies, freezes, is cut off or leaves, and how long they take when all is well.
//!
//! Promises: three members with default settings, fsync on, as processes of this machine; a background of writers through the
//! official Rust driver throughout. Each fault is measured twice: at the wire (the first write that a surviving member
//! acknowledges to a connection that stood before the fault) and through the driver (the first write begun after the fault
//! that it reports done). Before every fault the cluster is whole, and what came before is compared with what follows.
//! Does not: spread over machines. Everything shares the processors, the load of whoever else uses the machine included.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod faults;
mod figures;
mod load;
mod probe;
mod view;

use std::process::ExitCode;

use benchmarks::disk_watch::DiskWatch;
use benchmarks::machine::Machine;
use clap::Parser;
use end_to_end::Cluster;
use end_to_end::network::Network;
use mongodb::Client;

use faults::{Fault, Stage};
use figures::{Figures, Goal};
use load::Load;
use view::View;

const MEMBERS: usize = 3;

#[derive(Debug, Parser)]
#[command(
    name = "failover",
    about = "How long writes wait when the leader dies, freezes, is cut off or leaves"
)]
struct Cli {
    /// Times the leader is killed with SIGKILL
    #[arg(long, default_value_t = 100)]
    kills: usize,
    /// Times the leader is frozen with SIGSTOP: cut off from everybody, its connections left standing
    #[arg(long, default_value_t = 30)]
    freezes: usize,
    /// Times the leader's cable is taken out, in a network of namespaces (needs root and iproute2)
    #[arg(long, default_value_t = 30)]
    cuts: usize,
    /// Times the leader is stopped with SIGTERM
    #[arg(long, default_value_t = 30)]
    stops: usize,
    /// Seconds of a thousand writes each without any fault
    #[arg(long, default_value_t = 10)]
    steady_seconds: u64,
    /// Say more about faults whose next write took longer than this, ms
    #[arg(long, default_value_t = 300)]
    outlier_ms: u64,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    describe_machine();
    match measure(&cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("failover: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(cli: &Cli) -> std::io::Result<bool> {
    let program = std::env::current_exe()?;
    // Beside the program, where the clusters of tests are too.
    let disk = DiskWatch::start(program.parent().unwrap_or(&program))?;
    let on_loopback = runtime()?.block_on(run(cli, &disk));
    let cut = run_cuts(cli, &disk)?;
    println!("\nthe disk meanwhile, asked beside the cluster");
    figures::distribution(
        "write of 4 KiB + fdatasync",
        disk.all().iter().map(|(_, took)| load::ms(*took)).collect(),
        Goal::default(),
    );
    Ok(on_loopback && cut)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
}

/// Everything that needs no network but loopback; whether every goal was reached.
async fn run(cli: &Cli, disk: &DiskWatch) -> bool {
    let mut cluster = Cluster::start(MEMBERS).await;
    let (client, view) = connect(&cluster).await;
    let mut reached = load::steady(&client, cli.steady_seconds).await;
    let load = Load::start(&client).await;
    let mut stage = Stage {
        cluster: &mut cluster,
        network: None,
        client: &client,
        view: &view,
        load: &load,
        disk,
    };
    for (fault, count) in [
        (Fault::Kill, cli.kills),
        (Fault::Freeze, cli.freezes),
        (Fault::Stop, cli.stops),
    ] {
        reached &= strike(&mut stage, fault, count, cli.outlier_ms).await;
    }
    println!("\nbackground: {}", load.finish().await);
    reached
}

/// The leader cut off from everybody, by its cable; whether the goal was reached.
fn run_cuts(cli: &Cli, disk: &DiskWatch) -> std::io::Result<bool> {
    if cli.cuts == 0 {
        return Ok(true);
    }
    let network = match Network::make(MEMBERS + 1) {
        Ok(network) => network,
        Err(reason) => {
            println!("\nskipped: the leader cut off: {reason}");
            return Ok(true);
        }
    };
    // A thread stays on the machine that it enters, and so do those that it starts.
    let cut = || -> std::io::Result<bool> {
        network.door(MEMBERS)?.enter()?;
        Ok(runtime()?.block_on(cut_off(&network, cli, disk)))
    };
    std::thread::scope(|scope| {
        let running = scope.spawn(cut);
        running
            .join()
            .unwrap_or_else(|_| Err(std::io::Error::other("it panicked")))
    })
}

async fn cut_off(network: &Network, cli: &Cli, disk: &DiskWatch) -> bool {
    let mut cluster = Cluster::start_on(network, MEMBERS, None).await;
    let (client, view) = connect(&cluster).await;
    let load = Load::start(&client).await;
    let mut stage = Stage {
        cluster: &mut cluster,
        network: Some(network),
        client: &client,
        view: &view,
        load: &load,
        disk,
    };
    let reached = strike(&mut stage, Fault::Cut, cli.cuts, cli.outlier_ms).await;
    println!("\nbackground: {}", load.finish().await);
    reached
}

async fn connect(cluster: &Cluster) -> (Client, View) {
    View::client(&cluster.uri())
        .await
        .expect("the connection string is right")
}

/// One kind of fault, so many times; whether its goals were reached.
async fn strike(stage: &mut Stage<'_>, fault: Fault, count: usize, outlier_ms: u64) -> bool {
    if count == 0 {
        return true;
    }
    let mut figures = Figures::new(fault);
    for number in 0..count {
        let outcome = faults::run(stage, fault).await;
        figures.add(number, outcome, outlier_ms);
    }
    figures.print()
}

fn describe_machine() {
    match Machine::probe(&std::env::temp_dir()) {
        Ok(machine) => println!(
            "{} cores of {}, {:.0} GiB, Linux {}; append of 4 KiB + fdatasync {:.2} ms; at less than half speed {:.0}% of the time; load before: {}",
            machine.cores,
            machine.processor,
            machine.memory_gib,
            machine.kernel,
            machine.sync_ms,
            machine.slow_share * 100.0,
            std::fs::read_to_string("/proc/loadavg")
                .unwrap_or_default()
                .trim()
        ),
        Err(error) => println!("the machine cannot be described: {error}"),
    }
}
