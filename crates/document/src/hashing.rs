//! The hash of a value in a hashed index, built as MongoDB builds it: the first 64 bits of an MD5 over a seed, the value's
//! class and its content. Numbers count as their whole part, so that equal ones of different types have one hash; fields
//! and members count one by one, each with its name, and a zero ends them.
//!
//! Not settled by MongoDB's documentation, and possibly different here: numbers of 2^63 and more.

use bson::raw::{RawBsonRef, RawDocument, cstr};
use bson::{RawBson, RawDocumentBuf};
use md5::{Digest, Md5};

use crate::order::{Number, TypeClass, type_class};
use crate::raw;

/// What every hash begins with.
const SEED: i32 = 0;

/// The hash.
pub fn hash(value: RawBsonRef<'_>) -> i64 {
    let mut digest = Md5::new();
    digest.update(SEED.to_le_bytes());
    add(value, None, &mut digest);
    let bytes: [u8; 16] = digest.finalize().into();
    let mut first = [0; 8];
    first.copy_from_slice(&bytes[..8]);
    i64::from_le_bytes(first)
}

/// Recursion is bounded by the nesting of the document.
fn add(value: RawBsonRef<'_>, name: Option<&str>, digest: &mut Md5) {
    digest.update(class_number(value).to_le_bytes());
    if let Some(name) = name {
        digest.update(name.as_bytes());
        digest.update([0]);
    }
    match value {
        RawBsonRef::Document(document) => add_fields(document, digest),
        RawBsonRef::Array(array) => add_fields(raw::array_as_document(array), digest),
        RawBsonRef::JavaScriptCodeWithScope(code) => {
            digest.update(code.code.as_bytes());
            digest.update([0]);
            add_fields(code.scope, digest);
        }
        _ => match Number::of(value) {
            Some(number) => digest.update(whole_part(&number).to_le_bytes()),
            None => add_bytes(value, digest),
        },
    }
}

fn add_fields(document: &RawDocument, digest: &mut Md5) {
    for element in raw::elements(document) {
        add(element.value(), Some(element.name), digest);
    }
    digest.update(0i32.to_le_bytes());
}

/// The value as it stands in a document.
fn add_bytes(value: RawBsonRef<'_>, digest: &mut Md5) {
    let mut holder = RawDocumentBuf::new();
    holder.append(cstr!("v"), RawBson::from(value));
    for element in raw::elements(&holder) {
        digest.update(element.value_bytes());
    }
}

/// Without the fraction; 0 for NaN, the nearest there is for what is out of range.
fn whole_part(number: &Number) -> i64 {
    if number.is_nan() {
        return 0;
    }
    match number.truncate_to_i64() {
        Some(whole) => whole,
        None if number.compare(&Number::Integer(0)).is_lt() => i64::MIN,
        None => i64::MAX,
    }
}

/// MongoDB's number of a class of types.
fn class_number(value: RawBsonRef<'_>) -> i32 {
    match type_class(value) {
        TypeClass::MinKey => -1,
        TypeClass::Undefined => 0,
        TypeClass::Null => 5,
        TypeClass::Number => 10,
        TypeClass::String => 15,
        TypeClass::Object => 20,
        TypeClass::Array => 25,
        TypeClass::Binary => 30,
        TypeClass::ObjectId => 35,
        TypeClass::Boolean => 40,
        TypeClass::DateTime => 45,
        TypeClass::Timestamp => 47,
        TypeClass::Regex => 50,
        TypeClass::DbPointer => 55,
        TypeClass::Code => 60,
        TypeClass::CodeWithScope => 65,
        TypeClass::MaxKey => 127,
    }
}

#[cfg(test)]
mod tests {
    use bson::{Bson, RawBson, bson, doc};

    fn hash(value: impl Into<Bson>) -> i64 {
        let value = RawBson::try_from(value.into()).expect("a BSON value has a raw form");
        super::hash(value.as_raw_bson_ref())
    }

    /// The first from the manual of MongoDB, under `_hashBSONElement`; the others as its servers answer.
    #[test]
    fn hashes_are_those_of_mongodb() {
        let date = bson::DateTime::from_millis(1_360_707_177_211);
        assert_eq!(hash(date), -4_185_544_074_338_741_873);
        assert_eq!(hash("hashThisStringLiteral"), -5_776_344_739_422_278_694);
        assert_eq!(hash(123), -6_548_868_637_522_515_075);
        assert_eq!(hash(Bson::Null), 2_338_878_944_348_059_895);
        assert_eq!(hash(Bson::Undefined), 40_158_834_000_849_533);
        let timestamp = bson::Timestamp {
            time: 0,
            increment: 0,
        };
        assert_eq!(hash(timestamp), -7_867_208_682_377_458_672);
        let id = bson::oid::ObjectId::parse_str("47cc67093475061e3d95369d").expect("an id");
        assert_eq!(hash(id), 1_576_265_281_381_834_298);
    }

    #[test]
    fn equal_numbers_have_one_hash_and_other_values_others() {
        assert_eq!(hash(7), hash(7.0));
        assert_eq!(hash(7), hash(7i64));
        let decimal: bson::Decimal128 = "7.00".parse().expect("a decimal");
        assert_eq!(hash(7), hash(decimal));
        assert_eq!(hash(0), hash(f64::NAN), "only equal ones have to be found");
        assert_ne!(hash(7), hash("7"));
        assert_ne!(hash(true), hash(1));
        assert_ne!(hash(doc! { "a": 1 }), hash(doc! { "b": 1 }));
        assert_ne!(hash(doc! { "a": 1 }), hash(bson!([1])));
        assert_ne!(
            hash(doc! { "a": { "b": 1 } }),
            hash(doc! { "a": { "b": 2 } })
        );
    }
}
