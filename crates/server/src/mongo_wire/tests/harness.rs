//! Starts a server on a temporary directory, and a client that sends what it is told.

use std::sync::Arc;
use std::time::Duration;

use bson::{Document, doc};
use node::{Addresses, Node, NodeConfig, Notices, Platform};
use parking_lot::Mutex;
use platform::{OsClock, OsDisk, OsEntropy};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::mongo_wire::Server;
use crate::mongo_wire::frame::{self, HEADER_BYTES, Header};
use crate::serve::{ServeArgs, Settings};

pub(super) struct TestServer {
    pub server: Arc<Server>,
    /// What was said of slow operations.
    pub slow_lines: Arc<Mutex<Vec<String>>>,
    pub address: String,
    _directory: TempDir,
}

impl TestServer {
    /// A node that leads a cluster of one.
    pub(super) async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let any = || Some("127.0.0.1:0".to_owned());
        let settings = Settings::resolve(ServeArgs {
            data_dir: Some(directory.path().join("data")),
            listen: Some(address.clone()),
            peer_listen: any(),
            admin_listen: any(),
            enable_test_commands: true,
            ..ServeArgs::default()
        })
        .expect("sound settings");
        let advertise = Addresses {
            client: address.clone(),
            peer: "127.0.0.1:1".to_owned(),
            admin: "127.0.0.1:2".to_owned(),
        };
        let config = NodeConfig::new(
            settings.data_dir.clone(),
            "127.0.0.1:0".to_owned(),
            advertise,
        );
        let node = tokio::task::spawn_blocking(move || {
            let platform = Platform {
                disk: OsDisk,
                clock: OsClock::new(),
                entropy: Arc::new(OsEntropy),
            };
            Node::start(config, platform)
        });
        let node = node.await.expect("no panic").expect("the node starts");
        let slow_lines = Arc::new(Mutex::new(Vec::new()));
        let lines = slow_lines.clone();
        let notices = Notices::new(move |line| lines.lock().push(line.to_owned()));
        let server = Server::new(node, settings, notices);
        tokio::spawn(server.clone().accept(listener));
        let mut views = server.topology.subscribe();
        let ready = views.wait_for(|view| view.is_primary());
        ready.await.expect("the server lives");
        // Once the founder's addresses are in the membership nothing changes by itself any more.
        let node = server.node.clone();
        let quiet = tokio::task::spawn_blocking(move || {
            node.wait_until(Duration::from_secs(60), |status| {
                let own = status.member(status.id).unwrap_or_default();
                status.settled && !own.addresses.client.is_empty()
            })
        });
        assert!(quiet.await.expect("no panic"), "the founder is recorded");
        TestServer {
            server,
            slow_lines,
            address,
            _directory: directory,
        }
    }

    pub(super) async fn connect(&self) -> TestClient {
        let stream = TcpStream::connect(&self.address)
            .await
            .expect("the server listens");
        TestClient {
            stream,
            next_request: 1,
        }
    }

    pub(super) async fn stop(self) {
        let node = self.server.node.clone();
        let stopped = tokio::task::spawn_blocking(move || node.stop());
        stopped.await.expect("no panic");
    }
}

pub(super) struct TestClient {
    pub stream: TcpStream,
    next_request: i32,
}

impl TestClient {
    /// Sends a command in one message and reads its reply.
    pub(super) async fn command(&mut self, command: &Document) -> Document {
        self.send_command(command, 0).await;
        self.reply().await.expect("a reply")
    }

    pub(super) async fn send_command(&mut self, command: &Document, flags: u32) {
        let mut body = Vec::new();
        command.to_writer(&mut body).expect("a document");
        let mut message = Vec::new();
        frame::write_message(&mut message, self.next_request, 0, flags, &body);
        self.next_request += 1;
        self.send(&message).await;
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        // The server may have closed already; what it answered is still to be read.
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next reply; `None` when the server closed the connection.
    pub(super) async fn reply(&mut self) -> Option<Document> {
        self.message().await.map(|(_, document)| document)
    }

    /// The next reply with its flags.
    pub(super) async fn message(&mut self) -> Option<(u32, Document)> {
        let mut header = [0; HEADER_BYTES];
        self.stream.read_exact(&mut header).await.ok()?;
        let length = i32::from_le_bytes(header[..4].try_into().expect("four bytes")) as usize;
        let mut message = header.to_vec();
        message.resize(length, 0);
        self.stream
            .read_exact(&mut message[HEADER_BYTES..])
            .await
            .ok()?;
        if Header::parse(&message).is_err() {
            // OP_REPLY: the document stands after 20 more bytes.
            let document =
                Document::from_reader(&message[HEADER_BYTES + 20..]).expect("sound BSON");
            return Some((0, document));
        }
        let parsed = frame::parse_message(&message).expect("a sound message");
        Some((
            parsed.flags,
            Document::from_reader(parsed.body).expect("sound BSON"),
        ))
    }

    /// Whether this connection still answers.
    pub(super) async fn is_served(&mut self) -> bool {
        self.command(&doc! {"ping": 1, "$db": "admin"})
            .await
            .get_f64("ok")
            .ok()
            == Some(1.0)
    }
}
