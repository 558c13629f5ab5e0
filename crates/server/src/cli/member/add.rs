//! `cstore member add [HOST:PEERPORT]`: follows a node that joins, from its first word to its vote.
//!
//! A node asks for itself, by `cstore serve --join`: only it knows its data directory. So this says how to start it, waits
//! for it, and shows how it catches up; it changes nothing by itself and may be stopped and run again at any moment.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bson::doc;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::CliError;
use super::super::status::MemberStatus;
use super::{ChangeArgs, Cluster, Conversation};

/// Between two looks at the cluster.
const LOOK_PERIOD: Duration = Duration::from_millis(200);
/// Between two lines about a learner's progress, where there is no terminal.
const LINE_PERIOD: Duration = Duration::from_secs(5);

/// The flags of `member add`.
#[derive(clap::Args, Debug)]
pub(crate) struct AddArgs {
    /// Peer address of the node [default: whichever joins next]
    #[arg(value_name = "HOST:PEERPORT")]
    peer: Option<String>,
    /// Give up when it does not vote by then
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    timeout: u64,
    #[command(flatten)]
    change: ChangeArgs,
}

pub(super) fn run(args: &AddArgs) -> Result<ExitCode, CliError> {
    let mut conversation = Conversation::new(&args.change);
    let first = conversation.cluster()?;
    let known: BTreeSet<i64> = first.members.iter().map(|member| member.id).collect();
    let mut follower = Follower {
        peer: args.peer.as_deref().map(str::to_ascii_lowercase),
        known,
        id: None,
        bar: progress_bar(args.change.json),
        next_line: Instant::now(),
    };
    if follower.find(&first).is_none() {
        conversation.say(&instruction(&first, args.peer.as_deref()))?;
    }
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    loop {
        let cluster = conversation.cluster()?;
        if let Some(member) = follower.look(&conversation, &cluster)? {
            follower.bar.finish_and_clear();
            let name = cluster.name(member);
            conversation.say(&format!("{name} votes; {}", cluster.strength()))?;
            return conversation.conclude(&doc! {
                "added": member,
                "leader": cluster.leader,
                "members": cluster.members.iter().map(|member| member.id).collect::<Vec<_>>(),
            });
        }
        if Instant::now() >= deadline {
            follower.bar.finish_and_clear();
            return Err(follower.gave_up(&cluster, args.timeout));
        }
        sleep(LOOK_PERIOD);
    }
}

/// Watches one node.
struct Follower {
    peer: Option<String>,
    /// Members when this began: none of them is the one waited for, unless it is named.
    known: BTreeSet<i64>,
    id: Option<i64>,
    bar: ProgressBar,
    next_line: Instant,
}

impl Follower {
    fn find<'a>(&self, cluster: &'a Cluster) -> Option<&'a MemberStatus> {
        // At one address there may be a member that is gone and the one that takes its place.
        let mut candidates = cluster.members.iter().rev();
        match &self.peer {
            Some(peer) => candidates.find(|it| it.addresses().contains(&&**peer)),
            None => candidates.find(|it| !self.known.contains(&it.id)),
        }
    }

    /// Says what is new. Returns the member's id once it votes.
    fn look(
        &mut self,
        conversation: &Conversation,
        cluster: &Cluster,
    ) -> Result<Option<i64>, CliError> {
        let Some(member) = self.find(cluster) else {
            return Ok(None);
        };
        if self.id != Some(member.id) {
            self.id = Some(member.id);
            let name = cluster.name(member.id);
            let what = match member.voter {
                true => format!("{name} is a member already"),
                false => format!(
                    "{name} joined as a learner: it receives the data and does not vote yet"
                ),
            };
            self.bar.suspend(|| conversation.say(&what))?;
        }
        if member.voter {
            return Ok(Some(member.id));
        }
        self.progress(conversation, cluster, member)?;
        Ok(None)
    }

    fn progress(
        &mut self,
        conversation: &Conversation,
        cluster: &Cluster,
        member: &MemberStatus,
    ) -> Result<(), CliError> {
        let newest = cluster.members.iter().filter_map(|it| it.last_index).max();
        let (done, all) = (member.applied_index.unwrap_or(0), newest.unwrap_or(0));
        let text = match (member.reachable, member.snapshot_bytes) {
            (true, Some(bytes)) => {
                format!("{} of a snapshot so far", HumanBytes(bytes.cast_unsigned()))
            }
            (true, None) => format!("{done} of {all} log entries"),
            (false, _) => "it cannot be reached".to_owned(),
        };
        self.bar.set_length(u64::try_from(all).unwrap_or(0));
        self.bar.set_position(u64::try_from(done).unwrap_or(0));
        self.bar.set_message(text.clone());
        let lines = self.bar.is_hidden() && Instant::now() >= self.next_line;
        if lines {
            self.next_line = Instant::now() + LINE_PERIOD;
            conversation.say(&format!("{} catches up: {text}", cluster.name(member.id)))?;
        }
        Ok(())
    }

    fn gave_up(&self, cluster: &Cluster, seconds: u64) -> CliError {
        CliError::Failed(match self.find(cluster) {
            None => format!(
                "no node asked to join within {seconds} s. {}",
                instruction(cluster, self.peer.as_deref())
            ),
            Some(member) => format!(
                "{} does not vote after {seconds} s: {}. It goes on catching up; see `cstore status`",
                cluster.name(member.id),
                match member.reachable {
                    true => "it is still catching up",
                    false => "it cannot be reached",
                }
            ),
        })
    }
}

/// How to start the node that is waited for.
fn instruction(cluster: &Cluster, peer: Option<&str>) -> String {
    let contacts: Vec<&str> = cluster
        .members
        .iter()
        .filter(|member| member.reachable)
        .map(|member| &*member.peer_listen)
        .collect();
    let listen = match peer {
        Some(peer) => format!("--listen HOST:PORT --peer-listen {peer}"),
        None => "--listen HOST:PORT".to_owned(),
    };
    format!(
        "waiting for the node to ask; start it with an empty data directory, if it does not run yet:\n  \
         cstore serve --data-dir DIR {listen} --join {}",
        contacts.join(",")
    )
}

fn progress_bar(quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:32} {percent:>3}%  {msg}  {elapsed}")
        .expect("a fixed template");
    let bar = ProgressBar::new(0).with_style(style);
    bar.set_draw_target(ProgressDrawTarget::stderr());
    bar
}
