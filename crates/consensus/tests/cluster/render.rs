//! How events read in golden scripts.

use consensus::{
    AppendOutcome, Effects, Entry, EntryKind, Envelope, Membership, Message, NodeId,
    ProposalResult, Replica, RoleName,
};

pub fn role(role: RoleName) -> &'static str {
    match role {
        RoleName::Follower => "follower",
        RoleName::PreCandidate => "pre-candidate",
        RoleName::Candidate => "candidate",
        RoleName::Leader => "leader",
        RoleName::Learner => "learner",
    }
}

pub fn status(replica: &Replica) -> String {
    let leader = match replica.leader() {
        Some(leader) if leader != replica.id() => format!(" of {leader}"),
        _ => String::new(),
    };
    format!("is {}{leader} in {}", role(replica.role()), replica.term())
}

pub fn entry(entry: &Entry) -> String {
    let kind = match &entry.kind {
        EntryKind::Noop => "noop".to_owned(),
        EntryKind::Command(payload) => String::from_utf8_lossy(payload).into_owned(),
        EntryKind::Membership(membership) => format!("members[{}]", members(membership)),
    };
    format!("{}:{kind}", entry.position())
}

pub fn members(membership: &Membership) -> String {
    let members = membership.members.iter().map(|(id, member)| {
        let priority = match member.priority {
            1 => String::new(),
            other => format!("(priority {other})"),
        };
        let part = match &membership.outgoing {
            Some(_) if membership.voters.contains(id) && !is_outgoing(membership, *id) => {
                "(incoming)"
            }
            Some(_) if !membership.voters.contains(id) && is_outgoing(membership, *id) => {
                "(outgoing)"
            }
            _ if membership.is_voter(*id) => "",
            _ => "(learner)",
        };
        format!("{id}{part}{priority}")
    });
    members.collect::<Vec<_>>().join(",")
}

fn is_outgoing(membership: &Membership, id: NodeId) -> bool {
    let outgoing = membership.outgoing.as_ref();
    outgoing.is_some_and(|outgoing| outgoing.contains(&id))
}

fn entries(list: &[Entry]) -> String {
    list.iter().map(entry).collect::<Vec<_>>().join(" ")
}

pub fn envelope(envelope: &Envelope) -> String {
    let Envelope {
        from,
        to,
        term,
        message,
    } = envelope;
    let yes = |granted: &bool| if *granted { "yes" } else { "no" };
    let what = match message {
        Message::PreVoteRequest { last } => format!("pre-vote? last={last}"),
        Message::PreVoteReply { granted } => format!("pre-vote: {}", yes(granted)),
        Message::VoteRequest { last, transfer } => {
            format!(
                "vote? last={last}{}",
                if *transfer { " (transfer)" } else { "" }
            )
        }
        Message::VoteReply { granted } => format!("vote: {}", yes(granted)),
        Message::AppendRequest {
            previous,
            entries: list,
            commit,
        } => {
            format!(
                "append after {previous} [{}] commit={}",
                entries(list),
                commit.0
            )
        }
        Message::AppendReply {
            outcome: AppendOutcome::Accepted { match_index },
        } => {
            format!("accepted up to {}", match_index.0)
        }
        Message::AppendReply {
            outcome: AppendOutcome::Rejected { previous, conflict },
        } => {
            format!("rejected after {}, perhaps {conflict}", previous.0)
        }
        Message::Heartbeat { commit, .. } => format!("heartbeat commit={}", commit.0),
        Message::HeartbeatReply { .. } => "heartbeat reply".to_owned(),
        Message::ReadIndexRequest { .. } => "read index?".to_owned(),
        Message::ReadIndexReply {
            index: Some(index), ..
        } => format!("read index: {}", index.0),
        Message::ReadIndexReply { index: None, .. } => "read index: refused".to_owned(),
        Message::TimeoutNow => "campaign now".to_owned(),
    };
    format!("  {from} -> {to} {term} {what}")
}

pub fn effects(events: &mut Vec<String>, id: NodeId, effects: &Effects) {
    for (proposal, result) in &effects.proposals {
        let result = match result {
            ProposalResult::Accepted(position) => format!("accepted at {position}"),
            ProposalResult::NotLeader {
                leader: Some(leader),
            } => format!("not the leader, {leader} is"),
            ProposalResult::NotLeader { leader: None } => "not the leader".to_owned(),
            ProposalResult::Overloaded => "overloaded".to_owned(),
            ProposalResult::Refused(refusal) => format!("refused: {refusal}"),
        };
        events.push(format!("{id} proposal {}: {result}", proposal.0));
    }
    if let Some(meta) = &effects.install_snapshot {
        events.push(format!(
            "{id} installs the snapshot up to {}",
            meta.position
        ));
    }
    if !effects.apply.is_empty() {
        events.push(format!("{id} applies {}", entries(&effects.apply)));
    }
    for (ticket, index) in &effects.reads_ready {
        events.push(format!("{id} read {}: serve at {}", ticket.0, index.0));
    }
    for ticket in &effects.reads_failed {
        events.push(format!("{id} read {}: failed", ticket.0));
    }
    for fetch in &effects.fetch {
        events.push(format!(
            "{id} fetches from {} for {}",
            fetch.from.0, fetch.to
        ));
    }
    for to in &effects.send_snapshot {
        events.push(format!("{id} sends a snapshot to {to}"));
    }
}
