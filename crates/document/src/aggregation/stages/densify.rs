//! `$densify`: documents for the steps of a field's range that are missing. All input is held, within the memory limit.

use std::sync::Arc;

use bson::raw::{RawBson, RawBsonRef};
use bson::{DateTime, RawDocumentBuf};

use super::super::assign::Assignments;
use super::options::Options;
use super::{DocumentStream, RunStage, Stage, blocking};
use crate::expression::number::Numeric;
use crate::expression::{TimeUnit, Value, later_in_utc};
use crate::key_encoding::{self, Direction};
use crate::path::Path;
use crate::raw::{self, DocumentWriter};
use crate::sort::{Sorter, check_path};
use crate::spill::{Room, Share, holding};
use crate::{Context, DocumentError, display, order};

/// Documents one stage makes at most.
const GENERATED_MAX: usize = 500_000;

#[derive(Debug)]
struct Densify {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    field: Path,
    partition_by: Vec<Path>,
    step: f64,
    /// The step as it was given, which decides the type of numbers.
    exact_step: RawBson,
    unit: Option<TimeUnit>,
    bounds: Bounds,
    room: Room,
}

#[derive(Debug)]
enum Bounds {
    Full,
    Partition,
    Between(RawBson, RawBson),
}

/// The documents of one partition with a value in the field.
struct Partition {
    id: Vec<RawBson>,
    rows: Vec<(RawBson, RawDocumentBuf)>,
}

fn fail<T>(code: i32, message: impl Into<String>) -> Result<T, DocumentError> {
    Err(DocumentError::location(code, message))
}

pub(super) fn parse(argument: RawBsonRef<'_>, context: &Context) -> Result<Stage, DocumentError> {
    let mut options = Options::of("$densify", argument, 5_733_200)?;
    let Some(field) = options.text("field")? else {
        return fail(
            40414,
            "BSON field '$densify.field' is missing but a required field",
        );
    };
    check_path(field)?;
    let mut partition_by = Vec::new();
    for path in options.array("partitionByFields")?.unwrap_or_default() {
        let RawBsonRef::String(path) = path else {
            return fail(14, "$densify.partitionByFields must be an array of strings");
        };
        check_path(path)?;
        partition_by.push(Path::parse(path));
    }
    let Some(range) = options.document("range")? else {
        return fail(
            40414,
            "BSON field '$densify.range' is missing but a required field",
        );
    };
    options.finish(40415)?;
    let mut range = Options::of("$densify.range", RawBsonRef::Document(range), 5_733_401)?;
    let step = range.require("step", 40414)?;
    let unit = range.take("unit").map(TimeUnit::of).transpose()?;
    let bounds = range.require("bounds", 40414)?;
    range.finish(40415)?;
    let step_number = Numeric::of(step).map(Numeric::as_double);
    let Some(step_number) = step_number.filter(|step| *step > 0.0) else {
        return fail(
            5_733_401,
            "The step parameter in a range statement must be a strictly positive numeric value",
        );
    };
    if unit.is_some() && Numeric::of(step).and_then(Numeric::as_whole).is_none() {
        return fail(
            6_586_400,
            "The step parameter in a range statement must be a whole number when densifying a date range",
        );
    }
    let bounds = parse_bounds(bounds, unit.is_some(), !partition_by.is_empty())?;
    Ok(Stage::Other(Box::new(Densify {
        inner: Arc::new(Inner {
            field: Path::parse(field),
            partition_by,
            step: step_number,
            exact_step: raw::owned(step),
            unit,
            bounds,
            room: context.room().clone(),
        }),
    })))
}

fn parse_bounds(
    bounds: RawBsonRef<'_>,
    dates: bool,
    partitioned: bool,
) -> Result<Bounds, DocumentError> {
    match bounds {
        RawBsonRef::String("full") => Ok(Bounds::Full),
        RawBsonRef::String("partition") if partitioned => Ok(Bounds::Partition),
        RawBsonRef::String("partition") => fail(
            5_733_408,
            "one may not specify the bounds as 'partition' without specifying a non-empty array of partitionByFields. You \
             may have meant to specify 'full' bounds.",
        ),
        RawBsonRef::Array(array) => {
            let ends: Vec<RawBsonRef<'_>> = raw::members(array).collect();
            let [low, high] = ends[..] else {
                return fail(
                    5_733_403,
                    "a bounding array in a range statement must have exactly two elements",
                );
            };
            let fits = |end: RawBsonRef<'_>| match end {
                RawBsonRef::DateTime(_) => dates,
                other => !dates && Numeric::of(other).is_some(),
            };
            if !fits(low) || !fits(high) {
                return fail(
                    5_733_402,
                    "a bounding array must contain either both dates or both numeric types",
                );
            }
            if order::compare(low, high).is_gt() {
                return fail(
                    5_733_402,
                    "the first element of the bounds must not be above the second",
                );
            }
            Ok(Bounds::Between(raw::owned(low), raw::owned(high)))
        }
        _ => fail(
            5_946_802,
            "Bounds string must either be 'full' or 'partition'",
        ),
    }
}

impl RunStage for Densify {
    fn run(&self, input: DocumentStream) -> DocumentStream {
        let inner = Arc::clone(&self.inner);
        blocking(input, move |input| {
            let mut share = inner.room.share();
            let rows = inner.collect(input, &mut share)?;
            Ok(holding(share, rows.into_iter()))
        })
    }
}

impl Inner {
    fn collect(
        &self,
        input: DocumentStream,
        share: &mut Share,
    ) -> Result<Vec<Result<RawDocumentBuf, DocumentError>>, DocumentError> {
        let (without, partitions) = self.partitions(input, share)?;
        let mut output: Vec<_> = without.into_iter().map(Ok).collect();
        let all = partitions.iter().flat_map(|partition| &partition.rows);
        let least =
            |l: &RawBson, r: &RawBson| order::compare(l.as_raw_bson_ref(), r.as_raw_bson_ref());
        let lowest = all
            .clone()
            .map(|(value, _)| value)
            .min_by(|l, r| least(l, r))
            .cloned();
        let highest = all
            .map(|(value, _)| value)
            .max_by(|l, r| least(l, r))
            .cloned();
        let mut generated = 0;
        for partition in partitions {
            let ends = match &self.bounds {
                Bounds::Full => lowest.clone().zip(highest.clone()),
                Bounds::Partition => {
                    let (first, last) = (partition.rows.first(), partition.rows.last());
                    first
                        .zip(last)
                        .map(|(first, last)| (first.0.clone(), last.0.clone()))
                }
                Bounds::Between(low, high) => Some((low.clone(), high.clone())),
            };
            if let Some((low, high)) = ends {
                self.fill(partition, &low, &high, &mut generated, &mut output)?;
            }
        }
        Ok(output)
    }

    /// Documents without a value in the field, and the others by partition in the order of the value.
    fn partitions(
        &self,
        input: DocumentStream,
        share: &mut Share,
    ) -> Result<(Vec<RawDocumentBuf>, Vec<Partition>), DocumentError> {
        let mut without = Vec::new();
        let mut without_bytes = 0;
        let mut sorter = Sorter::within(None, Share::unlimited());
        for document in input {
            let document = document?;
            let value = match self.field.get(&document) {
                None | Some(RawBsonRef::Null | RawBsonRef::Undefined) => {
                    without_bytes += document.as_bytes().len();
                    without.push(document);
                    held(share, sorter.bytes() + without_bytes)?;
                    continue;
                }
                Some(value) => raw::owned(value),
            };
            self.check_type(&value)?;
            let mut key = Vec::new();
            let mut id = Vec::new();
            for path in &self.partition_by {
                let part = path.get(&document).map_or(RawBson::Null, raw::owned);
                key_encoding::encode(part.as_raw_bson_ref(), Direction::Ascending, &mut key);
                id.push(part);
            }
            let partition = key.clone();
            key_encoding::encode(value.as_raw_bson_ref(), Direction::Ascending, &mut key);
            let bytes = document.as_bytes().len() + partition.len();
            sorter.push(key, (partition, id, value, document), bytes)?;
            held(share, sorter.bytes() + without_bytes)?;
        }
        let mut partitions: Vec<(Vec<u8>, Partition)> = Vec::new();
        for (key, id, value, document) in sorter.finish() {
            if partitions.last().is_none_or(|(last, _)| *last != key) {
                partitions.push((
                    key,
                    Partition {
                        id,
                        rows: Vec::new(),
                    },
                ));
            }
            let (_, partition) = partitions.last_mut().expect("just pushed");
            partition.rows.push((value, document));
        }
        Ok((
            without,
            partitions
                .into_iter()
                .map(|(_, partition)| partition)
                .collect(),
        ))
    }

    fn check_type(&self, value: &RawBson) -> Result<(), DocumentError> {
        let found = value.as_raw_bson_ref();
        match (found, self.unit) {
            (RawBsonRef::DateTime(_), Some(_)) => Ok(()),
            (RawBsonRef::DateTime(_), None) => fail(
                6_053_600,
                "Encountered date densification value in collection when step does not have a date unit.",
            ),
            (_, Some(_)) if Numeric::of(found).is_some() => fail(
                6_053_601,
                "Encountered numeric densification value in collection when step has a date unit.",
            ),
            (_, None) if Numeric::of(found).is_some() => Ok(()),
            _ => fail(
                5_733_201,
                format!(
                    "Densify field type must be numeric or a date, found {}",
                    display::type_name(found.element_type())
                ),
            ),
        }
    }

    /// The rows of a partition among the steps from `low` on; the last step is `high` at most, or below it when the
    /// bounds are given.
    fn fill(
        &self,
        partition: Partition,
        low: &RawBson,
        high: &RawBson,
        generated: &mut usize,
        output: &mut Vec<Result<RawDocumentBuf, DocumentError>>,
    ) -> Result<(), DocumentError> {
        let exclusive = matches!(self.bounds, Bounds::Between(_, _));
        let compare =
            |l: &RawBson, r: &RawBson| order::compare(l.as_raw_bson_ref(), r.as_raw_bson_ref());
        let mut rows = partition.rows.into_iter().peekable();
        for index in 0i64.. {
            let Some(step) = self.step_value(low, index) else {
                break;
            };
            let beyond = compare(&step, high);
            if beyond.is_gt() || exclusive && beyond.is_eq() {
                break;
            }
            let mut present = false;
            while let Some((value, document)) =
                rows.next_if(|(value, _)| compare(value, &step).is_le())
            {
                present |= compare(&value, &step).is_eq();
                output.push(Ok(document));
            }
            if !present {
                *generated += 1;
                if *generated > GENERATED_MAX {
                    return fail(
                        5_897_900,
                        format!(
                            "Generated {generated} documents in $densify, which is over the limit of {GENERATED_MAX}"
                        ),
                    );
                }
                output.push(Ok(self.made(&partition.id, &step)?));
            }
        }
        output.extend(rows.map(|(_, document)| Ok(document)));
        Ok(())
    }

    fn step_value(&self, low: &RawBson, index: i64) -> Option<RawBson> {
        if let (RawBson::DateTime(start), Some(unit)) = (low, self.unit) {
            let amount = index.checked_mul(self.step as i64)?;
            let millis = later_in_utc(start.timestamp_millis(), unit, amount)?;
            return Some(RawBson::DateTime(DateTime::from_millis(millis)));
        }
        let low = Numeric::of(low.as_raw_bson_ref())?;
        let step = Numeric::of(self.exact_step.as_raw_bson_ref())?;
        let count = i32::try_from(index).map_or(Numeric::Int64(index), Numeric::Int32);
        Some(low.add(step.multiply(count).ok()?).ok()?.into())
    }

    /// A document with the fields of its partition and the step.
    fn made(&self, id: &[RawBson], step: &RawBson) -> Result<RawDocumentBuf, DocumentError> {
        let mut assignments: Assignments<&RawBson> = Assignments::new();
        for (path, part) in self.partition_by.iter().zip(id) {
            assignments.insert(path.as_str(), part)?;
        }
        assignments.insert(self.field.as_str(), step)?;
        let mut out = DocumentWriter::with_capacity(64);
        let empty = RawDocumentBuf::new();
        let mut value = |part: &&RawBson| Ok(Some(Value::Owned((*part).clone())));
        assignments.write(&empty, &mut value, &mut out)?;
        Ok(out.finish())
    }
}

fn held(share: &mut Share, bytes: usize) -> Result<(), DocumentError> {
    match share.hold(bytes) {
        true => Ok(()),
        false => Err(share.refusal("$densify", bytes)),
    }
}
