//! What clients did, as they saw it: each operation with the time it was invoked, the time its answer came, and how it ended.
//!
//! Times are numbers of any unit that only grow. Two operations overlap unless one returned strictly before the other was invoked,
//! so equal times count as overlapping: a coarse clock makes a checker more lenient, never wrong.

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<R> {
    /// It took effect between its invocation and its return, and answered this.
    Done(R),
    /// It certainly never took and never will take effect.
    Failed,
    /// It may take effect at any time after its invocation, or never.
    Unknown,
}

/// One operation of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<C, R> {
    /// Whose it was.
    pub client: u32,
    /// When it was sent.
    pub invoked: u64,
    /// When its end was seen. Without meaning for the order if the outcome is [`Outcome::Unknown`].
    pub returned: u64,
    /// What was asked.
    pub call: C,
    /// How it ended.
    pub outcome: Outcome<R>,
}

/// An operation that has begun; see [`History::invoke`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[must_use = "an operation without an end counts as unknown"]
pub struct Begun(usize);

impl Begun {
    /// Its place in [`History::operations`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// Operations on many keys, in the order of their invocation. Keys are independent of each other.
#[derive(Clone, Debug)]
pub struct History<K, C, R> {
    operations: Vec<(K, Operation<C, R>)>,
}

impl<K, C, R> Default for History<K, C, R> {
    fn default() -> Self {
        History {
            operations: Vec::new(),
        }
    }
}

impl<K: Clone + Ord, C: Clone, R: Clone> History<K, C, R> {
    /// Records that an operation began. Until it is ended its outcome is unknown.
    pub fn invoke(&mut self, client: u32, key: K, call: C, now: u64) -> Begun {
        let operation = Operation {
            client,
            invoked: now,
            returned: u64::MAX,
            call,
            outcome: Outcome::Unknown,
        };
        self.operations.push((key, operation));
        Begun(self.operations.len() - 1)
    }

    /// Records how it ended.
    pub fn end(&mut self, begun: Begun, outcome: Outcome<R>, now: u64) {
        let operation = &mut self.operations[begun.0].1;
        assert!(operation.invoked <= now, "an operation ends after it began");
        operation.returned = now;
        operation.outcome = outcome;
    }

    /// Adds an operation that was recorded elsewhere.
    pub fn push(&mut self, key: K, operation: Operation<C, R>) {
        self.operations.push((key, operation));
    }

    /// All operations with their keys.
    pub fn operations(&self) -> &[(K, Operation<C, R>)] {
        &self.operations
    }

    /// How many ended as done, failed, unknown.
    pub fn outcomes(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for (_, operation) in &self.operations {
            counts[match operation.outcome {
                Outcome::Done(_) => 0,
                Outcome::Failed => 1,
                Outcome::Unknown => 2,
            }] += 1;
        }
        counts
    }

    /// The operations of each key, in the order of the keys.
    pub fn by_key(&self) -> Vec<(K, Vec<Operation<C, R>>)> {
        let mut keys: std::collections::BTreeMap<K, Vec<Operation<C, R>>> =
            std::collections::BTreeMap::new();
        for (key, operation) in &self.operations {
            keys.entry(key.clone()).or_default().push(operation.clone());
        }
        keys.into_iter().collect()
    }
}
