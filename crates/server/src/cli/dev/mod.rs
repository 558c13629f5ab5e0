//! `cstore dev`: a local cluster, one process per node, on loopback. Stops them all when it is stopped.
//!
//! The data directory may be used again: nodes that have an identity start with it, new ones join them.

mod processes;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bson::rawdoc;

use super::CliError;
use crate::client::{Connection, ConnectionString};
pub(crate) use processes::stop_with_parent;
use processes::{Node, Plan};

const PEER_PORT_OFFSET: u16 = 10_000;
const ADMIN_PORT_OFFSET: u16 = 1_000;
/// Looking after the children is not urgent; Ctrl-C interrupts the wait.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// A signal repeated this soon is the same one.
const REPEATED_SIGNAL_WINDOW: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// The flags of `dev`.
#[derive(clap::Args, Debug)]
pub(crate) struct DevArgs {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=7))]
    nodes: u16,
    /// Client port of the first node; node K uses this plus K
    #[arg(long, value_name = "PORT", default_value_t = 27017, value_parser = clap::value_parser!(u16).range(1..=55_000))]
    base_port: u16,
    /// Where the nodes keep their data and logs
    #[arg(long, value_name = "DIR", default_value = "./cstore-dev")]
    data_dir: PathBuf,
    /// Start a node again when its process has died
    #[arg(long)]
    restart: bool,
    /// Further flags for every `cstore serve`
    #[arg(last = true, value_name = "SERVE_FLAGS")]
    serve_flags: Vec<String>,
}

pub(crate) fn run(args: DevArgs) -> Result<ExitCode, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("cannot start: {error}")))?;
    runtime.block_on(supervise(args))
}

async fn supervise(args: DevArgs) -> Result<ExitCode, CliError> {
    let plans = plan(&args)?;
    let mut nodes = Vec::new();
    for plan in plans {
        nodes.push(Node::start(plan)?);
    }
    let mut stop = Stop::listen()?;
    let outcome = tokio::select! {
        biased;
        () = stop.asked() => None,
        outcome = look_after(&mut nodes, &args) => Some(outcome),
    };
    eprintln!("stopping {} nodes", nodes.len());
    // A second Ctrl-C does not wait.
    tokio::select! {
        biased;
        () = stop.asked_again() => processes::kill_all(&mut nodes),
        () = processes::stop_all(&mut nodes) => {}
    }
    match outcome {
        Some(Err(error)) => Err(error),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Waits until all nodes serve, says so, and reports deaths. Ends only with an error.
async fn look_after(nodes: &mut [Node], args: &DevArgs) -> Result<(), CliError> {
    wait_until_ready(nodes).await?;
    super::print(&describe(nodes))?;
    loop {
        for node in nodes.iter_mut() {
            if let Some(death) = node.has_died()? {
                eprintln!("{death}");
                if args.restart {
                    node.start_again()?;
                    eprintln!("node {} runs again, pid {}", node.plan.number, node.pid());
                }
            }
        }
        if nodes.iter().all(|node| node.pid() == 0) {
            return Err(CliError::Failed("all nodes have died".to_owned()));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn wait_until_ready(nodes: &mut [Node]) -> Result<(), CliError> {
    let addresses: Vec<String> = nodes.iter().map(|node| node.plan.client()).collect();
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        for node in nodes.iter_mut() {
            if let Some(death) = node.has_died()? {
                return Err(CliError::Failed(format!("{death}\n{}", node.last_words())));
            }
        }
        let asked = addresses.clone();
        let reason = match tokio::task::spawn_blocking(move || not_ready(&asked)).await {
            Ok(None) => return Ok(()),
            Ok(Some(reason)) => reason,
            Err(error) => error.to_string(),
        };
        if Instant::now() >= deadline {
            return Err(CliError::Failed(format!(
                "the cluster is not ready after {} s: {reason}; the nodes' logs are beside their data",
                READY_TIMEOUT.as_secs()
            )));
        }
        tokio::time::sleep(LOOK_EVERY / 2).await;
    }
}

/// Why the cluster is not ready yet: every node must be a voter and know the primary.
fn not_ready(addresses: &[String]) -> Option<String> {
    let mut primary = None;
    for address in addresses {
        let hello = match Connection::open(address, CONNECT_TIMEOUT, CONNECT_TIMEOUT)
            .and_then(|mut it| it.hello())
        {
            Ok(hello) => hello,
            Err(error) => return Some(error.to_string()),
        };
        if hello.get_bool("isWritablePrimary").unwrap_or(false) {
            primary = Some(address);
        } else if !hello.get_bool("secondary").unwrap_or(false) {
            return Some(format!("{address} is neither primary nor secondary yet"));
        }
    }
    let Some(primary) = primary else {
        return Some("no primary has been elected yet".to_owned());
    };
    match count_voters(primary) {
        // More, where a node was started anew on an empty directory: its former self is still a member.
        Ok(voters) if voters >= addresses.len() => None,
        Ok(voters) => Some(format!("{voters} of {} nodes vote", addresses.len())),
        Err(error) => Some(error.to_string()),
    }
}

fn count_voters(primary: &str) -> Result<usize, CliError> {
    let mut connection = Connection::open(primary, CONNECT_TIMEOUT, CONNECT_TIMEOUT * 4)?;
    let reply = connection.run("admin", rawdoc! { "cstoreStatus": 1 })?;
    let document =
        bson::Document::try_from(&*reply).map_err(|error| CliError::Failed(error.to_string()))?;
    Ok(super::status::members(&document)?
        .iter()
        .filter(|member| member.voter && member.reachable)
        .count())
}

fn describe(nodes: &[Node]) -> String {
    let hosts: Vec<String> = nodes.iter().map(|node| node.plan.client()).collect();
    let connection_string = format!("mongodb://{}/?replicaSet=cstore", hosts.join(","));
    debug_assert!(connection_string.parse::<ConnectionString>().is_ok());
    let mut text = format!("{connection_string}\n\n");
    for node in nodes {
        text.push_str(&format!(
            "node {}  pid {:<8}  http://{}  {}\n",
            node.plan.number,
            node.pid(),
            node.plan.admin(),
            node.plan.directory.display()
        ));
    }
    text.push_str("\nready; Ctrl-C stops all nodes\n");
    text
}

/// What each node is started with. Checks that the ports are free, since a child could only say so in its log.
fn plan(args: &DevArgs) -> Result<Vec<Plan>, CliError> {
    let executable = std::env::current_exe().map_err(|error| {
        CliError::Failed(format!("cannot find this program's own file: {error}"))
    })?;
    let directory = |number: u16| args.data_dir.join(format!("node{number}"));
    let peer = |number: u16| format!("127.0.0.1:{}", args.base_port + number + PEER_PORT_OFFSET);
    // Node 0 founds the cluster, unless another one has lived before: then everyone new joins those.
    let founded = (0..args.nodes).any(|number| has_identity(&directory(number)));
    let mut plans = Vec::new();
    for number in 0..args.nodes {
        let client_port = args.base_port + number;
        for port in [
            client_port,
            client_port + PEER_PORT_OFFSET,
            client_port + ADMIN_PORT_OFFSET,
        ] {
            require_free(port)?;
        }
        let joins = !has_identity(&directory(number)) && (founded || number > 0);
        let others: Vec<String> = (0..args.nodes)
            .filter(|other| joins && *other != number)
            .map(peer)
            .collect();
        std::fs::create_dir_all(directory(number)).map_err(|error| CliError::File {
            path: directory(number).display().to_string(),
            reason: error.to_string(),
        })?;
        plans.push(Plan {
            number,
            executable: executable.clone(),
            directory: directory(number),
            log: args.data_dir.join(format!("node{number}.log")),
            client_port,
            peer_port: client_port + PEER_PORT_OFFSET,
            admin_port: client_port + ADMIN_PORT_OFFSET,
            join: others,
            further_flags: args.serve_flags.clone(),
        });
    }
    Ok(plans)
}

fn has_identity(directory: &Path) -> bool {
    directory.join("identity").exists()
}

fn require_free(port: u16) -> Result<(), CliError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(drop).map_err(|error| {
        CliError::Failed(format!(
            "port {port} of 127.0.0.1 cannot be used: {error}; stop what uses it, or choose others with --base-port"
        ))
    })
}

/// Ctrl-C, SIGTERM, or the terminal's end.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Stop {
    fn listen() -> Result<Stop, CliError> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| {
            signal(kind)
                .map_err(|error| CliError::Failed(format!("cannot wait for signals: {error}")))
        };
        Ok(Stop {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }

    /// Asked once more, by someone who has waited: wrappers often deliver one wish twice.
    async fn asked_again(&mut self) {
        let first = Instant::now();
        loop {
            self.asked().await;
            if first.elapsed() > REPEATED_SIGNAL_WINDOW {
                return;
            }
        }
    }
}
