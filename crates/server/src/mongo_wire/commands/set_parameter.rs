//! `setParameter`: what can be changed while this member runs. Holds until it stops.

use std::time::Duration;

use super::{Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::request::Fields;
use crate::mongo_wire::values;

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &["ttlMonitorSleepSecs", "ttlMonitorEnabled"],
        refused: &[],
    }),
    admin_only: true,
    ..Command::new("setParameter", "change settings by name", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        let expiry = &invocation.server.expiry;
        let before = expiry.pace();
        let period = request.field("ttlMonitorSleepSecs")?;
        let period = period.map(|value| period_of(values::integer("ttlMonitorSleepSecs", value)?));
        let period = period.transpose()?;
        let enabled = request.field("ttlMonitorEnabled")?;
        let enabled = enabled.map(|value| values::boolean("ttlMonitorEnabled", value));
        let enabled = enabled.transpose()?;
        let mut fields = DocumentWriter::new();
        if period.is_some() {
            fields.i32("was", super::get_parameter::seconds(before.period));
        } else if enabled.is_some() {
            fields.bool("was", before.enabled);
        } else {
            return Err(Failure::new(Code::InvalidOptions, "no option found to set"));
        }
        expiry.set_pace(|pace| {
            pace.period = period.unwrap_or(pace.period);
            pace.enabled = enabled.unwrap_or(pace.enabled);
        });
        Ok(fields.into())
    })
}

fn period_of(seconds: i64) -> Result<Duration, Failure> {
    match u32::try_from(seconds) {
        Ok(seconds @ 1..) => Ok(Duration::from_secs(seconds.into())),
        _ => Err(Failure::bad_value(format!(
            "Invalid value for parameter ttlMonitorSleepSecs: {seconds} is not greater than or equal to 1"
        ))),
    }
}
