//! `cstore recover`: the operator's last resort for a stopped data directory, when the other members are lost for good or
//! the only copy is damaged. Says what is lost, and asks.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use node::{GivenUp, LastResort, examine_directory};
use platform::{OsDisk, OsEntropy};

use super::CliError;

/// The flags of `recover`.
#[derive(clap::Args, Debug)]
#[command(
    long_about = "Goes on with what is left of a stopped data directory. A damaged member of a cluster whose majority lives \
needs none of this: start it, and the others repair it. A majority that is only stopped needs none of this either: start it.\n\n\
--force-new-cluster makes the directory a cluster of one member, in a new term and under a new cluster id. Writes that were \
acknowledged and that only the lost members had are gone. The other members' directories belong to the old cluster: wipe them \
before they join this one, and never start a majority of them beside it.\n\n\
--accept-data-loss cuts a damaged log where it is damaged. Writes that were acknowledged and stood behind that are gone. \
The damaged files are put aside, not deleted.\n\n\
Without either, says what stands in the directory and changes nothing. Copy the directory first if you can."
)]
pub(crate) struct RecoverArgs {
    /// The directory, which no process may have open
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Go on without the other members: acknowledged writes that only they had are lost
    #[arg(long)]
    force_new_cluster: bool,
    /// Cut a damaged log where it is damaged: acknowledged writes behind that are lost
    #[arg(long)]
    accept_data_loss: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(crate) fn run(args: &RecoverArgs) -> Result<ExitCode, CliError> {
    let failed = |error: node::StartError| CliError::Failed(error.to_string());
    let report = examine_directory(&OsDisk, &args.data_dir).map_err(failed)?;
    super::print(&super::check::directory_text(&args.data_dir, &report))?;
    let given_up = GivenUp {
        other_members: args.force_new_cluster,
        damaged_log: args.accept_data_loss,
    };
    if given_up == GivenUp::default() {
        super::print("nothing was changed; see cstore recover --help\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    let directory = LastResort::open(OsDisk, &args.data_dir).map_err(failed)?;
    super::print(&warning(given_up))?;
    if !args.yes && !confirmed(&directory.cluster_id())? {
        return Err(CliError::Failed(
            "not confirmed; nothing was changed".to_owned(),
        ));
    }
    for line in directory.go_on(given_up, &OsEntropy).map_err(failed)? {
        super::print(&format!("{line}\n"))?;
    }
    super::print("start it with cstore serve as before\n")?;
    Ok(ExitCode::SUCCESS)
}

fn warning(given_up: GivenUp) -> String {
    let mut text = String::from("\nWARNING: this gives up acknowledged writes.\n");
    if given_up.other_members {
        text.push_str(
            "- Writes that only the other members had are lost. They belong to the old cluster from now on: wipe their \
             directories before they join this one.\n",
        );
    }
    if given_up.damaged_log {
        text.push_str("- Writes that stood behind the damage of the log, and not in the engine yet, are lost.\n");
    }
    text
}

/// Whether the operator types the cluster's id.
fn confirmed(cluster_id: &str) -> Result<bool, CliError> {
    if !std::io::stdin().is_terminal() {
        super::print("nobody can be asked: give --yes\n")?;
        return Ok(false);
    }
    super::print(&format!("type the cluster id ({cluster_id}) to go on: "))?;
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|error| CliError::Failed(format!("cannot read the answer: {error}")))?;
    Ok(line.trim() == cluster_id)
}
