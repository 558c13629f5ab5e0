//! Commands outside the measurements: who leads, is the cluster whole, load documents.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use bson::raw::{RawDocument, RawDocumentBuf};
use bson::rawdoc;

use super::{message, reply};
use crate::cluster::ANSWER_TIMEOUT;
use crate::load::LoadError;

const REPLY_BYTES_MAX: usize = 48 << 20;

/// A blocking connection to one member.
pub(crate) struct Control {
    stream: TcpStream,
}

impl Control {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, LoadError> {
        let stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT).map_err(|error| {
            LoadError::Connect {
                address,
                reason: error.to_string(),
            }
        })?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Control { stream })
    }

    pub(crate) fn is_primary(&mut self) -> Result<bool, LoadError> {
        let answer = self.run(&rawdoc! { "hello": 1, "$db": "admin" })?;
        Ok(reply::number(&answer, "isWritablePrimary") == Some(1.0))
    }

    /// How many members the cluster counts as reachable voters.
    pub(crate) fn voters(&mut self) -> Result<usize, LoadError> {
        let answer = self.run(&rawdoc! { "cstoreStatus": 1, "$db": "admin" })?;
        let malformed = |_| LoadError::Protocol(format!("cstoreStatus: {answer:?}"));
        let mut voters = 0;
        for member in answer.get_array("members").map_err(malformed)? {
            let Some(member) = member.ok().and_then(|member| member.as_document()) else {
                continue;
            };
            let yes = |name| reply::number(member, name) == Some(1.0);
            voters += usize::from(yes("voter") && yes("reachable"));
        }
        Ok(voters)
    }

    /// How many entries the member that clients reach at `listen` lacks, as seen by the member asked; `None` while it is
    /// not reached.
    pub(crate) fn lag_of(&mut self, listen: SocketAddr) -> Result<Option<u64>, LoadError> {
        let answer = self.run(&rawdoc! { "cstoreStatus": 1, "$db": "admin" })?;
        let malformed = |_| LoadError::Protocol(format!("cstoreStatus: {answer:?}"));
        let (mut last, mut applied) = (0.0_f64, None);
        for member in answer.get_array("members").map_err(malformed)? {
            let Some(member) = member.ok().and_then(|member| member.as_document()) else {
                continue;
            };
            if reply::number(member, "reachable") != Some(1.0) {
                continue;
            }
            last = last.max(reply::number(member, "last_index").unwrap_or(0.0));
            if member
                .get_str("listen")
                .is_ok_and(|it| it == listen.to_string())
            {
                applied = reply::number(member, "applied_index");
            }
        }
        Ok(applied.map(|applied| (last - applied).max(0.0) as u64))
    }

    /// One insert, to see that the cluster takes writes.
    pub(crate) fn insert_probe(&mut self) -> Result<(), LoadError> {
        let command = rawdoc! {
            "insert": "probe", "documents": [rawdoc! { "probe": 1 }], "$db": message::DATABASE,
        };
        let answer = self.run(&command)?;
        if reply::number(&answer, "n") == Some(1.0) {
            Ok(())
        } else {
            Err(LoadError::Refused(format!("{answer:?}")))
        }
    }

    /// One linearizable read, to see that the member serves.
    pub(crate) fn find_probe(&mut self) -> Result<(), LoadError> {
        let command = rawdoc! {
            "find": "probe", "limit": 1, "singleBatch": true, "$db": message::DATABASE,
            "readConcern": { "level": "linearizable" },
        };
        self.run(&command).map(drop)
    }

    fn run(&mut self, command: &RawDocument) -> Result<RawDocumentBuf, LoadError> {
        self.stream.write_all(&message::encode(command, None))?;
        let mut reply = vec![0; message::HEADER_BYTES];
        self.stream.read_exact(&mut reply)?;
        let length = message::length(&reply).unwrap_or(0);
        if !(message::BODY_AT..REPLY_BYTES_MAX).contains(&length) {
            return Err(LoadError::Protocol(format!(
                "a reply of {length} bytes, by its header"
            )));
        }
        reply.resize(length, 0);
        self.stream
            .read_exact(&mut reply[message::HEADER_BYTES..])?;
        Ok(reply::succeeded(&reply)?.to_owned())
    }
}
