//! A small client of the wire protocol, for the command line's own use: `status`, `import`, `check`, `dev`, `bench`.
//!
//! Promises: commands go to the primary and follow it when it changes; a write made through [`Client::write`] carries a
//! session and a transaction number, so that a repetition after a fail-over has its effect once.
//!
//! Does not: pool connections, compress, authenticate, watch the topology in the background. Users have drivers for that.

mod address;
mod cluster;
mod connection;
pub(crate) mod message;

#[cfg(test)]
mod tests;

pub(crate) use address::ConnectionString;
pub(crate) use cluster::Client;
pub(crate) use connection::Connection;

use bson::RawDocument;

/// Why a command has no useful answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ClientError {
    /// Connecting, sending or receiving failed; whether the command had an effect is unknown.
    #[error("{address}: {reason}")]
    Network { address: String, reason: String },
    /// The server answered with something that is not the wire protocol.
    #[error("{address} does not speak the MongoDB wire protocol: {reason}")]
    Protocol { address: String, reason: String },
    /// The server answered that the command failed.
    #[error("{address}: {message} (code {code})")]
    Command {
        address: String,
        code: i32,
        message: String,
        retryable: bool,
    },
    /// The member bears another name than the connection string asks for.
    #[error("{address} is a member of replica set {found:?}, not {expected:?}")]
    OtherReplicaSet {
        address: String,
        found: String,
        expected: String,
    },
    /// No member that takes writes was found in time.
    #[error(
        "no primary among {hosts} within {seconds} s; last: {last}. Is the cluster running, with a majority of its voters?"
    )]
    NoPrimary {
        hosts: String,
        seconds: u64,
        last: String,
    },
}

impl ClientError {
    /// Whether the same command may succeed at another member, or soon at this one.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            ClientError::Network { .. } => true,
            ClientError::Command { retryable, .. } => *retryable,
            ClientError::Protocol { .. }
            | ClientError::OtherReplicaSet { .. }
            | ClientError::NoPrimary { .. } => false,
        }
    }
}

/// Codes that say "not here, not now": drivers choose another server after them.
const STATE_CHANGE_CODES: [i32; 8] = [10107, 13435, 13436, 189, 91, 11600, 11602, 10058];

/// The error a reply stands for, if it is one: `ok: 0`, or a write-concern error.
pub(crate) fn reply_error(address: &str, reply: &RawDocument) -> Option<ClientError> {
    let failed = !is_ok(reply);
    let source = match failed {
        true => reply,
        false => reply.get_document("writeConcernError").ok()?,
    };
    let code = integer(source, "code").map_or(0, |code| i32::try_from(code).unwrap_or(0));
    let message = source.get_str("errmsg").unwrap_or("no message").to_owned();
    let labelled = reply.get_array("errorLabels").is_ok_and(|labels| {
        labels.into_iter().flatten().any(|label| {
            matches!(
                label.as_str(),
                Some("RetryableWriteError" | "RetryableError")
            )
        })
    });
    Some(ClientError::Command {
        address: address.to_owned(),
        code,
        message,
        retryable: labelled || STATE_CHANGE_CODES.contains(&code),
    })
}

/// Whether the reply says `ok: 1`, in whichever numeric type.
pub(crate) fn is_ok(reply: &RawDocument) -> bool {
    match reply.get("ok") {
        Ok(Some(value)) => {
            value.as_f64() == Some(1.0) || value.as_i32() == Some(1) || value.as_i64() == Some(1)
        }
        _ => false,
    }
}

/// A field as an integer, in whichever numeric type it came.
pub(crate) fn integer(document: &RawDocument, field: &str) -> Option<i64> {
    let value = document.get(field).ok()??;
    value
        .as_i64()
        .or_else(|| value.as_i32().map(i64::from))
        .or_else(|| value.as_f64().map(|double| double as i64))
}
