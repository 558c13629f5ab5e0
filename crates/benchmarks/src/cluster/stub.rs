//! The stub, as a process of its own like the servers.

use std::path::Path;
use std::process::Command;

use super::{Cluster, ClusterError, Process, free_addresses};

/// Starts this program again as the stub.
pub(crate) fn start(directory: &Path) -> Result<Cluster, ClusterError> {
    let clients = free_addresses(1);
    let program = std::env::current_exe().map_err(|source| ClusterError::Start {
        program: "the stub".to_owned(),
        source,
    })?;
    let mut command = Command::new(program);
    command.args(["stub", "--listen", &clients[0].to_string()]);
    let members = vec![Process::start(command, "stub".to_owned(), directory)?];
    let mut cluster = Cluster {
        system: "stub",
        members,
        clients,
        leads: |member| Ok(std::net::TcpStream::connect(member).is_ok()),
        probe: |_| Ok(()),
    };
    cluster.wait_ready()?;
    Ok(cluster)
}
