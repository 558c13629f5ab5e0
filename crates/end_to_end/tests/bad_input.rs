//! Hostile and broken clients: each gets a proper error or a closed connection, the others notice nothing, and memory
//! stays bounded.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bson::{Bson, Document, doc};
use end_to_end::Cluster;

const OP_MSG: i32 = 2013;

fn header(length: i32, opcode: i32) -> Vec<u8> {
    [length, 1, 0, opcode]
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect()
}

/// One OP_MSG with the given bytes as its body.
fn message(body: &[u8]) -> Vec<u8> {
    let mut bytes = header(16 + 4 + 1 + body.len() as i32, OP_MSG);
    bytes.extend_from_slice(&0_u32.to_le_bytes());
    bytes.push(0);
    bytes.extend_from_slice(body);
    bytes
}

fn command(document: &Document) -> Vec<u8> {
    message(&document.to_vec().expect("a document has bytes"))
}

/// What came back: a reply, or the end of the connection.
#[derive(Debug)]
enum Answer {
    Reply(Document),
    Closed,
}

impl Answer {
    fn code(&self) -> Option<i32> {
        match self {
            Answer::Reply(reply) => {
                let first = reply
                    .get_array("writeErrors")
                    .ok()
                    .and_then(|errors| errors.first());
                let failed = first.and_then(Bson::as_document).unwrap_or(reply);
                failed.get_i32("code").ok()
            }
            Answer::Closed => None,
        }
    }
}

struct Raw(TcpStream);

impl Raw {
    fn connect(address: &str) -> Raw {
        let stream = TcpStream::connect(address).expect("the member listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a socket has time-outs");
        Raw(stream)
    }

    fn send(&mut self, bytes: &[u8]) {
        // The server may close while a big message is still being written.
        self.0.write_all(bytes).ok();
    }

    fn answer(&mut self) -> Answer {
        let mut length = [0; 4];
        match self.0.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("neither an answer nor an end")
            }
            Err(_) => return Answer::Closed,
        }
        let mut rest = vec![0; i32::from_le_bytes(length) as usize - 4];
        self.0.read_exact(&mut rest).expect("a whole reply");
        assert_eq!(
            i32::from_le_bytes(rest[8..12].try_into().expect("four bytes")),
            OP_MSG
        );
        Answer::Reply(Document::from_reader(&rest[17..]).expect("a document"))
    }

    fn ask(&mut self, bytes: &[u8]) -> Answer {
        self.send(bytes);
        self.answer()
    }
}

fn once(address: &str, bytes: &[u8]) -> Answer {
    Raw::connect(address).ask(bytes)
}

/// One document of one element, as bytes.
fn wrap(element_type: u8, name: &str, value: &[u8]) -> Vec<u8> {
    let length = 4 + 1 + name.len() + 1 + value.len() + 1;
    let mut bytes = (length as i32).to_le_bytes().to_vec();
    bytes.push(element_type);
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(value);
    bytes.push(0);
    bytes
}

const DOCUMENT: u8 = 3;
const ARRAY: u8 = 4;

/// Documents in documents; built as bytes, for the test must not be the one whose stack ends.
fn nested(depth: usize) -> Vec<u8> {
    (0..depth).fold(wrap(16, "leaf", &1_i32.to_le_bytes()), |inner, _| {
        wrap(DOCUMENT, "a", &inner)
    })
}

/// A command whose `field` is the given bytes.
fn command_with(name: &str, field: &str, element_type: u8, value: &[u8]) -> Vec<u8> {
    let head = doc! { name: "things", "$db": "test" }
        .to_vec()
        .expect("a document has bytes");
    let tail = wrap(element_type, field, value);
    let mut body = head[..head.len() - 1].to_vec();
    body.extend_from_slice(&tail[4..]);
    let length = body.len() as i32;
    body[..4].copy_from_slice(&length.to_le_bytes());
    message(&body)
}

/// Resident memory of a process, KiB.
fn resident_kib(cluster: &Cluster, member: usize) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", cluster.process_id(member)))
        .expect("it runs");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("a process has memory");
    line.split_whitespace()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_clients_are_refused_and_harm_nobody() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client().await;
    let things = client.database("test").collection::<Document>("things");
    things.insert_one(doc! { "_id": 1 }).await.expect("inserts");
    let address = cluster.listen(0).to_owned();
    tokio::task::spawn_blocking(move || {
        frames(&address);
        documents(&address);
    })
    .await
    .expect("every broken client was answered rightly");
    assert_eq!(
        things.count_documents(doc! {}).await.expect("others go on"),
        1
    );
}

fn frames(address: &str) {
    let ping = command(&doc! { "ping": 1, "$db": "admin" });
    for length in [-1, 0, 15, 16, i32::MAX, 48_000_001] {
        let mut lying = ping.clone();
        lying[..4].copy_from_slice(&i32::to_le_bytes(length));
        let mut raw = Raw::connect(address);
        raw.send(&lying);
        raw.0
            .shutdown(std::net::Shutdown::Write)
            .expect("half a close");
        assert!(
            matches!(raw.answer(), Answer::Closed),
            "a length of {length}"
        );
    }
    let mut raw = Raw::connect(address);
    raw.send(&ping[..ping.len() - 3]);
    raw.0
        .shutdown(std::net::Shutdown::Write)
        .expect("half a close");
    assert!(matches!(raw.answer(), Answer::Closed), "a truncated frame");
    for opcode in [0, 1, 2001, 2002, 2005, 2007, 4242] {
        let mut bytes = header(20, opcode);
        bytes.extend_from_slice(&[0; 4]);
        let answer = once(address, &bytes);
        assert!(
            matches!(answer, Answer::Closed),
            "opcode {opcode}: {answer:?}"
        );
    }
    // A document that says it is longer than its message.
    let mut lying = ping.clone();
    lying[21..25].copy_from_slice(&1_000_000_i32.to_le_bytes());
    assert_no_success(&once(address, &lying));
    // A wrong checksum.
    let mut bytes = ping.clone();
    bytes[16] = 1;
    bytes.extend_from_slice(&[1, 2, 3, 4]);
    let length = bytes.len() as i32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    assert_no_success(&once(address, &bytes));
    // A required flag nobody knows.
    let mut bytes = ping.clone();
    bytes[16] = 0x80;
    assert_no_success(&once(address, &bytes));
    let Answer::Reply(reply) = once(address, &ping) else {
        panic!("a good client is served")
    };
    assert_eq!(reply.get_f64("ok").ok(), Some(1.0));
}

fn assert_no_success(answer: &Answer) {
    if let Answer::Reply(reply) = answer {
        assert_ne!(reply.get_f64("ok").ok(), Some(1.0), "{reply}");
        assert!(reply.get_i32("code").is_ok(), "{reply}");
    }
}

fn insert(document: Document) -> Vec<u8> {
    command(&doc! { "insert": "things", "documents": [document], "$db": "test" })
}

fn documents(address: &str) {
    let big = Bson::String("x".repeat(17 << 20));
    assert_eq!(
        once(address, &insert(doc! { "_id": 2, "big": big })).code(),
        Some(10334),
        "17 MiB"
    );
    for depth in [200, 20_000] {
        let documents = wrap(DOCUMENT, "0", &nested(depth));
        let answer = once(
            address,
            &command_with("insert", "documents", ARRAY, &documents),
        );
        assert_no_success(&answer);
    }
    // Invalid UTF-8 in a value.
    let mut bytes = insert(doc! { "_id": 3, "text": "QQQQ" });
    let at = bytes
        .windows(4)
        .position(|window| window == b"QQQQ")
        .expect("the text is in there");
    bytes[at] = 0xff;
    let invalid = once(address, &bytes);
    assert!(invalid.code().is_some(), "invalid UTF-8: {invalid:?}");
    // A filter as deep as a message may be.
    let deep = (0..5_000).fold(wrap(16, "a", &1_i32.to_le_bytes()), |inner, _| {
        wrap(ARRAY, "$and", &wrap(DOCUMENT, "0", &inner))
    });
    let answer = once(address, &command_with("find", "filter", DOCUMENT, &deep));
    assert_no_success(&answer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_reads_does_not_grow_the_server() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client().await;
    let things = client.database("test").collection::<Document>("things");
    let text = "x".repeat(1 << 20);
    for id in 0..16 {
        things
            .insert_one(doc! { "_id": id, "text": &text })
            .await
            .expect("inserts");
    }
    let address = cluster.listen(0).to_owned();
    let silent = tokio::task::spawn_blocking(move || {
        let find = command(&doc! { "find": "things", "filter": {}, "$db": "test" });
        let mut all: Vec<Raw> = (0..4).map(|_| Raw::connect(&address)).collect();
        for raw in &mut all {
            raw.0
                .set_write_timeout(Some(Duration::from_millis(300)))
                .expect("a socket has time-outs");
            // Until neither side's buffers take more.
            for _ in 0..2_000 {
                if raw.0.write_all(&find).is_err() {
                    break;
                }
            }
        }
        all
    })
    .await
    .expect("the silent clients sent what they could");
    things
        .insert_one(doc! { "_id": 100 })
        .await
        .expect("others go on");
    let resident = resident_kib(&cluster, 0);
    assert!(
        resident < 600 << 10,
        "{resident} KiB resident for {} clients that do not read",
        silent.len()
    );
}
