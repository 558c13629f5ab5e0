//! Whether a history of concurrent operations could have come from an object that does one operation at a time, each at
//! some moment between its invocation and its return.
//!
//! The search is Wing and Gong's with Lowe's memory of states already seen, one key at a time (Herlihy and Wing: a history
//! is linearizable if its part on every object is). It goes depth first over the operations that could be next: those
//! invoked before the first return among what is not yet placed. Four facts keep it short without changing its answer:
//! - an answered operation that could be next, fits, and by its answer never changes a state (a read, a refused
//!   compare-and-set) may be placed at once: moving it to the front of any order found later changes nothing for the others;
//! - an operation of unknown outcome that the next one overwrites unseen may as well never have happened;
//! - of equal operations with unknown outcome, the one invoked first may stand for all: each may be placed at any later time;
//! - a set of placed operations with the state they lead to is tried once. The set is known by a 128-bit hash of its own.
//!
//! What a [`Model`] cannot express: answers that depend on more than the key, and objects whose calls have several
//! possible effects.

use std::collections::HashSet;
use std::fmt::{Debug, Display, Formatter};
use std::hash::{BuildHasherDefault, DefaultHasher, Hash};

use crate::history::{History, Operation, Outcome};
use crate::random::mix;

mod models;
#[cfg(test)]
mod tests;

pub use models::{
    Counter, CounterCall, CounterReturn, GrowSet, GrowSetCall, GrowSetReturn, Register,
    RegisterCall, RegisterReturn, UniqueKey, UniqueKeyCall, UniqueKeyReturn,
};

/// States tried for one key before the search gives up.
const STATES_MAX: usize = 5_000_000;
/// Operations around a violation that its report names.
const REPORTED_OPERATIONS_MAX: usize = 12;

/// An object that does one operation at a time.
pub trait Model {
    /// Its state.
    type State: Clone + Eq + Hash + Debug;
    /// What it can be asked.
    type Call: Clone + Eq + Debug;
    /// What it answers.
    type Return: Clone + Eq + Debug;

    /// The state before any operation.
    fn initial(&self) -> Self::State;

    /// The state after `call` is done in `state`; `None` if it would not answer `returned` there. Without an answer
    /// to compare (the outcome is unknown) anything fits.
    fn step(
        &self,
        state: &Self::State,
        call: &Self::Call,
        returned: Option<&Self::Return>,
    ) -> Option<Self::State>;

    /// Whether `call`, if it answers `returned`, leaves every state as it is.
    fn only_observes(&self, call: &Self::Call, returned: &Self::Return) -> bool;
}

/// Why a history was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// No order of the operations explains the answers.
    Violation(String),
    /// Too many orders to try: neither accepted nor refuted.
    Undecided(String),
}

impl Display for Finding {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Finding::Violation(text) => write!(formatter, "not linearizable: {text}"),
            Finding::Undecided(text) => write!(formatter, "linearizability undecided: {text}"),
        }
    }
}

impl std::error::Error for Finding {}

/// Checks every key of a history; the finding names the key.
pub fn check_history<K, M>(
    model: &M,
    history: &History<K, M::Call, M::Return>,
) -> Result<(), Finding>
where
    K: Clone + Ord + Debug,
    M: Model,
{
    for (key, operations) in history.by_key() {
        check(model, &operations).map_err(|finding| match finding {
            Finding::Violation(text) => Finding::Violation(format!("key {key:?}: {text}")),
            Finding::Undecided(text) => Finding::Undecided(format!("key {key:?}: {text}")),
        })?;
    }
    Ok(())
}

/// Checks the operations on one object, given in any order.
pub fn check<M: Model>(
    model: &M,
    operations: &[Operation<M::Call, M::Return>],
) -> Result<(), Finding> {
    Search::new(model, operations).run()
}

/// A step of the search that may be taken back.
struct Frame<S> {
    /// Operations that could have been next, best first.
    candidates: Vec<usize>,
    /// How many of them have been tried.
    tried: usize,
    /// The state before.
    state: S,
    /// The state before an operation of unknown outcome that was placed last, if nothing that was placed since depends on it.
    unobserved: Option<S>,
    /// Operations placed by the candidate being tried: itself, and what followed at once.
    placed: Vec<usize>,
}

struct Search<'a, M: Model> {
    model: &'a M,
    /// In order of invocation.
    operations: Vec<&'a Operation<M::Call, M::Return>>,
    /// For an operation of unknown outcome: the equal one invoked directly before it, placed first.
    twin_before: Vec<Option<usize>>,
    placed: Vec<bool>,
    /// Answered operations in order of return; those before `returns_done` are all placed.
    by_return: Vec<usize>,
    returns_done: usize,
    /// Answered operations in order of invocation; those before `invocations_done` are all placed.
    by_invocation: Vec<usize>,
    invocations_done: usize,
    /// Operations of unknown outcome, in order of invocation.
    unknown: Vec<usize>,
    answered_left: usize,
    key: u128,
    seen: HashSet<(u128, M::State), BuildHasherDefault<DefaultHasher>>,
    /// The longest attempt: how many answered operations were left, the state reached, and what could not follow.
    best: (usize, String, Vec<usize>),
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, operations: &'a [Operation<M::Call, M::Return>]) -> Self {
        let mut operations: Vec<_> = operations
            .iter()
            .filter(|operation| operation.outcome != Outcome::Failed)
            .collect();
        operations.sort_by_key(|operation| operation.invoked);
        let (by_invocation, unknown): (Vec<usize>, Vec<usize>) =
            (0..operations.len()).partition(|index| is_answered(operations[*index]));
        let mut by_return = by_invocation.clone();
        by_return.sort_by_key(|index| operations[*index].returned);
        let twin_before = twins(&operations);
        Search {
            model,
            placed: vec![false; operations.len()],
            answered_left: by_return.len(),
            by_return,
            returns_done: 0,
            by_invocation,
            invocations_done: 0,
            unknown,
            twin_before,
            operations,
            key: 0,
            seen: HashSet::default(),
            best: (usize::MAX, String::new(), Vec::new()),
        }
    }

    fn run(mut self) -> Result<(), Finding> {
        let mut state = self.model.initial();
        let mut observers = Vec::new();
        self.place_observers(&state, &mut observers);
        let mut frames = vec![self.frame(&state, None)];
        while self.answered_left > 0 {
            let frame = frames.last_mut().expect("the search has not ended");
            for index in std::mem::take(&mut frame.placed).into_iter().rev() {
                self.unplace(index);
            }
            let Some(&next) = frame.candidates.get(frame.tried) else {
                frames.pop();
                if frames.is_empty() {
                    return Err(Finding::Violation(self.report()));
                }
                continue;
            };
            frame.tried += 1;
            let operation = self.operations[next];
            let Some(after) = self
                .model
                .step(&frame.state, &operation.call, answer(operation))
            else {
                continue;
            };
            if !is_answered(operation) && after == frame.state {
                continue;
            }
            if let Some(before) = &frame.unobserved {
                let without = self.model.step(before, &operation.call, answer(operation));
                if without.as_ref() == Some(&after) {
                    continue;
                }
            }
            let before = (!is_answered(operation)).then(|| frame.state.clone());
            state = after;
            frame.placed.push(next);
            self.place(next);
            let mut observers = Vec::new();
            self.place_observers(&state, &mut observers);
            let unobserved = before.filter(|_| observers.is_empty());
            let frame = frames.last_mut().expect("it is there");
            frame.placed.append(&mut observers);
            if !self.seen.insert((self.key, state.clone())) {
                continue;
            }
            if self.seen.len() > STATES_MAX {
                return Err(Finding::Undecided(format!(
                    "gave up after {STATES_MAX} states; {} of {} answered operations were left at best",
                    self.best.0,
                    self.by_return.len()
                )));
            }
            frames.push(self.frame(&state, unobserved));
        }
        Ok(())
    }

    /// Places, again and again, answered operations that could be next, fit, and change nothing.
    fn place_observers(&mut self, state: &M::State, placed: &mut Vec<usize>) {
        loop {
            let mut again = false;
            for index in self.candidates() {
                let operation = self.operations[index];
                let Some(returned) = answer(operation) else {
                    continue;
                };
                let fits = || self.model.step(state, &operation.call, Some(returned));
                if self.model.only_observes(&operation.call, returned) && fits().is_some() {
                    self.place(index);
                    placed.push(index);
                    again = true;
                }
            }
            if !again {
                return;
            }
        }
    }

    /// What could be next: not placed, and invoked no later than the first return among what is not placed.
    fn candidates(&self) -> Vec<usize> {
        let until = self.by_return[self.returns_done..]
            .iter()
            .find(|index| !self.placed[**index])
            .map_or(u64::MAX, |index| self.operations[*index].returned);
        let in_time = |index: &&usize| self.operations[**index].invoked <= until;
        let answered = self.by_invocation[self.invocations_done..]
            .iter()
            .take_while(in_time);
        let unknown = self.unknown.iter().take_while(in_time);
        answered
            .chain(unknown)
            .copied()
            .filter(|index| !self.placed[*index])
            .filter(|index| self.twin_before[*index].is_none_or(|twin| self.placed[twin]))
            .collect()
    }

    fn frame(&mut self, state: &M::State, unobserved: Option<M::State>) -> Frame<M::State> {
        let mut candidates = self.candidates();
        // Those that must end soonest first; what may also never have happened last.
        candidates.sort_by_key(|index| match self.operations[*index].outcome {
            Outcome::Unknown => (true, self.operations[*index].invoked),
            _ => (false, self.operations[*index].returned),
        });
        if self.answered_left < self.best.0 {
            self.best = (self.answered_left, format!("{state:?}"), candidates.clone());
        }
        Frame {
            candidates,
            tried: 0,
            state: state.clone(),
            unobserved,
            placed: Vec::new(),
        }
    }

    fn place(&mut self, index: usize) {
        self.placed[index] = true;
        self.key ^= set_key(index);
        if is_answered(self.operations[index]) {
            self.answered_left -= 1;
        }
        let is_placed = |index: Option<&usize>| index.is_some_and(|index| self.placed[*index]);
        while is_placed(self.by_invocation.get(self.invocations_done)) {
            self.invocations_done += 1;
        }
        while is_placed(self.by_return.get(self.returns_done)) {
            self.returns_done += 1;
        }
    }

    fn unplace(&mut self, index: usize) {
        self.placed[index] = false;
        self.key ^= set_key(index);
        if !is_answered(self.operations[index]) {
            return;
        }
        self.answered_left += 1;
        let returned = self.operations[index].returned;
        while self.invocations_done > 0 && self.by_invocation[self.invocations_done - 1] >= index {
            self.invocations_done -= 1;
        }
        while self.returns_done > 0
            && self.operations[self.by_return[self.returns_done - 1]].returned >= returned
        {
            self.returns_done -= 1;
        }
    }

    fn report(&self) -> String {
        use std::fmt::Write;

        let (left, state, stuck) = &self.best;
        let mut text = format!(
            "{} of {} answered operations can be put in order, which leads to the state {state}; none of these can follow:",
            self.by_return.len() - left,
            self.by_return.len(),
        );
        for index in stuck.iter().take(REPORTED_OPERATIONS_MAX) {
            let operation = self.operations[*index];
            let end = match &operation.outcome {
                Outcome::Done(returned) => format!("{} -> {returned:?}", operation.returned),
                _ => "unknown".to_owned(),
            };
            write!(
                text,
                "\n  client {} {}..{end}: {:?}",
                operation.client, operation.invoked, operation.call
            )
            .expect("writing to a string");
        }
        text
    }
}

fn is_answered<C, R>(operation: &Operation<C, R>) -> bool {
    matches!(operation.outcome, Outcome::Done(_))
}

fn answer<C, R>(operation: &Operation<C, R>) -> Option<&R> {
    match &operation.outcome {
        Outcome::Done(returned) => Some(returned),
        _ => None,
    }
}

/// For each operation of unknown outcome the last equal one invoked before it.
fn twins<C: Eq, R>(operations: &[&Operation<C, R>]) -> Vec<Option<usize>> {
    let mut unknown: Vec<usize> = Vec::new();
    let mut twins = Vec::with_capacity(operations.len());
    for (index, operation) in operations.iter().enumerate() {
        if is_answered(operation) {
            twins.push(None);
            continue;
        }
        let twin = unknown
            .iter()
            .rev()
            .find(|other| operations[**other].call == operation.call);
        twins.push(twin.copied());
        unknown.push(index);
    }
    twins
}

/// A set of operations is known by the exclusive-or of its members' numbers.
fn set_key(index: usize) -> u128 {
    let low = mix(index as u64 + 1);
    u128::from(low) | u128::from(mix(low ^ 0x5bd1_e995_97f4_a7c1)) << 64
}
