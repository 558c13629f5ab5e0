//! `cstore member promote ID`: a learner votes, without waiting for the cluster to do it by itself.

use std::process::ExitCode;

use bson::{doc, rawdoc};

use super::super::CliError;
use super::{ChangeArgs, Conversation};

/// The flags of `member promote`.
#[derive(clap::Args, Debug)]
pub(crate) struct PromoteArgs {
    /// Id or address of the member, as `cstore member list` shows it
    #[arg(value_name = "ID|HOST:PORT")]
    member: String,
    #[command(flatten)]
    change: ChangeArgs,
}

pub(super) fn run(args: &PromoteArgs) -> Result<ExitCode, CliError> {
    let mut conversation = Conversation::new(&args.change);
    let before = conversation.cluster()?;
    let id = before.resolve(&args.member)?;
    let reply = conversation.ask(&rawdoc! { "cstorePromoteMember": 1, "member": id })?;
    let already = reply.get_bool("already").unwrap_or(false);
    let after = conversation.cluster()?;
    let name = after.name(id);
    match already {
        true => conversation.say(&format!("{name} votes already; there is nothing to do"))?,
        false => conversation.say(&format!("{name} votes now; {}", after.strength()))?,
    }
    conversation.conclude(&doc! { "promoted": id, "already": already, "leader": after.leader })
}
