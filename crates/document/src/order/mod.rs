//! MongoDB's total order over all BSON values.
//!
//! MinKey < undefined < null < numbers < strings and symbols < objects < arrays < binary < ObjectId < booleans
//! < dates < timestamps < regular expressions < DBPointers < code < code with scope < MaxKey.
//! Numbers compare by exact value across the four numeric types. Values are expected to be well-formed BSON of
//! bounded nesting (`validate`); what follows damaged bytes inside a document counts as absent.

mod number;
#[cfg(test)]
mod tests;

pub(crate) use number::{CanonicalMagnitude, Signum};
pub use number::{Decimal, Number};

use bson::raw::{RawArray, RawBsonRef, RawDocument};
use std::cmp::Ordering;

/// MongoDB's canonical type class: values of different classes order by class alone, and comparison operators
/// match only within one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TypeClass {
    /// Below everything.
    MinKey,
    /// Undefined, and the key of an empty array in an index.
    Undefined,
    /// Null, and a missing field.
    Null,
    /// int32, int64, double, decimal128.
    Number,
    /// Strings and symbols.
    String,
    /// Embedded documents.
    Object,
    /// Arrays.
    Array,
    /// Binary data.
    Binary,
    /// ObjectId.
    ObjectId,
    /// Booleans.
    Boolean,
    /// UTC milliseconds.
    DateTime,
    /// The replication timestamp type.
    Timestamp,
    /// Regular expressions.
    Regex,
    /// The deprecated DBPointer.
    DbPointer,
    /// JavaScript.
    Code,
    /// JavaScript with a scope document.
    CodeWithScope,
    /// Above everything.
    MaxKey,
}

/// The class of `value`.
pub fn type_class(value: RawBsonRef<'_>) -> TypeClass {
    match value {
        RawBsonRef::MinKey => TypeClass::MinKey,
        RawBsonRef::Undefined => TypeClass::Undefined,
        RawBsonRef::Null => TypeClass::Null,
        RawBsonRef::Int32(_)
        | RawBsonRef::Int64(_)
        | RawBsonRef::Double(_)
        | RawBsonRef::Decimal128(_) => TypeClass::Number,
        RawBsonRef::String(_) | RawBsonRef::Symbol(_) => TypeClass::String,
        RawBsonRef::Document(_) => TypeClass::Object,
        RawBsonRef::Array(_) => TypeClass::Array,
        RawBsonRef::Binary(_) => TypeClass::Binary,
        RawBsonRef::ObjectId(_) => TypeClass::ObjectId,
        RawBsonRef::Boolean(_) => TypeClass::Boolean,
        RawBsonRef::DateTime(_) => TypeClass::DateTime,
        RawBsonRef::Timestamp(_) => TypeClass::Timestamp,
        RawBsonRef::RegularExpression(_) => TypeClass::Regex,
        RawBsonRef::DbPointer(_) => TypeClass::DbPointer,
        RawBsonRef::JavaScriptCode(_) => TypeClass::Code,
        RawBsonRef::JavaScriptCodeWithScope(_) => TypeClass::CodeWithScope,
        RawBsonRef::MaxKey => TypeClass::MaxKey,
    }
}

/// Compares two values in MongoDB's cross-type order.
pub fn compare(left: RawBsonRef<'_>, right: RawBsonRef<'_>) -> Ordering {
    let class = type_class(left);
    class
        .cmp(&type_class(right))
        .then_with(|| compare_within(class, left, right))
}

/// Compares with a missing value standing for null, as sorting does.
pub fn compare_missing_as_null(
    left: Option<RawBsonRef<'_>>,
    right: Option<RawBsonRef<'_>>,
) -> Ordering {
    compare(
        left.unwrap_or(RawBsonRef::Null),
        right.unwrap_or(RawBsonRef::Null),
    )
}

/// Field by field: class of the value, field name, value; the shorter of two equal prefixes is less.
pub fn compare_documents(left: &RawDocument, right: &RawDocument) -> Ordering {
    let mut lefts = left.iter().map_while(Result::ok);
    let mut rights = right.iter().map_while(Result::ok);
    loop {
        match (lefts.next(), rights.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some((left_name, left_value)), Some((right_name, right_value))) => {
                let class = type_class(left_value);
                let ordering = class
                    .cmp(&type_class(right_value))
                    .then_with(|| left_name.as_str().cmp(right_name.as_str()))
                    .then_with(|| compare_within(class, left_value, right_value));
                if ordering != Ordering::Equal {
                    return ordering;
                }
            }
        }
    }
}

/// Element by element; the shorter of two equal prefixes is less.
pub fn compare_arrays(left: &RawArray, right: &RawArray) -> Ordering {
    let mut lefts = left.into_iter().map_while(Result::ok);
    let mut rights = right.into_iter().map_while(Result::ok);
    loop {
        match (lefts.next(), rights.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(left), Some(right)) => {
                let ordering = compare(left, right);
                if ordering != Ordering::Equal {
                    return ordering;
                }
            }
        }
    }
}

/// Both values are of `class`.
fn compare_within(class: TypeClass, left: RawBsonRef<'_>, right: RawBsonRef<'_>) -> Ordering {
    use RawBsonRef as V;
    match (left, right) {
        (V::Int32(l), V::Int32(r)) => l.cmp(&r),
        (V::String(l) | V::Symbol(l), V::String(r) | V::Symbol(r)) => l.cmp(r),
        (V::Document(l), V::Document(r)) => compare_documents(l, r),
        (V::Array(l), V::Array(r)) => compare_arrays(l, r),
        (V::Binary(l), V::Binary(r)) => binary_length(&l)
            .cmp(&binary_length(&r))
            .then_with(|| u8::from(l.subtype).cmp(&u8::from(r.subtype)))
            .then_with(|| l.bytes.cmp(r.bytes)),
        (V::ObjectId(l), V::ObjectId(r)) => l.bytes().cmp(&r.bytes()),
        (V::Boolean(l), V::Boolean(r)) => l.cmp(&r),
        (V::DateTime(l), V::DateTime(r)) => l.timestamp_millis().cmp(&r.timestamp_millis()),
        (V::Timestamp(l), V::Timestamp(r)) => (l.time, l.increment).cmp(&(r.time, r.increment)),
        (V::RegularExpression(l), V::RegularExpression(r)) => l
            .pattern
            .as_str()
            .cmp(r.pattern.as_str())
            .then_with(|| l.options.as_str().cmp(r.options.as_str())),
        (V::DbPointer(_), V::DbPointer(_)) => {
            let (l, r) = (db_pointer_bytes(left), db_pointer_bytes(right));
            l.len().cmp(&r.len()).then_with(|| l.cmp(&r))
        }
        (V::JavaScriptCode(l), V::JavaScriptCode(r)) => l.cmp(r),
        (V::JavaScriptCodeWithScope(l), V::JavaScriptCodeWithScope(r)) => l
            .code
            .cmp(r.code)
            .then_with(|| compare_documents(l.scope, r.scope)),
        _ if class == TypeClass::Number => match (Number::of(left), Number::of(right)) {
            (Some(l), Some(r)) => l.compare(&r),
            _ => unreachable!("the class says that both are numbers"),
        },
        // MinKey, undefined, null and MaxKey have one value each.
        _ => Ordering::Equal,
    }
}

/// The length MongoDB orders binary data by: that on the wire, where subtype 2 repeats its length inside.
pub(crate) fn binary_length(binary: &bson::raw::RawBinaryRef<'_>) -> usize {
    let inner_length = match binary.subtype {
        bson::spec::BinarySubtype::BinaryOld => 4,
        _ => 0,
    };
    binary.bytes.len() + inner_length
}

/// Namespace and ObjectId of a DBPointer. The library keeps its fields to itself, so this goes by way of its
/// encoding; the type has been out of use since 2010, speed does not matter.
pub(crate) fn db_pointer_bytes(value: RawBsonRef<'_>) -> Vec<u8> {
    const DOCUMENT_LENGTH: usize = 4;
    const TYPE_AND_EMPTY_NAME: usize = 2;
    const STRING_LENGTH: usize = 4;
    let mut document = bson::raw::RawDocumentBuf::new();
    document.append(bson::raw::cstr!(""), value);
    let bytes = document.into_bytes();
    bytes[DOCUMENT_LENGTH + TYPE_AND_EMPTY_NAME + STRING_LENGTH..bytes.len() - 1].to_vec()
}
