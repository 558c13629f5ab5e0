//! A server that does nothing: inserts and finds by `_id` are answered at once with fixed replies. What it reaches is
//! what sockets and the load generator leave possible on this machine, whatever a real server does.

use std::io;
use std::net::SocketAddr;

use bson::oid::ObjectId;
use bson::raw::RawDocumentBuf;
use bson::spec::BinarySubtype;
use bson::{Binary, rawdoc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::message::{self, BODY_AT, HEADER_BYTES, places};
use crate::load::VALUE_BYTES;

const ID_NAME: &[u8] = b"\x07_id\x00";
const BUFFER_BYTES: usize = 64 << 10;
const REQUEST_BYTES_MAX: usize = 48 << 20;

/// Replies made once; what differs (response-to, the id found) is written over.
#[derive(Clone)]
struct Replies {
    hello: Vec<u8>,
    insert: Vec<u8>,
    find: Vec<u8>,
    find_id_at: usize,
}

impl Replies {
    fn new() -> Self {
        let with_times = |mut body: RawDocumentBuf| {
            // As long as a replica set's replies are.
            let time = bson::Timestamp {
                time: 1,
                increment: 1,
            };
            let signed = rawdoc! {
                "clusterTime": time,
                "signature": {
                    "hash": Binary { subtype: BinarySubtype::Generic, bytes: vec![0; 20] }, "keyId": 0_i64,
                },
            };
            body.append(bson::cstr!("$clusterTime"), signed);
            body.append(bson::cstr!("operationTime"), time);
            message::encode(&body, None)
        };
        let value = Binary {
            subtype: BinarySubtype::Generic,
            bytes: vec![0x5a; VALUE_BYTES],
        };
        let document = rawdoc! { "_id": ObjectId::from_bytes([0; 12]), "v": value };
        let found = rawdoc! {
            "cursor": { "firstBatch": [document], "id": 0_i64, "ns": "compare.points" }, "ok": 1.0,
        };
        let find = with_times(found);
        let find_id_at = places(&find, ID_NAME)
            .first()
            .map(|at| at + ID_NAME.len())
            .expect("the reply was built with an _id");
        Replies {
            hello: with_times(
                rawdoc! { "isWritablePrimary": true, "maxWireVersion": 21, "ok": 1.0 },
            ),
            insert: with_times(rawdoc! { "n": 1, "ok": 1.0 }),
            find,
            find_id_at,
        }
    }

    /// The reply to a whole request; `None` for what the stub does not know.
    fn answer(&mut self, request: &[u8]) -> Option<&[u8]> {
        let name = request.get(BODY_AT + 5..)?;
        let reply = if name.starts_with(b"insert\0") {
            &mut self.insert
        } else if name.starts_with(b"find\0") {
            let id_at = *places(request, ID_NAME).first()? + ID_NAME.len();
            let id = request.get(id_at..id_at + 12)?;
            self.find[self.find_id_at..self.find_id_at + 12].copy_from_slice(id);
            &mut self.find
        } else if name.starts_with(b"hello\0") {
            &mut self.hello
        } else {
            return None;
        };
        reply[8..12].copy_from_slice(request.get(4..8)?);
        Some(reply)
    }
}

/// Serves until the process ends.
pub(crate) fn serve(listen: SocketAddr) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await?;
        accept(listener).await
    })
}

pub(super) async fn accept(listener: TcpListener) -> io::Result<()> {
    let replies = Replies::new();
    loop {
        let (stream, _) = listener.accept().await?;
        let replies = replies.clone();
        tokio::spawn(async move {
            // The client sees a closed connection; there is nobody else to tell.
            let _ = converse(stream, replies).await;
        });
    }
}

async fn converse(mut stream: TcpStream, mut replies: Replies) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut filled = 0;
    loop {
        let count = stream.read(&mut buffer[filled..]).await?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        while let Some(length) = message::length(&buffer[..filled]) {
            if !(HEADER_BYTES..REQUEST_BYTES_MAX).contains(&length) {
                return Ok(());
            }
            if filled < length {
                if length > buffer.len() {
                    buffer.resize(length, 0);
                }
                break;
            }
            let Some(reply) = replies.answer(&buffer[..length]) else {
                return Ok(());
            };
            stream.write_all(reply).await?;
            buffer.copy_within(length..filled, 0);
            filled -= length;
        }
    }
}
