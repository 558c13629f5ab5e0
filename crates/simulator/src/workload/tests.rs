//! Workloads against one state machine that is right, and against some that are wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use consensus::NodeId;
use node::{ProposeDone, ProposeOutcome, ReadDone, ReadError};
use state_machine::{Command, Reader, StateMachine};
use storage_engine::MemoryEngine;

use super::*;

/// What is wrong with a member.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Retries are applied again.
    ForgetsSessions,
    /// A write now and then is acknowledged and not kept.
    LosesWrites,
    /// Reads now and then show an older state.
    StaleReads,
    /// The second statement of a command now and then is lost.
    HalfCommands,
}

/// A cluster of one that always leads, and answers in all the ways a member can.
struct Lone {
    machine: Mutex<StateMachine>,
    random: Mutex<Random>,
    fault: Fault,
    /// An earlier state, kept readable.
    old: Mutex<Option<Reader>>,
}

fn machine() -> StateMachine {
    StateMachine::open(Arc::new(MemoryEngine::new())).unwrap()
}

impl Lone {
    fn new(fault: Fault, seed: u64) -> Lone {
        Lone {
            machine: Mutex::new(machine()),
            random: Mutex::new(Random::new(seed)),
            fault,
            old: Mutex::new(None),
        }
    }

    fn chance(&self, numerator: u64, denominator: u64) -> bool {
        self.random.lock().unwrap().chance(numerator, denominator)
    }

    fn apply(&self, mut command: Command) -> ProposeOutcome {
        if let Command::Write(write) = &mut command {
            if self.fault == Fault::ForgetsSessions {
                write.session = None;
            }
            if self.fault == Fault::HalfCommands
                && write.statements.len() == 2
                && self.chance(1, 10)
            {
                write.statements.pop();
            }
        }
        let mut machine = self.machine.lock().unwrap();
        let index = machine.applied().index + 1;
        let reply = machine.apply(index, 1, &command.encode()).unwrap();
        ProposeOutcome::Applied { index, reply }
    }

    /// The reply of a state machine that then is thrown away.
    fn pretend(&self, command: &[u8]) -> ProposeOutcome {
        // What it answers hardly depends on the state: increments and inserts succeed.
        let mut machine = machine();
        let reply = machine.apply(1, 1, command).unwrap();
        ProposeOutcome::Applied { index: 1, reply }
    }
}

impl Member for Lone {
    fn propose(&self, command: Vec<u8>, done: ProposeDone) {
        let chance = self.random.lock().unwrap().below(20);
        done(match chance {
            0 => ProposeOutcome::NotLeader {
                leader: Some(NodeId(1)),
            },
            1 => ProposeOutcome::Overloaded,
            2 => ProposeOutcome::Unknown,
            3 => {
                self.apply(Command::decode(&command).unwrap());
                ProposeOutcome::Unknown
            }
            4 if self.fault == Fault::LosesWrites => self.pretend(&command),
            _ => self.apply(Command::decode(&command).unwrap()),
        });
    }

    fn read_index(&self, done: ReadDone) {
        match self.chance(1, 10) {
            true => done(Err(ReadError::NoLeader)),
            false => done(Ok(0)),
        }
    }

    fn reader(&self) -> Reader {
        let mut old = self.old.lock().unwrap();
        if self.fault == Fault::StaleReads && self.chance(1, 10) {
            return old.get_or_insert_with(|| machine().reader()).clone();
        }
        self.machine.lock().unwrap().reader()
    }

    fn leads(&self) -> Result<(), Option<NodeId>> {
        match self.chance(1, 20) {
            true => Err(Some(NodeId(1))),
            false => Ok(()),
        }
    }
}

/// Runs clients to their end over a network that loses and delays.
fn run(fault: Fault, seed: u64, workloads: Vec<Box<dyn Workload>>) -> Result<[usize; 3], String> {
    let member = Lone::new(fault, seed);
    let mut random = Random::new(seed);
    let settings = ClientSettings {
        operation_timeout: Duration::from_millis(1_500),
        ..ClientSettings::default()
    };
    let mut clients = Clients::new(settings, workloads, random.split("clients"));
    let mut events: BTreeMap<(Duration, u64), Event> = BTreeMap::new();
    let mut number = 0;
    let mut now = Duration::ZERO;
    let mut closed = false;
    loop {
        if clients.is_idle() {
            if closed {
                break;
            }
            closed = true;
            clients.close(now);
        }
        let next_event = events.first_key_value().map(|((at, _), _)| *at);
        let next = clients.next_wake().into_iter().chain(next_event).min();
        now = now.max(next.expect("somebody has something to do"));
        let mut later = |event: Event, random: &mut Random| {
            number += 1;
            let delay = Duration::from_micros(random.within(50..20_000));
            if !random.chance(1, 30) {
                events.insert((now + delay, number), event);
            }
        };
        for delivery in clients.wake(now, &[NodeId(1)])? {
            later(Event::Request(Box::new(delivery)), &mut random);
        }
        let due = events.first_entry().filter(|entry| entry.key().0 <= now);
        match due.map(|entry| entry.remove()) {
            Some(Event::Request(delivery)) => {
                let own = random.split("serving");
                let session = delivery.session.clone();
                let mut serving = Serving::new(&delivery.request, session, 1_000, own);
                let response = serving.poll(&member).expect("this member answers at once");
                number += 1;
                if !random.chance(1, 30) {
                    let delay = Duration::from_micros(random.within(50..900_000) / 20);
                    let response = Event::Response(delivery.id, Box::new(response));
                    events.insert((now + delay, number), response);
                }
            }
            Some(Event::Response(id, response)) => clients.answered(now, id, *response)?,
            None => {}
        }
        let snapshot = member.machine.lock().unwrap().reader().snapshot();
        check_state(&snapshot)?;
    }
    clients.judge()?;
    Ok(clients.outcomes())
}

enum Event {
    Request(Box<Delivery>),
    Response(RequestId, Box<Response>),
}

#[test]
fn a_right_member_is_accepted() {
    let mut sum = [0; 3];
    for seed in 0..30 {
        let workloads = all(&mut Random::new(seed));
        let outcomes = run(Fault::None, seed, workloads)
            .unwrap_or_else(|finding| panic!("seed {seed}: {finding}"));
        for (sum, count) in sum.iter_mut().zip(outcomes) {
            *sum += count;
        }
    }
    let [done, _, unknown] = sum;
    assert!(done > 5_000 && unknown > 20, "{sum:?}");
}

#[test]
fn the_same_seed_makes_the_same_run() {
    let once = || run(Fault::None, 7, all(&mut Random::new(7)));
    assert_eq!(once(), once());
}

/// How many of 20 seeds find the fault.
fn found(fault: Fault, workload: impl Fn(&mut Random) -> Box<dyn Workload>) -> usize {
    (0..20)
        .filter(|seed| {
            let workload = workload(&mut Random::new(*seed));
            run(fault, *seed, vec![workload]).is_err()
        })
        .count()
}

#[test]
fn an_increment_applied_again_is_found() {
    let count = found(Fault::ForgetsSessions, |random| {
        Box::new(counters::Counters::new(random))
    });
    assert!(count > 15, "{count}");
    let count = found(Fault::ForgetsSessions, |random| {
        Box::new(transfers::Transfers::new(random))
    });
    assert!(count > 10, "{count}");
}

#[test]
fn a_lost_acknowledged_write_is_found() {
    let count = found(Fault::LosesWrites, |random| {
        Box::new(registers::Registers::new(random))
    });
    assert!(count > 15, "{count}");
    let count = found(Fault::LosesWrites, |random| {
        Box::new(counters::Counters::new(random))
    });
    assert!(count > 15, "{count}");
    let count = found(Fault::LosesWrites, |random| {
        Box::new(bulk_loads::BulkLoads::new(random))
    });
    assert!(count > 15, "{count}");
}

#[test]
fn a_stale_read_is_found() {
    let count = found(Fault::StaleReads, |random| {
        Box::new(registers::Registers::new(random))
    });
    assert!(count > 15, "{count}");
    let count = found(Fault::StaleReads, |random| {
        Box::new(unique_keys::UniqueKeys::new(random))
    });
    assert!(count > 10, "{count}");
}

#[test]
fn half_a_transfer_is_found() {
    let count = found(Fault::HalfCommands, |random| {
        Box::new(transfers::Transfers::new(random))
    });
    assert!(count > 15, "{count}");
}
