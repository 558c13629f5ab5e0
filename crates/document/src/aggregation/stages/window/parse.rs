//! Parsing of `$setWindowFields`.

use std::sync::Arc;

use bson::raw::{RawBson, RawBsonRef, RawDocument};

use super::super::super::accumulators;
use super::super::super::assign::Assignments;
use super::super::Stage;
use super::super::options::Options;
use super::bounds::{Bounds, WHOLE};
use super::functions::Function;
use super::{Inner, SetWindowFields};
use crate::expression::number::Numeric;
use crate::expression::{Expression, Scope, TimeUnit};
use crate::raw::{self, DocumentWriter};
use crate::sort::{SortSpec, check_path};
use crate::{Context, DocumentError, display};

fn fail<T>(message: impl Into<String>) -> Result<T, DocumentError> {
    Err(DocumentError::failed_to_parse(message))
}

pub(in crate::aggregation::stages) fn parse(
    argument: RawBsonRef<'_>,
    context: &Context,
) -> Result<Stage, DocumentError> {
    let mut options = Options::of("$setWindowFields", argument, 9)?;
    let partition_by = options.take("partitionBy");
    let sort = options.document("sortBy")?;
    let output = options.document("output")?;
    options.finish(40415)?;
    let Some(output) = output else {
        return Err(DocumentError::location(
            40414,
            "BSON field '$setWindowFields.output' is missing but a required field",
        ));
    };
    let sort = sort
        .map(SortSpec::parse)
        .transpose()?
        .filter(|sort| !sort.is_empty());
    let mut targets = Assignments::new();
    let mut functions = Vec::new();
    for field in raw::elements(output) {
        check_path(field.name)?;
        let RawBsonRef::Document(specification) = field.value() else {
            return fail(format!("The field '{}' must be an object", field.name));
        };
        targets.insert(field.name, functions.len())?;
        functions.push(parse_function(specification, sort.as_ref(), context)?);
    }
    let partition_by = partition_by.map(|expression| Expression::parse(expression, context));
    Ok(Stage::Other(Box::new(SetWindowFields {
        inner: Arc::new(Inner {
            partition_by: partition_by.transpose()?,
            sort,
            targets,
            functions,
            room: context.room().clone(),
        }),
    })))
}

fn parse_function(
    specification: &RawDocument,
    sort: Option<&SortSpec>,
    context: &Context,
) -> Result<Function, DocumentError> {
    let mut window = None;
    let mut function = None;
    for field in raw::elements(specification) {
        match (field.name, field.value()) {
            ("window", RawBsonRef::Document(bounds)) => window = Some(Bounds::parse(bounds)?),
            ("window", _) => return fail("'window' field must be an object"),
            (name, _) if function.is_some() => {
                return fail(format!(
                    "Cannot specify two functions in window function spec: {name}"
                ));
            }
            (name, argument) if name.starts_with('$') => {
                function = Some((name.to_owned(), raw::owned(argument)))
            }
            (name, _) => return fail(format!("Unrecognized window function argument: {name}")),
        }
    }
    let Some((name, argument)) = function else {
        return fail("Must specify a window function in output field");
    };
    let bounds = window.unwrap_or(WHOLE);
    if bounds.needs_sort() && sort.is_none() {
        return Err(DocumentError::location(
            5_339_901,
            "Document-based bounds require a sortBy",
        ));
    }
    of_name(&name, argument.as_raw_bson_ref(), window, sort, context)
}

fn of_name(
    name: &str,
    argument: RawBsonRef<'_>,
    window: Option<Bounds>,
    sort: Option<&SortSpec>,
    context: &Context,
) -> Result<Function, DocumentError> {
    let bounds = window.unwrap_or(WHOLE);
    let no_window = || match window {
        None => Ok(()),
        Some(_) => fail(format!("{name} does not accept a 'window' field")),
    };
    let sorted = || match sort {
        Some(_) => Ok(()),
        None => Err(DocumentError::location(
            5_371_602,
            format!("{name} must be specified with a top level sortBy expression"),
        )),
    };
    let one_field = || match sort.map(SortSpec::fields) {
        Some([_]) => Ok(()),
        _ => Err(DocumentError::location(
            5_624_900,
            format!("{name} requires a sortBy with exactly one element"),
        )),
    };
    match name {
        "$rank" | "$denseRank" | "$documentNumber" => {
            no_window()?;
            sorted()?;
            if !matches!(argument, RawBsonRef::Document(empty) if empty.is_empty()) {
                return Err(DocumentError::location(
                    5_371_603,
                    format!("{name} must be specified with '{{}}' as the value"),
                ));
            }
            if name != "$documentNumber" {
                one_field()?;
            }
            Ok(match name {
                "$documentNumber" => Function::DocumentNumber,
                _ => Function::Rank {
                    dense: name == "$denseRank",
                },
            })
        }
        "$shift" => {
            no_window()?;
            sorted()?;
            shift(argument, context)
        }
        "$derivative" | "$integral" => {
            one_field()?;
            if name == "$derivative" && window.is_none() {
                return fail("$derivative requires explicit window bounds");
            }
            let (input, unit) = input_and_unit(argument, context)?;
            Ok(match name {
                "$derivative" => Function::Derivative(input, unit, bounds),
                _ => Function::Integral(input, unit, bounds),
            })
        }
        "$expMovingAvg" => {
            no_window()?;
            sorted()?;
            moving_average(argument, context)
        }
        "$covariancePop" | "$covarianceSamp" => {
            let operands: Vec<RawBsonRef<'_>> = match argument {
                RawBsonRef::Array(array) => raw::members(array).collect(),
                _ => Vec::new(),
            };
            let [x, y] = operands[..] else {
                return fail(format!("{name} expects an array of two expressions"));
            };
            Ok(Function::Covariance {
                x: Expression::parse(x, context)?,
                y: Expression::parse(y, context)?,
                sample: name == "$covarianceSamp",
                bounds,
            })
        }
        "$locf" => {
            no_window()?;
            Ok(Function::CarriedForward(Expression::parse(
                argument, context,
            )?))
        }
        "$linearFill" => {
            no_window()?;
            one_field()?;
            Ok(Function::LinearFill(Expression::parse(argument, context)?))
        }
        _ => {
            let mut clause = DocumentWriter::with_capacity(64);
            clause.append(name, argument);
            let clause = clause.finish();
            let clause: &RawDocument = &clause;
            let parsed =
                accumulators::parse("output", RawBsonRef::Document(clause), &Scope::new(context));
            match parsed {
                Err(error) if error.kind.code() == 15952 => {
                    fail(format!("Unrecognized window function, {name}"))
                }
                parsed => Ok(Function::Accumulated(parsed?, bounds)),
            }
        }
    }
}

fn shift(argument: RawBsonRef<'_>, context: &Context) -> Result<Function, DocumentError> {
    let mut options = Options::of("$shift", argument, 9)?;
    let output = options.require("output", 9)?;
    let by = options.require("by", 9)?;
    let default = options.take("default");
    options.finish(9)?;
    let Some(by) = Numeric::of(by).and_then(Numeric::as_whole) else {
        return fail("'$shift:by' field must be an integer");
    };
    let default = match default {
        None => RawBson::Null,
        Some(default) => {
            let nothing = bson::RawDocumentBuf::new();
            let expression = Expression::parse(default, context)?;
            let value = expression.evaluate(&nothing)?;
            value.map_or(RawBson::Null, |value| value.into_owned())
        }
    };
    Ok(Function::Shift {
        output: Expression::parse(output, context)?,
        by,
        default,
    })
}

fn input_and_unit(
    argument: RawBsonRef<'_>,
    context: &Context,
) -> Result<(Expression, Option<TimeUnit>), DocumentError> {
    let mut options = Options::of("$derivative", argument, 9)?;
    let input = options.require("input", 9)?;
    let unit = options.take("unit").map(TimeUnit::of).transpose()?;
    options.finish(9)?;
    if unit.is_some_and(|unit| unit.millis().is_none()) {
        return Err(DocumentError::location(
            5_490_710,
            "unit must be 'week', 'day', 'hour', 'minute', 'second' or 'millisecond'",
        ));
    }
    Ok((Expression::parse(input, context)?, unit))
}

fn moving_average(argument: RawBsonRef<'_>, context: &Context) -> Result<Function, DocumentError> {
    let mut options = Options::of("$expMovingAvg", argument, 9)?;
    let input = options.require("input", 9)?;
    let n = options.take("N");
    let alpha = options.take("alpha");
    options.finish(9)?;
    let alpha = match (n, alpha) {
        (Some(n), None) => match Numeric::of(n).and_then(Numeric::as_whole) {
            Some(n @ 1..) => 2.0 / (n as f64 + 1.0),
            _ => return fail("'N' field must be an integer greater than zero"),
        },
        (None, Some(alpha)) => match Numeric::of(alpha).map(Numeric::as_double) {
            Some(alpha) if alpha > 0.0 && alpha < 1.0 => alpha,
            _ => {
                return fail(format!(
                    "'alpha' must be between 0 and 1 (exclusive), found alpha: {}",
                    display::value(alpha)
                ));
            }
        },
        _ => {
            return fail(
                "$expMovingAvg sub object must have exactly two fields: An 'input' field, and either an 'N' field or an 'alpha' field",
            );
        }
    };
    Ok(Function::MovingAverage {
        input: Expression::parse(input, context)?,
        alpha,
    })
}
