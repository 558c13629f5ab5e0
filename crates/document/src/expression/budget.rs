//! What one evaluation may take: an expression can ask for more rounds and larger values than anybody can wait for or hold,
//! by a loop in a loop or by doubling. Counted, not timed: every replica gives up at the same place.

use std::cell::Cell;

use bson::raw::RawBsonRef;

use crate::DocumentError;

/// Rounds of `$map`, `$filter` and `$reduce` in one evaluation, nested ones counted each.
pub(crate) const ROUNDS_MAX: u64 = 1 << 24;
/// Bytes of a value on its way; one that is stored or given back is bounded by less.
pub(crate) const VALUE_BYTES_MAX: usize = 64 << 20;

thread_local! {
    static ROUNDS: Cell<u64> = const { Cell::new(0) };
}

/// An evaluation begins.
pub(crate) fn begin() {
    ROUNDS.set(0);
}

/// One round of a loop.
pub(crate) fn round() -> Result<(), DocumentError> {
    let rounds = ROUNDS.get() + 1;
    ROUNDS.set(rounds);
    if rounds > ROUNDS_MAX {
        return Err(DocumentError::bad_value(format!(
            "an expression takes more than {ROUNDS_MAX} rounds of $map, $filter and $reduce for one document"
        )));
    }
    Ok(())
}

/// Refuses a value of so many bytes.
pub(crate) fn check_bytes(bytes: usize) -> Result<(), DocumentError> {
    if bytes > VALUE_BYTES_MAX {
        // MongoDB's words and number for a buffer that would outgrow its limit.
        return Err(DocumentError::location(
            13548,
            format!(
                "BufBuilder attempted to grow() to {bytes} bytes, past the {}MB limit.",
                VALUE_BYTES_MAX >> 20
            ),
        ));
    }
    Ok(())
}

/// Bytes of a value that can be long.
pub(crate) fn bytes_of(value: RawBsonRef<'_>) -> usize {
    match value {
        RawBsonRef::String(text) => text.len(),
        RawBsonRef::Document(document) => document.as_bytes().len(),
        RawBsonRef::Array(array) => array.as_bytes().len(),
        RawBsonRef::Binary(binary) => binary.bytes.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use bson::{Bson, Document, RawDocumentBuf, doc};

    use crate::Context;
    use crate::expression::Expression;

    fn refused(expression: Document) -> i32 {
        let expression = RawDocumentBuf::try_from(expression).expect("BSON");
        let parsed =
            Expression::parse((&*expression).into(), &Context::checking()).expect("parses");
        let nothing = RawDocumentBuf::new();
        let error = parsed.evaluate(&nothing).expect_err("it takes too much");
        error.kind.code()
    }

    fn doubled(times: i32, start: impl Into<Bson>, twice: Document) -> Document {
        doc! { "$reduce": { "input": { "$range": [0, times] }, "initialValue": start.into(), "in": twice } }
    }

    #[test]
    fn values_that_double_are_refused_before_they_fill_the_memory() {
        assert_eq!(
            refused(doubled(
                60,
                "ab",
                doc! { "$concat": ["$$value", "$$value"] }
            )),
            13548
        );
        let array = Bson::Array(vec![1.into()]);
        assert_eq!(
            refused(doubled(
                60,
                array,
                doc! { "$concatArrays": ["$$value", "$$value"] }
            )),
            13548
        );
        assert_eq!(
            refused(doubled(60, "a", doc! { "a": "$$value", "b": "$$value" })),
            13548
        );
        let replaced =
            doc! { "$replaceAll": { "input": "$$value", "find": "a", "replacement": "$$value" } };
        assert_eq!(refused(doubled(60, "aa", replaced)), 13548);
    }

    #[test]
    fn a_loop_in_a_loop_ends() {
        let range = doc! { "$range": [0, 100_000] };
        let inner = doc! { "$size": { "$filter": { "input": range.clone(), "cond": false } } };
        assert_eq!(refused(doc! { "$map": { "input": range, "in": inner } }), 2);
    }
}
