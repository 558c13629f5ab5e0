//! `endSessions`, `refreshSessions`, `startSession`, `killSessions`. What a session did is remembered by the state
//! machine and forgotten after the session time-out; here only its cursors are closed.

use std::hash::{BuildHasher, RandomState};

use bson::raw::RawBsonRef;

use super::{Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::limits::SESSION_TIMEOUT_MINUTES;
use crate::mongo_wire::values;

pub(super) static END: Command = Command {
    in_api_1: true,
    ..Command::new("endSessions", "the client is done with sessions", close)
};

pub(super) static KILL: Command =
    Command::new("killSessions", "close sessions and their cursors", close);

pub(super) static REFRESH: Command = Command {
    in_api_1: true,
    ..Command::new("refreshSessions", "sessions are still in use", refresh)
};

pub(super) static START: Command = Command::new("startSession", "a new session id", start);

fn close<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        for session in values::documents(invocation.request.name, invocation.request.target)? {
            if let Some(RawBsonRef::Binary(id)) = session.get("id")? {
                invocation.server.cursors.close_session(id.bytes);
            }
        }
        Ok(DocumentWriter::new().into())
    })
}

fn refresh<'a>(_: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async { Ok(DocumentWriter::new().into()) })
}

fn start<'a>(_: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async {
        let mut id = [0; 16];
        for half in id.chunks_exact_mut(8) {
            half.copy_from_slice(&RandomState::new().hash_one(0).to_le_bytes());
        }
        id[6] = (id[6] & 0x0f) | 0x40; // version 4
        id[8] = (id[8] & 0x3f) | 0x80; // the RFC's variant
        let mut fields = DocumentWriter::new();
        fields.begin_document("id");
        fields.uuid("id", &id);
        fields.end();
        fields.i32("timeoutMinutes", SESSION_TIMEOUT_MINUTES);
        Ok(fields.into())
    })
}
