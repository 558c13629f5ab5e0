//! What happened, as a hash always, and as lines when asked for.

use consensus::Replica;

use super::queue::Worker;
use crate::clock::Micros;
use crate::random::mix;

/// A record of a run.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    steps: u64,
    prints: bool,
}

impl Trace {
    /// An empty one; prints lines as they come, if asked to.
    pub fn new(prints: bool) -> Trace {
        Trace {
            prints,
            ..Trace::default()
        }
    }

    /// Whether lines are printed.
    pub fn prints(&self) -> bool {
        self.prints
    }

    /// The same for runs in which the same happened.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Steps of workers so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Adds a number to the hash.
    pub fn note(&mut self, number: u64) {
        self.hash = mix(self.hash ^ number);
    }

    /// A worker did something.
    pub fn stepped(&mut self, now: Micros, machine: usize, worker: Worker, replica: &Replica) {
        self.steps += 1;
        self.note(now ^ ((machine as u64) << 48) ^ ((worker as u64) << 56));
        if worker == Worker::Core {
            let last = replica.last();
            self.note(replica.term().0 ^ (replica.commit().0 << 32));
            self.note(last.index.0 ^ (last.term.0 << 32) ^ ((replica.role() as u64) << 60));
            if self.prints {
                println!(
                    "{now:>10} machine {machine} n{} {:?} term {} last {}@{} commit {} first {}",
                    replica.id().0,
                    replica.role(),
                    replica.term(),
                    last.index,
                    last.term,
                    replica.commit(),
                    replica.first_index(),
                );
            }
        }
    }

    /// Something worth a line.
    pub fn say(&mut self, now: Micros, what: impl FnOnce() -> String) {
        self.note(now);
        if self.prints {
            println!("{now:>10} {}", what());
        }
    }

    /// A line for the trace only.
    pub fn detail(&self, now: Micros, what: impl FnOnce() -> String) {
        if self.prints {
            println!("{now:>10}   {}", what());
        }
    }
}
