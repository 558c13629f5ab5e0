//! `cstore member list`: who belongs to the cluster, in which role, and how far a learner has come.

use std::process::ExitCode;

use super::super::{CliError, ClusterArgs, print, status, table};

/// The flags of `member list`.
#[derive(clap::Args, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Print the members as one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ListArgs) -> Result<ExitCode, CliError> {
    let document = status::fetch(&args.cluster)?;
    if args.json {
        print(&status::as_json(&document))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![
        [
            "id",
            "role",
            "voter",
            "priority",
            "address",
            "peers",
            "admin",
            "reachable",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for member in status::members(&document)? {
        rows.push(vec![
            member.id.to_string(),
            member.part(),
            member.votes().to_owned(),
            status::or_dash(member.priority),
            member.listen.clone(),
            member.peer_listen.clone(),
            member.admin_listen.clone(),
            status::yes(member.reachable),
        ]);
    }
    let notes = status::notes(&document);
    print(&format!("{}{notes}", table(&rows)))?;
    Ok(ExitCode::SUCCESS)
}
