//! `$bitsAllSet $bitsAllClear $bitsAnySet $bitsAnyClear`: over whole numbers in two's complement, and binary data.

use super::Operand;
use crate::display;
use crate::error::DocumentError;
use crate::expression::number::Numeric;
use crate::filter::{Node, Predicate};
use bson::raw::RawBsonRef;

/// Sign extension ends the comparison of a number here.
const NUMBER_BITS: u32 = 64;

#[derive(Debug)]
struct Bits {
    /// Positions, ascending.
    positions: Vec<u32>,
    set: bool,
    all: bool,
}

pub(super) fn parse_all_set(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    parse(operand, true, true)
}

pub(super) fn parse_all_clear(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    parse(operand, false, true)
}

pub(super) fn parse_any_set(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    parse(operand, true, false)
}

pub(super) fn parse_any_clear(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    parse(operand, false, false)
}

fn parse(operand: &Operand<'_>, set: bool, all: bool) -> Result<Node, DocumentError> {
    let positions = match operand.value {
        RawBsonRef::Array(array) => listed(array)?,
        RawBsonRef::Binary(binary) => {
            let bits = binary.bytes.len() as u32 * 8;
            (0..bits)
                .filter(|position| bit_of_bytes(binary.bytes, *position))
                .collect()
        }
        value => mask(operand, value)?,
    };
    Ok(Node::Test(
        operand.path.clone(),
        Box::new(Bits {
            positions,
            set,
            all,
        }),
    ))
}

fn mask(operand: &Operand<'_>, value: RawBsonRef<'_>) -> Result<Vec<u32>, DocumentError> {
    let name = operand.path.as_str();
    let Some(number) = Numeric::of(value) else {
        return Err(DocumentError::bad_value(format!(
            "{name} takes an Array, a number, or a BinData but received: {}",
            display::element(operand.name, value)
        )));
    };
    match number.as_whole() {
        Some(mask) if mask >= 0 => Ok((0..63).filter(|bit| mask >> bit & 1 == 1).collect()),
        Some(mask) => Err(DocumentError::failed_to_parse(format!(
            "Expected a non-negative number in: {}: {mask}",
            operand.name
        ))),
        None => Err(DocumentError::failed_to_parse(format!(
            "Expected an integer: {}",
            display::element(operand.name, value)
        ))),
    }
}

fn listed(array: &bson::RawArray) -> Result<Vec<u32>, DocumentError> {
    let mut positions = Vec::new();
    for member in array {
        let member = member?;
        let whole = Numeric::of(member).and_then(Numeric::as_whole);
        match whole.and_then(|whole| i32::try_from(whole).ok()) {
            Some(position @ 0..) => positions.push(position.unsigned_abs()),
            Some(position) => {
                return Err(DocumentError::bad_value(format!(
                    "bit positions must be >= 0 but got: {position}"
                )));
            }
            None => {
                return Err(DocumentError::bad_value(format!(
                    "Failed to parse bit position. Expected a number in: {}",
                    display::value(member)
                )));
            }
        }
    }
    positions.sort_unstable();
    positions.dedup();
    Ok(positions)
}

/// Bit 0 is the lowest of the first byte.
fn bit_of_bytes(bytes: &[u8], position: u32) -> bool {
    let byte = bytes.get(position as usize / 8);
    byte.is_some_and(|byte| byte >> (position % 8) & 1 == 1)
}

impl Predicate for Bits {
    fn matches(&self, value: Option<RawBsonRef<'_>>) -> bool {
        let is_set: Box<dyn Fn(u32) -> bool + '_> = match value {
            Some(RawBsonRef::Binary(binary)) => {
                Box::new(move |position| bit_of_bytes(binary.bytes, position))
            }
            Some(value) => match Numeric::of(value).and_then(Numeric::as_whole) {
                Some(number) => {
                    Box::new(move |position| number >> position.min(NUMBER_BITS - 1) & 1 == 1)
                }
                None => return false,
            },
            None => return false,
        };
        let mut found = self
            .positions
            .iter()
            .map(|position| is_set(*position) == self.set);
        match self.all {
            true => found.all(|found| found),
            false => found.any(|found| found),
        }
    }
}
