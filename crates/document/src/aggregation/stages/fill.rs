//! `$fill`: values for null and missing fields, as other stages that do the same.

use bson::RawArrayBuf;
use bson::raw::{RawBsonRef, RawDocument};

use super::super::Pipeline;
use super::options::Options;
use super::{DocumentStream, RunStage, Stage};
use crate::raw::{self, DocumentWriter};
use crate::sort::check_path;
use crate::{Context, DocumentError};

#[derive(Debug)]
struct Fill {
    stages: Pipeline,
}

fn fail<T>(code: i32, message: impl Into<String>) -> Result<T, DocumentError> {
    Err(DocumentError::location(code, message))
}

pub(super) fn parse(argument: RawBsonRef<'_>, context: &Context) -> Result<Stage, DocumentError> {
    let mut options = Options::of("$fill", argument, 6_050_200)?;
    let partition_by = options.take("partitionBy");
    let fields = options.array("partitionByFields")?;
    let sort = options.document("sortBy")?;
    let output = options.document("output")?;
    options.finish(40415)?;
    let Some(output) = output else {
        return fail(
            40414,
            "BSON field '$fill.output' is missing but a required field",
        );
    };
    if output.is_empty() {
        return fail(6_050_203, "$fill requires at least one output field");
    }
    if partition_by.is_some() && fields.is_some() {
        return fail(
            6_050_204,
            "Maximum one of 'partitionBy' and 'partitionByFields can be specified in '$fill'",
        );
    }
    let mut windows = DocumentWriter::with_capacity(128);
    let mut values = DocumentWriter::with_capacity(128);
    let (mut any_window, mut any_value) = (false, false);
    for field in raw::elements(output) {
        check_path(field.name)?;
        let RawBsonRef::Document(how) = field.value() else {
            return fail(
                6_050_202,
                "The output of $fill must be an object of methods and values",
            );
        };
        let path = format!("${}", field.name);
        match (raw::elements(how).next(), raw::elements(how).count()) {
            (Some(value), 1) if value.name == "value" => {
                any_value = true;
                write_if_null(&mut values, field.name, &path, value.value());
            }
            (Some(method), 1) if method.name == "method" => {
                any_window = true;
                let function = match method.value() {
                    RawBsonRef::String("locf") => "$locf",
                    RawBsonRef::String("linear") if sort.is_some() => "$linearFill",
                    RawBsonRef::String("linear") => {
                        return fail(605_001, "Linear fill requires a sortBy");
                    }
                    _ => return fail(6_050_202, "Method must be either locf or linear"),
                };
                let begun = windows.begin_document(field.name);
                windows.append(function, RawBsonRef::String(&path));
                windows.end(begun);
            }
            _ => {
                return fail(
                    6_050_202,
                    "A field of $fill needs either 'value' or 'method'",
                );
            }
        }
    }
    let mut stages = RawArrayBuf::new();
    if any_value {
        let values = values.finish();
        let mut stage = DocumentWriter::with_capacity(128);
        let values: &RawDocument = &values;
        stage.append("$addFields", RawBsonRef::Document(values));
        stages.push(stage.finish());
    }
    if any_window {
        let mut stage = DocumentWriter::with_capacity(256);
        let begun = stage.begin_document("$setWindowFields");
        write_partition(&mut stage, partition_by, fields)?;
        if let Some(sort) = sort {
            stage.append("sortBy", RawBsonRef::Document(sort));
        }
        let windows = windows.finish();
        let windows: &RawDocument = &windows;
        stage.append("output", RawBsonRef::Document(windows));
        stage.end(begun);
        stages.push(stage.finish());
    }
    Ok(Stage::Other(Box::new(Fill {
        stages: Pipeline::parse(&stages, context)?,
    })))
}

fn write_if_null(out: &mut DocumentWriter, name: &str, path: &str, value: RawBsonRef<'_>) {
    let field = out.begin_document(name);
    let operands = out.begin_array("$ifNull");
    out.append("0", RawBsonRef::String(path));
    out.append("1", value);
    out.end(operands);
    out.end(field);
}

fn write_partition(
    stage: &mut DocumentWriter,
    partition_by: Option<RawBsonRef<'_>>,
    fields: Option<Vec<RawBsonRef<'_>>>,
) -> Result<(), DocumentError> {
    if let Some(expression) = partition_by {
        stage.append("partitionBy", expression);
    }
    let Some(fields) = fields else {
        return Ok(());
    };
    let begun = stage.begin_document("partitionBy");
    for (index, field) in fields.iter().enumerate() {
        let RawBsonRef::String(path) = field else {
            return fail(14, "$fill.partitionByFields must be an array of strings");
        };
        check_path(path)?;
        stage.append(
            &format!("f{index}"),
            RawBsonRef::String(&format!("${path}")),
        );
    }
    stage.end(begun);
    Ok(())
}

impl RunStage for Fill {
    fn run(&self, input: DocumentStream) -> DocumentStream {
        self.stages.run(input)
    }
}
