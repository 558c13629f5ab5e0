//! Bodies of frames: the domain's types to protobuf bytes and back.
//!
//! Decoding never panics and never trusts: every id, kind and length is checked, and the error names the frame's kind.
//! Payloads are copied once on each side (into the send buffer; out of the receive buffer).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use consensus::{
    AppendOutcome, DEFAULT_PRIORITY, Entry, EntryKind, Envelope, LogIndex, LogPosition, Member,
    Membership, Message, NodeId, Payload, SnapshotMeta, Term,
};

use crate::frame::{FrameError, Kind};
use crate::{JoinReply, JoinRequest, PeerAddress, wire};

/// The newest entries that this build reads.
const ENTRY_FEATURE_LEVEL_MAX: u32 = 2;

/// Bytes a membership's framing may take beyond its contexts, per member.
const MEMBER_OVERHEAD_BYTES: usize = 32;
/// Bytes an envelope's or an entry's framing may take at most.
const OVERHEAD_BYTES: usize = 96;

/// About how many bytes the envelope takes on the wire; never less than it really takes.
pub fn envelope_bytes(envelope: &Envelope) -> usize {
    let entries = match &envelope.message {
        Message::AppendRequest { entries, .. } => entries.as_slice(),
        _ => &[],
    };
    OVERHEAD_BYTES + entries.iter().map(entry_bytes).sum::<usize>()
}

fn entry_bytes(entry: &Entry) -> usize {
    OVERHEAD_BYTES
        + match &entry.kind {
            EntryKind::Noop => 0,
            EntryKind::Command(payload) => payload.len(),
            EntryKind::Membership(membership) => membership_bytes(membership),
        }
}

fn membership_bytes(membership: &Membership) -> usize {
    let members: usize = membership
        .members
        .values()
        .map(|member| 2 * MEMBER_OVERHEAD_BYTES + member.context.len())
        .sum();
    let outgoing = membership.outgoing.as_ref().map_or(0, BTreeSet::len);
    members + MEMBER_OVERHEAD_BYTES * (1 + membership.voters.len() + outgoing)
}

/// Appends the body of a `Messages` frame.
pub fn encode_messages(buffer: &mut Vec<u8>, envelopes: Vec<Envelope>) {
    let message = wire::Messages {
        envelopes: envelopes.into_iter().map(envelope_to_wire).collect(),
    };
    encode_body(buffer, &message);
}

/// Reads the body of a `Messages` frame.
pub fn decode_messages(body: Bytes) -> Result<Vec<Envelope>, FrameError> {
    let message: wire::Messages = decode_body(Kind::Messages, body)?;
    message
        .envelopes
        .into_iter()
        .map(envelope_from_wire)
        .collect()
}

/// Appends the body of a `SnapshotBegin` frame.
pub fn encode_snapshot_meta(buffer: &mut Vec<u8>, meta: &SnapshotMeta) {
    let message = wire::SnapshotBegin {
        leader: meta.leader.0,
        leader_term: meta.leader_term.0,
        position: position_to_wire(meta.position),
        membership: membership_to_wire(&meta.membership),
    };
    encode_body(buffer, &message);
}

/// Reads the body of a `SnapshotBegin` frame.
pub fn decode_snapshot_meta(body: Bytes) -> Result<SnapshotMeta, FrameError> {
    let message: wire::SnapshotBegin = decode_body(Kind::SnapshotBegin, body)?;
    Ok(SnapshotMeta {
        leader: NodeId(message.leader),
        leader_term: Term(message.leader_term),
        position: position_from_wire(message.position),
        membership: membership_from_wire(message.membership, Kind::SnapshotBegin)?,
    })
}

/// Appends the body of a `Join` frame.
pub fn encode_join(buffer: &mut Vec<u8>, request: &JoinRequest) {
    let message = wire::Join {
        directory_id: Bytes::copy_from_slice(&request.directory_id),
        context: Bytes::copy_from_slice(&request.context),
        cluster_id: request.cluster_id.map(|id| Bytes::copy_from_slice(&id)),
        member: request.member.map(|id| id.0),
        replaces: request.replaces.map(|id| id.0),
    };
    encode_body(buffer, &message);
}

/// Reads the body of a `Join` frame.
pub fn decode_join(body: Bytes) -> Result<JoinRequest, FrameError> {
    let message: wire::Join = decode_body(Kind::Join, body)?;
    Ok(JoinRequest {
        directory_id: sixteen(Kind::Join, &message.directory_id)?,
        context: message.context.to_vec(),
        cluster_id: message
            .cluster_id
            .map(|id| sixteen(Kind::Join, &id))
            .transpose()?,
        member: message.member.map(NodeId),
        replaces: message.replaces.map(NodeId),
    })
}

/// Appends the body of a `JoinReply` frame.
pub fn encode_join_reply(buffer: &mut Vec<u8>, reply: &JoinReply) {
    let outcome = match reply {
        JoinReply::Accepted {
            cluster_id,
            node_id,
            context,
        } => wire::JoinOutcome::Accepted(wire::JoinAccepted {
            cluster_id: Bytes::copy_from_slice(cluster_id),
            node_id: node_id.0,
            context: Bytes::copy_from_slice(context),
        }),
        JoinReply::Redirect { leader } => wire::JoinOutcome::Redirect(leader.0.clone()),
        JoinReply::NotNow { reason } => wire::JoinOutcome::NotNow(reason.clone()),
        JoinReply::Refused { reason } => wire::JoinOutcome::Refused(reason.clone()),
        JoinReply::Removed { reason } => wire::JoinOutcome::Removed(reason.clone()),
    };
    encode_body(
        buffer,
        &wire::JoinReply {
            outcome: Some(outcome),
        },
    );
}

/// Reads the body of a `JoinReply` frame.
pub fn decode_join_reply(body: Bytes) -> Result<JoinReply, FrameError> {
    let message: wire::JoinReply = decode_body(Kind::JoinReply, body)?;
    match message.outcome {
        Some(wire::JoinOutcome::Accepted(accepted)) => Ok(JoinReply::Accepted {
            cluster_id: sixteen(Kind::JoinReply, &accepted.cluster_id)?,
            node_id: NodeId(accepted.node_id),
            context: accepted.context.to_vec(),
        }),
        Some(wire::JoinOutcome::Redirect(leader)) => Ok(JoinReply::Redirect {
            leader: PeerAddress(leader),
        }),
        Some(wire::JoinOutcome::NotNow(reason)) => Ok(JoinReply::NotNow { reason }),
        Some(wire::JoinOutcome::Refused(reason)) => Ok(JoinReply::Refused { reason }),
        Some(wire::JoinOutcome::Removed(reason)) => Ok(JoinReply::Removed { reason }),
        None => Err(malformed(
            Kind::JoinReply,
            "an outcome this build does not know",
        )),
    }
}

pub(crate) fn encode_body(buffer: &mut Vec<u8>, message: &impl prost::Message) {
    message.encode(buffer).expect("a Vec grows as needed");
}

pub(crate) fn decode_body<M: prost::Message + Default>(
    kind: Kind,
    body: Bytes,
) -> Result<M, FrameError> {
    M::decode(body).map_err(|error| malformed(kind, error))
}

pub(crate) fn malformed(kind: Kind, detail: impl ToString) -> FrameError {
    FrameError::Body {
        kind,
        detail: detail.to_string(),
    }
}

pub(crate) fn sixteen(kind: Kind, bytes: &[u8]) -> Result<[u8; 16], FrameError> {
    bytes
        .try_into()
        .map_err(|_| malformed(kind, format!("an id of {} bytes, not 16", bytes.len())))
}

fn envelope_to_wire(envelope: Envelope) -> wire::Envelope {
    wire::Envelope {
        from: envelope.from.0,
        to: envelope.to.0,
        term: envelope.term.0,
        message: Some(message_to_wire(envelope.message)),
    }
}

fn message_to_wire(message: Message) -> wire::Message {
    match message {
        Message::PreVoteRequest { last } => wire::Message::PreVoteRequest(wire::VoteRequest {
            last: position_to_wire(last),
            transfer: false,
        }),
        Message::PreVoteReply { granted } => {
            wire::Message::PreVoteReply(wire::VoteReply { granted })
        }
        Message::VoteRequest { last, transfer } => wire::Message::VoteRequest(wire::VoteRequest {
            last: position_to_wire(last),
            transfer,
        }),
        Message::VoteReply { granted } => wire::Message::VoteReply(wire::VoteReply { granted }),
        Message::AppendRequest {
            previous,
            entries,
            commit,
        } => wire::Message::AppendRequest(wire::AppendRequest {
            previous: position_to_wire(previous),
            entries: entries.into_iter().map(entry_to_wire).collect(),
            commit: commit.0,
        }),
        Message::AppendReply {
            outcome: AppendOutcome::Accepted { match_index },
        } => wire::Message::AppendAccepted(wire::AppendAccepted {
            match_index: match_index.0,
        }),
        Message::AppendReply {
            outcome: AppendOutcome::Rejected { previous, conflict },
        } => wire::Message::AppendRejected(wire::AppendRejected {
            previous: previous.0,
            conflict: position_to_wire(conflict),
        }),
        Message::Heartbeat { commit, read_round } => wire::Message::Heartbeat(wire::Heartbeat {
            commit: commit.0,
            read_round,
        }),
        Message::HeartbeatReply {
            read_round,
            disk_full,
        } => wire::Message::HeartbeatReply(wire::HeartbeatReply {
            read_round,
            disk_full,
        }),
        Message::ReadIndexRequest { request } => {
            wire::Message::ReadIndexRequest(wire::ReadIndexRequest { request })
        }
        Message::ReadIndexReply { request, index } => {
            wire::Message::ReadIndexReply(wire::ReadIndexReply {
                request,
                index: index.map(|index| index.0),
            })
        }
        Message::TimeoutNow => wire::Message::TimeoutNow(wire::TimeoutNow {}),
    }
}

fn envelope_from_wire(envelope: wire::Envelope) -> Result<Envelope, FrameError> {
    let message = envelope
        .message
        .ok_or_else(|| malformed(Kind::Messages, "a message this build does not know"))?;
    Ok(Envelope {
        from: NodeId(envelope.from),
        to: NodeId(envelope.to),
        term: Term(envelope.term),
        message: message_from_wire(message)?,
    })
}

fn message_from_wire(message: wire::Message) -> Result<Message, FrameError> {
    Ok(match message {
        wire::Message::PreVoteRequest(request) => Message::PreVoteRequest {
            last: position_from_wire(request.last),
        },
        wire::Message::PreVoteReply(reply) => Message::PreVoteReply {
            granted: reply.granted,
        },
        wire::Message::VoteRequest(request) => Message::VoteRequest {
            last: position_from_wire(request.last),
            transfer: request.transfer,
        },
        wire::Message::VoteReply(reply) => Message::VoteReply {
            granted: reply.granted,
        },
        wire::Message::AppendRequest(request) => Message::AppendRequest {
            previous: position_from_wire(request.previous),
            entries: request
                .entries
                .into_iter()
                .map(entry_from_wire)
                .collect::<Result<_, _>>()?,
            commit: LogIndex(request.commit),
        },
        wire::Message::AppendAccepted(accepted) => Message::AppendReply {
            outcome: AppendOutcome::Accepted {
                match_index: LogIndex(accepted.match_index),
            },
        },
        wire::Message::AppendRejected(rejected) => Message::AppendReply {
            outcome: AppendOutcome::Rejected {
                previous: LogIndex(rejected.previous),
                conflict: position_from_wire(rejected.conflict),
            },
        },
        wire::Message::Heartbeat(heartbeat) => Message::Heartbeat {
            commit: LogIndex(heartbeat.commit),
            read_round: heartbeat.read_round,
        },
        wire::Message::HeartbeatReply(reply) => Message::HeartbeatReply {
            read_round: reply.read_round,
            disk_full: reply.disk_full,
        },
        wire::Message::ReadIndexRequest(request) => Message::ReadIndexRequest {
            request: request.request,
        },
        wire::Message::ReadIndexReply(reply) => Message::ReadIndexReply {
            request: reply.request,
            index: reply.index.map(LogIndex),
        },
        wire::Message::TimeoutNow(_) => Message::TimeoutNow,
    })
}

fn entry_to_wire(entry: Entry) -> wire::Entry {
    let content = match entry.kind {
        EntryKind::Noop => None,
        EntryKind::Command(payload) => {
            Some(wire::EntryContent::Command(Bytes::from_owner(payload)))
        }
        EntryKind::Membership(membership) => Some(wire::EntryContent::Membership(
            membership_to_wire(&membership),
        )),
    };
    wire::Entry {
        index: entry.index.0,
        term: entry.term.0,
        content,
        feature_level: 0,
    }
}

fn entry_from_wire(entry: wire::Entry) -> Result<Entry, FrameError> {
    if entry.feature_level > ENTRY_FEATURE_LEVEL_MAX {
        return Err(FrameError::NewerEntry {
            index: entry.index,
            needed: entry.feature_level,
        });
    }
    let kind = match entry.content {
        None => EntryKind::Noop,
        Some(wire::EntryContent::Command(bytes)) => EntryKind::Command(payload(&bytes)),
        Some(wire::EntryContent::Membership(membership)) => {
            EntryKind::Membership(membership_from_wire(membership, Kind::Messages)?)
        }
    };
    Ok(Entry {
        index: LogIndex(entry.index),
        term: Term(entry.term),
        kind,
    })
}

fn membership_to_wire(membership: &Membership) -> wire::Membership {
    let members = membership
        .members
        .iter()
        .map(|(id, member)| wire::Member {
            id: id.0,
            context: Bytes::from_owner(Arc::clone(&member.context)),
            priority: (member.priority != DEFAULT_PRIORITY).then_some(member.priority),
        })
        .collect();
    wire::Membership {
        members,
        voters: membership.voters.iter().map(|id| id.0).collect(),
        outgoing: membership.outgoing.as_ref().map(|outgoing| wire::NodeIds {
            ids: outgoing.iter().map(|id| id.0).collect(),
        }),
        next_node_id: membership.next_node_id,
    }
}

fn membership_from_wire(
    membership: wire::Membership,
    kind: Kind,
) -> Result<Membership, FrameError> {
    let members: BTreeMap<NodeId, Member> = membership
        .members
        .into_iter()
        .map(|member| {
            (
                NodeId(member.id),
                Member {
                    context: payload(&member.context),
                    priority: member.priority.unwrap_or(DEFAULT_PRIORITY),
                },
            )
        })
        .collect();
    let voters: BTreeSet<NodeId> = membership.voters.into_iter().map(NodeId).collect();
    let outgoing = membership.outgoing.map(|outgoing| {
        outgoing
            .ids
            .into_iter()
            .map(NodeId)
            .collect::<BTreeSet<_>>()
    });
    let strange = voters
        .iter()
        .chain(outgoing.iter().flatten())
        .find(|id| !members.contains_key(id));
    if let Some(id) = strange {
        return Err(malformed(
            kind,
            format!("voter {} is not among the members", id.0),
        ));
    }
    Ok(Membership {
        members,
        voters,
        outgoing,
        next_node_id: membership.next_node_id,
    })
}

fn position_to_wire(position: LogPosition) -> wire::Position {
    wire::Position {
        index: position.index.0,
        term: position.term.0,
    }
}

fn position_from_wire(position: wire::Position) -> LogPosition {
    LogPosition {
        index: LogIndex(position.index),
        term: Term(position.term),
    }
}

fn payload(bytes: &[u8]) -> Payload {
    Payload::from(bytes)
}

#[cfg(test)]
mod tests;
