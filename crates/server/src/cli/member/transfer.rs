//! `cstore member transfer-leader [ID]`: another member leads, and no operation fails by it.

use std::process::ExitCode;

use bson::{doc, rawdoc};

use super::super::CliError;
use super::{ChangeArgs, Conversation};

/// The flags of `member transfer-leader`.
#[derive(clap::Args, Debug)]
pub(crate) struct TransferArgs {
    /// Id or address of the next leader [default: the most caught-up voter of the highest priority]
    #[arg(value_name = "ID|HOST:PORT")]
    to: Option<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

pub(super) fn run(args: &TransferArgs) -> Result<ExitCode, CliError> {
    let mut conversation = Conversation::new(&args.change);
    let before = conversation.cluster()?;
    let to = args
        .to
        .as_deref()
        .map(|named| before.resolve(named))
        .transpose()?;
    if to.is_some() && to == before.leader {
        let name = before.name(to.unwrap_or_default());
        conversation.say(&format!("{name} leads already; there is nothing to do"))?;
        return conversation.conclude(&doc! { "leader": to, "before": before.leader });
    }
    let mut command = rawdoc! { "cstoreTransferLeadership": 1 };
    if let Some(from) = before.leader {
        command.append(bson::raw::cstr!("from"), from);
    }
    if let Some(to) = to {
        command.append(bson::raw::cstr!("to"), to);
    }
    conversation.ask(&command)?;
    // Asked of whoever leads now.
    conversation = Conversation::new(&args.change);
    let after = conversation.cluster()?;
    let leads = after
        .leader
        .map_or_else(|| "nobody".to_owned(), |id| after.name(id));
    let led = before
        .leader
        .map_or_else(|| "nobody".to_owned(), |id| before.name(id));
    conversation.say(&format!("{leads} leads now; before it was {led}"))?;
    conversation.conclude(&doc! { "leader": after.leader, "before": before.leader })
}
