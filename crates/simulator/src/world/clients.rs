//! Clients' operations on their way, and in members' hands.

use std::sync::Arc;

use consensus::LogIndex;
use node::{NodeId, ProposeOutcome, ReadError};
use parking_lot::Mutex;
use platform::Clock;
use state_machine::Reply;

use super::{Found, Happening, World};
use crate::Random;
use crate::client::{ClientId, End, Kind, Proceed, Workload};
use crate::clock::Micros;

/// How long a client waits for an answer.
const PATIENCE: Micros = 700_000;
/// Longest pause between two operations of a client.
const PAUSE_MAX: Micros = 40_000;

/// One attempt of a client at an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Whose.
    pub client: ClientId,
    /// Counts the client's attempts.
    pub number: u64,
}

/// The clients and what they do.
pub struct Clients {
    /// What they do.
    pub workload: Box<dyn Workload>,
    /// They begin nothing any more.
    pub stopped: bool,
    random: Random,
    clients: Vec<Client>,
    done: u64,
}

#[derive(Clone, Copy, Default)]
struct Client {
    attempts: u64,
    /// The kind of the attempt under way.
    waits: Option<Kind>,
    /// A command of it was proposed.
    proposed: bool,
    /// The machine of the member it believes leads.
    leader: Option<usize>,
}

/// Where a node's callback leaves its result.
pub(super) struct Mail<T>(Arc<Mutex<Option<T>>>);

impl<T: Send + 'static> Mail<T> {
    fn new() -> (Mail<T>, Box<dyn FnOnce(T) + Send>) {
        let place = Arc::new(Mutex::new(None));
        let there = place.clone();
        (
            Mail(place),
            Box::new(move |result| *there.lock() = Some(result)),
        )
    }
}

/// What a member's work on a request waits for.
pub(super) enum Waiting {
    Proposal(Mail<ProposeOutcome>),
    /// With what was committed when it was asked: the read must not show less.
    Read(Mail<Result<u64, ReadError>>, LogIndex),
}

enum Outcome {
    Proposal(ProposeOutcome),
    Read(Result<u64, ReadError>, LogIndex),
}

impl Waiting {
    fn take(&self) -> Option<Outcome> {
        match self {
            Waiting::Proposal(mail) => mail.0.lock().take().map(Outcome::Proposal),
            Waiting::Read(mail, floor) => {
                let result = mail.0.lock().take();
                result.map(|result| Outcome::Read(result, *floor))
            }
        }
    }
}

impl Clients {
    /// So many clients.
    pub fn new(count: usize, workload: Box<dyn Workload>, random: Random) -> Clients {
        Clients {
            workload,
            stopped: false,
            random,
            clients: vec![Client::default(); count],
            done: 0,
        }
    }

    /// Whether nobody waits for an answer.
    pub fn are_idle(&self) -> bool {
        self.clients.iter().all(|client| client.waits.is_none())
    }

    /// Answers that arrived so far.
    pub fn answered(&self) -> u64 {
        self.done
    }

    fn state(&mut self, attempt: Attempt) -> Option<&mut Client> {
        let client = &mut self.clients[attempt.client.0 as usize];
        (client.waits.is_some() && client.attempts == attempt.number).then_some(client)
    }
}

impl World {
    /// The clients begin.
    pub fn begin_clients(&mut self) {
        for client in 0..self.clients.clients.len() {
            let after = self.clients.random.within(1..PAUSE_MAX);
            self.plan(after, Happening::Client(ClientId(client as u32)));
        }
    }

    pub(super) fn client_turn(&mut self, client: ClientId) -> Found {
        if self.clients.stopped {
            return Ok(());
        }
        let clients = &mut self.clients;
        let begun = clients
            .workload
            .begin(client, &mut clients.random, self.now);
        let Some(kind) = begun else {
            let after = clients.random.within(1..PAUSE_MAX);
            self.plan(after, Happening::Client(client));
            return Ok(());
        };
        let anywhere = kind == Kind::Read && clients.random.chance(1, 2);
        let random = clients.random.index(self.machines.len());
        let state = &mut clients.clients[client.0 as usize];
        state.attempts += 1;
        state.waits = Some(kind);
        state.proposed = false;
        let to = state.leader.filter(|_| !anywhere).unwrap_or(random);
        let attempt = Attempt {
            client,
            number: state.attempts,
        };
        let after = self.network.delay();
        self.plan(after, Happening::Request(to, attempt));
        self.plan(PATIENCE, Happening::GiveUp(attempt));
        Ok(())
    }

    pub(super) fn request(&mut self, at: usize, attempt: Attempt) -> Found {
        let Some(kind) = self.clients.state(attempt).and_then(|client| client.waits) else {
            return Ok(());
        };
        let machine = &self.machines[at];
        let Some(node) = &machine.node else {
            self.respond(attempt, End::Failed, None);
            return Ok(());
        };
        if machine.paused {
            self.hosts[at].held.push(attempt);
            return Ok(());
        }
        match kind {
            Kind::Write => self.work(at, attempt, None)?,
            Kind::Read => {
                let (mail, done) = Mail::new();
                node.read_index(done);
                let waiting = Waiting::Read(mail, self.committed);
                self.hosts[at].requests.push((attempt, waiting));
            }
        }
        self.settle(at)
    }

    /// The workload goes on at this member.
    fn work(&mut self, at: usize, attempt: Attempt, reply: Option<Reply>) -> Found {
        let machine = &self.machines[at];
        let Some(node) = &machine.node else {
            return Ok(());
        };
        let Some(client) = self.clients.state(attempt) else {
            return Ok(());
        };
        let status = node.status();
        let reads = client.waits == Some(Kind::Read);
        if !reads && reply.is_none() && !status.writable {
            let leader = status.leader.and_then(|id| self.place(id));
            self.respond(attempt, End::Failed, leader);
            return Ok(());
        }
        let now_ms = machine.clock.wall_ms();
        let workload = &mut self.clients.workload;
        match workload.proceed(attempt.client, &node.reader(), now_ms, reply)? {
            Proceed::Done => self.respond(attempt, End::Done, None),
            Proceed::Propose(command) => {
                let (mail, done) = Mail::new();
                node.propose(command.encode(), done);
                let waiting = Waiting::Proposal(mail);
                self.hosts[at].requests.push((attempt, waiting));
            }
        }
        Ok(())
    }

    /// Lets a member go on with the requests it has.
    pub(super) fn serve(&mut self, at: usize) -> Found {
        let mut index = 0;
        while index < self.hosts[at].requests.len() {
            let (attempt, waiting) = &self.hosts[at].requests[index];
            let attempt = *attempt;
            let Some(result) = waiting.take() else {
                index += 1;
                continue;
            };
            self.hosts[at].requests.swap_remove(index);
            self.served(at, attempt, result)?;
        }
        Ok(())
    }

    fn served(&mut self, at: usize, attempt: Attempt, result: Outcome) -> Found {
        let place = |world: &World, leader: Option<NodeId>| leader.and_then(|id| world.place(id));
        let Some(client) = self.clients.state(attempt) else {
            return Ok(());
        };
        let refused = if client.proposed {
            End::Unknown
        } else {
            End::Failed
        };
        match result {
            Outcome::Read(Ok(index), floor) if index < floor.0 => {
                return Err(format!(
                    "a stale read: machine {at} serves it as of entry {index}, but {floor} was committed when it was asked"
                ));
            }
            Outcome::Read(Ok(_), _) => return self.work(at, attempt, None),
            Outcome::Read(Err(_), _) => self.respond(attempt, End::Failed, None),
            Outcome::Proposal(ProposeOutcome::Applied { reply, .. }) => {
                client.proposed = true;
                return self.work(at, attempt, Some(reply));
            }
            Outcome::Proposal(ProposeOutcome::NotLeader { leader }) => {
                self.respond(attempt, refused, place(self, leader));
            }
            Outcome::Proposal(ProposeOutcome::Unknown) => self.respond(attempt, End::Unknown, None),
            Outcome::Proposal(
                ProposeOutcome::Overloaded
                | ProposeOutcome::DiskFull { .. }
                | ProposeOutcome::Stopping,
            ) => {
                self.respond(attempt, refused, None);
            }
        }
        Ok(())
    }

    pub(super) fn respond(&mut self, attempt: Attempt, end: End, leader: Option<usize>) {
        if self
            .clients
            .random
            .chance(self.lost_responses_permille, 1_000)
        {
            return;
        }
        let after = self.network.delay();
        self.plan(after, Happening::Answer(attempt, end, leader));
    }

    pub(super) fn answer(&mut self, attempt: Attempt, end: End, leader: Option<usize>) -> Found {
        let now = self.now;
        let Some(client) = self.clients.state(attempt) else {
            return Ok(());
        };
        client.waits = None;
        if end != End::Done {
            client.leader = leader;
        }
        let Attempt { client, number } = attempt;
        self.trace.note(number ^ (u64::from(client.0) << 32));
        self.trace.detail(now, || {
            format!("client {} learns {end:?} of attempt {number}", client.0)
        });
        self.clients.done += u64::from(end == End::Done);
        self.clients.workload.end(client, end, now)?;
        let pause = if end == End::Done {
            PAUSE_MAX
        } else {
            PAUSE_MAX / 2
        };
        let after = self.clients.random.within(1..pause);
        self.plan(after, Happening::Client(client));
        Ok(())
    }
}
