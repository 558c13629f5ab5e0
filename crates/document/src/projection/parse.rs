//! From a specification to a projection: flattens nested objects into paths, settles the mode, refuses mixtures.

use std::sync::Arc;

use bson::raw::{RawBson, RawBsonRef, RawDocument};

use super::array_operators::{self, ArrayOperator};
use super::{Fields, Mode, Node, Projection};
use crate::aggregation::assign::Assignments;
use crate::expression::Expression;
use crate::expression::number::Numeric;
use crate::sort::check_path;
use crate::{Context, DocumentError, raw};

/// What a specification says of one path.
#[derive(Debug, Clone)]
pub(crate) enum Specified {
    Include,
    Exclude,
    /// `$slice` or `$elemMatch` of `find`.
    Operator(ArrayOperatorSpecification),
    /// A literal or an expression.
    Computed(RawBson),
    /// `$meta` of `find`, which says nothing of other fields.
    Meta(RawBson),
}

/// Opaque to other modules.
#[derive(Debug, Clone)]
pub(crate) struct ArrayOperatorSpecification(ArrayOperator);

/// Whose projection it is: `$slice` and `$elemMatch` mean something else in a pipeline, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Find,
    Pipeline,
}

/// `{a: {b: 1}}` and `{"a.b": 1}` are the same: paths and what is said of them, in order.
pub(crate) fn specified(
    specification: &RawDocument,
    dialect: Dialect,
) -> Result<Vec<(String, Specified)>, DocumentError> {
    let mut paths = Vec::new();
    flatten(specification, dialect, "", &mut paths)?;
    Ok(paths)
}

fn flatten(
    specification: &RawDocument,
    dialect: Dialect,
    prefix: &str,
    paths: &mut Vec<(String, Specified)>,
) -> Result<(), DocumentError> {
    for field in raw::elements(specification) {
        let path = match prefix {
            "" => field.name.to_owned(),
            prefix => format!("{prefix}.{}", field.name),
        };
        if let (Some(array), Dialect::Find) = (path.strip_suffix(".$"), dialect) {
            check_path(array)?;
            let operator = ArrayOperatorSpecification(ArrayOperator::Positional);
            paths.push((array.to_owned(), Specified::Operator(operator)));
            continue;
        }
        if dialect == Dialect::Find && path.contains(".$.") {
            return Err(DocumentError::location(
                31394,
                "As of 4.4, it's illegal to specify positional operator in the middle of a path.Positional projection may \
                 only be used at the end, for example: a.b.$.",
            ));
        }
        check_path(&path)?;
        let value = field.value();
        let said = match value {
            RawBsonRef::Boolean(true) => Specified::Include,
            RawBsonRef::Boolean(false) => Specified::Exclude,
            RawBsonRef::Document(nested) => match raw::elements(nested).next() {
                None => {
                    return Err(DocumentError::location(
                        51270,
                        format!(
                            "An empty sub-projection is not a valid value. Found empty object at path {path}"
                        ),
                    ));
                }
                Some(first) if first.name.starts_with('$') => match dialect {
                    Dialect::Find if first.name == "$meta" => Specified::Meta(raw::owned(value)),
                    Dialect::Find => operator(nested, value)?,
                    Dialect::Pipeline => Specified::Computed(raw::owned(value)),
                },
                Some(_) => {
                    flatten(nested, dialect, &path, paths)?;
                    continue;
                }
            },
            other => match Numeric::of(other) {
                Some(number) if number.is_zero() => Specified::Exclude,
                Some(_) => Specified::Include,
                None => Specified::Computed(raw::owned(other)),
            },
        };
        paths.push((path, said));
    }
    Ok(())
}

fn operator(
    specification: &RawDocument,
    value: RawBsonRef<'_>,
) -> Result<Specified, DocumentError> {
    Ok(match array_operators::parse(specification) {
        Ok(Some(operator)) => Specified::Operator(ArrayOperatorSpecification(operator)),
        Ok(None) => Specified::Computed(raw::owned(value)),
        Err(error) => return Err(error),
    })
}

/// The projection of `find`.
pub(super) fn projection(
    specification: &RawDocument,
    context: &Context,
) -> Result<Projection, DocumentError> {
    let paths = specified(specification, Dialect::Find)?;
    let positional = paths.iter().filter(|(_, said)| {
        matches!(said, Specified::Operator(operator) if matches!(operator.0, ArrayOperator::Positional))
    });
    let positional = positional.count();
    if positional > 1 {
        return Err(DocumentError::location(
            31276,
            "Cannot specify more than one positional projection per query.",
        ));
    }
    let mut projection = Projection::from_specified(&paths)?;
    let excludes = paths
        .iter()
        .any(|(path, said)| path != "_id" && matches!(said, Specified::Exclude));
    if positional == 1 && excludes {
        return Err(DocumentError::location(
            31395,
            "positional projection cannot be used with exclusion",
        ));
    }
    projection.positional = positional == 1;
    let mut computed = Assignments::new();
    for (path, said) in &paths {
        if let Specified::Computed(expression) | Specified::Meta(expression) = said {
            let expression = Expression::parse(expression.as_raw_bson_ref(), context)?;
            computed.insert(path, expression)?;
        }
    }
    projection.computed = Arc::new(computed);
    Ok(projection)
}

impl Projection {
    /// Builds a projection of what is not computed; computed paths are left out, so that they can be added.
    pub(crate) fn from_specified(
        paths: &[(String, Specified)],
    ) -> Result<Projection, DocumentError> {
        let mode = settle_mode(paths)?;
        let mut root = Fields::new();
        for (path, said) in paths {
            let node = match said {
                Specified::Include => Node::Include,
                Specified::Exclude | Specified::Computed(_) | Specified::Meta(_) => Node::Exclude,
                Specified::Operator(operator) => Node::Operator(operator.0.clone()),
            };
            insert(&mut root, path, path, node)?;
        }
        if mode == Mode::Inclusion && !root.iter().any(|(name, _)| name == "_id") {
            root.push(("_id".to_owned(), Node::Include));
        }
        if mode == Mode::Exclusion {
            // `{a: 0, _id: 1}` only says what is the case anyway.
            root.retain(|(_, node)| !matches!(node, Node::Include));
        }
        Ok(Projection {
            mode,
            root,
            computed: Arc::new(Assignments::new()),
            positional: false,
        })
    }
}

fn settle_mode(paths: &[(String, Specified)]) -> Result<Mode, DocumentError> {
    let mut mode = None;
    for (path, said) in paths.iter().filter(|(path, _)| path != "_id") {
        let wanted = match said {
            Specified::Include => Mode::Inclusion,
            Specified::Exclude => Mode::Exclusion,
            Specified::Operator(_) | Specified::Computed(_) | Specified::Meta(_) => continue,
        };
        match mode {
            Some(Mode::Inclusion) if wanted == Mode::Exclusion => {
                return Err(DocumentError::location(
                    31254,
                    format!("Cannot do exclusion on field {path} in inclusion projection"),
                ));
            }
            Some(Mode::Exclusion) if wanted == Mode::Inclusion => {
                return Err(DocumentError::location(
                    31253,
                    format!("Cannot do inclusion on field {path} in exclusion projection"),
                ));
            }
            _ => mode = Some(wanted),
        }
    }
    if paths
        .iter()
        .any(|(_, said)| matches!(said, Specified::Computed(_)))
    {
        return match mode {
            Some(Mode::Exclusion) => Err(DocumentError::location(
                31252,
                "Cannot use an expression other than $meta in exclusion projection",
            )),
            _ => Ok(Mode::Inclusion),
        };
    }
    let only_id = || match paths.iter().find(|(path, _)| path == "_id") {
        Some((_, Specified::Include)) => Mode::Inclusion,
        _ => Mode::Exclusion,
    };
    let matches_elements = paths.iter().any(|(_, said)| {
        matches!(
            said,
            Specified::Operator(ArrayOperatorSpecification(
                ArrayOperator::ElementMatch(_) | ArrayOperator::Positional
            ))
        )
    });
    Ok(match mode {
        Some(mode) => mode,
        None if matches_elements => Mode::Inclusion,
        None => only_id(),
    })
}

fn insert(fields: &mut Fields, path: &str, rest: &str, node: Node) -> Result<(), DocumentError> {
    let (name, below) = match rest.split_once('.') {
        Some((name, below)) => (name, Some(below)),
        None => (rest, None),
    };
    let known = fields.iter_mut().find(|(known, _)| known == name);
    match (known, below) {
        (None, None) => fields.push((name.to_owned(), node)),
        (None, Some(below)) => {
            let mut nested = Fields::new();
            insert(&mut nested, path, below, node)?;
            fields.push((name.to_owned(), Node::Below(nested)));
        }
        (Some((_, Node::Below(nested))), Some(below)) => insert(nested, path, below, node)?,
        (Some(_), Some(below)) => {
            return Err(DocumentError::location(
                31249,
                format!("Path collision at {path} remaining portion {below}"),
            ));
        }
        (Some(_), None) => {
            return Err(DocumentError::location(
                31250,
                format!("Path collision at {path}"),
            ));
        }
    }
    Ok(())
}
