//! `$bucket`: a `$group` whose key is the lower boundary of the bucket a value falls in.

use bson::raw::{RawBsonRef, RawDocument};

use super::options::Options;
use super::{DocumentStream, RunStage, Stage, group};
use crate::raw::{self, DocumentWriter};
use crate::{Context, DocumentError, display, order};

#[derive(Debug)]
struct Bucket {
    group: group::Group,
}

fn fail<T>(code: i32, message: impl Into<String>) -> Result<T, DocumentError> {
    Err(DocumentError::location(code, message))
}

pub(super) fn parse(argument: RawBsonRef<'_>, context: &Context) -> Result<Stage, DocumentError> {
    let mut options = Options::of("$bucket", argument, 40201)?;
    let group_by = options.take("groupBy");
    let boundaries = options.take("boundaries");
    let default = options.take("default");
    let output = options.take("output");
    options.finish(40197)?;
    let (Some(group_by), Some(boundaries)) = (group_by, boundaries) else {
        return fail(
            40198,
            "$bucket requires 'groupBy' and 'boundaries' to be specified.",
        );
    };
    check_expression(group_by)?;
    let RawBsonRef::Array(boundaries) = boundaries else {
        return fail(
            40200,
            format!(
                "The $bucket 'boundaries' field must be an array, but found type: {}.",
                display::type_name(boundaries.element_type())
            ),
        );
    };
    let boundaries: Vec<RawBsonRef<'_>> = raw::members(boundaries).collect();
    check_boundaries(&boundaries, default)?;
    let output = match output {
        None => None,
        Some(RawBsonRef::Document(output)) => Some(output),
        Some(other) => {
            return fail(
                40196,
                format!(
                    "The $bucket 'output' field must be an object, but found type: {}.",
                    display::type_name(other.element_type())
                ),
            );
        }
    };
    let specification = group_specification(group_by, &boundaries, default, output);
    Ok(Stage::Other(Box::new(Bucket {
        group: group::Group::parse(&specification, context)?,
    })))
}

/// A path or an operator.
pub(super) fn check_expression(group_by: RawBsonRef<'_>) -> Result<(), DocumentError> {
    let is_expression = match group_by {
        RawBsonRef::String(path) => path.starts_with('$'),
        RawBsonRef::Document(object) => raw::elements(object)
            .next()
            .is_some_and(|first| first.name.starts_with('$')),
        _ => false,
    };
    match is_expression {
        true => Ok(()),
        false => fail(
            40202,
            format!(
                "The $bucket 'groupBy' field must be defined as a $-prefixed path or an expression, but found: {}.",
                display::value(group_by)
            ),
        ),
    }
}

fn check_boundaries(
    boundaries: &[RawBsonRef<'_>],
    default: Option<RawBsonRef<'_>>,
) -> Result<(), DocumentError> {
    if boundaries.len() < 2 {
        return fail(
            40192,
            format!(
                "The $bucket 'boundaries' field must have at least 2 values, but found {} value(s).",
                boundaries.len()
            ),
        );
    }
    for (index, pair) in boundaries.windows(2).enumerate() {
        if order::type_class(pair[0]) != order::type_class(pair[1]) {
            return fail(
                40193,
                "All values in the the 'boundaries' option to $bucket must have the same type.",
            );
        }
        if order::compare(pair[0], pair[1]).is_ge() {
            return fail(
                40194,
                format!(
                    "The 'boundaries' option to $bucket must be sorted, but elements {index} and {} are not in ascending \
                     order ({} is not less than {}).",
                    index + 1,
                    display::value(pair[0]),
                    display::value(pair[1])
                ),
            );
        }
    }
    if let (Some(default), [first, .., last]) = (default, boundaries)
        && order::type_class(default) == order::type_class(*first)
        && order::compare(default, *first).is_ge()
        && order::compare(default, *last).is_lt()
    {
        return fail(
            40199,
            "The $bucket 'default' field must be less than the lowest boundary or greater than or equal to the highest \
             boundary.",
        );
    }
    Ok(())
}

/// `{_id: {$switch: …}, …output}`.
fn group_specification(
    group_by: RawBsonRef<'_>,
    boundaries: &[RawBsonRef<'_>],
    default: Option<RawBsonRef<'_>>,
    output: Option<&RawDocument>,
) -> bson::RawDocumentBuf {
    let mut out = DocumentWriter::with_capacity(512);
    let literal = |out: &mut DocumentWriter, name: &str, value: RawBsonRef<'_>| {
        let begun = out.begin_document(name);
        out.append("$literal", value);
        out.end(begun);
    };
    let compare = |out: &mut DocumentWriter, name: &str, operator: &str, bound: RawBsonRef<'_>| {
        let clause = out.begin_document(name);
        let operands = out.begin_array(operator);
        out.append("0", group_by);
        literal(out, "1", bound);
        out.end(operands);
        out.end(clause);
    };
    let id = out.begin_document("_id");
    let switch = out.begin_document("$switch");
    let branches = out.begin_array("branches");
    for (index, pair) in boundaries.windows(2).enumerate() {
        let branch = out.begin_document(&index.to_string());
        let case = out.begin_document("case");
        let both = out.begin_array("$and");
        compare(&mut out, "0", "$gte", pair[0]);
        compare(&mut out, "1", "$lt", pair[1]);
        out.end(both);
        out.end(case);
        literal(&mut out, "then", pair[0]);
        out.end(branch);
    }
    out.end(branches);
    if let Some(default) = default {
        literal(&mut out, "default", default);
    }
    out.end(switch);
    out.end(id);
    append_output(&mut out, output);
    out.finish()
}

/// The output fields, or a count.
pub(super) fn append_output(out: &mut DocumentWriter, output: Option<&RawDocument>) {
    match output {
        Some(output) => {
            for field in raw::elements(output) {
                out.copy(&field);
            }
        }
        None => {
            let count = out.begin_document("count");
            out.append("$sum", RawBsonRef::Int32(1));
            out.end(count);
        }
    }
}

impl RunStage for Bucket {
    fn run(&self, input: DocumentStream) -> DocumentStream {
        self.group.run(input)
    }
}
