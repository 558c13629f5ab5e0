//! The first exchange on a connection: who are you, which cluster, which versions. Either side may refuse, with a
//! reason the other can show.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use consensus::{GroupId, NodeId};

use crate::connection::{self, ConnectionError, FrameReader};
use crate::frame::{self, Frame, FrameError, GREETING_BYTES_MAX, Kind};
use crate::wire::{self, Purpose};
use crate::{ClusterId, PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN, PeerAddress, codec};

/// What this side says of itself.
#[derive(Clone, Debug)]
pub struct Identity {
    pub cluster_id: ClusterId,
    pub node_id: NodeId,
    pub feature_level: u32,
    pub address: PeerAddress,
}

/// What is known of the other side after the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduced {
    pub node_id: NodeId,
    pub purpose: Purpose,
    pub feature_level: u32,
    pub address: PeerAddress,
}

/// The dialler's half, on a fresh connection. Returns the reader for whatever the acceptor sends later, and its
/// feature level.
pub fn dialler(
    stream: &TcpStream,
    address: &PeerAddress,
    identity: &Identity,
    expected: NodeId,
    purpose: Purpose,
    timeout: Duration,
) -> Result<(FrameReader, u32), ConnectionError> {
    let hello = wire::Hello {
        cluster_id: Bytes::copy_from_slice(&identity.cluster_id),
        node_id: identity.node_id.0,
        version_min: PROTOCOL_VERSION_MIN,
        version_max: PROTOCOL_VERSION_MAX,
        feature_level: identity.feature_level,
        expected_node_id: expected.0,
        purpose: purpose.into(),
        peer_address: identity.address.0.clone(),
    };
    send(stream, Kind::Hello, &hello)?;
    let mut reader = FrameReader::new(stream.try_clone()?, GREETING_BYTES_MAX);
    let answer = reader.next_before(Instant::now() + timeout)?;
    match answer.kind {
        Kind::HelloReply => {
            let reply: wire::HelloReply = codec::decode_body(Kind::HelloReply, answer.body)?;
            let level = judge_reply(&reply, address, identity, expected)?;
            Ok((reader, level))
        }
        Kind::Refused => Err(refusal(answer, address, identity)),
        found => Err(FrameError::Unexpected {
            found,
            expected: "an answer to hello",
        }
        .into()),
    }
}

/// The acceptor's half, given the dialler's opening frame: answers it, or refuses and returns the reason.
pub fn acceptor(
    stream: &TcpStream,
    opening: Frame,
    identity: &Identity,
) -> Result<Introduced, ConnectionError> {
    let hello: wire::Hello = codec::decode_body(Kind::Hello, opening.body)?;
    match judge_hello(&hello, identity) {
        Ok((introduced, version)) => {
            let reply = wire::HelloReply {
                cluster_id: Bytes::copy_from_slice(&identity.cluster_id),
                node_id: identity.node_id.0,
                version,
                feature_level: identity.feature_level,
            };
            send(stream, Kind::HelloReply, &reply)?;
            Ok(introduced)
        }
        Err(refused) => {
            send(stream, Kind::Refused, &refused)?;
            connection::close_after_refusal(stream);
            Err(ConnectionError::Refused(refused.reason))
        }
    }
}

/// Writes one frame that concerns no group.
pub fn send(
    stream: &TcpStream,
    kind: Kind,
    message: &impl prost::Message,
) -> Result<(), ConnectionError> {
    let mut buffer = Vec::new();
    frame::encode(&mut buffer, kind, GroupId(0), |body| {
        codec::encode_body(body, message)
    });
    connection::write_all(stream, &buffer)?;
    Ok(())
}

/// Refuses with a reason.
pub fn refuse(stream: &TcpStream, reason: String) -> Result<(), ConnectionError> {
    send(
        stream,
        Kind::Refused,
        &wire::Refused {
            reason,
            cluster_id: None,
        },
    )
}

/// The error a `Refused` frame stands for.
pub fn refusal(frame: Frame, address: &PeerAddress, identity: &Identity) -> ConnectionError {
    match codec::decode_body::<wire::Refused>(Kind::Refused, frame.body) {
        Ok(refused) => match refused.cluster_id {
            Some(theirs) if *theirs != identity.cluster_id => {
                ConnectionError::Refused(foreign_cluster(address, &theirs, &identity.cluster_id))
            }
            _ => ConnectionError::Refused(refused.reason),
        },
        Err(error) => error.into(),
    }
}

fn judge_hello(
    hello: &wire::Hello,
    identity: &Identity,
) -> Result<(Introduced, u32), wire::Refused> {
    let refused = |reason: String| wire::Refused {
        reason,
        cluster_id: None,
    };
    if *hello.cluster_id != identity.cluster_id {
        return Err(wire::Refused {
            reason: format!(
                "this node belongs to another cluster (theirs {}, ours {})",
                hexadecimal(&hello.cluster_id),
                hexadecimal(&identity.cluster_id)
            ),
            cluster_id: Some(Bytes::copy_from_slice(&identity.cluster_id)),
        });
    }
    if hello.expected_node_id != identity.node_id.0 {
        return Err(refused(format!(
            "this is node {}, not node {}; the member's peer address is out of date",
            identity.node_id.0, hello.expected_node_id
        )));
    }
    if hello.node_id == identity.node_id.0 {
        return Err(refused(format!(
            "node id {} is mine; was its data directory copied to another machine?",
            hello.node_id
        )));
    }
    let version = hello.version_max.min(PROTOCOL_VERSION_MAX);
    if version < hello.version_min.max(PROTOCOL_VERSION_MIN) {
        return Err(refused(format!(
            "no peer protocol version in common (theirs {} to {}, ours {PROTOCOL_VERSION_MIN} to {PROTOCOL_VERSION_MAX}); \
             upgrade one version at a time",
            hello.version_min, hello.version_max
        )));
    }
    let purpose = match hello.purpose() {
        Purpose::Unknown => {
            return Err(refused(
                "a connection for a purpose this build does not know".to_owned(),
            ));
        }
        purpose => purpose,
    };
    let introduced = Introduced {
        node_id: NodeId(hello.node_id),
        purpose,
        feature_level: hello.feature_level,
        address: PeerAddress(hello.peer_address.clone()),
    };
    Ok((introduced, version))
}

fn judge_reply(
    reply: &wire::HelloReply,
    address: &PeerAddress,
    identity: &Identity,
    expected: NodeId,
) -> Result<u32, ConnectionError> {
    if *reply.cluster_id != identity.cluster_id {
        let reason = foreign_cluster(address, &reply.cluster_id, &identity.cluster_id);
        return Err(ConnectionError::Refused(reason));
    }
    if reply.node_id != expected.0 {
        let reason = format!(
            "peer {address} is node {}, not node {}",
            reply.node_id, expected.0
        );
        return Err(ConnectionError::Refused(reason));
    }
    if !(PROTOCOL_VERSION_MIN..=PROTOCOL_VERSION_MAX).contains(&reply.version) {
        let reason = format!(
            "peer {address} chose protocol version {}, which was not offered",
            reply.version
        );
        return Err(ConnectionError::Refused(reason));
    }
    Ok(reply.feature_level)
}

fn foreign_cluster(address: &PeerAddress, theirs: &[u8], ours: &[u8]) -> String {
    format!(
        "peer {address} belongs to another cluster (theirs {}, ours {})",
        hexadecimal(theirs),
        hexadecimal(ours)
    )
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
