//! `$expr`: an aggregation expression over the whole document.

use bson::raw::{RawBson, RawBsonRef};
use bson::rawdoc;

use super::comparison;
use crate::error::DocumentError;
use crate::expression::Expression;
use crate::expression::number::Numeric;
use crate::filter::bounds::IndexBounds;
use crate::filter::parse::{Level, Place};
use crate::filter::{Node, Predicate};
use crate::path::Path;

pub(super) fn parse(value: RawBsonRef<'_>, place: Place<'_>) -> Result<Node, DocumentError> {
    if place.level != Level::Document {
        return Err(DocumentError::bad_value(
            "$expr can only be applied to the top-level document",
        ));
    }
    let expression = Expression::parse(value, place.context)?;
    let mut conjuncts = Vec::new();
    implied(&expression, &mut conjuncts);
    conjuncts.push(Node::Expression(Box::new(expression)));
    Ok(Node::all(conjuncts))
}

/// `{$sampleRate: 0.3}`: documents at random.
pub(super) fn parse_sample_rate(
    value: RawBsonRef<'_>,
    place: Place<'_>,
) -> Result<Node, DocumentError> {
    let rate = Numeric::of(value).map(Numeric::as_double);
    match rate {
        Some(rate) if (0.0..=1.0).contains(&rate) => {
            let expression = rawdoc! { "$lt": [{ "$rand": {} }, rate] };
            parse(RawBsonRef::Document(&expression), place)
        }
        _ => Err(DocumentError::bad_value(
            "numeric argument to $sampleRate must be in [0, 1]",
        )),
    }
}

/// An equality that must hold where an expression does; no equality of the query itself.
#[derive(Debug)]
struct Implied(Box<dyn Predicate>);

/// Adds what `{$eq: ["$path", constant]}` implies, so that an index can be used. Only for constants that cannot be
/// gathered from several places.
fn implied(expression: &Expression, conjuncts: &mut Vec<Node>) {
    match expression.as_operator() {
        Some(("$and", operands)) => {
            for operand in operands {
                implied(operand, conjuncts);
            }
        }
        Some(("$eq", [left, right])) => {
            let sides = [(left, right), (right, left)];
            let found = sides
                .iter()
                .find_map(|(path, constant)| Some((path.as_path()?, constant.as_constant()?)));
            let Some((names, constant)) = found else {
                return;
            };
            let gathered = matches!(
                constant,
                RawBson::Array(_)
                    | RawBson::Null
                    | RawBson::Undefined
                    | RawBson::RegularExpression(_)
            );
            let path = Path::parse(names.join("."));
            if gathered || path.has_positions() {
                return;
            }
            if let Ok(Node::Test(path, test)) =
                comparison::equality(&path, constant.as_raw_bson_ref(), None)
            {
                conjuncts.push(Node::Test(path, Box::new(Implied(test))));
            }
        }
        _ => {}
    }
}

impl Predicate for Implied {
    fn matches(&self, value: Option<RawBsonRef<'_>>) -> bool {
        self.0.matches(value)
    }

    fn index_bounds(&self) -> Option<IndexBounds> {
        self.0.index_bounds()
    }

    fn one_of(&self) -> Option<Vec<RawBsonRef<'_>>> {
        self.0.one_of()
    }
}
