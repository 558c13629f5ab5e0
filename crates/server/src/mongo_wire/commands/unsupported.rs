//! Commands of features that are not there, so that clients read why.

use super::{Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::failure::{Code, Failure};

pub(super) static COMMIT_TRANSACTION: Command = Command::new(
    "commitTransaction",
    "transactions are not supported",
    transactions,
);
pub(super) static ABORT_TRANSACTION: Command = Command::new(
    "abortTransaction",
    "transactions are not supported",
    transactions,
);
pub(super) static SASL_START: Command = Command::new(
    "saslStart",
    "authentication is not supported",
    authentication,
);
pub(super) static SASL_CONTINUE: Command = Command::new(
    "saslContinue",
    "authentication is not supported",
    authentication,
);
pub(super) static AUTHENTICATE: Command = Command::new(
    "authenticate",
    "authentication is not supported",
    authentication,
);

fn transactions<'a>(_: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async {
        Err(Failure::new(
            Code::OperationNotSupportedInTransaction,
            "transactions are not supported yet",
        ))
    })
}

fn authentication<'a>(_: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async {
        Err(Failure::new(
            Code::AuthenticationFailed,
            "Authentication failed: it is not supported; connect without a user name",
        ))
    })
}
