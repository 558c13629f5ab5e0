//! `$currentDate`: the time of the command, as a date or a timestamp.

use bson::raw::{RawBson, RawBsonRef, RawDocument};
use bson::{DateTime, Timestamp};

use super::{Change, Operator, ParseResult, PathChange, Target, type_of};
use crate::{DocumentError, raw};

#[derive(Debug)]
enum CurrentDate {
    Date,
    Timestamp,
}

pub(super) fn parse(
    path: &str,
    argument: RawBsonRef<'_>,
    changes: &mut Vec<PathChange>,
) -> ParseResult {
    let kind = match argument {
        RawBsonRef::Boolean(_) => CurrentDate::Date,
        RawBsonRef::Document(specification) => parse_type(specification)?,
        other => {
            return Err(DocumentError::bad_value(format!(
                "{} is not valid type for $currentDate. Please use a boolean ('true') or a $type expression \
                 ({{$type: 'timestamp/date'}}).",
                type_of(other)
            )));
        }
    };
    changes.push(PathChange::new(path, kind));
    Ok(())
}

fn parse_type(specification: &RawDocument) -> Result<CurrentDate, DocumentError> {
    let mut kind = None;
    for option in raw::elements(specification) {
        if option.name != "$type" {
            return Err(DocumentError::bad_value(format!(
                "Unrecognized $currentDate option: {}",
                option.name
            )));
        }
        kind = match option.value() {
            RawBsonRef::String("date") => Some(CurrentDate::Date),
            RawBsonRef::String("timestamp") => Some(CurrentDate::Timestamp),
            _ => None,
        };
    }
    kind.ok_or_else(|| {
        DocumentError::bad_value(
            "The '$type' string field is required to be 'date' or 'timestamp': {$currentDate: {field : {$type: \
             'date'}}}",
        )
    })
}

impl Operator for CurrentDate {
    fn update<'a>(
        &'a self,
        _existing: RawBsonRef<'a>,
        target: &Target<'a>,
    ) -> Result<Change<'a>, DocumentError> {
        self.create(target)
    }

    fn create<'a>(&'a self, target: &Target<'a>) -> Result<Change<'a>, DocumentError> {
        let now_ms = target.context.now_ms;
        Ok(Change::Owned(match self {
            CurrentDate::Date => RawBson::DateTime(DateTime::from_millis(now_ms)),
            CurrentDate::Timestamp => RawBson::Timestamp(Timestamp {
                time: u32::try_from(now_ms.div_euclid(1000)).unwrap_or(u32::MAX),
                increment: 1,
            }),
        }))
    }
}
