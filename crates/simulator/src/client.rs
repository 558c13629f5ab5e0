//! What a client does, as the world drives it: one operation at a time, carried to a member, worked on there, answered.
//!
//! An operation: [`Workload::begin`] at the client; the request travels to a member the world chooses (usually the leader); a
//! read waits there for its read index; [`Workload::proceed`] on that member's reader makes a command, the world proposes it,
//! and `proceed` is called again with the reply, until it says [`Proceed::Done`]; the answer travels back;
//! [`Workload::end`] at the client. Anything on this way may be lost.

use state_machine::{Command, Reader, Reply};

use crate::Random;

/// A client. Each has one operation under way at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u32);

/// What the operation that a client begins needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The leader, who proposes commands.
    Write,
    /// Any member, at a read index: [`Workload::proceed`] is called once, and must say [`Proceed::Done`].
    Read,
}

/// What comes next of an operation that has come to a member.
#[derive(Debug)]
pub enum Proceed {
    /// This command is proposed; `proceed` is called with its reply.
    Propose(Command),
    /// The workload has noted the answer; it travels back to the client.
    Done,
}

/// How an operation ended, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The answer arrived.
    Done,
    /// Nothing of it was proposed, and nothing will be.
    Failed,
    /// A command of it was proposed or may have been, and no answer came: it may take effect any time, or never.
    Unknown,
}

/// What a number of clients do, and what they must have seen. Holds the state of each client's operation itself.
pub trait Workload {
    /// The client's next operation; `None`: it pauses. `now` is the simulated time in microseconds.
    fn begin(&mut self, client: ClientId, random: &mut Random, now: u64) -> Option<Kind>;

    /// The client's operation is at a member; `reply` is that of the command proposed last. `now_ms` is the member's
    /// wall clock. `Err` is a finding, a reply that must not be given for example.
    fn proceed(
        &mut self,
        client: ClientId,
        reader: &Reader,
        now_ms: i64,
        reply: Option<Reply>,
    ) -> Result<Proceed, String>;

    /// The client learns how its operation ended. After [`End::Unknown`] or [`End::Failed`] the next `begin` may try the same
    /// again (as a driver retries a write under the same session stamp), without a sign to the world.
    fn end(&mut self, client: ClientId, end: End, now: u64) -> Result<(), String>;

    /// Whether enough was done; the world stops asking then.
    fn is_over(&self) -> bool {
        false
    }

    /// After everything has healed and every member has applied everything: what a member holds, against what the clients
    /// were told. Called once, with the reader of one member; all members are known to hold the same.
    fn judge(&mut self, reader: &Reader) -> Result<(), String>;
}
