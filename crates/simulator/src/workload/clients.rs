//! Clients that behave as drivers do: they send to the member they believe leads, follow what they are told, give up on a
//! request after a while and, where that is safe, send it again under the same session stamp.
//!
//! Time is that of the simulation. Whoever drives them calls [`Clients::wake`] when [`Clients::next_wake`] has come, carries the
//! deliveries to the members, and brings back the responses with [`Clients::answered`]; late ones are ignored.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use consensus::NodeId;
use state_machine::SessionStamp;

use super::{Job, Request, Response, Workload};
use crate::history::Outcome;
use crate::random::Random;
use crate::workload::{Answer, ReadLevel};

/// How many clients there are and how patient they are.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// How many.
    pub clients: u32,
    /// Operations each begins at most.
    pub operations: u32,
    /// Longest pause between two operations of a client.
    pub pause_max: Duration,
    /// How long a client waits for a response.
    pub request_timeout: Duration,
    /// How long it tries one operation.
    pub operation_timeout: Duration,
}

impl Default for ClientSettings {
    fn default() -> Self {
        ClientSettings {
            clients: 5,
            operations: 60,
            pause_max: Duration::from_millis(40),
            request_timeout: Duration::from_millis(700),
            operation_timeout: Duration::from_secs(8),
        }
    }
}

/// Longest pause before another attempt.
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(30);

/// One attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// An attempt on its way to a member.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// To be named with the response.
    pub id: RequestId,
    /// The member.
    pub to: NodeId,
    /// What it is asked.
    pub request: Request,
    /// The stamp of a retryable write.
    pub session: Option<SessionStamp>,
}

/// Why a client does a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Setup,
    Work { workload: usize, number: u64 },
}

struct Client {
    state: State,
    attempt: Option<Attempt>,
    begun: u32,
    txn_number: i64,
    leader: Option<NodeId>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing is sent; goes on at this time.
    Resting(Duration),
    /// Waits for the response until this time.
    Waiting(RequestId, Duration),
    Finished,
}

/// An operation, over all its attempts.
struct Attempt {
    purpose: Purpose,
    request: Request,
    session: Option<SessionStamp>,
    /// `None`: as long as it takes.
    give_up: Option<Duration>,
    /// An earlier attempt may have happened.
    maybe_done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Setup,
    Running,
    /// No new operations.
    Draining,
    Closing,
}

/// All clients of a simulation and their workloads.
pub struct Clients {
    settings: ClientSettings,
    random: Random,
    workloads: Vec<Box<dyn Workload>>,
    clients: Vec<Client>,
    phase: Phase,
    setup: VecDeque<Request>,
    closing: VecDeque<(usize, Job)>,
    /// Who waits for which attempt.
    waiting: BTreeMap<RequestId, usize>,
    next_request: u64,
    /// Counts beginnings and ends of operations: the time of histories.
    order: u64,
}

impl Clients {
    /// Clients that set the workloads up, then use them.
    pub fn new(
        settings: ClientSettings,
        mut workloads: Vec<Box<dyn Workload>>,
        random: Random,
    ) -> Clients {
        assert!(settings.clients > 0, "somebody has to do the work");
        let setup: VecDeque<Request> = workloads.iter_mut().flat_map(|it| it.setup()).collect();
        let client = || Client {
            state: State::Resting(Duration::ZERO),
            attempt: None,
            begun: 0,
            txn_number: 0,
            leader: None,
        };
        let clients = (0..settings.clients).map(|_| client()).collect();
        let phase = match setup.is_empty() {
            true => Phase::Running,
            false => Phase::Setup,
        };
        Clients {
            settings,
            random,
            workloads,
            clients,
            phase,
            setup,
            closing: VecDeque::new(),
            waiting: BTreeMap::new(),
            next_request: 1,
            order: 0,
        }
    }

    /// When [`Clients::wake`] has something to do; `None`: only responses can move anything.
    pub fn next_wake(&self) -> Option<Duration> {
        let times = self.clients.iter().filter_map(|client| match client.state {
            State::Resting(until) | State::Waiting(_, until) => Some(until),
            State::Finished => None,
        });
        times.min()
    }

    /// Whether every client has done what it is to do in this phase.
    pub fn is_idle(&self) -> bool {
        self.phase != Phase::Setup
            && self
                .clients
                .iter()
                .all(|client| matches!(client.state, State::Finished))
    }

    /// Whether the workloads are set up, so that clients work on them.
    pub fn is_set_up(&self) -> bool {
        self.phase != Phase::Setup
    }

    /// Begins no new operations; those under way still end.
    pub fn drain(&mut self) {
        self.phase = Phase::Draining;
    }

    /// Reads everything once more, however long it takes: the faults are over.
    pub fn close(&mut self, now: Duration) {
        self.phase = Phase::Closing;
        for (index, workload) in self.workloads.iter_mut().enumerate() {
            self.order += 1;
            let jobs = workload.closing(self.order);
            self.closing
                .extend(jobs.into_iter().map(|job| (index, job)));
        }
        for client in &mut self.clients {
            if matches!(client.state, State::Finished) {
                client.state = State::Resting(now);
            }
        }
    }

    /// Begins what is due and gives up what took too long. `members` are those a client could know, up or not.
    pub fn wake(&mut self, now: Duration, members: &[NodeId]) -> Result<Vec<Delivery>, String> {
        let mut deliveries = Vec::new();
        for index in 0..self.clients.len() {
            match self.clients[index].state {
                State::Waiting(id, until) if until <= now => {
                    self.waiting.remove(&id);
                    self.clients[index].leader = None;
                    self.without_answer(index, now)?;
                }
                State::Resting(until) if until <= now => {
                    self.begin(index, now);
                }
                _ => continue,
            }
            if matches!(self.clients[index].state, State::Resting(until) if until <= now)
                && self.clients[index].attempt.is_some()
            {
                deliveries.extend(self.send(index, now, members));
            }
        }
        Ok(deliveries)
    }

    /// A response arrived.
    pub fn answered(
        &mut self,
        now: Duration,
        id: RequestId,
        response: Response,
    ) -> Result<(), String> {
        let Some(index) = self.waiting.remove(&id) else {
            return Ok(());
        };
        let pause = self.retry_pause();
        let client = &mut self.clients[index];
        client.state = State::Resting(now + pause);
        match response {
            Response::Done(answer) => self.end(index, now, Outcome::Done(answer)),
            Response::Refused(message) => {
                let attempt = self.clients[index].attempt.as_ref();
                let what = attempt.map(|it| (it.purpose, &it.request));
                Err(format!("client {index}: {what:?} was refused: {message}"))
            }
            Response::NotLeader { leader } => {
                client.leader = leader;
                self.give_up_if_late(index, now)
            }
            Response::Busy => self.give_up_if_late(index, now),
            Response::Unknown => self.without_answer(index, now),
        }
    }

    /// The workloads' own judgement, once all clients are idle.
    pub fn judge(&self) -> Result<(), String> {
        for workload in &self.workloads {
            workload
                .judge()
                .map_err(|finding| format!("{}: {finding}", workload.name()))?;
        }
        Ok(())
    }

    /// The workloads, to show them states.
    pub fn workloads(&self) -> &[Box<dyn Workload>] {
        &self.workloads
    }

    /// Operations that ended done, failed and unknown.
    pub fn outcomes(&self) -> [usize; 3] {
        let mut sum = [0; 3];
        for workload in &self.workloads {
            for (sum, count) in sum.iter_mut().zip(workload.outcomes()) {
                *sum += count;
            }
        }
        sum
    }

    fn retry_pause(&mut self) -> Duration {
        let micros = RETRY_PAUSE_MAX.as_micros() as u64;
        Duration::from_micros(self.random.within(1..micros))
    }

    /// Gives a client its next operation, if it has none.
    fn begin(&mut self, index: usize, now: Duration) {
        if self.clients[index].attempt.is_some() {
            return;
        }
        let attempt = match self.phase {
            Phase::Setup if index == 0 => self.setup.front().cloned().map(|request| Attempt {
                purpose: Purpose::Setup,
                request,
                session: None,
                give_up: None,
                maybe_done: false,
            }),
            Phase::Setup => {
                self.clients[index].state = State::Resting(now + RETRY_PAUSE_MAX);
                return;
            }
            Phase::Running => match self.work(index, now) {
                Ok(attempt) => attempt,
                Err(rest) => {
                    self.clients[index].state = State::Resting(rest);
                    return;
                }
            },
            Phase::Draining => None,
            Phase::Closing => self.closing.pop_front().map(|(workload, job)| Attempt {
                purpose: Purpose::Work {
                    workload,
                    number: job.number,
                },
                request: job.request,
                session: None,
                give_up: None,
                maybe_done: false,
            }),
        };
        match attempt {
            Some(attempt) => self.clients[index].attempt = Some(attempt),
            None => self.clients[index].state = State::Finished,
        }
    }

    /// The next operation of the workloads; `Err`: when to ask again.
    fn work(&mut self, index: usize, now: Duration) -> Result<Option<Attempt>, Duration> {
        if self.clients[index].begun >= self.settings.operations || self.workloads.is_empty() {
            return Ok(None);
        }
        let workload = self.random.index(self.workloads.len());
        self.order += 1;
        let job = self.workloads[workload].next(index as u32, &mut self.random, self.order);
        let Some(job) = job else {
            return Err(now + self.retry_pause());
        };
        let client = &mut self.clients[index];
        client.begun += 1;
        let session = job.stamped.then(|| {
            client.txn_number += 1;
            SessionStamp {
                lsid: session_id(index),
                txn_number: client.txn_number,
            }
        });
        Ok(Some(Attempt {
            purpose: Purpose::Work {
                workload,
                number: job.number,
            },
            request: job.request,
            session,
            give_up: Some(now + self.settings.operation_timeout),
            maybe_done: false,
        }))
    }

    fn send(&mut self, index: usize, now: Duration, members: &[NodeId]) -> Option<Delivery> {
        let client = &mut self.clients[index];
        let attempt = client.attempt.as_ref()?;
        let anywhere = match &attempt.request {
            Request::Read { level, .. } => *level == ReadLevel::Local || self.random.chance(1, 2),
            Request::Write { .. } | Request::Catalog(_) => false,
        };
        let known = client
            .leader
            .filter(|leader| !anywhere && members.contains(leader));
        let to = match known {
            Some(leader) => leader,
            None => *self.random.choose(members)?,
        };
        client.leader = Some(to).filter(|_| !anywhere).or(client.leader);
        let id = RequestId(self.next_request);
        self.next_request += 1;
        client.state = State::Waiting(id, now + self.settings.request_timeout);
        self.waiting.insert(id, index);
        Some(Delivery {
            id,
            to,
            request: attempt.request.clone(),
            session: attempt.session.clone(),
        })
    }

    /// An attempt may have happened: what may be repeated is.
    fn without_answer(&mut self, index: usize, now: Duration) -> Result<(), String> {
        let pause = self.retry_pause();
        let client = &mut self.clients[index];
        client.state = State::Resting(now + pause);
        let Some(attempt) = &mut client.attempt else {
            return Ok(());
        };
        attempt.maybe_done = true;
        let repeatable = match &attempt.request {
            Request::Write { .. } => attempt.session.is_some(),
            Request::Catalog(_) | Request::Read { .. } => true,
        };
        match repeatable {
            true => self.give_up_if_late(index, now),
            false => self.end(index, now, Outcome::Unknown),
        }
    }

    fn give_up_if_late(&mut self, index: usize, now: Duration) -> Result<(), String> {
        let Some(attempt) = &self.clients[index].attempt else {
            return Ok(());
        };
        if attempt.give_up.is_none_or(|give_up| now < give_up) {
            return Ok(());
        }
        let outcome = match attempt.maybe_done {
            true => Outcome::Unknown,
            false => Outcome::Failed,
        };
        self.end(index, now, outcome)
    }

    fn end(&mut self, index: usize, now: Duration, outcome: Outcome<Answer>) -> Result<(), String> {
        let Some(attempt) = self.clients[index].attempt.take() else {
            return Ok(());
        };
        let pause = match self.phase {
            Phase::Running => {
                let micros = self.settings.pause_max.as_micros() as u64;
                Duration::from_micros(self.random.below(micros + 1))
            }
            _ => Duration::ZERO,
        };
        self.clients[index].state = State::Resting(now + pause);
        match attempt.purpose {
            Purpose::Setup => {
                if let Outcome::Done(Answer::Reply(state_machine::Reply::Failed(error))) = &outcome
                {
                    return Err(format!("the setup was refused: {error}"));
                }
                self.setup.pop_front();
                if self.setup.is_empty() && self.phase == Phase::Setup {
                    self.phase = Phase::Running;
                }
                Ok(())
            }
            Purpose::Work { workload, number } => {
                self.order += 1;
                let workload = &mut self.workloads[workload];
                workload
                    .completed(number, outcome, self.order)
                    .map_err(|finding| format!("{}: {finding}", workload.name()))
            }
        }
    }
}

fn session_id(client: usize) -> Vec<u8> {
    let mut id = vec![0x5e; 16];
    id[..8].copy_from_slice(&(client as u64).to_be_bytes());
    id
}
