//! Operators whose argument is an object of named parameters.

use bson::raw::RawBsonRef;

use super::operands::fail;
use crate::expression::{Expression, Scope};
use crate::{DocumentError, display, raw};

/// The parameters of an operator and the errors of MongoDB when they are not as they should be.
#[derive(Debug)]
pub(super) struct Named {
    /// The argument is not an object.
    pub not_object: i32,
    /// A parameter that does not exist.
    pub unknown: i32,
    pub wording: Wording,
    pub parameters: &'static [Parameter],
}

/// A parameter and the error when it is required and not given.
pub(super) type Parameter = (&'static str, Option<i32>);

/// MongoDB words the same refusals in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wording {
    /// "$map only supports an object as its argument"
    Supports,
    /// "$reduce requires an object as an argument, found: int"
    Requires,
}

impl Named {
    /// The arguments in the order of the parameters; those not given are always missing.
    pub fn parse(
        &self,
        name: &str,
        argument: RawBsonRef<'_>,
        scope: &Scope<'_>,
    ) -> Result<Vec<Expression>, DocumentError> {
        let arguments = self.arguments(name, argument)?;
        let parsed = arguments.into_iter().map(|argument| match argument {
            Some(argument) => Expression::parse_in(argument, scope),
            None => Ok(Expression::missing()),
        });
        parsed.collect()
    }

    /// The same, not parsed.
    pub fn arguments<'a>(
        &self,
        name: &str,
        argument: RawBsonRef<'a>,
    ) -> Result<Vec<Option<RawBsonRef<'a>>>, DocumentError> {
        let RawBsonRef::Document(named) = argument else {
            let found = display::type_name(argument.element_type());
            return fail(
                self.not_object,
                match self.wording {
                    Wording::Supports => format!("{name} only supports an object as its argument"),
                    Wording::Requires => {
                        format!("{name} requires an object as an argument, found: {found}")
                    }
                },
            );
        };
        let mut arguments = vec![None; self.parameters.len()];
        for given in raw::elements(named) {
            let known = self.parameters.iter();
            let Some(index) = known.clone().position(|(known, _)| *known == given.name) else {
                return fail(
                    self.unknown,
                    match self.wording {
                        Wording::Supports => {
                            format!("Unrecognized parameter to {name}: {}", given.name)
                        }
                        Wording::Requires => {
                            format!("{name} found an unknown argument: {}", given.name)
                        }
                    },
                );
            };
            arguments[index] = Some(given.value());
        }
        for ((parameter, required), argument) in self.parameters.iter().zip(&arguments) {
            if let (Some(code), None) = (required, argument) {
                return fail(
                    *code,
                    match self.wording {
                        Wording::Supports => format!("Missing '{parameter}' parameter to {name}"),
                        Wording::Requires => {
                            format!("{name} requires '{parameter}' to be specified")
                        }
                    },
                );
            }
        }
        Ok(arguments)
    }
}
