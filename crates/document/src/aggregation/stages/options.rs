//! Options of stages: an object whose fields are taken one by one, so that what is left over is unknown.

use bson::raw::{RawBsonRef, RawDocument};

use crate::expression::number::Numeric;
use crate::{DocumentError, display, raw};

/// The options of one stage.
pub(super) struct Options<'a> {
    stage: &'static str,
    fields: Vec<(&'a str, Option<RawBsonRef<'a>>)>,
}

impl<'a> Options<'a> {
    /// The argument of a stage, which must be an object.
    pub fn of(
        stage: &'static str,
        argument: RawBsonRef<'a>,
        not_object: i32,
    ) -> Result<Options<'a>, DocumentError> {
        let RawBsonRef::Document(object) = argument else {
            return Err(DocumentError::location(
                not_object,
                format!(
                    "the {stage} stage specification must be an object, but found {}",
                    display::type_name(argument.element_type())
                ),
            ));
        };
        Ok(Options {
            stage,
            fields: raw::elements(object)
                .map(|field| (field.name, Some(field.value())))
                .collect(),
        })
    }

    pub fn take(&mut self, name: &str) -> Option<RawBsonRef<'a>> {
        let (_, value) = self.fields.iter_mut().find(|(known, _)| *known == name)?;
        value.take()
    }

    pub fn require(&mut self, name: &str, code: i32) -> Result<RawBsonRef<'a>, DocumentError> {
        let stage = self.stage;
        self.take(name).ok_or_else(|| {
            DocumentError::location(
                code,
                format!("BSON field '{stage}.{name}' is missing but a required field"),
            )
        })
    }

    pub fn text(&mut self, name: &str) -> Result<Option<&'a str>, DocumentError> {
        match self.take(name) {
            None => Ok(None),
            Some(RawBsonRef::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong_type(name, other, "string")),
        }
    }

    pub fn document(&mut self, name: &str) -> Result<Option<&'a RawDocument>, DocumentError> {
        match self.take(name) {
            None => Ok(None),
            Some(RawBsonRef::Document(document)) => Ok(Some(document)),
            Some(other) => Err(self.wrong_type(name, other, "object")),
        }
    }

    pub fn array(&mut self, name: &str) -> Result<Option<Vec<RawBsonRef<'a>>>, DocumentError> {
        match self.take(name) {
            None => Ok(None),
            Some(RawBsonRef::Array(array)) => Ok(Some(raw::members(array).collect())),
            Some(other) => Err(self.wrong_type(name, other, "array")),
        }
    }

    /// A whole number, not negative.
    pub fn count(&mut self, name: &str) -> Result<Option<u64>, DocumentError> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let whole = Numeric::of(value).and_then(Numeric::as_whole);
        match whole.and_then(|whole| u64::try_from(whole).ok()) {
            Some(count) => Ok(Some(count)),
            None => Err(self.wrong_type(name, value, "non-negative integer")),
        }
    }

    fn wrong_type(&self, name: &str, found: RawBsonRef<'_>, expected: &str) -> DocumentError {
        DocumentError::type_mismatch(format!(
            "BSON field '{}.{name}' is the wrong type '{}', expected type '{expected}'",
            self.stage,
            display::type_name(found.element_type())
        ))
    }

    /// Refuses what nobody took.
    pub fn finish(self, code: i32) -> Result<(), DocumentError> {
        match self.fields.iter().find(|(_, value)| value.is_some()) {
            None => Ok(()),
            Some((name, _)) => Err(DocumentError::location(
                code,
                format!("BSON field '{}.{name}' is an unknown field.", self.stage),
            )),
        }
    }
}
