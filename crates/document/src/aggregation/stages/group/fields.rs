//! What a group's expressions look at: plain top-level fields are found in one pass over the document.

use bson::raw::{RawBson, RawBsonRef, RawDocument};

use super::super::super::accumulators::{Accumulator, Specification};
use crate::expression::{Evaluated, Expression, Value};
use crate::{DocumentError, raw};

/// Fields that are found in one pass; expressions that look at others find them on their own.
const FOUND_MAX: usize = 8;

/// The values of fields of one document, in the order of their names.
pub(super) type Found<'d> = [Option<RawBsonRef<'d>>; FOUND_MAX];

/// The names of fields to be found.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<String>);

impl Names {
    /// The first field of each name; none where the document is damaged before it.
    pub fn find<'d>(&self, document: &'d RawDocument) -> Found<'d> {
        raw::first_values(document, &self.0)
    }

    /// Where the value of an expression is found, if it is that of a field.
    fn place(&mut self, expression: &Expression) -> Option<usize> {
        let [name] = expression.as_path()? else {
            return None;
        };
        let known = self.0.iter().position(|known| known == name);
        if known.is_none() && self.0.len() < FOUND_MAX {
            self.0.push(name.clone());
            return Some(self.0.len() - 1);
        }
        known
    }
}

/// An expression, and where its value is found.
#[derive(Debug)]
pub(super) struct Input {
    pub expression: Expression,
    place: Option<usize>,
}

impl Input {
    pub fn new(expression: Expression, names: &mut Names) -> Input {
        let place = names.place(&expression);
        Input { expression, place }
    }

    /// The value for `document`, in which the fields were found.
    pub fn of<'a>(&'a self, document: &'a RawDocument, found: &Found<'a>) -> Evaluated<'a> {
        match self.place {
            Some(place) => Ok(found[place].map(Value::Borrowed)),
            None => self.expression.evaluate(document),
        }
    }
}

/// One output field.
#[derive(Debug)]
pub(super) struct Field {
    pub name: String,
    pub specification: Specification,
    argument: Argument,
    grows: bool,
}

/// Where the value of an accumulator's argument is from.
#[derive(Debug)]
enum Argument {
    /// It was found in the document.
    Found(usize),
    /// It is the same for every document.
    Constant(RawBson),
    /// It must be evaluated.
    Expression,
}

impl Argument {
    fn of(expression: &Expression, names: &mut Names) -> Argument {
        if let Some(constant) = expression.as_constant() {
            return Argument::Constant(constant.clone());
        }
        names
            .place(expression)
            .map_or(Argument::Expression, Argument::Found)
    }
}

impl Field {
    pub fn new(name: &str, specification: Specification, names: &mut Names) -> Field {
        Field {
            name: name.to_owned(),
            argument: Argument::of(specification.argument(), names),
            grows: specification.grows(),
            specification,
        }
    }

    /// Hands a document to an accumulator; by how many bytes that grew.
    pub fn feed(
        &self,
        document: &RawDocument,
        found: &Found<'_>,
        accumulator: &mut dyn Accumulator,
    ) -> Result<Growth, DocumentError> {
        if !self.grows {
            self.add(document, found, accumulator)?;
            return Ok(Growth::default());
        }
        let before = accumulator.bytes();
        self.add(document, found, accumulator)?;
        Ok(Growth {
            before,
            after: accumulator.bytes(),
        })
    }

    fn add(
        &self,
        document: &RawDocument,
        found: &Found<'_>,
        accumulator: &mut dyn Accumulator,
    ) -> Result<(), DocumentError> {
        let value = match &self.argument {
            Argument::Found(place) => found[*place],
            Argument::Constant(value) => Some(value.as_raw_bson_ref()),
            Argument::Expression => return self.specification.feed(document, accumulator),
        };
        self.specification.add(value, document, accumulator)
    }
}

/// What an accumulator held before and after; it may shrink.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Growth {
    before: usize,
    after: usize,
}

impl Growth {
    /// `bytes`, with it.
    pub fn added_to(self, bytes: usize) -> usize {
        bytes + self.after - self.before
    }
}
