//! One question, one answer, on a fresh connection: joining, and the host's small requests. Works without belonging to
//! a cluster.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use consensus::GroupId;

use crate::connection::{self, ConnectionError, FrameReader};
use crate::frame::{self, BODY_BYTES_MAX, Frame, FrameError, Kind};
use crate::{Handler, JoinReply, JoinRequest, PeerAddress, TransportError, codec, handshake, wire};

/// Bytes of a request or its reply unacknowledged for this long: the connection is broken.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for one member's answer to a join; another member is asked then.
const JOIN_ATTEMPT_MAX: Duration = Duration::from_secs(10);
/// Pause after no member could answer: an election may be under way.
const JOIN_PAUSE: Duration = Duration::from_millis(200);
/// Redirects followed in a row before starting over.
const REDIRECTS_MAX: usize = 8;

/// Asks to be admitted, at the given members in turn, following redirects to the leader, until a member accepts or
/// refuses, or `timeout` is over. Members that cannot be reached or have no leader are asked again.
pub fn request_join(
    addresses: &[PeerAddress],
    request: &JoinRequest,
    timeout: Duration,
) -> Result<JoinReply, TransportError> {
    let deadline = Instant::now() + timeout;
    let mut last = "no addresses were given".to_owned();
    loop {
        let mut to_ask: VecDeque<PeerAddress> = addresses.iter().cloned().collect();
        let mut redirects_left = REDIRECTS_MAX;
        while let Some(address) = to_ask.pop_front() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match ask_to_join(&address, request, left.min(JOIN_ATTEMPT_MAX)) {
                Ok(JoinReply::Redirect { leader }) if redirects_left > 0 => {
                    redirects_left -= 1;
                    last = format!("{address} says that {leader} leads");
                    to_ask.push_front(leader);
                }
                Ok(JoinReply::Redirect { leader }) => {
                    last = format!("redirected in circles, last to {leader}")
                }
                Ok(JoinReply::NotNow { reason }) => last = format!("{address}: {reason}"),
                Ok(decided) => return Ok(decided),
                Err(error) => last = error.to_string(),
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || addresses.is_empty() {
            return Err(TransportError::JoinTimedOut {
                seconds: timeout.as_secs(),
                last,
            });
        }
        thread::sleep(left.min(JOIN_PAUSE));
    }
}

/// Asks the member at `address` a small question of the host's; see [`Handler::request`].
pub fn peer_request(
    address: &PeerAddress,
    kind: u8,
    body: &[u8],
    timeout: Duration,
) -> Result<Vec<u8>, TransportError> {
    let message = wire::Request {
        kind: u32::from(kind),
        body: Bytes::copy_from_slice(body),
    };
    let write = |buffer: &mut Vec<u8>| codec::encode_body(buffer, &message);
    let answer = exchange(address, Kind::Request, write, Kind::Reply, timeout)?;
    let reply: wire::Reply = codec::decode_body(Kind::Reply, answer.body).map_err(|source| {
        TransportError::Protocol {
            address: address.clone(),
            source,
        }
    })?;
    Ok(reply.body.to_vec())
}

/// Answers an opening frame of a one-shot connection. The caller closes the connection.
pub fn answer(
    stream: &TcpStream,
    opening: Frame,
    handler: &dyn Handler,
) -> Result<(), ConnectionError> {
    let mut buffer = Vec::new();
    match opening.kind {
        Kind::Join => {
            let reply = handler.join(codec::decode_join(opening.body)?);
            frame::encode(&mut buffer, Kind::JoinReply, GroupId(0), |body| {
                codec::encode_join_reply(body, &reply)
            });
        }
        Kind::Request => {
            let request: wire::Request = codec::decode_body(Kind::Request, opening.body)?;
            let kind = u8::try_from(request.kind)
                .map_err(|_| codec::malformed(Kind::Request, "a request kind above 255"))?;
            match handler.request(kind, &request.body) {
                Ok(reply) if reply.len() + frame::HEADER_BYTES < BODY_BYTES_MAX => {
                    let reply = wire::Reply { body: reply.into() };
                    frame::encode(&mut buffer, Kind::Reply, GroupId(0), |body| {
                        codec::encode_body(body, &reply)
                    });
                }
                Ok(reply) => handshake::refuse(
                    stream,
                    format!("the answer is too long ({} bytes)", reply.len()),
                )?,
                Err(reason) => handshake::refuse(stream, reason)?,
            }
        }
        found => {
            return Err(FrameError::Unexpected {
                found,
                expected: "a request",
            }
            .into());
        }
    }
    connection::write_all(stream, &buffer)?;
    Ok(())
}

fn ask_to_join(
    address: &PeerAddress,
    request: &JoinRequest,
    timeout: Duration,
) -> Result<JoinReply, TransportError> {
    let write = |buffer: &mut Vec<u8>| codec::encode_join(buffer, request);
    let answer = exchange(address, Kind::Join, write, Kind::JoinReply, timeout)?;
    codec::decode_join_reply(answer.body).map_err(|source| TransportError::Protocol {
        address: address.clone(),
        source,
    })
}

fn exchange(
    address: &PeerAddress,
    kind: Kind,
    body: impl FnOnce(&mut Vec<u8>),
    expected: Kind,
    timeout: Duration,
) -> Result<Frame, TransportError> {
    let deadline = Instant::now() + timeout;
    let mut buffer = Vec::new();
    frame::encode(&mut buffer, kind, GroupId(0), body);
    let exchanged = (|| {
        let stream = connection::dial(address, timeout)?;
        connection::set_options(&stream, UNACKNOWLEDGED_TIMEOUT)?;
        connection::write_all(&stream, &buffer)?;
        FrameReader::new(stream, BODY_BYTES_MAX).next_before(deadline)
    })();
    let address = || address.clone();
    match exchanged {
        Ok(frame) if frame.kind == expected => Ok(frame),
        Ok(frame) if frame.kind == Kind::Refused => {
            let reason = codec::decode_body::<wire::Refused>(Kind::Refused, frame.body)
                .map_or_else(|error| error.to_string(), |refused| refused.reason);
            Err(TransportError::Refused {
                address: address(),
                reason,
            })
        }
        Ok(frame) => {
            let source = FrameError::Unexpected {
                found: frame.kind,
                expected: "the answer to a request",
            };
            Err(TransportError::Protocol {
                address: address(),
                source,
            })
        }
        Err(ConnectionError::Frame(source)) => Err(TransportError::Protocol {
            address: address(),
            source,
        }),
        Err(ConnectionError::Refused(reason) | ConnectionError::Source(reason)) => {
            Err(TransportError::Refused {
                address: address(),
                reason,
            })
        }
        Err(ConnectionError::Io(source)) => Err(TransportError::Unreachable {
            address: address(),
            source,
        }),
        Err(ConnectionError::Closed) => {
            let source = std::io::Error::new(
                std::io::ErrorKind::UnexpectedEof,
                "it closed the connection unanswered",
            );
            Err(TransportError::Unreachable {
                address: address(),
                source,
            })
        }
    }
}
