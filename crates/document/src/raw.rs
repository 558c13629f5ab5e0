//! Reading and writing BSON bytes element by element, without trees.
//!
//! A writer trusts its caller: documents and arrays are ended in the reverse order of their beginning, and field
//! names come from BSON, hence hold no NUL.

use bson::RawDocumentBuf;
use bson::raw::{RawArray, RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawElement, RawIter};
use bson::spec::ElementType;

/// One element and the bytes it stands in.
pub(crate) struct Element<'a> {
    /// The field's name; an index in arrays.
    pub name: &'a str,
    /// Type byte, name and value.
    pub bytes: &'a [u8],
    raw: RawElement<'a>,
}

impl<'a> Element<'a> {
    /// The value; null when its bytes are damaged.
    pub fn value(&self) -> RawBsonRef<'a> {
        self.raw.value().unwrap_or(RawBsonRef::Null)
    }

    /// The type, without looking at the value.
    pub fn kind(&self) -> ElementType {
        self.raw.element_type()
    }

    /// The bytes behind type and name.
    pub fn value_bytes(&self) -> &'a [u8] {
        &self.bytes[self.name.len() + 2..]
    }
}

/// Iterates over a document; stops where it is damaged.
pub(crate) struct Elements<'a> {
    document: &'a [u8],
    offset: usize,
    inner: RawIter<'a>,
}

/// The elements of `document`.
pub(crate) fn elements(document: &RawDocument) -> Elements<'_> {
    Elements {
        document: document.as_bytes(),
        offset: 4,
        inner: document.iter_elements(),
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let raw = self.inner.next()?.ok()?;
        let name = raw.key().as_str();
        let end = self.offset + name.len() + 2 + raw.size();
        let bytes = self.document.get(self.offset..end)?;
        self.offset = end;
        Some(Element { name, bytes, raw })
    }
}

/// The first field of this name; `None` too where the bytes before it are damaged. Fields before it are stepped over by
/// their lengths: this is what filters, expressions and indexes do most.
pub(crate) fn field<'d>(document: &'d RawDocument, name: &str) -> Option<RawBsonRef<'d>> {
    let bytes = document.as_bytes();
    let mut at = 4;
    loop {
        let span = Span::at(bytes, at)?;
        if span.name == name.as_bytes() {
            return match plain_value(span.kind, span.rest) {
                Some(value) => Some(value),
                None => field_by_library(document, name),
            };
        }
        at = span.end()?;
    }
}

/// A document of the first field of each of these names, in the order they stand in. `None` where the document is damaged
/// before they are all found.
pub(crate) fn first_fields(document: &RawDocument, names: &[String]) -> Option<RawDocumentBuf> {
    let bytes = document.as_bytes();
    let end = bytes.len().checked_sub(1)?;
    let mut out = DocumentWriter::with_capacity(64);
    let mut found = 0_u64;
    let mut at = 4;
    while at < end && found.count_ones() as usize != names.len() {
        let span = Span::at(bytes, at)?;
        let behind = span.end()?;
        let wanted = names.iter().position(|name| name.as_bytes() == span.name);
        if let Some(number) = wanted
            && found & (1 << number) == 0
        {
            found |= 1 << number;
            out.bytes.extend_from_slice(bytes.get(at..behind)?);
        }
        at = behind;
    }
    Some(out.finish())
}

/// The first value of each of these names, in the order of the names, as [`field`] finds it: in one pass.
pub(crate) fn first_values<'d, const N: usize>(
    document: &'d RawDocument,
    names: &[String],
) -> [Option<RawBsonRef<'d>>; N] {
    assert!(names.len() <= N && N <= u64::BITS as usize);
    let mut values = [None; N];
    let all = u64::MAX.checked_shr(u64::BITS - names.len() as u32);
    let mut wanted = all.unwrap_or(0);
    let bytes = document.as_bytes();
    let mut at = 4;
    while wanted != 0 {
        let Some(span) = Span::at(bytes, at) else {
            break;
        };
        let is_named = |name: &String| name.as_bytes() == span.name;
        if let Some(number) = names.iter().position(is_named)
            && wanted & (1 << number) != 0
        {
            wanted &= !(1 << number);
            let value = plain_value(span.kind, span.rest);
            values[number] = value.or_else(|| field_by_library(document, &names[number]));
        }
        let Some(behind) = span.end() else { break };
        at = behind;
    }
    values
}

/// Where an element stands, by what it says itself.
struct Span<'d> {
    at: usize,
    kind: ElementType,
    name: &'d [u8],
    /// The value, and all behind it.
    rest: &'d [u8],
}

impl<'d> Span<'d> {
    #[inline]
    fn at(bytes: &'d [u8], at: usize) -> Option<Span<'d>> {
        let kind = ElementType::from(*bytes.get(at)?)?;
        let rest = bytes.get(at + 1..)?;
        let name_bytes = rest.iter().position(|byte| *byte == 0)?;
        Some(Span {
            at,
            kind,
            name: &rest[..name_bytes],
            rest: &rest[name_bytes + 1..],
        })
    }

    /// Where the next one stands.
    #[inline]
    fn end(&self) -> Option<usize> {
        Some(self.at + self.name.len() + 2 + value_size(self.kind, self.rest)?)
    }
}

/// The same, each element looked at by the library.
fn field_by_library<'d>(document: &'d RawDocument, name: &str) -> Option<RawBsonRef<'d>> {
    document
        .iter_elements()
        .map_while(Result::ok)
        .find(|element| element.key().as_str() == name)
        .and_then(|element| element.value().ok())
}

/// The value that `bytes` begin with, if it is of one of the common types and sound.
fn plain_value(kind: ElementType, bytes: &[u8]) -> Option<RawBsonRef<'_>> {
    Some(match kind {
        ElementType::Double => RawBsonRef::Double(f64::from_le_bytes(*bytes.first_chunk()?)),
        ElementType::Int32 => RawBsonRef::Int32(i32::from_le_bytes(*bytes.first_chunk()?)),
        ElementType::Int64 => RawBsonRef::Int64(i64::from_le_bytes(*bytes.first_chunk()?)),
        ElementType::DateTime => {
            let milliseconds = i64::from_le_bytes(*bytes.first_chunk()?);
            RawBsonRef::DateTime(bson::DateTime::from_millis(milliseconds))
        }
        ElementType::ObjectId => {
            RawBsonRef::ObjectId(bson::oid::ObjectId::from_bytes(*bytes.first_chunk()?))
        }
        ElementType::String => {
            let text = bytes.get(4..value_size(kind, bytes)?)?;
            let (end, text) = text.split_last()?;
            let text = str::from_utf8(text).ok().filter(|_| *end == 0)?;
            RawBsonRef::String(text)
        }
        ElementType::EmbeddedDocument => {
            let bytes = bytes.get(..value_size(kind, bytes)?)?;
            RawBsonRef::Document(RawDocument::from_bytes(bytes).ok()?)
        }
        ElementType::Null => RawBsonRef::Null,
        _ => return None,
    })
}

/// How many bytes the value takes that `bytes` begin with, by what it says itself.
fn value_size(kind: ElementType, bytes: &[u8]) -> Option<usize> {
    let length = || usize::try_from(i32::from_le_bytes(*bytes.first_chunk()?)).ok();
    Some(match kind {
        ElementType::Undefined | ElementType::Null | ElementType::MinKey | ElementType::MaxKey => 0,
        ElementType::Boolean => 1,
        ElementType::Int32 => 4,
        ElementType::Double
        | ElementType::DateTime
        | ElementType::Timestamp
        | ElementType::Int64 => 8,
        ElementType::ObjectId => 12,
        ElementType::Decimal128 => 16,
        ElementType::String | ElementType::JavaScriptCode | ElementType::Symbol => 4 + length()?,
        ElementType::Binary => 5 + length()?,
        ElementType::DbPointer => 16 + length()?,
        // An empty document has five bytes; a length of nothing would never end.
        ElementType::EmbeddedDocument
        | ElementType::Array
        | ElementType::JavaScriptCodeWithScope => length().filter(|length| *length >= 5)?,
        ElementType::RegularExpression => {
            let zero = |from: usize| bytes.get(from..)?.iter().position(|byte| *byte == 0);
            let pattern = zero(0)?;
            pattern + 1 + zero(pattern + 1)? + 1
        }
    })
}

/// The same bytes seen as a document whose names are indexes.
pub(crate) fn array_as_document(array: &RawArray) -> &RawDocument {
    RawDocument::from_bytes(array.as_bytes()).expect("an array has the frame of a document")
}

/// The members of an array; stops where it is damaged.
pub(crate) fn members(array: &RawArray) -> impl Iterator<Item = RawBsonRef<'_>> {
    elements(array_as_document(array)).map(|element| element.value())
}

/// Embedded document or array, as a document.
pub(crate) fn as_container(value: RawBsonRef<'_>) -> Option<&RawDocument> {
    match value {
        RawBsonRef::Document(document) => Some(document),
        RawBsonRef::Array(array) => Some(array_as_document(array)),
        _ => None,
    }
}

/// How many levels of documents and arrays `value` has, itself included; 0 for scalars.
pub(crate) fn depth(value: RawBsonRef<'_>) -> usize {
    as_container(value).map_or(0, |container| {
        1 + elements(container)
            .filter(|element| is_container(element.kind()))
            .map(|element| depth(element.value()))
            .max()
            .unwrap_or(0)
    })
}

pub(crate) fn is_container(kind: ElementType) -> bool {
    matches!(kind, ElementType::EmbeddedDocument | ElementType::Array)
}

/// Whether two values are the same in type and bytes.
pub(crate) fn identical(left: RawBsonRef<'_>, right: RawBsonRef<'_>) -> bool {
    if left.element_type() != right.element_type() {
        return false;
    }
    let (mut left_bytes, mut right_bytes) = (Vec::new(), Vec::new());
    append_value(left, &mut left_bytes);
    append_value(right, &mut right_bytes);
    left_bytes == right_bytes
}

/// Builds one document.
#[derive(Debug)]
pub(crate) struct DocumentWriter {
    bytes: Vec<u8>,
}

/// Where an embedded document began.
#[must_use]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    element: usize,
    length: usize,
}

impl DocumentWriter {
    pub fn with_capacity(capacity: usize) -> DocumentWriter {
        let mut bytes = Vec::with_capacity(capacity.max(5));
        bytes.extend([0; 4]);
        DocumentWriter { bytes }
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets all from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// Copies a whole element.
    pub fn copy(&mut self, element: &Element<'_>) {
        self.bytes.extend_from_slice(element.bytes);
    }

    /// Copies an element under another name.
    pub fn copy_as(&mut self, name: &str, element: &Element<'_>) {
        self.header(element.kind(), name);
        self.bytes.extend_from_slice(element.value_bytes());
    }

    /// Writes one element.
    pub fn append(&mut self, name: &str, value: RawBsonRef<'_>) {
        self.header(value.element_type(), name);
        append_value(value, &mut self.bytes);
    }

    pub fn begin_document(&mut self, name: &str) -> Begun {
        self.begin(ElementType::EmbeddedDocument, name)
    }

    pub fn begin_array(&mut self, name: &str) -> Begun {
        self.begin(ElementType::Array, name)
    }

    pub fn begin(&mut self, kind: ElementType, name: &str) -> Begun {
        let element = self.bytes.len();
        self.header(kind, name);
        let length = self.bytes.len();
        self.bytes.extend([0; 4]);
        Begun { element, length }
    }

    /// Whether nothing was written since `begun`.
    pub fn nothing_since(&self, begun: Begun) -> bool {
        self.bytes.len() == begun.length + 4
    }

    pub fn end(&mut self, begun: Begun) {
        self.bytes.push(0);
        self.set_length(begun.length);
    }

    /// Takes the begun element back.
    pub fn undo(&mut self, begun: Begun) {
        self.bytes.truncate(begun.element);
    }

    pub fn finish(mut self) -> RawDocumentBuf {
        self.bytes.push(0);
        self.set_length(0);
        RawDocumentBuf::from_bytes(self.bytes).expect("length and terminator were just written")
    }

    fn set_length(&mut self, start: usize) {
        let length = i32::try_from(self.bytes.len() - start)
            .expect("inputs are bounded far below 2 GiB")
            .to_le_bytes();
        self.bytes[start..start + 4].copy_from_slice(&length);
    }

    fn header(&mut self, kind: ElementType, name: &str) {
        self.bytes.push(kind as u8);
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
    }
}

/// An array of `members`.
pub(crate) fn array_of<'a>(members: impl IntoIterator<Item = RawBsonRef<'a>>) -> RawArrayBuf {
    let mut array = RawArrayBuf::new();
    for member in members {
        array.push(member);
    }
    array
}

/// An owned copy of a value.
pub(crate) fn owned(value: RawBsonRef<'_>) -> RawBson {
    RawBson::from(value)
}

fn append_string(text: &str, bytes: &mut Vec<u8>) {
    let length = i32::try_from(text.len() + 1).expect("inputs are bounded far below 2 GiB");
    bytes.extend(length.to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

fn append_cstring(text: &str, bytes: &mut Vec<u8>) {
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

/// Appends a value as it stands behind the name of an element.
fn append_value(value: RawBsonRef<'_>, bytes: &mut Vec<u8>) {
    match value {
        RawBsonRef::Double(double) => bytes.extend(double.to_le_bytes()),
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) | RawBsonRef::JavaScriptCode(text) => {
            append_string(text, bytes)
        }
        RawBsonRef::Array(array) => bytes.extend(array.as_bytes()),
        RawBsonRef::Document(document) => bytes.extend(document.as_bytes()),
        RawBsonRef::Boolean(boolean) => bytes.push(u8::from(boolean)),
        RawBsonRef::RegularExpression(regex) => {
            append_cstring(regex.pattern.as_str(), bytes);
            append_cstring(regex.options.as_str(), bytes);
        }
        RawBsonRef::Int32(integer) => bytes.extend(integer.to_le_bytes()),
        RawBsonRef::Int64(integer) => bytes.extend(integer.to_le_bytes()),
        RawBsonRef::Timestamp(timestamp) => {
            bytes.extend(timestamp.increment.to_le_bytes());
            bytes.extend(timestamp.time.to_le_bytes());
        }
        RawBsonRef::ObjectId(id) => bytes.extend(id.bytes()),
        RawBsonRef::DateTime(date) => bytes.extend(date.timestamp_millis().to_le_bytes()),
        RawBsonRef::Decimal128(decimal) => bytes.extend(decimal.bytes()),
        // Rare, and framed by lengths inside lengths: the library's writer knows them.
        RawBsonRef::Binary(_)
        | RawBsonRef::DbPointer(_)
        | RawBsonRef::JavaScriptCodeWithScope(_) => {
            let mut framed = RawDocumentBuf::new();
            framed.append(bson::raw::cstr!(""), value);
            let framed = framed.as_bytes();
            bytes.extend(&framed[6..framed.len() - 1]);
        }
        RawBsonRef::Null | RawBsonRef::Undefined | RawBsonRef::MinKey | RawBsonRef::MaxKey => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::any_document;

    proptest! {
        #[test]
        fn every_field_is_found_as_the_library_finds_it(document in any_document()) {
            for element in elements(&document) {
                let found = field(&document, element.name).expect("it is there");
                let expected = field_by_library(&document, element.name).expect("it is there");
                prop_assert!(identical(found, expected));
            }
            prop_assert!(field(&document, "no such name").is_none());
        }

        /// On damaged documents too.
        #[test]
        fn several_values_are_those_that_are_found_one_by_one(
            document in any_document(), at in any::<prop::sample::Index>(), byte in any::<u8>(), is_damaged in any::<bool>(),
            names in prop::collection::btree_set("[a-d]{0,1}", 0..4),
        ) {
            let names: Vec<String> = names.into_iter().collect();
            let mut bytes = document.as_bytes().to_vec();
            if is_damaged {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(document) = RawDocument::from_bytes(&bytes) {
                let found: [_; 4] = first_values(document, &names);
                for (number, value) in found.into_iter().enumerate() {
                    let alone = names.get(number).and_then(|name| field(document, name));
                    prop_assert_eq!(format!("{value:?}"), format!("{alone:?}"));
                }
            }
        }

        /// Whatever the bytes say, nothing outside of them is looked at, and the search ends.
        #[test]
        fn damage_is_survived(
            document in any_document(), at in any::<prop::sample::Index>(), byte in any::<u8>(), name in "[a-c]{0,2}",
        ) {
            let mut bytes = document.as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(damaged) = RawDocument::from_bytes(&bytes) {
                field(damaged, &name);
            }
        }
    }
}
