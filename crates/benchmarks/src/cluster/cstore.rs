//! Members of our own, three with their default settings if not said otherwise: the first starts the cluster, the others join it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::{Cluster, ClusterError, MEMBERS, Process, free_addresses, wait_until};
use crate::mongo::Control;

const SYSTEM: &str = "cstore";

/// Starts three members in `directory` and waits until three voters take writes.
pub(crate) fn start(program: &Path, directory: &Path) -> Result<Cluster, ClusterError> {
    start_members(program, directory, MEMBERS, &[])
}

/// Starts so many members with further arguments, and waits until all of them vote and one takes writes.
pub(crate) fn start_members(
    program: &Path,
    directory: &Path,
    count: usize,
    arguments: &[String],
) -> Result<Cluster, ClusterError> {
    let addresses = free_addresses(count * 3);
    let (clients, rest) = addresses.split_at(count);
    let (peers, admins) = rest.split_at(count);
    let mut members = Vec::new();
    for member in 0..count {
        let name = format!("cstore-{member}");
        let mut command = Command::new(program);
        command
            .arg("serve")
            .arg("--data-dir")
            .arg(directory.join(&name))
            .args(["--listen", &clients[member].to_string()])
            .args(["--peer-listen", &peers[member].to_string()])
            .args(["--admin-listen", &admins[member].to_string()])
            .args(arguments);
        if member > 0 {
            command.args(["--join", &peers[0].to_string()]);
        }
        members.push(Process::start(command, name, directory)?);
        // One after the other: a member joins when those before it vote.
        wait_until(SYSTEM, &mut members, || {
            Ok(leads(clients[0])? && Control::connect(clients[0])?.voters()? == member + 1)
        })?;
    }
    let mut cluster = Cluster {
        system: SYSTEM,
        members,
        clients: clients.to_vec(),
        leads,
        probe: |member| Control::connect(member)?.insert_probe(),
    };
    cluster.wait_ready()?;
    Ok(cluster)
}

fn leads(member: SocketAddr) -> Result<bool, crate::load::LoadError> {
    Control::connect(member)?.is_primary()
}
