//! From a client's write to replicated commands, on the leader, before anything is proposed (DESIGN §4).
//!
//! A [`WritePlanner`] is a pure state machine the server drives:
//!
//! ```text
//! loop {
//!     match planner.next(&mut environment)? {
//!         Step::NeedSnapshot => planner.snapshot(a linearizable snapshot, taken now),
//!         Step::Propose(command) => planner.applied(the reply to the command)?,
//!         Step::Finished => break planner.outcome(),
//!     }
//! }
//! ```
//!
//! Commands name the documents they may touch. Inserts and statements that name one exact `_id` need no read
//! and travel together in one command; a statement that has to look for its documents is planned on a snapshot
//! that shows the effects of all earlier ones, alone in its command. When a reply says the candidates no longer
//! match, the statement is planned again.

mod outcome;
mod planner;
mod request;
mod statement;

pub use outcome::{StatementOutcome, WriteOutcome};
pub use planner::{Environment, Step, WritePlanner};
pub use request::{
    BulkStatement, DeleteStatement, FindAndModifyOperation, FindAndModifyRequest, InsertRequest,
    UpdateStatement, WriteOptions,
};
