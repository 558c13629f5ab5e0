use super::*;
use crate::testing::{any_document, raw};
use bson::oid::ObjectId;
use bson::raw::RawDocumentBuf;
use bson::{Bson, Document, doc};
use proptest::prelude::*;

/// Bytes framed as a document: length, `content`, terminator.
fn framed(content: &[u8]) -> RawDocumentBuf {
    let mut bytes = (content.len() as i32 + 5).to_le_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.push(0);
    RawDocumentBuf::from_bytes(bytes).unwrap()
}

fn nested(levels: usize) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    for level in 0..levels {
        let mut outer = RawDocumentBuf::new();
        match level % 2 {
            0 => outer.append(bson::raw::cstr!("a"), document),
            _ => {
                let array = bson::raw::RawArrayBuf::from_iter([document]);
                // An array is a level of its own; its one member replaces the document's.
                outer.append(bson::raw::cstr!("a"), array);
            }
        }
        document = outer;
    }
    document
}

fn depth(document: &RawDocumentBuf) -> usize {
    fn of(value: &Bson) -> usize {
        match value {
            Bson::Document(fields) => 1 + fields.values().map(of).max().unwrap_or(0),
            Bson::Array(members) => 1 + members.iter().map(of).max().unwrap_or(0),
            _ => 0,
        }
    }
    let tree = Document::try_from(document.as_ref()).unwrap();
    tree.values().map(of).max().unwrap_or(0)
}

fn kind(checked: Result<(), DocumentError>) -> Option<ErrorKind> {
    checked.err().map(|error| error.kind)
}

#[test]
fn ordinary_documents_pass() {
    let ordinary = doc! {
        "_id": ObjectId::from_bytes([1; 12]),
        "a.b": { "$c": [1, "two", { "three": 3.0 }, Bson::Null] },
        "code": Bson::JavaScriptCodeWithScope(bson::JavaScriptCodeWithScope {
            code: "f()".to_owned(),
            scope: doc! { "x": 1 },
        }),
        "old": Bson::Binary(bson::Binary {
            subtype: bson::spec::BinarySubtype::BinaryOld,
            bytes: vec![1, 2],
        }),
    };
    assert_eq!(document(&raw(ordinary)), Ok(()));
    assert_eq!(document(&RawDocumentBuf::new()), Ok(()));
}

#[test]
fn names_with_a_dollar_are_refused_in_ids_only() {
    assert_eq!(document(&raw(doc! { "a": 1, "$b": 1 })), Ok(()));
    let error = document(&raw(doc! { "_id": { "$b": 1 } })).unwrap_err();
    assert_eq!(error.kind, ErrorKind::DollarPrefixedFieldName);
    assert_eq!(
        document(&raw(doc! { "_id": { "b": { "$c": 1 } }, "a": { "$b": 1 } })),
        Ok(())
    );
}

#[test]
fn ids_that_cannot_identify_are_refused() {
    let regex = Bson::RegularExpression(bson::Regex {
        pattern: "a".try_into().unwrap(),
        options: "".try_into().unwrap(),
    });
    for id in [Bson::Array(vec![]), regex, Bson::Undefined] {
        let error = document(&raw(doc! { "_id": id })).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidIdField);
        assert!(error.message.starts_with("can't use a"), "{error}");
    }
    assert_eq!(
        document(&raw(doc! { "_id": Bson::Null, "a": { "_id": [1] } })),
        Ok(())
    );
}

#[test]
fn nesting_is_bounded_without_recursion() {
    let deepest = (0..)
        .map(nested)
        .take_while(|d| depth(d) <= NESTING_MAX)
        .last()
        .unwrap();
    assert_eq!(depth(&deepest), NESTING_MAX);
    assert_eq!(document(&deepest), Ok(()));
    let wrapped = {
        let mut outer = RawDocumentBuf::new();
        outer.append(bson::raw::cstr!("a"), deepest);
        outer
    };
    let error = document(&wrapped).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Overflow);
    assert_eq!(well_formed(&wrapped, REQUEST_NESTING_MAX), Ok(()));
    assert_eq!(
        kind(well_formed(&nested(20_000), REQUEST_NESTING_MAX)),
        Some(ErrorKind::Overflow)
    );
}

#[test]
fn size_is_bounded() {
    let mut large = RawDocumentBuf::new();
    // Type, name "a" and its end, string length, string end; and the frame's five.
    const AROUND: usize = 1 + 2 + 4 + 1 + 5;
    large.append(
        bson::raw::cstr!("a"),
        "x".repeat(DOCUMENT_BYTES_MAX - AROUND),
    );
    assert_eq!(large.as_bytes().len(), DOCUMENT_BYTES_MAX);
    assert_eq!(document(&large), Ok(()));
    large.append(bson::raw::cstr!("b"), true);
    assert_eq!(kind(document(&large)), Some(ErrorKind::BsonObjectTooLarge));
}

#[test]
fn malformed_bytes_are_refused() {
    let cases: &[(&str, &[u8])] = &[
        ("unknown type", b"\x42a\0"),
        ("name without end", b"\x0aabc"),
        ("terminator before the end", b"\0\0\0"),
        ("short int32", b"\x10a\0\x01\x02"),
        ("short int64", b"\x12a\0\x01\x02\x03\x04"),
        ("boolean 2", b"\x08a\0\x02"),
        (
            "string longer than the document",
            b"\x02a\0\xff\xff\xff\x7fx\0",
        ),
        ("string of length 0", b"\x02a\0\0\0\0\0"),
        ("string of negative length", b"\x02a\0\xff\xff\xff\xffx\0"),
        ("string without its terminator", b"\x02a\0\x02\0\0\0xy"),
        ("string that is not UTF-8", b"\x02a\0\x02\0\0\0\xff\0"),
        ("name that is not UTF-8", b"\x0a\xc3\0"),
        ("document longer than its parent", b"\x03a\0\x40\0\0\0\0"),
        ("document shorter than itself", b"\x03a\0\x04\0\0\0\0"),
        (
            "document with bytes after its terminator",
            b"\x03a\0\x07\0\0\0\0\0\0",
        ),
        (
            "document without its terminator",
            b"\x03a\0\x06\0\0\0\x0a\x0a",
        ),
        (
            "array that is not UTF-8 inside",
            b"\x04a\0\x0e\0\0\0\x020\0\x02\0\0\0\xff\0\0",
        ),
        ("binary longer than the document", b"\x05a\0\x10\0\0\0\0x"),
        (
            "old binary with a wrong inner length",
            b"\x05a\0\x05\0\0\0\x02\x09\0\0\0x",
        ),
        (
            "old binary without an inner length",
            b"\x05a\0\x02\0\0\0\x02xy",
        ),
        ("regex without options", b"\x0ba\0pattern\0"),
        ("code with scope too short", b"\x0fa\0\x03\0\0\0"),
        (
            "code with scope with bytes after it",
            b"\x0fa\0\x12\0\0\0\x02\0\0\0f\0\x05\0\0\0\0\0\0\0",
        ),
        ("short ObjectId", b"\x07a\x0012345678901"),
        ("short decimal", b"\x13a\x00123456789012345"),
        ("DBPointer without id", b"\x0ca\0\x02\0\0\0n\0"),
    ];
    for (what, bytes) in cases {
        assert_eq!(
            kind(document(&framed(bytes))),
            Some(ErrorKind::InvalidBson),
            "{what}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_was_built_is_well_formed(document in any_document()) {
        prop_assert_eq!(well_formed(&document, NESTING_MAX), Ok(()));
    }

    /// What passes can be read to the end by the library; what does not pass never panics.
    #[test]
    fn damaged_bytes_are_refused_or_harmless(
        document in any_document(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = document.into_bytes();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            if index >= 4 && index + 1 < bytes.len() {
                bytes[index] = byte;
            }
        }
        let damaged = RawDocumentBuf::from_bytes(bytes).unwrap();
        if well_formed(&damaged, NESTING_MAX).is_ok() {
            prop_assert!(Document::try_from(damaged.as_ref()).is_ok());
        }
    }
}
