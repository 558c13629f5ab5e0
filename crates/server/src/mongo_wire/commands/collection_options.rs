//! The options that `create` and `collMod` share: read, checked, and put into the form in which they are kept and listed.
//!
//! All that can be wrong with an option is found here: what is replicated is taken as it stands.

use bson::raw::{CString, RawBsonRef, RawDocument, cstr};
use bson::{RawArrayBuf, RawBson, RawDocumentBuf};
use document::Context;
use document::filter::Filter;
use state_machine::{Namespace, OWN_OPTIONS, Snapshot};

use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::request::{Request, unknown_field};
use crate::mongo_wire::values;

/// The options the command gives, in the order in which they are listed.
pub(super) fn read(request: &Request<'_>, snapshot: &Snapshot) -> Result<RawDocumentBuf, Failure> {
    let mut options = RawDocumentBuf::new();
    if let Some(validator) = request.document("validator")? {
        let filter = Filter::parse_in(validator, &Context::checking().without_random())?;
        filter.check_no_text()?;
        options.append(cstr!("validator"), validator);
    }
    for (name, allowed) in [
        ("validationLevel", &["off", "moderate", "strict"][..]),
        ("validationAction", &["error", "warn"][..]),
    ] {
        if let Some(value) = request.string(name)? {
            if !allowed.contains(&value) {
                return Err(Failure::bad_value(format!(
                    "Enumeration value '{value}' for field '{}.{name}' is not a valid value.",
                    request.name
                )));
            }
            append(&mut options, name, value);
        }
    }
    read_view(request, snapshot, &mut options)?;
    if let Some(own) = request.document(OWN_OPTIONS)? {
        append(&mut options, OWN_OPTIONS, &*read_own(own)?);
    }
    Ok(options)
}

fn append<'a>(options: &mut RawDocumentBuf, name: &str, value: impl Into<RawBsonRef<'a>>) {
    if let Ok(name) = CString::try_from(name) {
        options.append(name, value.into());
    }
}

fn read_view(
    request: &Request<'_>,
    snapshot: &Snapshot,
    options: &mut RawDocumentBuf,
) -> Result<(), Failure> {
    let invalid = |message: &str| Err(Failure::new(Code::InvalidOptions, message));
    let pipeline = request
        .field("pipeline")?
        .map(|value| values::array("pipeline", value))
        .transpose()?;
    let Some(on) = request.string("viewOn")? else {
        return match pipeline {
            Some(_) => invalid("'pipeline' requires 'viewOn' to also be specified"),
            None => Ok(()),
        };
    };
    if on.is_empty() {
        return invalid("'viewOn' cannot be empty");
    }
    if !options.is_empty() || request.document(OWN_OPTIONS)?.is_some() {
        return invalid("a view has no validator and no other options of collections");
    }
    let pipeline = pipeline.map_or_else(RawArrayBuf::new, ToOwned::to_owned);
    refuse_writing_stages(&pipeline)?;
    snapshot.check_pipeline(&Namespace::new(request.database, on), &pipeline)?;
    options.append(cstr!("viewOn"), on);
    options.append(cstr!("pipeline"), pipeline);
    Ok(())
}

fn refuse_writing_stages(pipeline: &RawArrayBuf) -> Result<(), Failure> {
    for stage in pipeline {
        if let RawBsonRef::Document(stage) = stage?
            && let Some(Ok((name, _))) = stage.iter().next()
            && matches!(name.as_str(), "$out" | "$merge")
        {
            return Err(Failure::new(
                Code::OptionNotSupportedOnView,
                format!("The aggregation stage {name} in a view definition is not allowed"),
            ));
        }
    }
    Ok(())
}

/// `cstore: {autoIncrement, timestamps, required}`.
fn read_own(own: &RawDocument) -> Result<RawDocumentBuf, Failure> {
    let mut options = RawDocumentBuf::new();
    for element in own {
        let (name, value) = element?;
        match (name.as_str(), value) {
            (_, RawBsonRef::Null) => {}
            ("autoIncrement", value) => {
                let given = values::document("cstore.autoIncrement", value)?;
                append(&mut options, "autoIncrement", &*read_sequence(given)?);
            }
            ("timestamps", RawBsonRef::Boolean(true)) => {
                let mut names = RawDocumentBuf::new();
                names.append(cstr!("createdAt"), "createdAt");
                names.append(cstr!("updatedAt"), "updatedAt");
                append(&mut options, "timestamps", &*names);
            }
            ("timestamps", RawBsonRef::Boolean(false)) => {}
            ("timestamps", value) => {
                let given = values::document("cstore.timestamps", value)?;
                append(&mut options, "timestamps", &*read_timestamps(given)?);
            }
            ("required", value) => {
                let mut names = RawArrayBuf::new();
                for name in values::array("cstore.required", value)? {
                    names.push(field_name("cstore.required", name?)?);
                }
                append(&mut options, "required", &*names);
            }
            (other, _) => return Err(unknown_field(OWN_OPTIONS, other)),
        }
    }
    Ok(options)
}

fn read_sequence(given: &RawDocument) -> Result<RawDocumentBuf, Failure> {
    let (mut field, mut start, mut step) = (None, 1, 1);
    for element in given {
        let (name, value) = element?;
        match name.as_str() {
            "field" => field = Some(own_field("cstore.autoIncrement.field", value)?),
            "start" => start = values::integer("cstore.autoIncrement.start", value)?,
            "step" => step = values::integer("cstore.autoIncrement.step", value)?,
            other => return Err(unknown_field("cstore.autoIncrement", other)),
        }
    }
    let Some(field) = field else {
        return Err(Failure::bad_value(
            "cstore.autoIncrement needs 'field': the field that counts up",
        ));
    };
    if step < 1 {
        return Err(Failure::bad_value(format!(
            "cstore.autoIncrement.step must be 1 or more, got {step}"
        )));
    }
    let mut sequence = RawDocumentBuf::new();
    sequence.append(cstr!("field"), field);
    sequence.append(cstr!("start"), RawBson::Int64(start));
    sequence.append(cstr!("step"), RawBson::Int64(step));
    Ok(sequence)
}

fn read_timestamps(given: &RawDocument) -> Result<RawDocumentBuf, Failure> {
    let mut names = RawDocumentBuf::new();
    for element in given {
        let (name, value) = element?;
        match name.as_str() {
            "createdAt" | "updatedAt" => append(
                &mut names,
                name.as_str(),
                own_field(&format!("cstore.timestamps.{name}"), value)?,
            ),
            other => return Err(unknown_field("cstore.timestamps", other)),
        }
    }
    Ok(names)
}

/// A field that the server fills in: any but `_id`, which the drivers fill in themselves.
fn own_field<'a>(option: &str, value: RawBsonRef<'a>) -> Result<&'a str, Failure> {
    match field_name(option, value)? {
        "_id" => Err(Failure::bad_value(format!(
            "{option} cannot be '_id': drivers give documents their _id before the server sees them"
        ))),
        name => Ok(name),
    }
}

fn field_name<'a>(option: &str, value: RawBsonRef<'a>) -> Result<&'a str, Failure> {
    let name = values::string(option, value)?;
    if name.is_empty() || name.contains(['.', '\0']) || name.starts_with('$') {
        return Err(Failure::bad_value(format!(
            "{option} must name a top-level field, got '{name}'"
        )));
    }
    Ok(name)
}
