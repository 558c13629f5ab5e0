//! Activities against one state machine that is right, and against some that are wrong.

use std::sync::Arc;

use state_machine::{Command, Reader, Reply, StateMachine};
use storage_engine::MemoryEngine;

use super::*;
use crate::client::{ClientId, End, Proceed, Workload};

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
    machine: StateMachine,
    random: Random,
    fault: Fault,
    /// An earlier state, kept readable.
    old: Option<Reader>,
}

fn machine() -> StateMachine {
    StateMachine::open(Arc::new(MemoryEngine::new())).unwrap()
}

impl Lone {
    fn apply(&mut self, mut command: Command) -> Reply {
        if let Command::Write(write) = &mut command {
            if self.fault == Fault::ForgetsSessions {
                write.session = None;
            }
            if self.fault == Fault::HalfCommands
                && write.statements.len() == 2
                && self.random.chance(1, 10)
            {
                write.statements.pop();
            }
            if self.fault == Fault::LosesWrites && self.random.chance(1, 20) {
                // What it answers hardly depends on the state: increments and inserts succeed.
                return machine().apply(1, 1, &command.encode()).unwrap();
            }
        }
        let index = self.machine.applied().index + 1;
        self.machine.apply(index, 1, &command.encode()).unwrap()
    }

    fn reader(&mut self) -> Reader {
        if self.fault == Fault::StaleReads && self.random.chance(1, 10) {
            return self.old.get_or_insert_with(|| machine().reader()).clone();
        }
        self.machine.reader()
    }

    /// An attempt of a client, with all that can happen on its way.
    fn attempt(&mut self, mixed: &mut Mixed, client: ClientId) -> Result<End, String> {
        if self.random.chance(1, 15) {
            return Ok(End::Failed);
        }
        let mut reply = None;
        loop {
            let reader = self.reader();
            match mixed.proceed(client, &reader, 1_000, reply)? {
                Proceed::Done if self.random.chance(1, 15) => return Ok(End::Unknown),
                Proceed::Done => return Ok(End::Done),
                Proceed::Propose(_) if self.random.chance(1, 20) => return Ok(End::Unknown),
                Proceed::Propose(command) => reply = Some(self.apply(command)),
            }
        }
    }
}

/// Clients whose attempts take effect at any moment between their beginning and their end.
fn run(fault: Fault, seed: u64, activities: Vec<Box<dyn Activity>>) -> Result<[usize; 3], String> {
    let mut member = Lone {
        machine: machine(),
        random: Random::new(seed),
        fault,
        old: None,
    };
    let mut random = Random::new(seed ^ 0xc11e);
    let mut mixed = Mixed::of(activities, 300);
    let mut now = 0;
    /// How far a client's attempt is.
    #[derive(Clone, Copy)]
    enum At {
        Rest,
        Asked,
        Answered(End),
    }
    let mut clients = [At::Rest; 5];
    while !mixed.is_over() {
        now += random.below(50_000);
        let index = random.index(clients.len());
        let client = ClientId(index as u32);
        clients[index] = match clients[index] {
            At::Rest => match mixed.begin(client, &mut random, now) {
                Some(_) => At::Asked,
                None => At::Rest,
            },
            At::Asked => At::Answered(member.attempt(&mut mixed, client)?),
            At::Answered(end) => {
                mixed.end(client, end, now)?;
                At::Rest
            }
        };
        check_state(&member.machine.reader().snapshot())?;
    }
    mixed.judge(&member.machine.reader())?;
    Ok(mixed.outcomes())
}

#[test]
fn a_right_member_is_accepted() {
    let mut sum = [0; 3];
    for seed in 0..30 {
        let activities = all(&mut Random::new(seed));
        let outcomes = run(Fault::None, seed, activities)
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
fn found(fault: Fault, activity: impl Fn(&mut Random) -> Box<dyn Activity>) -> usize {
    (0..20)
        .filter(|seed| {
            let activity = activity(&mut Random::new(*seed));
            run(fault, *seed, vec![activity]).is_err()
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
    // Often the second half follows: the planner goes on with what was not answered.
    assert!(count > 5, "{count}");
}
