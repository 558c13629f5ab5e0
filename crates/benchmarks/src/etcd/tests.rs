//! Encodings against bytes worked out by hand from the protobuf and gRPC specifications, and calls against a server
//! that speaks HTTP/2 through the same library.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};

use super::grpc::{self, check_status, unframe};
use super::protobuf::{self, Field, Fields, Status, Value, varint};
use crate::load::LoadError;

#[test]
fn a_put_request_is_key_then_value() {
    let mut buffer = Vec::new();
    protobuf::put_request(&mut buffer, b"ab", b"xyz");
    assert_eq!(buffer, b"\x0a\x02ab\x12\x03xyz");
}

#[test]
fn a_value_of_256_bytes_has_a_two_byte_length() {
    let mut buffer = Vec::new();
    protobuf::put_request(&mut buffer, b"k", &[7; 256]);
    assert_eq!(buffer[..6], [0x0a, 1, b'k', 0x12, 0x80, 0x02]);
    assert_eq!(buffer.len(), 6 + 256);
}

#[test]
fn a_range_request_is_linearizable_by_leaving_serializable_out() {
    let mut buffer = Vec::new();
    protobuf::range_request(&mut buffer, b"key");
    assert_eq!(buffer, b"\x0a\x03key");
}

#[test]
fn varints_round_trip() {
    for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
        let mut buffer = vec![0x08];
        varint(&mut buffer, value);
        let fields: Vec<Field<'_>> = Fields(&buffer).collect();
        let expected = Field {
            number: 1,
            value: Value::Number(value),
        };
        assert_eq!(fields, [expected]);
    }
}

#[test]
fn truncated_messages_end_early_and_never_panic() {
    let mut message = Vec::new();
    protobuf::put_request(&mut message, b"key", &[1; 300]);
    for length in 0..message.len() {
        assert!(Fields(&message[..length]).count() < 2);
    }
    assert_eq!(Fields(&[0xff; 20]).count(), 0);
}

fn range_response(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut response = b"\x0a\x02\x08\x01".to_vec();
    for (key, value) in pairs {
        // KeyValue: key=1, create_revision=2, value=5.
        let mut pair = vec![0x0a, key.len() as u8];
        pair.extend_from_slice(key);
        pair.extend_from_slice(&[0x10, 9, 0x2a]);
        varint(&mut pair, value.len() as u64);
        pair.extend_from_slice(value);
        response.push(0x12);
        varint(&mut response, pair.len() as u64);
        response.extend_from_slice(&pair);
    }
    response
}

#[test]
fn a_read_counts_only_with_its_one_pair() {
    let value = [1; 256];
    let one = range_response(&[(b"key", &value)]);
    assert!(protobuf::holds_pair(&one, b"key", 256));
    assert!(!protobuf::holds_pair(&one, b"other", 256));
    assert!(!protobuf::holds_pair(&one, b"key", 255));
    assert!(!protobuf::holds_pair(&range_response(&[]), b"key", 256));
    let two = range_response(&[(b"key", &value), (b"key", &value)]);
    assert!(!protobuf::holds_pair(&two, b"key", 256));
}

#[test]
fn a_member_leads_when_the_leader_is_itself() {
    let status = Status::decode(b"\x0a\x04\x08\x01\x10\x05\x12\x013\x20\x05");
    assert_eq!(
        status,
        Status {
            member_id: 5,
            leader_id: 5,
            version: "3".to_owned()
        }
    );
    assert!(status.leads());
    assert!(!Status::decode(b"\x0a\x02\x10\x05\x20\x06").leads());
    assert!(!Status::decode(b"").leads(), "no leader yet");
}

#[test]
fn a_frame_is_flag_length_message() {
    let framed = grpc::frame(|buffer| buffer.extend_from_slice(b"abc"));
    assert_eq!(framed, &b"\x00\x00\x00\x00\x03abc"[..]);
    assert_eq!(unframe(framed).unwrap(), &b"abc"[..]);
    assert_eq!(unframe(grpc::frame(|_| {})).unwrap(), &b""[..]);
}

#[test]
fn bodies_that_are_not_one_plain_message_are_refused() {
    for body in [
        &b""[..],
        b"\x00\x00\x00\x00",
        b"\x01\x00\x00\x00\x00",
        b"\x00\x00\x00\x00\x02a",
        b"\x00\x00\x00\x00\x00a",
    ] {
        let refused = unframe(Bytes::copy_from_slice(body));
        assert!(matches!(refused, Err(LoadError::Protocol(_))), "{body:?}");
    }
}

#[test]
fn only_status_zero_is_success() {
    let with = |status: &'static str| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(status));
        trailers.insert("grpc-message", HeaderValue::from_static("too many"));
        trailers
    };
    assert!(check_status(&with("0")).is_ok());
    let refused = check_status(&with("8")).unwrap_err();
    assert!(refused.to_string().contains("8: too many"), "{refused}");
    assert!(matches!(
        check_status(&HeaderMap::new()),
        Err(LoadError::Protocol(_))
    ));
}

/// Serves one call: the response message in two data frames, then trailers with `status`.
async fn serve_one(listener: tokio::net::TcpListener, status: &'static str) {
    let (stream, _) = listener.accept().await.unwrap();
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted.unwrap();
        assert_eq!(request.uri().path(), "/a.B/C");
        assert_eq!(request.headers()["content-type"], "application/grpc");
        tokio::task::spawn_local(async move {
            let mut body = request.into_body();
            let received = body.data().await.unwrap().unwrap();
            let mut stream = respond
                .send_response(Response::builder().status(200).body(()).unwrap(), false)
                .unwrap();
            let (first, second) = received.split_at(3);
            stream
                .send_data(Bytes::copy_from_slice(first), false)
                .unwrap();
            stream
                .send_data(Bytes::copy_from_slice(second), false)
                .unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static(status));
            stream.send_trailers(trailers).unwrap();
        });
    }
}

async fn call_through_a_socket(status: &'static str) -> Result<Bytes, LoadError> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(serve_one(listener, status));
    let connection = grpc::connect(address).await?;
    let head = grpc::request(address, "/a.B/C");
    let message = grpc::frame(|buffer| buffer.extend_from_slice(b"echo"));
    grpc::call(&connection, head, message).await
}

#[tokio::test(flavor = "current_thread")]
async fn a_call_returns_the_message_and_obeys_the_status() {
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let answer = call_through_a_socket("0").await.unwrap();
            assert_eq!(answer, &b"echo"[..]);
            let refused = call_through_a_socket("14").await.unwrap_err();
            assert!(matches!(refused, LoadError::Refused(_)), "{refused}");
        })
        .await;
}
