//! One fault: wait for a whole cluster, strike the leader, see when writes go on, and make the cluster whole again.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use benchmarks::disk_watch::DiskWatch;
use bson::{Document, doc, oid::ObjectId};
use end_to_end::Cluster;
use end_to_end::network::Network;
use mongodb::{Client, Collection};
use tokio::task::JoinSet;

use crate::load::{Load, Window};
use crate::probe::Probes;
use crate::view::View;

/// How often a further write is begun while none has been acknowledged.
const BEGIN_PERIOD: Duration = Duration::from_millis(10);
const WRITES_MAX: usize = 2_000;
/// Undisturbed time before a fault: what faults at random moments are compared with.
const QUIET: Duration = Duration::from_millis(700);
/// How much later than the fault operations still belong to it.
const AFTERMATH: Duration = Duration::from_millis(1_000);

/// What happens to the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL: its connections are reset.
    Kill,
    /// SIGSTOP: its connections stand and nothing answers.
    Freeze,
    /// Its cable is out: it goes on, and nobody hears it.
    Cut,
    /// SIGTERM: it hands leadership over first.
    Stop,
}

/// Where faults happen.
pub(crate) struct Stage<'a> {
    pub cluster: &'a mut Cluster,
    /// What the cluster is connected by; none: loopback.
    pub network: Option<&'a Network>,
    pub client: &'a Client,
    pub view: &'a View,
    pub load: &'a Load,
    pub disk: &'a DiskWatch,
}

/// What a fault cost.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Until a surviving member acknowledged a write; `None`: not in time.
    pub wire: Option<Duration>,
    /// Until the driver reported a write done that was begun after the fault.
    pub driver: Option<Duration>,
    /// Writes begun after the fault that the driver reported as failed.
    pub driver_errors: Vec<String>,
    /// Terms that the election took.
    pub terms: i64,
    /// The election by itself: from asking for votes to the first commit of the new term.
    pub election: Option<Duration>,
    /// The longest sync of the disk until the driver's write.
    pub sync: Option<Duration>,
    /// The background's operations before and around the fault.
    pub before: Window,
    pub around: Window,
}

/// Strikes the leader once.
pub(crate) async fn run(stage: &mut Stage<'_>, fault: Fault) -> Outcome {
    let Stage {
        cluster,
        network,
        client,
        view,
        load,
        disk,
    } = stage;
    cluster.wait_until_whole().await;
    if matches!(fault, Fault::Freeze | Fault::Cut) {
        // Nothing makes the driver look for a server while the connections to a silent one stand.
        view.wait_until_whole(cluster.size()).await;
    }
    let quiet_from = Instant::now();
    // Faults fall anywhere between two heartbeats.
    let jitter = Duration::from_micros(u64::from(ObjectId::new().bytes()[11]) * 200);
    tokio::time::sleep(QUIET + jitter).await;
    let leader = cluster.leader().await;
    let others: Vec<usize> = (0..cluster.size())
        .filter(|member| *member != leader)
        .collect();
    let address = |member: &usize| cluster.listen(*member).parse();
    let survivors: Result<Vec<SocketAddr>, _> = others.iter().map(address).collect();
    let survivors = survivors.expect("members listen on addresses");
    let term = term(cluster, leader).await;
    let probes = Probes::ready(&survivors).expect("the survivors take connections");
    let writes: Collection<Document> = client.database("failover").collection("after");
    if fault == Fault::Freeze {
        // Until all its threads stand still it goes on answering.
        cluster.pause(leader);
    }
    let start = probes.begin();
    match fault {
        Fault::Freeze => {}
        Fault::Kill => cluster.signal_kill(leader),
        Fault::Stop => cluster.signal_terminate(leader),
        Fault::Cut => cables(*network).unplug(leader),
    }
    let (driver, pending) = first_acknowledged(&writes, start).await;
    let wire = tokio::task::spawn_blocking(move || probes.finish())
        .await
        .ok()
        .flatten();
    let successor = cluster.leader_among(&others).await;
    let terms = self::term(cluster, successor).await - term;
    let election = election(cluster, successor).await;
    tokio::time::sleep((start + AFTERMATH).saturating_duration_since(Instant::now())).await;
    match fault {
        Fault::Freeze => cluster.resume(leader),
        Fault::Cut => cables(*network).plug(leader),
        Fault::Kill | Fault::Stop => {
            cluster.wait_for_exit(leader);
            cluster.start_member(leader);
        }
    }
    let driver_errors = errors_of(pending).await;
    Outcome {
        wire,
        driver,
        driver_errors,
        terms,
        election,
        sync: disk.longest(start, start + driver.unwrap_or(AFTERMATH)),
        before: load.window(quiet_from, start),
        around: load.window(start, start + AFTERMATH),
    }
}

async fn term(cluster: &Cluster, member: usize) -> i64 {
    let status = cluster.command(member, doc! { "cstoreStatus": 1 }).await;
    let term = status.and_then(|status| Ok(status.get_i64("term")?));
    term.expect("a member says its term")
}

/// How long the member says that its election took.
async fn election(cluster: &Cluster, member: usize) -> Option<Duration> {
    let status = cluster
        .command(member, doc! { "replSetGetStatus": 1 })
        .await
        .ok()?;
    let metrics = status.get_document("electionCandidateMetrics").ok()?;
    let micros = metrics.get_i64("writableMicros").ok()?;
    Some(Duration::from_micros(micros.unsigned_abs()))
}

fn cables(network: Option<&Network>) -> &Network {
    network.expect("cables are cut only where there are some")
}

type Writes = JoinSet<Result<(), String>>;

/// Begins writes until one is acknowledged.
async fn first_acknowledged(
    writes: &Collection<Document>,
    start: Instant,
) -> (Option<Duration>, (Writes, Vec<String>)) {
    let mut pending = Writes::new();
    let mut errors = Vec::new();
    let mut begun = 0;
    let mut ticks = tokio::time::interval(BEGIN_PERIOD);
    loop {
        tokio::select! {
            _ = ticks.tick(), if begun < WRITES_MAX => {
                begun += 1;
                let writes = writes.clone();
                pending.spawn(async move {
                    let outcome = writes.insert_one(doc! { "begun": begun as i32 }).await;
                    outcome.map(drop).map_err(|error| error.to_string())
                });
            }
            Some(outcome) = pending.join_next() => match outcome.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(()) => return (Some(start.elapsed()), (pending, errors)),
                Err(error) => errors.push(error),
            },
            else => return (None, (pending, errors)),
        }
    }
}

async fn errors_of((mut pending, mut errors): (Writes, Vec<String>)) -> Vec<String> {
    while let Some(outcome) = pending.join_next().await {
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => errors.push(error),
            Err(error) => errors.push(error.to_string()),
        }
    }
    errors
}
