//! Clients that behave as drivers do, and do jobs of all activities by turns.

use std::collections::{BTreeMap, VecDeque};

use bson::RawDocumentBuf;
use bson::oid::ObjectId;
use state_machine::plan::{Environment, Step, WritePlanner};
use state_machine::query::{FindRequest, QueryError};
use state_machine::{Command, Reader, Reply, SessionStamp, Snapshot};

use super::{Activity, Answer, Request};
use crate::client::{ClientId, End, Kind, Proceed, Workload};
use crate::history::Outcome;
use crate::random::Random;

/// How long a client tries one operation, in microseconds.
const OPERATION_TIMEOUT: u64 = 8_000_000;

/// All activities, and the clients that do them.
pub struct Mixed {
    activities: Vec<Box<dyn Activity>>,
    clients: BTreeMap<ClientId, Client>,
    setup: VecDeque<Request>,
    /// Operations to begin yet.
    left: u32,
    /// Counts beginnings and ends of operations: the time of histories.
    order: u64,
    ids: u64,
    judged: bool,
}

#[derive(Default)]
struct Client {
    operation: Option<Operation>,
    txn_number: i64,
}

/// An operation, over all its attempts.
struct Operation {
    purpose: Purpose,
    request: Request,
    session: Option<SessionStamp>,
    give_up: u64,
    /// An earlier attempt may have happened.
    maybe_done: bool,
    /// Of the present attempt.
    planner: Option<WritePlanner>,
    answer: Option<Answer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Setup,
    Job { activity: usize, number: u64 },
}

impl Mixed {
    /// Activities of drawn sizes; clients begin about `operations` operations together.
    pub fn new(random: &mut Random, operations: u32) -> Mixed {
        Mixed::of(super::all(random), operations)
    }

    pub(super) fn of(mut activities: Vec<Box<dyn Activity>>, operations: u32) -> Mixed {
        let setup = activities.iter_mut().flat_map(|it| it.setup()).collect();
        Mixed {
            activities,
            clients: BTreeMap::new(),
            setup,
            left: operations,
            order: 0,
            ids: 0,
            judged: false,
        }
    }

    /// Operations that ended done, failed and unknown.
    pub fn outcomes(&self) -> [usize; 3] {
        let mut sum = [0; 3];
        for activity in &self.activities {
            for (sum, count) in sum.iter_mut().zip(activity.outcomes()) {
                *sum += count;
            }
        }
        sum
    }

    /// A new operation for this client, if there is one.
    fn operation(&mut self, client: ClientId, random: &mut Random, now: u64) -> Option<Operation> {
        let busy = |it: &Client| it.operation.is_some();
        let (purpose, request, stamped) = if let Some(request) = self.setup.front() {
            if self.clients.values().any(busy) {
                return None;
            }
            (Purpose::Setup, request.clone(), false)
        } else {
            if self.left == 0 {
                return None;
            }
            self.left -= 1;
            self.order += 1;
            let activity = random.index(self.activities.len());
            let job = self.activities[activity].next(client.0, random, self.order)?;
            let number = job.number;
            (Purpose::Job { activity, number }, job.request, job.stamped)
        };
        let state = self.clients.entry(client).or_default();
        let session = stamped.then(|| {
            state.txn_number += 1;
            SessionStamp {
                lsid: session_id(client),
                txn_number: state.txn_number,
            }
        });
        Some(Operation {
            purpose,
            request,
            session,
            give_up: now + OPERATION_TIMEOUT,
            maybe_done: false,
            planner: None,
            answer: None,
        })
    }

    fn finish(&mut self, operation: Operation, outcome: Outcome<Answer>) -> Result<(), String> {
        match operation.purpose {
            Purpose::Setup => match outcome {
                Outcome::Done(Answer::Reply(Reply::Failed(error))) => {
                    Err(format!("the setup was refused: {error}"))
                }
                Outcome::Done(_) => {
                    self.setup.pop_front();
                    Ok(())
                }
                // The next client tries again.
                Outcome::Failed | Outcome::Unknown => Ok(()),
            },
            Purpose::Job { activity, number } => {
                self.order += 1;
                let activity = &mut self.activities[activity];
                activity
                    .completed(number, outcome, self.order)
                    .map_err(|finding| format!("{}: {finding}", activity.name()))
            }
        }
    }
}

impl Workload for Mixed {
    fn begin(&mut self, client: ClientId, random: &mut Random, now: u64) -> Option<Kind> {
        let again = self
            .clients
            .get(&client)
            .is_some_and(|it| it.operation.is_some());
        if !again {
            let operation = self.operation(client, random, now)?;
            self.clients.entry(client).or_default().operation = Some(operation);
        }
        let operation = self.clients.get_mut(&client)?.operation.as_mut()?;
        operation.answer = None;
        operation.planner = match &operation.request {
            Request::Write { namespace, change } => {
                Some(change.planner(namespace, operation.session.clone()))
            }
            Request::Catalog(_) | Request::Read { .. } => None,
        };
        Some(match operation.request {
            Request::Read { .. } => Kind::Read,
            Request::Write { .. } | Request::Catalog(_) => Kind::Write,
        })
    }

    fn proceed(
        &mut self,
        client: ClientId,
        reader: &Reader,
        now_ms: i64,
        reply: Option<Reply>,
    ) -> Result<Proceed, String> {
        let operation = self
            .clients
            .get_mut(&client)
            .and_then(|it| it.operation.as_mut());
        let operation = operation.ok_or("a request is worked on that its client has forgotten")?;
        let answer = match &operation.request {
            Request::Read { namespace, filter } => {
                let request = FindRequest::new(namespace.clone(), filter.clone());
                match find(&reader.snapshot(), request)? {
                    Some(documents) => Answer::Documents(documents),
                    None => return Ok(Proceed::Done),
                }
            }
            Request::Catalog(command) => match reply {
                None => return Ok(Proceed::Propose(command.clone())),
                Some(reply) => Answer::Reply(reply),
            },
            Request::Write { .. } => {
                let planner = operation.planner.as_mut().expect("made when it began");
                if let Some(reply) = reply {
                    planner
                        .applied(reply)
                        .map_err(|error| format!("{:?}: {error}", operation.request))?;
                }
                match plan(planner, reader, now_ms, &mut self.ids)? {
                    Planned::Command(command) => return Ok(Proceed::Propose(command)),
                    Planned::MemberFailed => return Ok(Proceed::Done),
                    Planned::Finished => {
                        let planner = operation.planner.take().expect("it was there above");
                        Answer::Written(planner.outcome())
                    }
                }
            }
        };
        operation.answer = Some(answer);
        Ok(Proceed::Done)
    }

    fn end(&mut self, client: ClientId, end: End, now: u64) -> Result<(), String> {
        let state = self.clients.entry(client).or_default();
        let Some(mut operation) = state.operation.take() else {
            return Ok(());
        };
        operation.planner = None;
        // Done without an answer: the member's storage failed it.
        operation.maybe_done |= end != End::Failed;
        let repeatable = match &operation.request {
            Request::Write { .. } => operation.session.is_some() || !operation.maybe_done,
            Request::Catalog(_) | Request::Read { .. } => true,
        };
        let outcome = match (end, operation.answer.take()) {
            (End::Done, Some(answer)) => Outcome::Done(answer),
            _ if repeatable && now < operation.give_up => {
                state.operation = Some(operation);
                return Ok(());
            }
            _ if operation.maybe_done => Outcome::Unknown,
            _ => Outcome::Failed,
        };
        self.finish(operation, outcome)
    }

    fn is_over(&self) -> bool {
        let idle = |it: &Client| it.operation.is_none();
        self.left == 0 && self.clients.values().all(idle)
    }

    fn judge(&mut self, reader: &Reader) -> Result<(), String> {
        assert!(!self.judged, "a run is judged once");
        self.judged = true;
        let unfinished: Vec<Operation> = self
            .clients
            .values_mut()
            .filter_map(|it| it.operation.take())
            .collect();
        for operation in unfinished {
            self.finish(operation, Outcome::Unknown)?;
        }
        let snapshot = reader.snapshot();
        let set_up = self.setup.is_empty();
        for activity in self.activities.iter_mut().filter(|_| set_up) {
            self.order += 1;
            let jobs = activity.closing(self.order);
            self.order += 1;
            let mut judgement = Ok(());
            for job in jobs {
                let Request::Read { namespace, filter } = job.request else {
                    return Err("a run is closed by reads only".to_owned());
                };
                let found = find(&snapshot, FindRequest::new(namespace, filter))?;
                let answer = Answer::Documents(found.ok_or("the storage failed at rest")?);
                let completed = activity.completed(job.number, Outcome::Done(answer), self.order);
                judgement = judgement.and(completed);
            }
            judgement
                .and_then(|()| activity.judge())
                .map_err(|finding| format!("{}: {finding}", activity.name()))?;
        }
        Ok(())
    }
}

/// How planning a write goes on.
enum Planned {
    Command(Command),
    Finished,
    /// Its storage did: it is about to end.
    MemberFailed,
}

fn plan(
    planner: &mut WritePlanner,
    reader: &Reader,
    now_ms: i64,
    ids: &mut u64,
) -> Result<Planned, String> {
    let mut generate_id = || {
        *ids += 1;
        let mut bytes = [0; 12];
        bytes[4..].copy_from_slice(&ids.to_be_bytes());
        ObjectId::from_bytes(bytes)
    };
    loop {
        let mut environment = Environment {
            now_ms,
            generate_id: &mut generate_id,
        };
        match planner.next(&mut environment) {
            Err(QueryError::Command(error)) => {
                return Err(format!("a write cannot be planned: {error}"));
            }
            Err(_) => return Ok(Planned::MemberFailed),
            Ok(Step::Finished) => return Ok(Planned::Finished),
            Ok(Step::Propose(command)) => return Ok(Planned::Command(Command::Write(command))),
            // No activity's answer depends on how fresh this is: what is found is checked again when it is applied.
            Ok(Step::NeedSnapshot) => planner.snapshot(reader.snapshot()),
        }
    }
}

/// What a read finds; `None` if the member's storage failed it.
fn find(snapshot: &Snapshot, request: FindRequest) -> Result<Option<Vec<RawDocumentBuf>>, String> {
    let found = snapshot.find(request).and_then(|rows| {
        rows.map(|row| row.map(|row| row.into_document()))
            .collect::<Result<_, _>>()
    });
    match found {
        Ok(documents) => Ok(Some(documents)),
        Err(QueryError::Command(error)) => Err(error.to_string()),
        Err(_) => Ok(None),
    }
}

fn session_id(client: ClientId) -> Vec<u8> {
    let mut id = vec![0x5e; 16];
    id[..4].copy_from_slice(&client.0.to_be_bytes());
    id
}
