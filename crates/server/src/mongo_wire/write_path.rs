//! Writes: drives a plan through the log, and turns how a proposal ended into what a driver can act on.
//!
//! Never reports a change of leadership that drivers cannot see: an answer that says "not primary" waits until
//! `hello` says so too, or drivers would come straight back.

use std::time::Duration;

use bson::oid::ObjectId;
use node::{FEATURE_LEVEL_COMMAND_FORMAT_2, FEATURE_LEVEL_COMMAND_FORMAT_3, ProposeOutcome};
use state_machine::plan::{Environment, Step, WriteOutcome, WritePlanner};
use state_machine::query::Interrupt;
use state_machine::{Command, Reply};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::batches::remaining;
use super::dispatch::Invocation;
use super::failure::{Code, Failure, RETRYABLE};
use super::read_point;
use super::server::{Server, wall_ms};
use super::topology::{Topology, View};

/// How long a refused proposal waits for the topology to say why.
const SETTLE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a write waits for room before it is turned away.
const OVERLOAD_TIMEOUT: Duration = Duration::from_secs(5);
const OVERLOAD_PERIOD: Duration = Duration::from_millis(5);
/// How long a member that says it leads may refuse proposals.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Proposes a command and returns the state machine's reply.
pub(crate) async fn propose(server: &Server, command: &Command) -> Result<Reply, Failure> {
    check_format(server, command)?;
    let start = Instant::now();
    loop {
        let encoded = command.encode();
        // While the engine has more before it than it should, writers take turns instead of being turned away.
        let delay = server
            .node
            .write_delay(encoded.len(), std::time::Instant::now());
        if !delay.is_zero() {
            sleep(delay).await;
        }
        let asked_in = server.topology.view();
        match propose_once(server, encoded).await {
            ProposeOutcome::Applied { reply, .. } => return Ok(reply),
            ProposeOutcome::Stopping => return Err(Failure::shutting_down()),
            ProposeOutcome::Unknown => {
                settle(&server.topology, &asked_in).await;
                return Err(Failure::outcome_unknown());
            }
            ProposeOutcome::NotLeader { .. } => {
                settle(&server.topology, &asked_in).await;
                if !server.topology.view().is_primary() || start.elapsed() >= REFUSAL_TIMEOUT {
                    return Err(Failure::not_primary());
                }
            }
            ProposeOutcome::DiskFull { what } => return Err(Failure::out_of_disk_space(what)),
            ProposeOutcome::Overloaded => {
                if start.elapsed() >= OVERLOAD_TIMEOUT {
                    return Err(Failure::overloaded());
                }
                sleep(OVERLOAD_PERIOD).await;
            }
        }
    }
}

/// No member may meet a command that it does not read.
fn check_format(server: &Server, command: &Command) -> Result<(), Failure> {
    let needed = match command.format() {
        0..=1 => return Ok(()),
        2 => FEATURE_LEVEL_COMMAND_FORMAT_2,
        _ => FEATURE_LEVEL_COMMAND_FORMAT_3,
    };
    let level = server.node.status().feature_level();
    if level >= needed {
        return Ok(());
    }
    Err(Failure::new(
        Code::CommandNotSupported,
        format!(
            "this needs feature level {needed} and a member has {level}: upgrade every member first (cstore status \
             --json shows whose is the lowest)"
        ),
    ))
}

async fn propose_once(server: &Server, encoded: Vec<u8>) -> ProposeOutcome {
    let (sender, receiver) = oneshot::channel();
    server.node.propose(
        encoded,
        Box::new(move |outcome| {
            // The writer may have given up: its time limit passed.
            let _ = sender.send(outcome);
        }),
    );
    receiver.await.unwrap_or(ProposeOutcome::Unknown)
}

/// Waits, briefly, until the topology no longer calls this member the primary of the term it was refused in. `asked_in` is the
/// view from before the question: a refusal by a member that was no primary then needs no explanation, though it may have
/// become one meanwhile.
pub(crate) async fn settle(topology: &Topology, asked_in: &View) {
    if !asked_in.is_primary() {
        return;
    }
    let mut views = topology.subscribe();
    let changed = views.wait_for(|view| !view.is_primary() || view.term != asked_in.term);
    // Still primary: the refusal was a passing one.
    let _ = timeout(SETTLE_TIMEOUT, changed).await;
}

/// Runs a plan to its end.
pub(crate) async fn run(
    invocation: &Invocation<'_>,
    planner: WritePlanner,
) -> Result<WriteOutcome, Failure> {
    run_after(invocation, planner, false).await
}

/// Runs a plan to its end, after others of the same request that may have changed something.
pub(crate) async fn run_after(
    invocation: &Invocation<'_>,
    mut planner: WritePlanner,
    mut anything_applied: bool,
) -> Result<WriteOutcome, Failure> {
    let server = invocation.server;
    let mut searching = false;
    let at_most_once = invocation.request.options.txn_number.is_some();
    let failed = |failure: Failure, anything_applied: bool| match anything_applied {
        true => after_a_part(failure, at_most_once),
        false => failure,
    };
    loop {
        // Looking for candidates may take long; naming documents does not.
        let step = if searching {
            tokio::task::block_in_place(|| next_step(&mut planner))
        } else {
            next_step(&mut planner)
        };
        match step.map_err(|error| failed(error, anything_applied))? {
            Step::Finished => return Ok(planner.outcome()),
            Step::NeedSnapshot => {
                let snapshot = read_point::leader_snapshot(server)
                    .await
                    .map_err(|error| failed(error, anything_applied))?;
                searching = true;
                planner.snapshot(snapshot);
            }
            Step::Propose(command) => {
                let reply = propose(server, &Command::Write(command))
                    .await
                    .map_err(|error| failed(error, anything_applied))?;
                anything_applied = true;
                planner.applied(reply)?;
            }
        }
    }
}

/// A failure that came after a part of the command was applied. To run the command again is safe only where the session
/// remembers that part: otherwise nothing may invite the driver to it.
fn after_a_part(mut failure: Failure, at_most_once: bool) -> Failure {
    failure.nothing_written = false;
    if !at_most_once {
        failure.labels.retain(|label| *label != RETRYABLE);
    }
    failure
}

fn next_step(planner: &mut WritePlanner) -> Result<Step, Failure> {
    let mut environment = Environment {
        now_ms: wall_ms(),
        generate_id: &mut ObjectId::new,
    };
    planner.next(&mut environment).map_err(|error| Failure {
        nothing_written: true,
        ..error.into()
    })
}

/// A reply of another command's kind: a defect, reported as such.
pub(crate) fn unexpected(reply: &Reply) -> Failure {
    Failure::new(
        Code::InternalError,
        format!("the state machine answered with {reply:?}, which does not belong to this command"),
    )
}

/// Stops work when the request's time is up. For work that ends with the request.
pub(crate) fn interrupt(invocation: &Invocation<'_>) -> Interrupt {
    let operation = &invocation.session.operation;
    operation.control_within(remaining(invocation)).interrupt()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use node::RoleName;

    use super::super::failure::SYSTEM_OVERLOADED;
    use super::super::tests::status;
    use super::*;

    /// Whether nothing has to be waited for.
    async fn is_settled(topology: &Topology, asked_in: &View) -> bool {
        let settling = pin!(settle(topology, asked_in));
        settling.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    /// A write that a follower refused just before it was elected waited half a second for the new primary to be deposed.
    #[tokio::test]
    async fn a_refusal_from_before_an_election_is_not_waited_on() {
        let topology = Topology::new("127.0.0.1:1".to_owned());
        topology.update(&status(RoleName::Candidate, 6, false));
        let asked_in = topology.view();
        topology.update(&status(RoleName::Leader, 6, true));
        assert!(is_settled(&topology, &asked_in).await);
        let asked_in = topology.view();
        assert!(!is_settled(&topology, &asked_in).await);
        topology.update(&status(RoleName::Leader, 8, true));
        assert!(is_settled(&topology, &asked_in).await);
    }

    /// The second chunk of an `updateMany` is turned away: running it again would repeat the first.
    #[test]
    fn an_overload_after_a_part_was_applied_does_not_invite_a_retry() {
        let failure = after_a_part(Failure::overloaded(), false);
        assert_eq!(failure.labels, [SYSTEM_OVERLOADED]);
        assert!(!failure.nothing_written);
        let remembered = after_a_part(Failure::overloaded(), true);
        assert_eq!(remembered.labels, [SYSTEM_OVERLOADED, RETRYABLE]);
        assert!(!remembered.nothing_written);
    }
}
