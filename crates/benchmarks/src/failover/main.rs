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

use benchmarks::machine::Machine;
use clap::Parser;
use end_to_end::Cluster;

use faults::Fault;
use figures::Figures;
use load::Load;
use view::View;

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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let reached = runtime.block_on(run(&cli));
            if reached {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(2)
            }
        }
        Err(error) => {
            eprintln!("failover: no runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what was asked for; whether every goal was reached.
async fn run(cli: &Cli) -> bool {
    describe_machine();
    let mut cluster = Cluster::start(3).await;
    let (client, view) = View::client(&cluster.uri())
        .await
        .expect("the connection string is right");
    let mut reached = true;
    reached &= load::steady(&client, cli.steady_seconds).await;
    let load = Load::start(&client).await;
    for (fault, count) in [
        (Fault::Kill, cli.kills),
        (Fault::Freeze, cli.freezes),
        (Fault::Stop, cli.stops),
    ] {
        if count == 0 {
            continue;
        }
        let mut figures = Figures::new(fault);
        for number in 0..count {
            let outcome = faults::run(&mut cluster, (&client, &view), &load, fault).await;
            figures.add(number, outcome, cli.outlier_ms);
        }
        reached &= figures.print();
    }
    let operations = load.finish().await;
    println!("\nbackground: {operations}");
    reached
}

fn describe_machine() {
    match Machine::probe(&std::env::temp_dir()) {
        Ok(machine) => println!(
            "{} cores of {}, {:.0} GiB, Linux {}; append of 4 KiB + fdatasync {:.2} ms; load before: {}",
            machine.cores,
            machine.processor,
            machine.memory_gib,
            machine.kernel,
            machine.sync_ms,
            std::fs::read_to_string("/proc/loadavg")
                .unwrap_or_default()
                .trim()
        ),
        Err(error) => println!("the machine cannot be described: {error}"),
    }
}
