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
pub(super) static CREATE_SEARCH_INDEXES: Command = Command::new(
    "createSearchIndexes",
    "search indexes are not supported",
    search,
);
pub(super) static UPDATE_SEARCH_INDEX: Command = Command::new(
    "updateSearchIndex",
    "search indexes are not supported",
    search,
);
pub(super) static DROP_SEARCH_INDEX: Command = Command::new(
    "dropSearchIndex",
    "search indexes are not supported",
    search,
);

fn search<'a>(_: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async { Err(search_not_enabled()) })
}

/// What MongoDB says where there is no search beside it; drivers look for the name in it.
pub(super) fn search_not_enabled() -> Failure {
    Failure::new(
        Code::SearchNotEnabled,
        "Using Atlas Search Database Commands and the $listSearchIndexes aggregation stage requires additional configuration. \
         Please connect to Atlas or an AtlasCLI local deployment to enable.",
    )
}

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
