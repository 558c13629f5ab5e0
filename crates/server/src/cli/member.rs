//! `cstore member list`: who belongs to the cluster.

use std::process::ExitCode;

use super::{CliError, ClusterArgs, status};

/// What can be done about members.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum MemberCommand {
    /// List the members
    List(ClusterArgs),
}

pub(crate) fn run(command: &MemberCommand) -> Result<ExitCode, CliError> {
    let MemberCommand::List(cluster) = command;
    let document = status::fetch(cluster)?;
    let mut rows = vec![
        ["id", "role", "voter", "address", "admin", "reachable"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for member in status::members(&document)? {
        rows.push(vec![
            member.id.to_string(),
            member.role,
            status::yes(member.voter),
            member.listen,
            member.admin_listen,
            status::yes(member.reachable),
        ]);
    }
    super::print(&super::table(&rows))?;
    Ok(ExitCode::SUCCESS)
}
