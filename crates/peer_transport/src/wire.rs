//! The protobuf messages inside frames, as structs. Wire shapes only: [`crate::codec`] turns them into the domain's types.
//!
//! Rules: fields are only ever added; a tag is never reused. Tags in use are what stands here.

use bytes::Bytes;

#[derive(Clone, PartialEq, prost::Message)]
pub struct Hello {
    #[prost(bytes = "bytes", tag = "1")]
    pub cluster_id: Bytes,
    #[prost(uint64, tag = "2")]
    pub node_id: u64,
    #[prost(uint32, tag = "3")]
    pub version_min: u32,
    #[prost(uint32, tag = "4")]
    pub version_max: u32,
    #[prost(uint32, tag = "5")]
    pub feature_level: u32,
    /// Whom the dialler believes it is dialling.
    #[prost(uint64, tag = "6")]
    pub expected_node_id: u64,
    #[prost(enumeration = "Purpose", tag = "7")]
    pub purpose: i32,
    /// Where the dialler accepts peers, so that one who does not know it yet can answer.
    #[prost(string, tag = "8")]
    pub peer_address: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Purpose {
    Unknown = 0,
    /// All messages but requests to append.
    Messages = 1,
    Snapshot = 2,
    /// Requests to append.
    Bulk = 3,
}

/// Also the answer, with what was asked.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Ping {
    /// By the sender's clock.
    #[prost(uint64, tag = "1")]
    pub sent_nanos: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct HelloReply {
    #[prost(bytes = "bytes", tag = "1")]
    pub cluster_id: Bytes,
    #[prost(uint64, tag = "2")]
    pub node_id: u64,
    /// The version both will speak.
    #[prost(uint32, tag = "3")]
    pub version: u32,
    #[prost(uint32, tag = "4")]
    pub feature_level: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Refused {
    #[prost(string, tag = "1")]
    pub reason: String,
    /// Set when the reason is that the two belong to different clusters.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub cluster_id: Option<Bytes>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Messages {
    #[prost(message, repeated, tag = "1")]
    pub envelopes: Vec<Envelope>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Envelope {
    #[prost(uint64, tag = "1")]
    pub from: u64,
    #[prost(uint64, tag = "2")]
    pub to: u64,
    #[prost(uint64, tag = "3")]
    pub term: u64,
    #[prost(
        oneof = "Message",
        tags = "10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21"
    )]
    pub message: Option<Message>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Message {
    #[prost(message, tag = "10")]
    PreVoteRequest(VoteRequest),
    #[prost(message, tag = "11")]
    PreVoteReply(VoteReply),
    #[prost(message, tag = "12")]
    VoteRequest(VoteRequest),
    #[prost(message, tag = "13")]
    VoteReply(VoteReply),
    #[prost(message, tag = "14")]
    AppendRequest(AppendRequest),
    #[prost(message, tag = "15")]
    AppendAccepted(AppendAccepted),
    #[prost(message, tag = "16")]
    AppendRejected(AppendRejected),
    #[prost(message, tag = "17")]
    Heartbeat(Heartbeat),
    #[prost(message, tag = "18")]
    HeartbeatReply(HeartbeatReply),
    #[prost(message, tag = "19")]
    ReadIndexRequest(ReadIndexRequest),
    #[prost(message, tag = "20")]
    ReadIndexReply(ReadIndexReply),
    #[prost(message, tag = "21")]
    TimeoutNow(TimeoutNow),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Position {
    #[prost(uint64, tag = "1")]
    pub index: u64,
    #[prost(uint64, tag = "2")]
    pub term: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct VoteRequest {
    #[prost(message, required, tag = "1")]
    pub last: Position,
    #[prost(bool, tag = "2")]
    pub transfer: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct VoteReply {
    #[prost(bool, tag = "1")]
    pub granted: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AppendRequest {
    #[prost(message, required, tag = "1")]
    pub previous: Position,
    #[prost(message, repeated, tag = "2")]
    pub entries: Vec<Entry>,
    #[prost(uint64, tag = "3")]
    pub commit: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Entry {
    #[prost(uint64, tag = "1")]
    pub index: u64,
    #[prost(uint64, tag = "2")]
    pub term: u64,
    /// None of these: an entry without content.
    #[prost(oneof = "EntryContent", tags = "3, 4")]
    pub content: Option<EntryContent>,
    /// The feature level that is needed to read it, where that is not the first: a content this build does not know must
    /// not be taken for none.
    #[prost(uint32, tag = "5")]
    pub feature_level: u32,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum EntryContent {
    #[prost(bytes = "bytes", tag = "3")]
    Command(Bytes),
    #[prost(message, tag = "4")]
    Membership(Membership),
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Membership {
    #[prost(message, repeated, tag = "1")]
    pub members: Vec<Member>,
    #[prost(uint64, repeated, tag = "2")]
    pub voters: Vec<u64>,
    #[prost(message, optional, tag = "3")]
    pub outgoing: Option<NodeIds>,
    #[prost(uint64, tag = "4")]
    pub next_node_id: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct NodeIds {
    #[prost(uint64, repeated, tag = "1")]
    pub ids: Vec<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Member {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub context: Bytes,
    /// The default priority when absent.
    #[prost(uint32, optional, tag = "3")]
    pub priority: Option<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AppendAccepted {
    #[prost(uint64, tag = "1")]
    pub match_index: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AppendRejected {
    #[prost(uint64, tag = "1")]
    pub previous: u64,
    #[prost(message, required, tag = "2")]
    pub conflict: Position,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Heartbeat {
    #[prost(uint64, tag = "1")]
    pub commit: u64,
    #[prost(uint64, tag = "2")]
    pub read_round: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct HeartbeatReply {
    #[prost(uint64, tag = "1")]
    pub read_round: u64,
    #[prost(bool, tag = "2")]
    pub disk_full: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadIndexRequest {
    #[prost(uint64, tag = "1")]
    pub request: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadIndexReply {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(uint64, optional, tag = "2")]
    pub index: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct TimeoutNow {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SnapshotBegin {
    #[prost(uint64, tag = "1")]
    pub leader: u64,
    #[prost(uint64, tag = "2")]
    pub leader_term: u64,
    #[prost(message, required, tag = "3")]
    pub position: Position,
    #[prost(message, required, tag = "4")]
    pub membership: Membership,
}

/// The receiver's answer to `SnapshotBegin`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SnapshotResume {
    /// What it holds of this snapshot already, in the host's encoding; empty: nothing.
    #[prost(bytes = "bytes", tag = "1")]
    pub progress: Bytes,
    /// Bytes of chunks that may be under way.
    #[prost(uint64, tag = "2")]
    pub window_bytes: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SnapshotAcknowledged {
    /// Bytes of chunks put away on this connection.
    #[prost(uint64, tag = "1")]
    pub bytes: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SnapshotEnd {
    /// Chunks sent: guards against a stream cut at a frame's border.
    #[prost(uint64, tag = "1")]
    pub chunks: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Join {
    #[prost(bytes = "bytes", tag = "1")]
    pub directory_id: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub context: Bytes,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub cluster_id: Option<Bytes>,
    #[prost(uint64, optional, tag = "4")]
    pub member: Option<u64>,
    #[prost(uint64, optional, tag = "5")]
    pub replaces: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct JoinReply {
    #[prost(oneof = "JoinOutcome", tags = "1, 2, 3, 4, 5")]
    pub outcome: Option<JoinOutcome>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum JoinOutcome {
    #[prost(message, tag = "1")]
    Accepted(JoinAccepted),
    #[prost(string, tag = "2")]
    Redirect(String),
    #[prost(string, tag = "3")]
    Refused(String),
    #[prost(string, tag = "4")]
    NotNow(String),
    #[prost(string, tag = "5")]
    Removed(String),
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct JoinAccepted {
    #[prost(bytes = "bytes", tag = "1")]
    pub cluster_id: Bytes,
    #[prost(uint64, tag = "2")]
    pub node_id: u64,
    #[prost(bytes = "bytes", tag = "3")]
    pub context: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    #[prost(bytes = "bytes", tag = "2")]
    pub body: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Reply {
    #[prost(bytes = "bytes", tag = "1")]
    pub body: Bytes,
}
