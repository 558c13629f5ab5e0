//! One output field of `$group`: which accumulator, over what.

use std::collections::BTreeSet;

use bson::RawDocumentBuf;
use bson::raw::{RawBson, RawBsonRef, RawDocument};

use super::{Accumulator, Kind, REGISTRY, percentile, some_of, sum};
use crate::expression::{Expression, Scope, Value, positive_n};
use crate::sort::SortSpec;
use crate::{DocumentError, ErrorKind, display, raw};

/// An accumulator with its arguments.
#[derive(Debug)]
pub(crate) struct Specification {
    name: &'static str,
    kind: Kind,
    argument: Expression,
    /// `n`, evaluated over the key of the group.
    n: Option<Expression>,
    /// The order of `$top` and its kin.
    sort: Option<SortSpec>,
    percentiles: Vec<f64>,
}

impl Specification {
    /// A new accumulator for the group with this `_id`.
    pub fn start(&self, id: RawBsonRef<'_>) -> Result<Box<dyn Accumulator>, DocumentError> {
        let n = match &self.n {
            None => 1,
            Some(n) => {
                let empty = RawDocumentBuf::new();
                let document = match id {
                    RawBsonRef::Document(document) => document,
                    _ => &empty,
                };
                let n = n.evaluate(document)?;
                positive_n(n.as_ref().map_or(RawBsonRef::Null, Value::as_ref))?
            }
        };
        Ok(match self.kind {
            Kind::Unary(start) => start(),
            Kind::Count => sum::start(),
            Kind::Some(which) => some_of::start(which, n, false),
            Kind::TopN(which) => some_of::start_sorted(which, n, false),
            Kind::Top(which) => some_of::start_sorted(which, 1, true),
            Kind::Median => percentile::start(vec![0.5], true),
            Kind::Percentile => percentile::start(self.percentiles.clone(), false),
            Kind::Refused(_) => unreachable!("refused by the parser"),
        })
    }

    /// What the accumulator is handed the value of.
    pub fn argument(&self) -> &Expression {
        &self.argument
    }

    /// Hands the document to an accumulator.
    pub fn feed(
        &self,
        document: &RawDocument,
        accumulator: &mut dyn Accumulator,
    ) -> Result<(), DocumentError> {
        let value = self.argument.evaluate(document)?;
        self.add(value.as_ref().map(Value::as_ref), document, accumulator)
    }

    /// The same, with the argument's value for the document.
    pub fn add(
        &self,
        value: Option<RawBsonRef<'_>>,
        document: &RawDocument,
        accumulator: &mut dyn Accumulator,
    ) -> Result<(), DocumentError> {
        match &self.sort {
            None => accumulator.add(value),
            Some(sort) => accumulator.add_at(sort.key(document)?, value),
        }
    }

    /// False only if its accumulators always take the same memory.
    pub fn grows(&self) -> bool {
        const FIXED: [&str; 5] = ["$avg", "$count", "$stdDevPop", "$stdDevSamp", "$sum"];
        !FIXED.contains(&self.name)
    }

    /// As for an expression: the fields of a document that it looks at.
    pub fn add_needs(&self, fields: &mut BTreeSet<String>) -> bool {
        let sorted = self.sort.iter().flat_map(|sort| sort.fields());
        fields.extend(sorted.filter_map(|field| field.path.split('.').next().map(str::to_owned)));
        self.argument.add_needs(fields)
    }

    /// Whether the result is the number of documents: `{$sum: 1}` and `{$count: {}}`.
    pub fn counts(&self) -> bool {
        self.name == "$sum" && matches!(self.argument.as_constant(), Some(RawBson::Int32(1)))
            || self.name == "$count"
    }
}

/// Parses `field: {$accumulator: argument}`.
pub(crate) fn parse(
    field: &str,
    specification: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<Specification, DocumentError> {
    if field.contains('.') {
        return Err(DocumentError::location(
            40235,
            format!("The field name '{field}' cannot contain '.'"),
        ));
    }
    if field.starts_with('$') {
        return Err(DocumentError::location(
            40236,
            format!("The field name '{field}' cannot be an operator name"),
        ));
    }
    let must_be_object = || {
        DocumentError::location(
            40234,
            format!("The field '{field}' must be an accumulator object"),
        )
    };
    let RawBsonRef::Document(specification) = specification else {
        return Err(must_be_object());
    };
    let mut clauses = raw::elements(specification);
    let clause = clauses.next().ok_or_else(must_be_object)?;
    if clauses.next().is_some() {
        return Err(DocumentError::location(
            40238,
            format!("The field '{field}' must specify one accumulator"),
        ));
    }
    if !clause.name.starts_with('$') {
        return Err(must_be_object());
    }
    parse_accumulator(clause.name, clause.value(), scope)
}

/// Parses the argument of the accumulator `name`.
fn parse_accumulator(
    name: &str,
    argument: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<Specification, DocumentError> {
    let found = REGISTRY.iter().find(|(known, _)| *known == name);
    let (name, kind) = *found.ok_or_else(|| {
        DocumentError::location(15952, format!("unknown group operator '{name}'"))
    })?;
    let mut specification = Specification {
        name,
        kind,
        argument: Expression::missing(),
        n: None,
        sort: None,
        percentiles: Vec::new(),
    };
    match kind {
        Kind::Unary(_) => specification.argument = unary(name, argument, scope)?,
        Kind::Count => {
            let empty = matches!(argument, RawBsonRef::Document(empty) if empty.is_empty());
            if !empty {
                return Err(DocumentError::type_mismatch(format!(
                    "{name} takes no arguments, i.e. {name}:{{}}"
                )));
            }
            specification.argument = Expression::constant(RawBsonRef::Int32(1));
        }
        Kind::Some(_) | Kind::Top(_) | Kind::TopN(_) => {
            named(&mut specification, argument, scope)?;
        }
        Kind::Median | Kind::Percentile => {
            percentile_arguments(&mut specification, argument, scope)?;
        }
        Kind::Refused(reason) => {
            return Err(DocumentError::new(
                ErrorKind::CommandNotSupported,
                format!("{name} is not supported: {reason}"),
            ));
        }
    }
    Ok(specification)
}

/// A list of one operand is that operand.
fn unary(
    name: &str,
    argument: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<Expression, DocumentError> {
    let RawBsonRef::Array(array) = argument else {
        return Expression::parse_in(argument, scope);
    };
    let mut operands = raw::members(array);
    match (operands.next(), operands.next()) {
        (Some(single), None) => Expression::parse_in(single, scope),
        _ => Err(DocumentError::location(
            40237,
            format!("The {name} accumulator is a unary operator"),
        )),
    }
}

fn named(
    specification: &mut Specification,
    argument: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<(), DocumentError> {
    let name = specification.name;
    let (with_n, sorted) = match specification.kind {
        Kind::Some(_) => (true, false),
        Kind::Top(_) => (false, true),
        _ => (true, true),
    };
    let code = if sorted { 5_788_000 } else { 5_787_900 };
    let RawBsonRef::Document(arguments) = argument else {
        return Err(DocumentError::location(
            code + 1,
            format!(
                "specification must be an object; found {name}: {}",
                display::value(argument)
            ),
        ));
    };
    let output = if sorted { "output" } else { "input" };
    let mut value = None;
    for given in raw::elements(arguments) {
        match given.name {
            "n" if with_n => specification.n = Some(Expression::parse_in(given.value(), scope)?),
            "sortBy" if sorted => {
                let RawBsonRef::Document(fields) = given.value() else {
                    return Err(DocumentError::location(
                        code + 4,
                        "expected 'sortBy' to already be an object in the arguments to TopBottom accumulator",
                    ));
                };
                specification.sort = Some(SortSpec::parse(fields)?);
            }
            known if known == output => value = Some(Expression::parse_in(given.value(), scope)?),
            unknown => {
                return Err(DocumentError::location(
                    if sorted { code + 2 } else { 5_787_901 },
                    format!("Unknown argument to {name}: {unknown}"),
                ));
            }
        }
    }
    let missing = |what: &str, code: i32| {
        Err(DocumentError::location(
            code,
            format!("Missing value for '{what}'"),
        ))
    };
    if with_n && specification.n.is_none() {
        return missing("n", if sorted { code + 3 } else { 5_787_906 });
    }
    if sorted && specification.sort.is_none() {
        return missing("sortBy", code + 5);
    }
    match value {
        None => missing(output, if sorted { code + 4 } else { 5_787_907 }),
        Some(value) => {
            specification.argument = value;
            Ok(())
        }
    }
}

fn percentile_arguments(
    specification: &mut Specification,
    argument: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<(), DocumentError> {
    let name = specification.name;
    let RawBsonRef::Document(arguments) = argument else {
        return Err(DocumentError::location(
            7_436_200,
            format!(
                "specification must be an object; found {name}: {}",
                display::value(argument)
            ),
        ));
    };
    let wants_p = matches!(specification.kind, Kind::Percentile);
    let (mut input, mut p, mut method) = (None, None, None);
    for given in raw::elements(arguments) {
        match given.name {
            "input" => input = Some(Expression::parse_in(given.value(), scope)?),
            "p" if wants_p => p = Some(Expression::parse_in(given.value(), scope)?),
            "method" => method = Some(given.value()),
            unknown => {
                return Err(DocumentError::location(
                    40415,
                    format!("BSON field '{name}.{unknown}' is an unknown field."),
                ));
            }
        }
    }
    let missing = |field: &str| {
        DocumentError::location(
            40414,
            format!("BSON field '{name}.{field}' is missing but a required field"),
        )
    };
    percentile::check_method(method.ok_or_else(|| missing("method"))?)?;
    specification.argument = input.ok_or_else(|| missing("input"))?;
    if wants_p {
        let p = p.ok_or_else(|| missing("p"))?;
        let nothing = RawDocumentBuf::new();
        let listed = p.evaluate(&nothing)?;
        let listed = listed.as_ref().map_or(RawBsonRef::Null, Value::as_ref);
        specification.percentiles = percentile::percentiles(listed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bson::{Bson, doc};
    use proptest::prelude::*;

    use super::*;
    use crate::Context;
    use crate::testing::{any_value, raw};

    proptest! {
        #[test]
        fn what_does_not_grow_takes_the_same_memory_whatever_comes(values in prop::collection::vec(any_value(), 0..20)) {
            let context = Context::none();
            for (name, kind) in REGISTRY {
                let argument = match kind {
                    Kind::Unary(_) => Bson::from("$a"),
                    Kind::Count => Bson::from(doc! {}),
                    _ => continue,
                };
                let argument = raw(doc! { *name: argument });
                let specification = RawBsonRef::Document(&argument);
                let parsed = parse("f", specification, &Scope::new(&context)).expect("valid");
                let mut accumulator = parsed.start(RawBsonRef::Null).expect("starts");
                let before = accumulator.bytes();
                for value in &values {
                    accumulator.add(Some(value.as_raw_bson_ref())).ok();
                    prop_assert!(parsed.grows() || accumulator.bytes() == before);
                }
            }
        }
    }
}
