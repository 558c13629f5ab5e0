//! Three etcd members with their default settings, which sync every write to disk.

use std::path::Path;
use std::process::Command;

use super::{Cluster, ClusterError, MEMBERS, Process, free_addresses};
use crate::etcd::{ask_status, put_once};

/// The one setting that is not etcd's default: its 2 GiB quota could end a long run.
const QUOTA_BYTES: &str = "8589934592";

/// Starts the members in `directory` and waits until they take writes.
pub(crate) fn start(program: &Path, directory: &Path) -> Result<Cluster, ClusterError> {
    let clients = free_addresses(MEMBERS * 2);
    let (clients, peers) = clients.split_at(MEMBERS);
    let initial: Vec<String> = (0..MEMBERS)
        .map(|member| format!("etcd-{member}=http://{}", peers[member]))
        .collect();
    let mut members = Vec::new();
    for member in 0..MEMBERS {
        let name = format!("etcd-{member}");
        let client = format!("http://{}", clients[member]);
        let peer = format!("http://{}", peers[member]);
        let mut command = Command::new(program);
        command
            .args(["--name", &name])
            .arg("--data-dir")
            .arg(directory.join(&name))
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &initial.join(",")])
            .args(["--initial-cluster-state", "new"])
            .args(["--quota-backend-bytes", QUOTA_BYTES]);
        members.push(Process::start(command, name, directory)?);
    }
    let mut cluster = Cluster {
        system: "etcd",
        members,
        clients: clients.to_vec(),
        leads: |member| Ok(ask_status(member)?.leads()),
        probe: |member| put_once(member, b"probe", b"1"),
    };
    cluster.wait_ready()?;
    Ok(cluster)
}
