//! Documents out of JSON text, one at a time: any number of values after one another (JSON lines, or pretty-printed), or
//! one array, which is never held whole. Extended JSON (`$oid`, `$date`, …) becomes the type it names.

use std::fmt;
use std::io::BufRead;

use bson::{Bson, Document};
use serde::de::{Deserializer, SeqAccess, Visitor};

use super::SourceError;

pub(super) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

type Take<'a> = &'a mut dyn FnMut(Document) -> Result<(), SourceError>;

/// Reads to the end, handing over each document.
pub(super) fn read(input: &mut impl BufRead, take: Take<'_>) -> Result<(), SourceError> {
    match first_byte(input)? {
        Some(b'[') => read_array(input, take),
        _ => read_values(input, take),
    }
}

fn read_values(input: &mut impl BufRead, take: Take<'_>) -> Result<(), SourceError> {
    let values = serde_json::Deserializer::from_reader(input).into_iter::<serde_json::Value>();
    for (number, value) in values.enumerate() {
        take(document(value.map_err(|error| malformed(&error))?, number)?)?;
    }
    Ok(())
}

fn read_array(input: &mut impl BufRead, take: Take<'_>) -> Result<(), SourceError> {
    let mut failure = None;
    let mut deserializer = serde_json::Deserializer::from_reader(input);
    let read = deserializer.deserialize_seq(Elements {
        take,
        failure: &mut failure,
    });
    if let Some(failure) = failure {
        return Err(failure);
    }
    read.and_then(|()| deserializer.end())
        .map_err(|error| malformed(&error))
}

/// Hands each element over as soon as it is parsed; the first failure ends the parsing.
struct Elements<'a, 'b> {
    take: Take<'a>,
    failure: &'b mut Option<SourceError>,
}

impl<'de> Visitor<'de> for Elements<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of documents")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let mut number = 0;
        while let Some(value) = elements.next_element::<serde_json::Value>()? {
            if let Err(failure) = document(value, number).and_then(&mut *self.take) {
                *self.failure = Some(failure);
                return Err(serde::de::Error::custom("ended"));
            }
            number += 1;
        }
        Ok(())
    }
}

fn document(value: serde_json::Value, number: usize) -> Result<Document, SourceError> {
    let failed = |reason: String| SourceError::Input(format!("document {}: {reason}", number + 1));
    match Bson::try_from(value).map_err(|error| failed(error.to_string()))? {
        Bson::Document(document) => Ok(document),
        other => Err(failed(format!(
            "a JSON object was expected, this is {other}"
        ))),
    }
}

fn malformed(error: &serde_json::Error) -> SourceError {
    SourceError::Input(format!("not valid JSON: {error}"))
}

/// Skips blanks and a byte-order mark; the first byte that counts stays in the input.
fn first_byte(input: &mut impl BufRead) -> Result<Option<u8>, SourceError> {
    loop {
        let buffer = input
            .fill_buf()
            .map_err(|error| SourceError::Input(error.to_string()))?;
        if buffer.is_empty() {
            return Ok(None);
        }
        let skipped = if buffer.starts_with(BYTE_ORDER_MARK) {
            BYTE_ORDER_MARK.len()
        } else {
            buffer
                .iter()
                .take_while(|byte| byte.is_ascii_whitespace())
                .count()
        };
        if skipped == 0 {
            return Ok(buffer.first().copied());
        }
        input.consume(skipped);
    }
}
