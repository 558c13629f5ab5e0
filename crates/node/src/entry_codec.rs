//! Log entries, memberships and hard state as bytes in the write-ahead log.
//!
//! Every record opens with a version byte; a reader refuses versions it does not know. Integers are
//! little-endian. Layout: `docs/file_format.md`, "What the node puts into records".

use std::collections::{BTreeMap, BTreeSet};

use consensus::{
    DEFAULT_PRIORITY, Entry, EntryKind, HardState, LogIndex, Member, Membership, NodeId, Payload,
    Term,
};

const VERSION: u8 = 1;
const KIND_NOOP: u8 = 0;
const KIND_COMMAND: u8 = 1;
const KIND_MEMBERSHIP: u8 = 2;
/// Bytes before an entry's body: version, kind, term.
pub const HEADER_BYTES: usize = 10;

/// What is wrong with bytes that should have been a record of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Fewer bytes than the layout needs.
    #[error("the record ends early")]
    Short,
    /// Written by a newer version.
    #[error("record version {0} is newer than this program")]
    Version(u8),
    /// A kind this version does not know.
    #[error("unknown record kind {0}")]
    Kind(u8),
}

/// The fixed part in front of an entry's body.
pub fn entry_header(entry: &Entry) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[0] = VERSION;
    header[1] = match entry.kind {
        EntryKind::Noop => KIND_NOOP,
        EntryKind::Command(_) => KIND_COMMAND,
        EntryKind::Membership(_) => KIND_MEMBERSHIP,
    };
    header[2..].copy_from_slice(&entry.term.0.to_le_bytes());
    header
}

/// Whether an entry's bytes hold a command; its body follows the header.
pub fn is_command(bytes: &[u8]) -> bool {
    matches!(bytes, [VERSION, KIND_COMMAND, ..])
}

/// Reads one entry that stood at `index`.
pub fn decode_entry(index: u64, bytes: &[u8]) -> Result<Entry, CodecError> {
    let mut reader = Reader { bytes };
    reader.version()?;
    let kind = reader.u8()?;
    let term = Term(reader.u64()?);
    let kind = match kind {
        KIND_NOOP => EntryKind::Noop,
        KIND_COMMAND => EntryKind::Command(Payload::from(reader.bytes)),
        KIND_MEMBERSHIP => EntryKind::Membership(decode_membership(reader.bytes)?),
        other => return Err(CodecError::Kind(other)),
    };
    Ok(Entry {
        index: LogIndex(index),
        term,
        kind,
    })
}

/// A membership as bytes: the body of its entry, and what the state machine and snapshots keep.
pub fn encode_membership(membership: &Membership) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.extend_from_slice(&membership.next_node_id.to_le_bytes());
    put_len(&mut out, membership.members.len());
    for (id, member) in &membership.members {
        out.extend_from_slice(&id.0.to_le_bytes());
        put_len(&mut out, member.context.len());
        out.extend_from_slice(&member.context);
    }
    put_ids(&mut out, &membership.voters);
    out.push(u8::from(membership.outgoing.is_some()));
    if let Some(outgoing) = &membership.outgoing {
        put_ids(&mut out, outgoing);
    }
    put_priorities(&mut out, membership);
    out
}

/// The priorities of all members in order of their ids, left out if all are the default: so it was written before there
/// were any, and readers of that time ignore what follows.
fn put_priorities(out: &mut Vec<u8>, membership: &Membership) {
    let mut priorities = membership.members.values().map(|member| member.priority);
    if priorities.clone().any(|own| own != DEFAULT_PRIORITY) {
        out.extend(priorities.by_ref().flat_map(u32::to_le_bytes));
    }
}

/// Reads what [`encode_membership`] wrote; no bytes at all are the membership of a node that knows nobody.
pub fn decode_membership(bytes: &[u8]) -> Result<Membership, CodecError> {
    let mut reader = Reader { bytes };
    if bytes.is_empty() {
        return Ok(empty_membership());
    }
    reader.version()?;
    let next_node_id = reader.u64()?;
    let mut members = BTreeMap::new();
    for _ in 0..reader.u32()? {
        let id = NodeId(reader.u64()?);
        let length = reader.u32()? as usize;
        members.insert(id, Member::new(Payload::from(reader.take(length)?)));
    }
    let voters = reader.ids()?;
    let outgoing = if reader.u8()? == 1 {
        Some(reader.ids()?)
    } else {
        None
    };
    if !reader.bytes.is_empty() {
        for member in members.values_mut() {
            member.priority = reader.u32()?;
        }
    }
    Ok(Membership {
        members,
        voters,
        outgoing,
        next_node_id,
    })
}

/// The membership of a node that has not been told of any cluster.
pub fn empty_membership() -> Membership {
    Membership {
        members: BTreeMap::new(),
        voters: BTreeSet::new(),
        outgoing: None,
        next_node_id: 1,
    }
}

/// Term, vote and advisory commit index.
pub fn encode_hard_state(state: &HardState) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.extend_from_slice(&state.term.0.to_le_bytes());
    out.extend_from_slice(&state.vote.map_or(0, |id| id.0).to_le_bytes());
    out.extend_from_slice(&state.commit.0.to_le_bytes());
    out
}

/// Reads what [`encode_hard_state`] wrote.
pub fn decode_hard_state(bytes: &[u8]) -> Result<HardState, CodecError> {
    let mut reader = Reader { bytes };
    reader.version()?;
    let term = Term(reader.u64()?);
    let vote = match reader.u64()? {
        0 => None,
        id => Some(NodeId(id)),
    };
    Ok(HardState {
        term,
        vote,
        commit: LogIndex(reader.u64()?),
    })
}

fn put_len(out: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).expect("members and contexts are bounded far below 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
}

fn put_ids(out: &mut Vec<u8>, ids: &BTreeSet<NodeId>) {
    put_len(out, ids.len());
    for id in ids {
        out.extend_from_slice(&id.0.to_le_bytes());
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], CodecError> {
        let (head, rest) = self
            .bytes
            .split_at_checked(count)
            .ok_or(CodecError::Short)?;
        self.bytes = rest;
        Ok(head)
    }

    fn version(&mut self) -> Result<(), CodecError> {
        match self.u8()? {
            VERSION => Ok(()),
            other => Err(CodecError::Version(other)),
        }
    }

    fn u8(&mut self) -> Result<u8, CodecError> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> Result<u32, CodecError> {
        let bytes = self.take(4)?.try_into().expect("four bytes were taken");
        Ok(u32::from_le_bytes(bytes))
    }

    fn u64(&mut self) -> Result<u64, CodecError> {
        let bytes = self.take(8)?.try_into().expect("eight bytes were taken");
        Ok(u64::from_le_bytes(bytes))
    }

    fn ids(&mut self) -> Result<BTreeSet<NodeId>, CodecError> {
        (0..self.u32()?).map(|_| Ok(NodeId(self.u64()?))).collect()
    }
}
