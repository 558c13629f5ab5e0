//! The client against a stand-in server that answers from a script.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use bson::{RawDocumentBuf, rawdoc};

use super::address::ConnectionStringError;
use super::*;

/// Answers every command on every connection with `answer(command)`; `None` closes the connection.
fn serve(
    answer: impl Fn(&RawDocument) -> Option<RawDocumentBuf> + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("has one").to_string();
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || converse(stream, &*answer));
        }
    });
    address
}

fn converse(mut stream: TcpStream, answer: &dyn Fn(&RawDocument) -> Option<RawDocumentBuf>) {
    loop {
        let mut message = vec![0; 16];
        if stream.read_exact(&mut message).is_err() {
            return;
        }
        let length = message::length(&message).expect("sound").expect("whole");
        message.resize(length, 0);
        if stream.read_exact(&mut message[16..]).is_err() {
            return;
        }
        let body_end = message::BODY_AT
            + i32::from_le_bytes(
                message[message::BODY_AT..message::BODY_AT + 4]
                    .try_into()
                    .expect("four"),
            ) as usize;
        let body = RawDocument::from_bytes(&message[message::BODY_AT..body_end]).expect("sound");
        let Some(reply) = answer(body) else { return };
        let mut buffer = Vec::new();
        message::encode(&mut buffer, 1, &reply, None);
        buffer[8..12].copy_from_slice(&message[4..8]);
        if stream.write_all(&buffer).is_err() {
            return;
        }
    }
}

fn client(address: &str) -> Client {
    let connection_string: ConnectionString = format!("mongodb://{address}/test?replicaSet=cstore")
        .parse()
        .expect("sound");
    Client::new(&connection_string).with_patience(Duration::from_secs(5))
}

#[test]
fn commands_follow_the_primary_that_a_member_names() {
    let primary = serve(|command| {
        Some(match command.get_i32("hello") {
            Ok(_) => rawdoc! { "isWritablePrimary": true, "setName": "cstore", "ok": 1.0 },
            Err(_) => rawdoc! { "n": 1, "db": command.get_str("$db").expect("sent"), "ok": 1.0 },
        })
    });
    let named = primary.clone();
    let secondary = serve(move |_| {
        Some(
            rawdoc! { "isWritablePrimary": false, "setName": "cstore", "hosts": [named.clone()], "primary": named.clone(), "ok": 1.0 },
        )
    });
    let reply = client(&secondary)
        .run("shop", &rawdoc! { "count": "c" })
        .expect("answered");
    assert_eq!(reply.get_str("db").expect("given"), "shop");
}

#[test]
fn a_write_is_repeated_with_the_same_number_after_a_lost_connection_and_a_state_change() {
    let calls = std::sync::Mutex::new(Vec::new());
    let address = serve(move |command| {
        if command.get_i32("hello").is_ok() {
            return Some(rawdoc! { "isWritablePrimary": true, "setName": "cstore", "ok": 1.0 });
        }
        let mut calls = calls.lock().expect("no panics");
        calls.push((
            command.get_i64("txnNumber").expect("sent"),
            command.get_document("lsid").expect("sent").to_owned(),
        ));
        match calls.len() {
            1 => None,
            2 => Some(
                rawdoc! { "ok": 0.0, "code": 10107, "errmsg": "not primary", "errorLabels": ["RetryableWriteError"] },
            ),
            _ => {
                assert!(calls.iter().all(|call| *call == calls[0]));
                Some(rawdoc! { "n": 1, "ok": 1.0 })
            }
        }
    });
    let documents = [rawdoc! { "_id": 1 }];
    let reply = client(&address)
        .write(
            "d",
            &rawdoc! { "insert": "c" },
            Some(("documents", &documents)),
        )
        .expect("done");
    assert_eq!(integer(&reply, "n"), Some(1));
}

#[test]
fn other_errors_are_not_repeated() {
    let address = serve(|command| {
        Some(match command.get_i32("hello") {
            Ok(_) => rawdoc! { "isWritablePrimary": true, "setName": "cstore", "ok": 1.0 },
            Err(_) => rawdoc! { "ok": 0.0, "code": 59, "errmsg": "no such command: 'x'" },
        })
    });
    let error = client(&address)
        .run("d", &rawdoc! { "x": 1 })
        .expect_err("fails");
    assert!(
        error.to_string().contains("no such command: 'x' (code 59)"),
        "{error}"
    );
}

#[test]
fn a_refused_connection_is_said_plainly() {
    let nobody = loopback_ports::reserve_address();
    let error = client(&nobody)
        .with_patience(Duration::ZERO)
        .run("d", &rawdoc! { "ping": 1 })
        .expect_err("nobody");
    let text = error.to_string();
    assert!(
        text.contains(&nobody) && text.contains("connection refused"),
        "{text}"
    );
}

#[test]
fn another_protocol_is_said_plainly() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("has one").to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let error = Connection::open(&address, Duration::from_secs(1), Duration::from_secs(1))
        .and_then(|mut connection| connection.hello())
        .expect_err("not MongoDB");
    assert!(matches!(error, ClientError::Protocol { .. }), "{error}");
}

#[test]
fn connection_strings() {
    let parse = |text: &str| text.parse::<ConnectionString>();
    let parsed = parse("mongodb://a:1,b,[::1]:3/shop?x=y&replicaSet=cstore").expect("sound");
    assert_eq!(parsed.hosts, ["a:1", "b:27017", "[::1]:3"]);
    assert_eq!(
        (parsed.database.as_deref(), parsed.replica_set.as_deref()),
        (Some("shop"), Some("cstore"))
    );
    assert_eq!(
        parse("mongodb://[::1]").expect("sound").hosts,
        ["[::1]:27017"]
    );
    assert!(matches!(
        parse("localhost:27017"),
        Err(ConnectionStringError::Scheme(_))
    ));
    assert_eq!(
        parse("mongodb+srv://x.example"),
        Err(ConnectionStringError::Srv)
    );
    assert_eq!(
        parse("mongodb://u:p@h:1"),
        Err(ConnectionStringError::Credentials)
    );
    for wrong in [
        "mongodb://",
        "mongodb://a:b",
        "mongodb://a:0",
        "mongodb://a:70000",
        "mongodb://a,,b",
    ] {
        assert!(
            matches!(parse(wrong), Err(ConnectionStringError::Host(_))),
            "{wrong}"
        );
    }
}

#[test]
fn a_member_of_another_replica_set_is_not_used() {
    let address =
        serve(|_| Some(rawdoc! { "isWritablePrimary": true, "setName": "other", "ok": 1.0 }));
    let error = client(&address)
        .with_patience(Duration::ZERO)
        .run("d", &rawdoc! { "ping": 1 })
        .expect_err("not ours");
    assert!(
        error
            .to_string()
            .contains("replica set \"other\", not \"cstore\""),
        "{error}"
    );
}
