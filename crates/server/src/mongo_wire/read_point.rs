//! At which state a read is answered.
//!
//! The default on the leader is linearizable: it confirms its lead, then reads what is applied. Another member
//! answers only clients that said so (`$readPreference`): at what it has applied, or, for majority and
//! linearizable reads, at an index the leader confirmed.

use std::time::Duration;

use node::ReadError;
use state_machine::Snapshot;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::dispatch::Invocation;
use super::failure::{Code, Failure};
use super::request::ReadLevel;
use super::server::{Server, index_of, timestamp_of};
use super::write_path::settle;

/// How long a member without a leader looks for one before it gives the read back.
const NO_LEADER_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_PERIOD: Duration = Duration::from_millis(10);

/// The snapshot this request reads.
pub(crate) async fn snapshot(invocation: &Invocation<'_>) -> Result<Snapshot, Failure> {
    let server = invocation.server;
    let options = &invocation.request.options;
    let secondary_allowed = options
        .read_preference
        .is_some_and(|mode| mode != "primary");
    let primary = server.topology.view().is_primary();
    if !primary && !secondary_allowed {
        return Err(not_primary());
    }
    if options.read_level == Some(ReadLevel::Snapshot) {
        return as_of(invocation, secondary_allowed).await;
    }
    let confirmed = match options.read_level {
        Some(ReadLevel::Local | ReadLevel::Available) => false,
        Some(ReadLevel::Majority | ReadLevel::Linearizable | ReadLevel::Snapshot) => true,
        None => primary,
    };
    let applied = server.node.reader().applied_index();
    let wanted = options.after_cluster_time.map_or(0, index_of);
    // Whoever was told of a time was told of a committed entry: one beyond all of them is not of this cluster's making,
    // and would be waited for without end.
    if (confirmed || wanted > applied) && wanted > confirm(server, secondary_allowed).await? {
        return Err(Failure::new(
            Code::InvalidOptions,
            "readConcern afterClusterTime value must not be greater than the current clusterTime",
        ));
    }
    Ok(server.node.reader().snapshot())
}

/// Commands that read at one point in time outside transactions.
const SNAPSHOT_READS: [&str; 3] = ["find", "aggregate", "distinct"];

/// The state as of the time that was asked for, or of now.
async fn as_of(invocation: &Invocation<'_>, secondary_allowed: bool) -> Result<Snapshot, Failure> {
    let (server, request) = (invocation.server, &invocation.request);
    if !SNAPSHOT_READS.contains(&request.name) {
        return Err(Failure::new(
            Code::InvalidOptions,
            format!(
                "The command '{}' does not support readConcern level 'snapshot' outside of transactions",
                request.name
            ),
        ));
    }
    let confirmed = confirm(server, secondary_allowed).await?;
    let Some(time) = request.options.at_cluster_time else {
        return Ok(server.node.reader().snapshot());
    };
    let index = index_of(time);
    if index > confirmed {
        return Err(Failure::new(
            Code::InvalidOptions,
            "readConcern atClusterTime value must not be greater than the current clusterTime",
        ));
    }
    server.node.reader().snapshot_at(index)?.ok_or_else(|| {
        Failure::new(
            Code::SnapshotTooOld,
            "Read timestamp is older than the oldest one that is kept readable",
        )
    })
}

/// The time that the reply to a snapshot read names.
pub(crate) fn at_cluster_time(
    invocation: &Invocation<'_>,
    snapshot: &Snapshot,
) -> Option<bson::Timestamp> {
    let level = invocation.request.options.read_level;
    (level == Some(ReadLevel::Snapshot)).then(|| timestamp_of(snapshot.as_of()))
}

/// A linearizable snapshot on the leader, for planning writes.
pub(crate) async fn leader_snapshot(server: &Server) -> Result<Snapshot, Failure> {
    // A follower could get the leader's index too: a write that finds nothing to change would then seem done here.
    if !server.topology.view().is_primary() {
        return Err(Failure::not_primary());
    }
    match confirm(server, false).await {
        Ok(_) => Ok(server.node.reader().snapshot()),
        Err(failure) if failure.code == Code::NotPrimaryNoSecondaryOk => {
            Err(Failure::not_primary())
        }
        Err(failure) => Err(failure),
    }
}

fn not_primary() -> Failure {
    Failure {
        nothing_written: true,
        ..Failure::new(
            Code::NotPrimaryNoSecondaryOk,
            "not primary and secondaryOk=false",
        )
    }
}

/// Returns once a majority has confirmed the lead and what was committed then is applied here: up to which index.
pub(crate) async fn confirm(server: &Server, secondary_allowed: bool) -> Result<u64, Failure> {
    if let Some(index) = server.node.read_index_alone() {
        return Ok(index);
    }
    let give_up = Instant::now() + NO_LEADER_TIMEOUT;
    loop {
        let asked_in = server.topology.view();
        match read_index(server).await {
            Ok(index) => return Ok(index),
            Err(ReadError::Stopping) => return Err(Failure::shutting_down()),
            Err(ReadError::Overloaded) if Instant::now() >= give_up => {
                return Err(Failure::overloaded());
            }
            Err(ReadError::Overloaded) => {}
            Err(ReadError::NoLeader) => {
                if !secondary_allowed {
                    settle(&server.topology, &asked_in).await;
                    if !server.topology.view().is_primary() {
                        return Err(not_primary());
                    }
                }
                if Instant::now() >= give_up {
                    return Err(Failure::new(
                        Code::ReadConcernMajorityNotAvailableYet,
                        "no leader confirmed the read; the cluster has no majority that answers",
                    ));
                }
            }
        }
        sleep(RETRY_PERIOD).await;
    }
}

async fn read_index(server: &Server) -> Result<u64, ReadError> {
    let (sender, receiver) = oneshot::channel();
    server.node.read_index(Box::new(move |result| {
        // The reader may have given up: its time limit passed or its client left.
        let _ = sender.send(result);
    }));
    receiver.await.unwrap_or(Err(ReadError::Stopping))
}

/// Waits until this member has applied `index`.
pub(crate) async fn wait_applied(server: &Server, index: u64) -> Result<(), Failure> {
    if server.node.reader().applied_index() >= index {
        return Ok(());
    }
    let (sender, receiver) = oneshot::channel();
    server.node.wait_applied(
        index,
        Box::new(move |result| {
            let _ = sender.send(result);
        }),
    );
    match receiver.await {
        Ok(Ok(_)) => Ok(()),
        _ => Err(Failure::shutting_down()),
    }
}
