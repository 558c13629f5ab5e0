//! A client with one connection: OP_MSG, one command at a time. A driver would hide what happens to a connection, and
//! watches its servers; here each round counts.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bson::{Document, RawDocumentBuf, doc};

/// How long a command may take before the server counts as stuck.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
const OP_MSG: i32 = 2013;
/// Header, flags and the kind of the one section.
const BEFORE_BODY: usize = 21;
const REPLY_BYTES_MAX: usize = 64 << 20;

/// Why a command has no reply.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The connection broke or could not be made: what became of a command is unknown.
    #[error("{0}")]
    Broken(#[from] std::io::Error),
    /// The server sent what is no reply.
    #[error("the server's reply is not OP_MSG: {0}")]
    NotAReply(String),
}

/// An open connection.
pub struct Connection {
    stream: TcpStream,
    request: i32,
}

impl Connection {
    /// Connects to `HOST:PORT`.
    pub fn open(address: &str) -> Result<Connection, ConnectionError> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(COMMAND_TIMEOUT))?;
        Ok(Connection { stream, request: 0 })
    }

    /// Runs a command; the reply may say that it failed.
    pub fn run(&mut self, database: &str, command: &Document) -> Result<Document, ConnectionError> {
        self.request += 1;
        let mut command = command.clone();
        command.insert("$db", database);
        let body = RawDocumentBuf::try_from(command).expect("the harness's own documents are BSON");
        let body = body.into_bytes();
        let mut message = Vec::with_capacity(BEFORE_BODY + body.len());
        let length = i32::try_from(BEFORE_BODY + body.len()).expect("commands are short");
        for field in [length, self.request, 0, OP_MSG, 0] {
            message.extend_from_slice(&field.to_le_bytes());
        }
        message.push(0);
        message.extend_from_slice(&body);
        self.stream.write_all(&message)?;
        self.reply()
    }

    fn reply(&mut self) -> Result<Document, ConnectionError> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_le_bytes(length)).unwrap_or(0);
        if !(BEFORE_BODY..=REPLY_BYTES_MAX).contains(&length) {
            return Err(ConnectionError::NotAReply(format!("{length} bytes long")));
        }
        let mut rest = vec![0; length - 4];
        self.stream.read_exact(&mut rest)?;
        let body = rest.split_off(BEFORE_BODY - 4);
        RawDocumentBuf::from_bytes(body)
            .and_then(Document::try_from)
            .map_err(|error| ConnectionError::NotAReply(error.to_string()))
    }

    /// Whether the server takes writes.
    pub fn is_writable(&mut self) -> Result<bool, ConnectionError> {
        let reply = self.run("admin", &doc! { "hello": 1 })?;
        Ok(reply.get_bool("isWritablePrimary").unwrap_or(false))
    }
}

/// Whether a reply says that the command succeeded.
pub fn succeeded(reply: &Document) -> bool {
    number(reply, "ok") == Some(1)
}

/// A whole number of whatever type.
pub fn number(document: &Document, name: &str) -> Option<i64> {
    match document.get(name)? {
        bson::Bson::Int32(number) => Some(i64::from(*number)),
        bson::Bson::Int64(number) => Some(*number),
        bson::Bson::Double(number) => Some(*number as i64),
        _ => None,
    }
}
