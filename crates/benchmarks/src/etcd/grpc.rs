//! Unary gRPC calls over HTTP/2 with prior knowledge: one stream per call, one length-prefixed message each way.

use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, Version};
use tokio::net::TcpStream;

use crate::load::LoadError;

/// Bytes before each message: a compression flag and the length, big-endian.
pub(super) const PREFIX_BYTES: usize = 5;
/// Flow-control windows wide enough never to be waited for.
const WINDOW_BYTES: u32 = 1 << 24;

/// One HTTP/2 connection, which many callers share.
pub(crate) type Connection = SendRequest<Bytes>;

/// Connects; the connection is driven by a task on the present thread.
pub(crate) async fn connect(address: SocketAddr) -> Result<Connection, LoadError> {
    let refused = |reason: String| LoadError::Connect { address, reason };
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| refused(error.to_string()))?;
    stream.set_nodelay(true)?;
    let (sender, driver) = h2::client::Builder::new()
        .initial_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .handshake(stream)
        .await
        .map_err(|error| refused(error.to_string()))?;
    tokio::task::spawn_local(async move {
        // When it fails, every call on it fails and says why.
        let _ = driver.await;
    });
    Ok(sender)
}

/// The head of a call, made once and copied for each.
pub(crate) fn request(address: SocketAddr, method: &str) -> Request<()> {
    Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(format!("http://{address}{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("an address and a constant path make a URI")
}

/// A message with its prefix, written by `encode`.
pub(crate) fn frame(encode: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut buffer = Vec::with_capacity(320);
    buffer.extend_from_slice(&[0; PREFIX_BYTES]);
    encode(&mut buffer);
    let length = (buffer.len() - PREFIX_BYTES) as u32;
    buffer[1..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    buffer.into()
}

/// The message of a whole response body.
pub(super) fn unframe(mut body: Bytes) -> Result<Bytes, LoadError> {
    let protocol = |reason: &str| LoadError::Protocol(format!("gRPC: {reason}"));
    if body.len() < PREFIX_BYTES {
        return Err(protocol("a body without a message"));
    }
    if body.get_u8() != 0 {
        return Err(protocol("a compressed message nobody asked for"));
    }
    if body.get_u32() as usize != body.len() {
        return Err(protocol("a body that is not one message"));
    }
    Ok(body)
}

/// Calls and returns the response message once the status trailer says 0.
pub(crate) async fn call(
    connection: &Connection,
    head: Request<()>,
    message: Bytes,
) -> Result<Bytes, LoadError> {
    let mut sender = connection.clone().ready().await?;
    let (response, mut stream) = sender.send_request(head, false)?;
    stream.send_data(message, true)?;
    let (parts, mut body) = response.await?.into_parts();
    if parts.status != 200 {
        return Err(LoadError::Protocol(format!(
            "gRPC: HTTP status {}",
            parts.status
        )));
    }
    if body.is_end_stream() {
        // A response of trailers only: a refusal.
        check_status(&parts.headers)?;
        return unframe(Bytes::new());
    }
    let mut whole = Bytes::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        if whole.is_empty() {
            whole = chunk;
        } else {
            let mut joined = BytesMut::from(whole);
            joined.extend_from_slice(&chunk);
            whole = joined.freeze();
        }
    }
    let trailers = body
        .trailers()
        .await?
        .ok_or_else(|| LoadError::Protocol("gRPC: no trailers".to_owned()))?;
    check_status(&trailers)?;
    unframe(whole)
}

pub(super) fn check_status(trailers: &HeaderMap) -> Result<(), LoadError> {
    let status = trailers.get("grpc-status").map(|status| status.as_bytes());
    match status {
        Some(b"0") => Ok(()),
        Some(status) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let message = trailers.get("grpc-message");
            Err(LoadError::Refused(format!(
                "gRPC status {}: {}",
                text(status),
                message.map_or_else(String::new, |message| text(message.as_bytes()))
            )))
        }
        None => Err(LoadError::Protocol("gRPC: no status".to_owned())),
    }
}
