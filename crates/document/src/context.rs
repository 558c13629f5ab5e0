//! What queries, updates and pipelines may know besides documents. All of it is supplied by the caller, so that the
//! same inputs give the same results on every replica: nothing here reads a clock or draws from the system.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bson::DateTime;
use bson::raw::{RawBson, RawBsonRef, RawDocument};

use crate::aggregation::Collections;
use crate::filter::Filter;
use crate::spill::{MemoryPool, Room, SpillSpace};
use crate::text::{TextRules, TextSearch};
use crate::{Collation, DocumentError, raw};

/// The surroundings of an evaluation. Cheap to clone; clones share the sequence of random numbers.
#[derive(Debug, Clone, Default)]
pub struct Context {
    now: Option<DateTime>,
    draws: Option<Arc<Draws>>,
    variables: Arc<Vec<(String, RawBson)>>,
    collections: Option<Arc<dyn Collections>>,
    /// Outer: whether it was said at all.
    collation: Option<Option<Collation>>,
    /// The text index that `$text` searches.
    text: Option<Arc<TextRules>>,
    scores: Scores,
    room: Room,
    stop: Option<Stop>,
}

/// Where `{$meta: "textScore"}` has the score of a document from.
#[derive(Debug, Clone, Default)]
pub(crate) enum Scores {
    /// Nothing is searched for.
    #[default]
    None,
    /// There is no text index: whoever plans the search will say so.
    Unbound,
    /// A search that found documents which are others by now.
    Passed,
    /// The search that found the document.
    Of(Arc<TextSearch>),
}

/// Says whether the work is to end.
#[derive(Clone)]
pub(crate) struct Stop(Arc<dyn Fn() -> bool + Send + Sync>);

impl Stop {
    /// Whether the work is to end.
    pub fn is_asked_for(&self) -> bool {
        (self.0)()
    }
}

impl std::fmt::Debug for Stop {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Stop")
    }
}

/// A sequence of random numbers (splitmix64) that the seed and the order of drawing decide.
#[derive(Debug)]
pub(crate) struct Draws {
    seed: u64,
    drawn: AtomicU64,
}

impl Context {
    /// No time, no random numbers, no variables: expressions that ask for them are refused.
    pub fn none() -> Context {
        Context::default()
    }

    /// For checking what a client sent without evaluating it: everything is there, nothing has a meaning.
    pub fn checking() -> Context {
        Context::at(0, 0)
    }

    /// The time of `$$NOW` in milliseconds since the epoch, and what `$rand` and `$sample` draw from.
    pub fn at(now_ms: i64, random_seed: u64) -> Context {
        Context {
            now: Some(DateTime::from_millis(now_ms)),
            draws: Some(Arc::new(Draws {
                seed: random_seed,
                drawn: AtomicU64::new(0),
            })),
            ..Context::default()
        }
    }

    /// Adds where `$lookup` and its kin read other collections.
    pub fn with_collections(mut self, collections: Arc<dyn Collections>) -> Context {
        self.collections = Some(collections);
        self
    }

    /// The collation of comparisons; `None` compares bytes.
    pub fn with_collation(mut self, collation: Option<Collation>) -> Context {
        self.collation = Some(collation);
        self
    }

    /// Says which text index there is, if there is one.
    pub fn with_text(mut self, rules: Option<Arc<TextRules>>) -> Context {
        self.text = rules;
        self
    }

    /// The text index that `$text` searches.
    pub(crate) fn text(&self) -> Option<&Arc<TextRules>> {
        self.text.as_ref()
    }

    /// For what looks at documents that `filter` found: their scores are known where it has `$text`.
    pub fn scored_by(mut self, filter: &Filter) -> Context {
        self.scores = match filter.text() {
            None => Scores::None,
            Some(text) => text
                .search()
                .map_or(Scores::Unbound, |search| Scores::Of(Arc::clone(search))),
        };
        self
    }

    /// For what looks at other documents than those that a filter found.
    pub(crate) fn behind_change(mut self) -> Context {
        if !matches!(self.scores, Scores::None) {
            self.scores = Scores::Passed;
        }
        self
    }

    /// For stages that have documents of their own.
    pub(crate) fn without_scores(mut self) -> Context {
        self.scores = Scores::None;
        self
    }

    /// The scores of the documents that are looked at.
    pub(crate) fn scores(&self) -> &Scores {
        &self.scores
    }

    /// Whether [`Context::with_collation`] said which, be it the simple one.
    pub fn is_collation_given(&self) -> bool {
        self.collation.is_some()
    }

    /// The collation of comparisons.
    pub fn collation(&self) -> Option<&Collation> {
        self.collation.as_ref()?.as_ref()
    }

    /// Adds room outside memory for stages that hold much.
    pub fn with_spill(mut self, spill: Arc<dyn SpillSpace>) -> Context {
        self.room = self.room.with_disk(spill);
        self
    }

    /// Counts what stages hold in memory.
    pub fn with_memory(mut self, pool: Arc<MemoryPool>) -> Context {
        self.room = self.room.with_memory(pool);
        self
    }

    /// What stages that hold much may use.
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// Adds a question that is asked every few documents between stages: whether to end with an error.
    pub fn with_stop(mut self, stop: impl Fn() -> bool + Send + Sync + 'static) -> Context {
        self.stop = Some(Stop(Arc::new(stop)));
        self
    }

    /// Whether to go on.
    pub(crate) fn stop(&self) -> Option<&Stop> {
        self.stop.as_ref()
    }

    /// Where other collections are read.
    pub(crate) fn collections(&self) -> Option<&Arc<dyn Collections>> {
        self.collections.as_ref()
    }

    /// The same without random numbers: for filters that are evaluated more than once and must answer the same.
    pub fn without_random(mut self) -> Context {
        self.draws = None;
        self
    }

    /// Adds the constants of a command's `let`; their values are expressions over no document.
    pub fn with_let(self, variables: &RawDocument) -> Result<Context, DocumentError> {
        let nothing = bson::RawDocumentBuf::new();
        let mut bound = Vec::new();
        for variable in raw::elements(variables) {
            check_variable_name(variable.name)?;
            let expression = crate::expression::Expression::parse(variable.value(), &self)?;
            let value = expression.evaluate(&nothing)?;
            let value = value.map_or(RawBson::Null, |value| value.into_owned());
            bound.push((variable.name.to_owned(), value));
        }
        Ok(self.with_variables(bound))
    }

    /// Adds the values of constants that were computed before: see [`Context::constants`].
    pub fn with_constants(self, constants: &RawDocument) -> Context {
        if constants.is_empty() {
            return self;
        }
        let bind = |constant: raw::Element<'_>| (constant.name.to_owned(), constant.value().into());
        let bound = raw::elements(constants).map(bind).collect();
        self.with_variables(bound)
    }

    /// The values of expressions over one document, under their names.
    pub fn evaluate_over(
        &self,
        expressions: &RawDocument,
        document: &RawDocument,
    ) -> Result<bson::RawDocumentBuf, DocumentError> {
        let mut values = bson::RawDocumentBuf::new();
        for expression in raw::elements(expressions) {
            check_variable_name(expression.name)?;
            let parsed = crate::expression::Expression::parse(expression.value(), self)?;
            let value = parsed.evaluate(document)?;
            let value = value.map_or(RawBson::Null, |value| value.into_owned());
            if let Ok(name) = bson::raw::CString::try_from(expression.name) {
                values.append(name, value);
            }
        }
        Ok(values)
    }

    /// The values of all constants, for whoever evaluates later or elsewhere.
    pub fn constants(&self) -> bson::RawDocumentBuf {
        let mut constants = bson::RawDocumentBuf::new();
        for (name, value) in self.variables.iter() {
            if let Ok(name) = bson::raw::CString::try_from(name.as_str()) {
                constants.append(name, value.as_raw_bson_ref());
            }
        }
        constants
    }

    /// Adds constants; later ones hide earlier ones of the same name.
    pub(crate) fn with_variables(mut self, more: Vec<(String, RawBson)>) -> Context {
        let mut variables = self.variables.as_ref().clone();
        variables.extend(more);
        self.variables = Arc::new(variables);
        self
    }

    /// The value of a `let` variable.
    pub(crate) fn variable(&self, name: &str) -> Option<RawBsonRef<'_>> {
        let found = self.variables.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_raw_bson_ref())
    }

    /// The time of `$$NOW`.
    pub(crate) fn now(&self) -> Option<DateTime> {
        self.now
    }

    /// The random numbers, where there are any.
    pub(crate) fn draws(&self) -> Option<&Arc<Draws>> {
        self.draws.as_ref()
    }
}

impl Draws {
    /// The next 64 bits.
    pub fn next(&self) -> u64 {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let position = self.drawn.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let mut mixed = self.seed.wrapping_add(position.wrapping_mul(GOLDEN));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next number in [0, 1).
    pub fn next_fraction(&self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A user's variable begins with a lower-case letter or a character outside ASCII; `CURRENT` may be bound anew.
pub(crate) fn check_variable_name(name: &str) -> Result<(), DocumentError> {
    let invalid = |what: String| Err(DocumentError::failed_to_parse(what));
    let Some(first) = name.chars().next() else {
        return invalid("empty variable names are not allowed".to_owned());
    };
    if name == "CURRENT" {
        return Ok(());
    }
    if first.is_ascii() && !first.is_ascii_lowercase() {
        return invalid(format!(
            "'{name}' starts with an invalid character for a user variable name"
        ));
    }
    match name
        .chars()
        .find(|c| c.is_ascii() && !c.is_ascii_alphanumeric() && *c != '_')
    {
        Some(character) => invalid(format!(
            "'{name}' contains an invalid character for a variable name: '{character}'"
        )),
        None => Ok(()),
    }
}
