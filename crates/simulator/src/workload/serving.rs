//! A member's side of one request: plans a write, proposes it, waits, reads; the server's path without the wire.
//!
//! Driven by polling: between two polls the member makes progress.

use std::sync::{Arc, Mutex, PoisonError};

use bson::oid::ObjectId;
use node::{ProposeDone, ProposeOutcome, ReadDone, ReadError};
use state_machine::plan::{Environment, Step, WritePlanner};
use state_machine::query::{FindRequest, QueryError};
use state_machine::{Command, Reader, Reply, SessionStamp};

use super::request::{Answer, ReadLevel, Request, Response};
use crate::random::Random;

/// What a request needs of a member.
pub trait Member {
    /// As [`node::Node::propose`].
    fn propose(&self, command: Vec<u8>, done: ProposeDone);
    /// As [`node::Node::read_index`].
    fn read_index(&self, done: ReadDone);
    /// As [`node::Node::reader`].
    fn reader(&self) -> Reader;
    /// Whether it takes writes, as its status says; who leads otherwise.
    fn leads(&self) -> Result<(), Option<consensus::NodeId>>;
}

impl Member for node::Node {
    fn propose(&self, command: Vec<u8>, done: ProposeDone) {
        node::Node::propose(self, command, done);
    }

    fn read_index(&self, done: ReadDone) {
        node::Node::read_index(self, done);
    }

    fn reader(&self) -> Reader {
        node::Node::reader(self)
    }

    fn leads(&self) -> Result<(), Option<consensus::NodeId>> {
        let status = self.status();
        match status.writable {
            true => Ok(()),
            false => Err(status.leader),
        }
    }
}

/// One request in the hands of a member.
pub struct Serving {
    work: Work,
    waiting: Option<Waiting>,
    random: Random,
    now_ms: i64,
    /// A part of the write is applied, or may be.
    begun: bool,
}

enum Work {
    Write(Box<WritePlanner>),
    Catalog(Command),
    Read(Box<FindRequest>, ReadLevel),
}

enum Waiting {
    Proposal(Mail<ProposeOutcome>),
    ReadIndex(Mail<Result<u64, ReadError>>),
}

/// Where a callback leaves its result.
struct Mail<T>(Arc<Mutex<Option<T>>>);

impl<T: Send + 'static> Mail<T> {
    fn new() -> (Mail<T>, Box<dyn FnOnce(T) + Send>) {
        let place = Arc::new(Mutex::new(None));
        let there = place.clone();
        let leave = move |result| {
            *there.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        };
        (Mail(place), Box::new(leave))
    }

    fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Serving {
    /// A request that just arrived at a member whose clock shows `now_ms`.
    pub fn new(
        request: &Request,
        session: Option<SessionStamp>,
        now_ms: i64,
        random: Random,
    ) -> Serving {
        let work = match request {
            Request::Write { namespace, change } => {
                Work::Write(Box::new(change.planner(namespace, session)))
            }
            Request::Catalog(command) => Work::Catalog(command.clone()),
            Request::Read {
                namespace,
                filter,
                level,
            } => Work::Read(
                Box::new(FindRequest::new(namespace.clone(), filter.clone())),
                *level,
            ),
        };
        Serving {
            work,
            waiting: None,
            random,
            now_ms,
            begun: false,
        }
    }

    /// Goes on as far as it can; the response, once there is one. After that it is to be dropped.
    pub fn poll(&mut self, member: &impl Member) -> Option<Response> {
        loop {
            let response = match self.waiting.take() {
                None => self.proceed(member, None),
                Some(Waiting::Proposal(mail)) => match mail.take() {
                    None => {
                        self.waiting = Some(Waiting::Proposal(mail));
                        return None;
                    }
                    Some(outcome) => self.proposed(member, outcome),
                },
                Some(Waiting::ReadIndex(mail)) => match mail.take() {
                    None => {
                        self.waiting = Some(Waiting::ReadIndex(mail));
                        return None;
                    }
                    Some(Ok(_)) => self.confirmed(member),
                    Some(Err(error)) => Some(self.read_refused(member, error)),
                },
            };
            if response.is_some() {
                return response;
            }
        }
    }

    fn proceed(&mut self, member: &impl Member, reply: Option<Reply>) -> Option<Response> {
        match &mut self.work {
            Work::Catalog(command) => match reply {
                Some(reply) => Some(Response::Done(Answer::Reply(reply))),
                None => {
                    let command = command.encode();
                    self.propose(member, command);
                    None
                }
            },
            Work::Read(_, ReadLevel::Local) => self.confirmed(member),
            Work::Read(_, ReadLevel::Linearizable) => {
                self.ask_read_index(member);
                None
            }
            Work::Write(planner) => {
                if let Some(reply) = reply
                    && let Err(error) = planner.applied(reply)
                {
                    return Some(Response::Refused(error.to_string()));
                }
                self.plan(member)
            }
        }
    }

    /// The next step of a write.
    fn plan(&mut self, member: &impl Member) -> Option<Response> {
        let Work::Write(planner) = &mut self.work else {
            unreachable!("only writes are planned");
        };
        let random = &mut self.random;
        let mut generate_id = || {
            let mut bytes = [0; 12];
            random.fill(&mut bytes);
            ObjectId::from_bytes(bytes)
        };
        let step = planner.next(&mut Environment {
            now_ms: self.now_ms,
            generate_id: &mut generate_id,
        });
        match step {
            Err(error) => Some(self.failed(error)),
            Ok(Step::Finished) => {
                let Work::Write(planner) =
                    std::mem::replace(&mut self.work, Work::Catalog(nothing()))
                else {
                    unreachable!("it was one above");
                };
                Some(Response::Done(Answer::Written(planner.outcome())))
            }
            // As the server: a member that does not lead does not even search.
            Ok(Step::NeedSnapshot) => match member.leads() {
                Err(leader) => Some(self.unless_begun(Response::NotLeader { leader })),
                Ok(()) => {
                    self.ask_read_index(member);
                    None
                }
            },
            Ok(Step::Propose(command)) => {
                self.propose(member, Command::Write(command).encode());
                None
            }
        }
    }

    fn propose(&mut self, member: &impl Member, command: Vec<u8>) {
        let (mail, done) = Mail::new();
        member.propose(command, done);
        self.waiting = Some(Waiting::Proposal(mail));
    }

    fn ask_read_index(&mut self, member: &impl Member) {
        let (mail, done) = Mail::new();
        member.read_index(done);
        self.waiting = Some(Waiting::ReadIndex(mail));
    }

    fn proposed(&mut self, member: &impl Member, outcome: ProposeOutcome) -> Option<Response> {
        match outcome {
            ProposeOutcome::Applied { reply, .. } => {
                self.begun = true;
                self.proceed(member, Some(reply))
            }
            ProposeOutcome::NotLeader { leader } => {
                Some(self.unless_begun(Response::NotLeader { leader }))
            }
            ProposeOutcome::Overloaded | ProposeOutcome::Stopping => {
                Some(self.unless_begun(Response::Busy))
            }
            ProposeOutcome::Unknown => Some(Response::Unknown),
        }
    }

    fn read_refused(&self, member: &impl Member, error: ReadError) -> Response {
        self.unless_begun(match (error, member.leads()) {
            (ReadError::NoLeader, Err(leader)) => Response::NotLeader { leader },
            _ => Response::Busy,
        })
    }

    /// The request's own fault, or the member's, which then is about to end.
    fn failed(&self, error: QueryError) -> Response {
        match error {
            QueryError::Command(error) => Response::Refused(error.to_string()),
            QueryError::Storage(_) | QueryError::Interrupted(_) => {
                self.unless_begun(Response::Busy)
            }
        }
    }

    fn unless_begun(&self, response: Response) -> Response {
        match self.begun {
            true => Response::Unknown,
            false => response,
        }
    }

    /// A snapshot may be read now.
    fn confirmed(&mut self, member: &impl Member) -> Option<Response> {
        let snapshot = member.reader().snapshot();
        match &mut self.work {
            Work::Write(planner) => {
                planner.snapshot(snapshot);
                self.plan(member)
            }
            Work::Read(request, _) => {
                let rows = snapshot.find((**request).clone());
                let documents = rows.and_then(|rows| {
                    rows.map(|row| row.map(|row| row.into_document()))
                        .collect::<Result<Vec<_>, _>>()
                });
                Some(match documents {
                    Ok(documents) => Response::Done(Answer::Documents(documents)),
                    Err(error) => self.failed(error),
                })
            }
            Work::Catalog(_) => unreachable!("commands on the catalog read nothing"),
        }
    }
}

/// Stands in for a plan that was taken out.
fn nothing() -> Command {
    Command::Reclaim { limit: 0 }
}
