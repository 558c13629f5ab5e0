//! `cstore member`: who belongs to the cluster, and changes of it; one file per change.
//!
//! Promises: a change goes to the leader, wherever it moves meanwhile; to ask for it again is safe. What happens is
//! said as it happens, or, with `--json`, in one document at the end. A refusal says why and what to do.

mod add;
mod list;
mod promote;
mod remove;
mod transfer;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use bson::{Document, RawDocument, RawDocumentBuf, rawdoc};

use super::status::{self, MemberStatus};
use super::{CliError, ClusterArgs};
use crate::client::{Client, ClientError};

/// What can be done about members.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum MemberCommand {
    /// List the members
    List(list::ListArgs),
    /// Follow a node that joins until it votes, and say how to start it
    Add(add::AddArgs),
    /// Take members out of the cluster, dead or alive
    Remove(remove::RemoveArgs),
    /// Make a learner vote
    Promote(promote::PromoteArgs),
    /// Hand the lead to another member
    TransferLeader(transfer::TransferArgs),
}

/// What every change needs.
#[derive(clap::Args, Clone, Debug)]
struct ChangeArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Say nothing meanwhile, and print the outcome as one JSON document
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &MemberCommand) -> Result<ExitCode, CliError> {
    match command {
        MemberCommand::List(args) => list::run(args),
        MemberCommand::Add(args) => add::run(args),
        MemberCommand::Remove(args) => remove::run(args),
        MemberCommand::Promote(args) => promote::run(args),
        MemberCommand::TransferLeader(args) => transfer::run(args),
    }
}

/// The codes of refusals, whose message is a sentence for the operator: no such member, not with this membership.
const REFUSALS: [i32; 2] = [74, 103];
/// The code of an answer that says: under way, ask again.
const UNDER_WAY: i32 = 262;
/// The leader answers sooner, be it that the change is under way; one that does not is cut off or frozen.
const REPLY_TIMEOUT: Duration = Duration::from_secs(8);

/// The conversation with the leader that one change is.
struct Conversation {
    client: Client,
    /// How long a change may take.
    patience: Duration,
    json: bool,
}

/// The cluster as its leader describes it.
struct Cluster {
    leader: Option<i64>,
    members: Vec<MemberStatus>,
}

impl Conversation {
    fn new(args: &ChangeArgs) -> Conversation {
        Conversation {
            client: args.cluster.client().with_reply_timeout(REPLY_TIMEOUT),
            patience: Duration::from_secs(args.cluster.wait),
            json: args.json,
        }
    }

    /// Says what happens, as it happens.
    fn say(&self, text: &str) -> Result<(), CliError> {
        match self.json {
            true => Ok(()),
            false => super::print(&format!("{text}\n")),
        }
    }

    /// Says how it ended to a program.
    fn conclude(&self, outcome: &Document) -> Result<ExitCode, CliError> {
        if self.json {
            super::print(&status::as_json(outcome))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Runs a command on the leader, asking again for as long as members change roles and while it is under way.
    fn ask(&mut self, command: &RawDocument) -> Result<RawDocumentBuf, CliError> {
        let deadline = Instant::now() + self.patience;
        loop {
            return match self.client.run("admin", command) {
                Ok(reply) => Ok(reply),
                Err(ClientError::Command { code, message, .. }) if code == UNDER_WAY => {
                    if Instant::now() < deadline {
                        continue;
                    }
                    let seconds = self.patience.as_secs();
                    Err(CliError::Failed(format!(
                        "not finished after {seconds} s: {message}; see `cstore status`, and give the command again"
                    )))
                }
                Err(ClientError::Command { code, message, .. }) if REFUSALS.contains(&code) => {
                    Err(CliError::Failed(message))
                }
                Err(error) => Err(error.into()),
            };
        }
    }

    fn cluster(&mut self) -> Result<Cluster, CliError> {
        let reply = self.ask(&rawdoc! { "cstoreStatus": 1 })?;
        let document = status::document("the leader", &reply)?;
        Ok(Cluster {
            leader: status::integer(&document, "leader"),
            members: status::members(&document)?,
        })
    }
}

impl Cluster {
    fn member(&self, id: i64) -> Option<&MemberStatus> {
        self.members.iter().find(|member| member.id == id)
    }

    /// A member with its address, for people.
    fn name(&self, id: i64) -> String {
        match self.member(id) {
            Some(member) if !member.listen.is_empty() => {
                format!("member {id} ({})", member.listen)
            }
            _ => format!("member {id}"),
        }
    }

    /// The member that an operator names by its id or one of its addresses. An id need not be a member's: the
    /// leader knows which ever were.
    fn resolve(&self, named: &str) -> Result<i64, CliError> {
        if let Ok(id) = named.parse::<i64>() {
            return Ok(id);
        }
        let wanted = named.to_ascii_lowercase();
        let found = self
            .members
            .iter()
            .find(|member| member.addresses().contains(&&*wanted));
        found.map(|member| member.id).ok_or_else(|| {
            let all: Vec<String> = self.members.iter().map(|it| self.name(it.id)).collect();
            CliError::Failed(format!(
                "no member is reached at {named}; there are {}",
                all.join(", ")
            ))
        })
    }

    /// How many voters there are and what they survive.
    fn strength(&self) -> String {
        let voters = self.members.iter().filter(|member| member.voter).count();
        let losses = voters.saturating_sub(1) / 2;
        let (voters, losses) = (
            counted(voters, "voter", "voters"),
            match losses {
                0 => "none of them".to_owned(),
                some => some.to_string(),
            },
        );
        format!("the cluster has {voters} now and survives the loss of {losses}")
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Ids in a reply's array.
fn ids(reply: &RawDocument, field: &str) -> Vec<i64> {
    let Ok(array) = reply.get_array(field) else {
        return Vec::new();
    };
    array
        .into_iter()
        .flatten()
        .filter_map(|id| id.as_i64())
        .collect()
}

#[cfg(test)]
mod tests;
