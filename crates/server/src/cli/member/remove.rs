//! `cstore member remove ID|ADDRESS…`: takes members out, dead or alive, the leader among them, several at once.

use std::process::ExitCode;

use bson::{doc, rawdoc};

use super::super::CliError;
use super::{ChangeArgs, Conversation, ids};

/// The flags of `member remove`.
#[derive(clap::Args, Debug)]
pub(crate) struct RemoveArgs {
    /// Ids or addresses of the members, as `cstore member list` shows them
    #[arg(required = true, value_name = "ID|HOST:PORT")]
    members: Vec<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

pub(super) fn run(args: &RemoveArgs) -> Result<ExitCode, CliError> {
    let mut conversation = Conversation::new(&args.change);
    let before = conversation.cluster()?;
    let named: Vec<i64> = args
        .members
        .iter()
        .map(|named| before.resolve(named))
        .collect::<Result<_, _>>()?;
    if let Some(leader) = before.leader.filter(|leader| named.contains(leader)) {
        let others = |voter: &&i64| before.member(**voter).is_some_and(|it| it.voter);
        if before.members.iter().filter(|it| it.voter).count() > named.iter().filter(others).count()
        {
            let name = before.name(leader);
            conversation.say(&format!("{name} leads: it hands over first"))?;
        }
    }
    let mut members = bson::RawArrayBuf::new();
    named.iter().for_each(|id| members.push(*id));
    let reply = conversation.ask(&rawdoc! { "cstoreRemoveMembers": 1, "members": members })?;
    // What an answer that got lost had done shows as gone.
    for id in &named {
        let removed = ids(&reply, "removed").contains(id) || before.member(*id).is_some();
        conversation.say(&match removed {
            true => format!(
                "{} was removed{}",
                before.name(*id),
                its_process(&before, *id)
            ),
            false => format!("member {id} was removed before; there is nothing to do"),
        })?;
    }
    let after = conversation.cluster()?;
    conversation.say(&after.strength())?;
    conversation.conclude(&doc! {
        "removed": named,
        "leader": after.leader,
        "members": after.members.iter().map(|member| member.id).collect::<Vec<_>>(),
    })
}

fn its_process(before: &super::Cluster, id: i64) -> &'static str {
    match before.member(id).is_some_and(|member| member.reachable) {
        true => "; its process ends by itself",
        false => "; should it come back, its process will say so and end",
    }
}
