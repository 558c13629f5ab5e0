//! The objects that histories are checked against.

use std::collections::BTreeSet;

use super::Model;

/// A value that is read, written, and compared and set.
#[derive(Clone, Copy, Debug, Default)]
pub struct Register;

/// Operations of a [`Register`]; `None` is "no value yet".
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RegisterCall {
    /// Gives the value.
    Read,
    /// Sets the value.
    Write(i64),
    /// Sets the value if it is `expected`.
    CompareAndSet {
        /// The value it must have.
        expected: Option<i64>,
        /// The value it gets.
        new: i64,
    },
}

/// Answers of a [`Register`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RegisterReturn {
    /// Of a read.
    Value(Option<i64>),
    /// Of a write.
    Written,
    /// Of a compare-and-set: whether the value was the expected one.
    Swapped(bool),
}

impl Model for Register {
    type State = Option<i64>;
    type Call = RegisterCall;
    type Return = RegisterReturn;

    fn initial(&self) -> Option<i64> {
        None
    }

    fn step(
        &self,
        state: &Option<i64>,
        call: &RegisterCall,
        returned: Option<&RegisterReturn>,
    ) -> Option<Option<i64>> {
        let (after, answer) = match call {
            RegisterCall::Read => (*state, RegisterReturn::Value(*state)),
            RegisterCall::Write(value) => (Some(*value), RegisterReturn::Written),
            RegisterCall::CompareAndSet { expected, new } if state == expected => {
                (Some(*new), RegisterReturn::Swapped(true))
            }
            RegisterCall::CompareAndSet { .. } => (*state, RegisterReturn::Swapped(false)),
        };
        returned.is_none_or(|it| *it == answer).then_some(after)
    }

    fn only_observes(&self, _: &RegisterCall, returned: &RegisterReturn) -> bool {
        matches!(
            returned,
            RegisterReturn::Value(_) | RegisterReturn::Swapped(false)
        )
    }
}

/// A number that is added to and read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter;

/// Operations of a [`Counter`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CounterCall {
    /// Adds.
    Add(i64),
    /// Adds and gives the sum.
    AddAndGet(i64),
    /// Gives the number.
    Read,
}

/// Answers of a [`Counter`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CounterReturn {
    /// Of `Add`.
    Added,
    /// Of `AddAndGet` and `Read`.
    Value(i64),
}

impl Model for Counter {
    type State = i64;
    type Call = CounterCall;
    type Return = CounterReturn;

    fn initial(&self) -> i64 {
        0
    }

    fn step(
        &self,
        state: &i64,
        call: &CounterCall,
        returned: Option<&CounterReturn>,
    ) -> Option<i64> {
        let (after, answer) = match call {
            CounterCall::Add(number) => (state + number, CounterReturn::Added),
            CounterCall::AddAndGet(number) => {
                (state + number, CounterReturn::Value(state + number))
            }
            CounterCall::Read => (*state, CounterReturn::Value(*state)),
        };
        returned.is_none_or(|it| *it == answer).then_some(after)
    }

    fn only_observes(&self, call: &CounterCall, _: &CounterReturn) -> bool {
        matches!(call, CounterCall::Read)
    }
}

/// A key that at most one inserter gets until it is removed.
#[derive(Clone, Copy, Debug, Default)]
pub struct UniqueKey;

/// Operations of a [`UniqueKey`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UniqueKeyCall {
    /// Takes the key for this owner.
    Insert(i64),
    /// Frees the key if this owner has it.
    Remove(i64),
    /// Gives the owner.
    Read,
}

/// Answers of a [`UniqueKey`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UniqueKeyReturn {
    /// Of `Insert`: the key was free.
    Inserted,
    /// Of `Insert`: the key was taken.
    Duplicate,
    /// Of `Remove`: whether the owner had it.
    Removed(bool),
    /// Of `Read`.
    Owner(Option<i64>),
}

impl Model for UniqueKey {
    type State = Option<i64>;
    type Call = UniqueKeyCall;
    type Return = UniqueKeyReturn;

    fn initial(&self) -> Option<i64> {
        None
    }

    fn step(
        &self,
        state: &Option<i64>,
        call: &UniqueKeyCall,
        returned: Option<&UniqueKeyReturn>,
    ) -> Option<Option<i64>> {
        let (after, answer) = match call {
            UniqueKeyCall::Insert(owner) => match state {
                None => (Some(*owner), UniqueKeyReturn::Inserted),
                Some(_) => (*state, UniqueKeyReturn::Duplicate),
            },
            UniqueKeyCall::Remove(owner) => {
                let had = *state == Some(*owner);
                let after = if had { None } else { *state };
                (after, UniqueKeyReturn::Removed(had))
            }
            UniqueKeyCall::Read => (*state, UniqueKeyReturn::Owner(*state)),
        };
        returned.is_none_or(|it| *it == answer).then_some(after)
    }

    fn only_observes(&self, _: &UniqueKeyCall, returned: &UniqueKeyReturn) -> bool {
        !matches!(
            returned,
            UniqueKeyReturn::Inserted | UniqueKeyReturn::Removed(true)
        )
    }
}

/// A set that only grows and is read whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrowSet;

/// Operations of a [`GrowSet`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum GrowSetCall {
    /// Puts an element in.
    Add(i64),
    /// Gives all elements.
    Read,
}

/// Answers of a [`GrowSet`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum GrowSetReturn {
    /// Of `Add`: whether the element was new.
    Added(bool),
    /// Of `Read`.
    Elements(BTreeSet<i64>),
}

impl Model for GrowSet {
    type State = BTreeSet<i64>;
    type Call = GrowSetCall;
    type Return = GrowSetReturn;

    fn initial(&self) -> BTreeSet<i64> {
        BTreeSet::new()
    }

    fn step(
        &self,
        state: &BTreeSet<i64>,
        call: &GrowSetCall,
        returned: Option<&GrowSetReturn>,
    ) -> Option<BTreeSet<i64>> {
        match call {
            GrowSetCall::Add(element) => {
                let mut after = state.clone();
                let new = after.insert(*element);
                let answer = GrowSetReturn::Added(new);
                returned.is_none_or(|it| *it == answer).then_some(after)
            }
            GrowSetCall::Read => {
                let fits = match returned {
                    None => true,
                    Some(GrowSetReturn::Elements(elements)) => elements == state,
                    Some(GrowSetReturn::Added(_)) => false,
                };
                fits.then(|| state.clone())
            }
        }
    }

    fn only_observes(&self, _: &GrowSetCall, returned: &GrowSetReturn) -> bool {
        !matches!(returned, GrowSetReturn::Added(true))
    }
}
