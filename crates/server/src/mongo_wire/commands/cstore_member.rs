//! Changes of who is a member, for `cstore member`: `cstoreRemoveMembers {members}`, `cstorePromoteMember {member}`,
//! `cstoreTransferLeadership {from, to}`.
//!
//! Only the leader carries them out; any other member answers that it is not primary. Each may be asked again after an
//! answer got lost, and is to be after `ExceededTimeLimit`: what is done already is a success. A leader that is to be removed first hands over, and leaves the
//! removal to its successor.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bson::raw::RawBsonRef;
use node::{
    MembershipChange, MembershipOutcome, MembershipRefusal, NodeId, NodeStatus, RoleName,
    VOTERS_MAX,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{Command, Running};
use crate::mongo_wire::cluster_status;
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::request::Fields;
use crate::mongo_wire::server::Server;
use crate::mongo_wire::values;
use crate::mongo_wire::write_path::settle;

/// How long a command waits for what it asked for; then it says that it is under way, and is to be asked again. Whoever
/// asks thus notices soon when this member is cut off.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
const RETRY_PERIOD: Duration = Duration::from_millis(20);
/// Most members that one command names.
const NAMED_MAX: usize = 64;

pub(super) static REMOVE: Command = Command {
    fields: Some(Fields {
        known: &["members"],
        refused: &[],
    }),
    admin_only: true,
    ..Command::new(
        "cstoreRemoveMembers",
        "take members out of the cluster",
        run_remove,
    )
};

pub(super) static PROMOTE: Command = Command {
    fields: Some(Fields {
        known: &["member"],
        refused: &[],
    }),
    admin_only: true,
    ..Command::new("cstorePromoteMember", "make a learner vote", run_promote)
};

pub(super) static TRANSFER: Command = Command {
    fields: Some(Fields {
        known: &["from", "to"],
        refused: &[],
    }),
    admin_only: true,
    ..Command::new(
        "cstoreTransferLeadership",
        "hand the lead to another member",
        run_transfer,
    )
};

fn run_remove<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let server = invocation.server;
        let named = named(invocation)?;
        let status = settled(server).await?;
        let (remove, gone): (BTreeSet<NodeId>, BTreeSet<NodeId>) = named
            .into_iter()
            .partition(|id| status.membership.members.contains_key(id));
        require_given_out(&status, &gone)?;
        let mut fields = DocumentWriter::new();
        if let Some(first) = remove.first() {
            if remove.contains(&status.id) {
                give_up_lead(server, &status, &remove).await?;
                // The successor removes this member, when it is asked again there.
                return Err(Failure::not_primary());
            }
            let change = match remove.len() {
                1 => MembershipChange::Remove(*first),
                _ => MembershipChange::Reconfigure {
                    promote: BTreeSet::new(),
                    remove: remove.clone(),
                },
            };
            fields.i64("index", number(change_members(server, change).await?));
        }
        put_ids(&mut fields, "removed", &remove);
        put_ids(&mut fields, "gone", &gone);
        Ok(fields.into())
    })
}

fn run_promote<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let server = invocation.server;
        let id = one(invocation, "member")?.ok_or_else(|| invocation.request.missing("member"))?;
        let status = settled(server).await?;
        require_member(&status, id)?;
        let already = status.membership.voters.contains(&id);
        let mut fields = DocumentWriter::new();
        if !already {
            let change = MembershipChange::Promote(id);
            fields.i64("index", number(change_members(server, change).await?));
        }
        fields.bool("already", already);
        Ok(fields.into())
    })
}

fn run_transfer<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let server = invocation.server;
        let (from, to) = (one(invocation, "from")?, one(invocation, "to")?);
        let status = leading(server)?;
        let moved_already = to.is_none() && from.is_some_and(|from| from != status.id);
        if to == Some(status.id) || moved_already {
            return Ok(DocumentWriter::new().into());
        }
        match to {
            Some(to) => require_successor(&status, to)?,
            None if status.membership.voters.len() < 2 => {
                return Err(refused(
                    "no other member votes, so that none could lead; add one with `cstore member add`",
                ));
            }
            None => {}
        }
        hand_over(server, to).await?;
        Ok(DocumentWriter::new().into())
    })
}

/// The members named in the request.
fn named(invocation: &Invocation<'_>) -> Result<BTreeSet<NodeId>, Failure> {
    let missing = || invocation.request.missing("members");
    let value = invocation.request.field("members")?.ok_or_else(missing)?;
    let mut named = BTreeSet::new();
    for element in values::array("members", value)? {
        named.insert(id_of("members", element?)?);
    }
    if named.is_empty() || named.len() > NAMED_MAX {
        return Err(Failure::bad_value(format!(
            "members must name between 1 and {NAMED_MAX} members"
        )));
    }
    Ok(named)
}

fn one(invocation: &Invocation<'_>, field: &str) -> Result<Option<NodeId>, Failure> {
    let value = invocation.request.field(field)?;
    value.map(|value| id_of(field, value)).transpose()
}

fn id_of(field: &str, value: RawBsonRef<'_>) -> Result<NodeId, Failure> {
    values::count(field, value).map(NodeId)
}

/// The status of this member, if it leads.
fn leading(server: &Server) -> Result<Arc<NodeStatus>, Failure> {
    let status = server.node.status();
    match status.writable {
        true => Ok(status),
        false => Err(Failure::not_primary()),
    }
}

/// The status of this member, if it leads, once no change is under way: one that is not committed may still come to nothing.
async fn settled(server: &Server) -> Result<Arc<NodeStatus>, Failure> {
    let give_up = Instant::now() + ANSWER_TIMEOUT;
    loop {
        let status = leading(server)?;
        if status.settled {
            return Ok(status);
        }
        if Instant::now() >= give_up {
            return Err(under_way(
                "a change of the members is not finished, most likely because a majority cannot be reached",
            ));
        }
        sleep(RETRY_PERIOD).await;
    }
}

fn under_way(text: impl Into<String>) -> Failure {
    Failure::new(Code::ExceededTimeLimit, text)
}

fn require_member(status: &NodeStatus, id: NodeId) -> Result<(), Failure> {
    if status.membership.members.contains_key(&id) {
        return Ok(());
    }
    let all = status.membership.members.keys();
    let all: Vec<String> = all.map(|id| id.0.to_string()).collect();
    Err(Failure::new(
        Code::NodeNotFound,
        format!(
            "there is no member {}; the members are {}",
            id.0,
            all.join(", ")
        ),
    ))
}

/// Members that are not there must have been: to remove them again is no error.
fn require_given_out(status: &NodeStatus, gone: &BTreeSet<NodeId>) -> Result<(), Failure> {
    let never = |id: &&NodeId| id.0 >= status.membership.next_node_id || id.0 == 0;
    match gone.iter().find(never) {
        Some(id) => require_member(status, *id),
        None => Ok(()),
    }
}

fn require_successor(status: &NodeStatus, to: NodeId) -> Result<(), Failure> {
    require_member(status, to)?;
    if !status.membership.voters.contains(&to) {
        return Err(refused(format!(
            "member {} does not vote yet, it is still catching up; see `cstore status`",
            to.0
        )));
    }
    if status.membership.members[&to].priority == 0 {
        return Err(refused(format!(
            "member {} has election priority 0: it never leads; start it with another --priority first",
            to.0
        )));
    }
    Ok(())
}

/// Hands the lead to one of those that stay.
async fn give_up_lead(
    server: &Arc<Server>,
    status: &NodeStatus,
    remove: &BTreeSet<NodeId>,
) -> Result<(), Failure> {
    let membership = &status.membership;
    let stays = |id: &u64| {
        let id = NodeId(*id);
        membership.voters.contains(&id)
            && !remove.contains(&id)
            && membership.members[&id].priority > 0
    };
    let reports = cluster_status::collect(server).await;
    let successor = reports
        .iter()
        .filter(|report| report.reachable && stays(&report.id))
        .max_by_key(|report| {
            let priority = membership.members[&NodeId(report.id)].priority;
            (priority, report.durable_index)
        });
    match successor {
        Some(successor) => hand_over(server, Some(NodeId(successor.id))).await,
        None if membership.voters.iter().all(|id| remove.contains(id)) => {
            Err(explain(server, MembershipRefusal::LastVoter(status.id)))
        }
        None => Err(refused(format!(
            "member {} leads and none of the voters that stay can be reached to take over; start one of them first",
            status.id.0
        ))),
    }
}

async fn hand_over(server: &Server, to: Option<NodeId>) -> Result<(), Failure> {
    let mut views = server.topology.subscribe();
    views.borrow_and_update();
    server.node.transfer_leadership_to(to);
    let moved = async {
        loop {
            let status = server.node.status();
            if status.role != RoleName::Leader && status.leader.is_some() {
                return;
            }
            // The server lives as long as its commands.
            if views.changed().await.is_err() {
                return;
            }
            if views.borrow_and_update().is_primary() {
                // Nobody took over in time, and this member leads on.
                server.node.transfer_leadership_to(to);
            }
        }
    };
    match (timeout(ANSWER_TIMEOUT, moved).await, to) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(to)) => Err(under_way(format!(
            "member {} has not taken over yet: it must be reachable and its log close to the leader's",
            to.0
        ))),
        (Err(_), None) => Err(under_way(
            "no member has taken over yet: one must be reachable and its log close to the leader's",
        )),
    }
}

/// Makes a change. Returns the index at which it is in force for good.
async fn change_members(server: &Server, change: MembershipChange) -> Result<u64, Failure> {
    let give_up = Instant::now() + ANSWER_TIMEOUT;
    loop {
        let (sender, receiver) = oneshot::channel();
        let asked_in = server.topology.view();
        server.node.change_membership(
            change.clone(),
            Box::new(move |outcome| {
                // The asker may have given up.
                let _ = sender.send(outcome);
            }),
        );
        let Ok(outcome) = timeout_at(give_up, receiver).await else {
            return Err(under_way(
                "the change is in the leader's log and a majority has not confirmed it yet",
            ));
        };
        match outcome.unwrap_or(MembershipOutcome::Stopping) {
            MembershipOutcome::Applied { index } => return Ok(index),
            MembershipOutcome::Refused(
                MembershipRefusal::ChangeInProgress | MembershipRefusal::LeaderNotReady,
            ) if Instant::now() < give_up => sleep(RETRY_PERIOD).await,
            MembershipOutcome::Refused(
                refusal @ (MembershipRefusal::ChangeInProgress | MembershipRefusal::LeaderNotReady),
            ) => return Err(under_way(refusal.to_string())),
            MembershipOutcome::Refused(refusal) => return Err(explain(server, refusal)),
            MembershipOutcome::NotLeader { .. } => {
                settle(&server.topology, &asked_in).await;
                return Err(Failure::not_primary());
            }
            MembershipOutcome::Unknown => {
                settle(&server.topology, &asked_in).await;
                return Err(Failure::outcome_unknown());
            }
            MembershipOutcome::TooOld {
                member,
                level,
                needed,
            } => {
                return Err(refused(format!(
                    "member {} runs a version that cannot read this change (feature level {level}, {needed} is \
                     needed); upgrade every member first, or change one member at a time",
                    member.0
                )));
            }
            MembershipOutcome::Stopping => return Err(Failure::shutting_down()),
        }
    }
}

/// What the operator is told of a refusal: why, and what to do.
fn explain(server: &Server, refusal: MembershipRefusal) -> Failure {
    let text = match refusal {
        MembershipRefusal::UnknownMember(id) => {
            return require_member(&server.node.status(), id)
                .err()
                .unwrap_or_else(|| refused(format!("there is no member {}", id.0)));
        }
        MembershipRefusal::LastVoter(id) => format!(
            "member {} is the last voter: without it there is no cluster. To give the data up, stop its process and \
             delete its directory",
            id.0
        ),
        MembershipRefusal::TooManyVoters => format!(
            "the cluster has {VOTERS_MAX} voters, the most it can have; remove one with `cstore member remove` first"
        ),
        MembershipRefusal::NotCaughtUp(id) => format!(
            "member {} is still catching up and cannot vote yet; it becomes a voter by itself once it has, and \
             `cstore status` shows how far it is",
            id.0
        ),
        MembershipRefusal::WouldLoseQuorum { reachable, needed } => format!(
            "the cluster would lose its quorum: of the voters that would be left, {needed} have to agree and only \
             {reachable} can be reached. Bring the others back, or remove the unreachable ones first"
        ),
        MembershipRefusal::NobodyCampaigns => {
            "every voter that would be left has election priority 0, so that none would ever lead; start one with \
             another --priority first"
                .to_owned()
        }
        other => other.to_string(),
    };
    refused(text)
}

fn refused(text: impl Into<String>) -> Failure {
    Failure::new(Code::NewReplicaSetConfigurationIncompatible, text)
}

fn put_ids(fields: &mut DocumentWriter, name: &str, ids: &BTreeSet<NodeId>) {
    fields.begin_array(name);
    for id in ids {
        fields.push_i64(number(id.0));
    }
    fields.end();
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
