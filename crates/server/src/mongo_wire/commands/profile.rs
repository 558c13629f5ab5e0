//! `profile`: sets what the log of slow operations tells of. There is no profiler: the levels that write to a collection
//! are refused.

use bson::raw::RawBsonRef;

use super::{Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::Failure;
use crate::mongo_wire::request::Fields;
use crate::mongo_wire::values;

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &["slowms", "sampleRate"],
        refused: &["filter"],
    }),
    ..Command::new("profile", "which operations are logged as slow", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        match values::integer("profile", request.target)? {
            -1 | 0 => {}
            level @ 1..=2 => {
                return Err(Failure::not_supported(format!("profiling level {level}")));
            }
            level => {
                return Err(Failure::bad_value(format!(
                    "profiling level {level} must be one of -1, 0, 1 and 2"
                )));
            }
        }
        let slow_ms = request.field("slowms")?;
        let slow_ms = slow_ms.map(|value| slow_ms_of(values::integer("slowms", value)?));
        let slow_ms = slow_ms.transpose()?;
        let rate = request.field("sampleRate")?;
        let rate = rate.map(rate_of);
        let rate = rate.transpose()?;
        let slow_log = &invocation.server.slow_log;
        let mut fields = DocumentWriter::new();
        fields.i32("was", 0);
        fields.i32("slowms", slow_log.slow_ms());
        fields.double("sampleRate", slow_log.sample_rate());
        if let Some(slow_ms) = slow_ms {
            slow_log.set_slow_ms(slow_ms);
        }
        if let Some(rate) = rate {
            slow_log.set_sample_rate(rate);
        }
        Ok(fields.into())
    })
}

fn slow_ms_of(value: i64) -> Result<i32, Failure> {
    i32::try_from(value)
        .map_err(|_| Failure::bad_value(format!("slowms {value} is out of range for an int")))
}

fn rate_of(value: RawBsonRef<'_>) -> Result<f64, Failure> {
    let rate = match value {
        RawBsonRef::Double(rate) => rate,
        other => values::integer("sampleRate", other)? as f64,
    };
    match (0.0..=1.0).contains(&rate) {
        true => Ok(rate),
        false => Err(Failure::bad_value(
            "'sampleRate' must be between 0.0 and 1.0 inclusive",
        )),
    }
}
