//! Writes one BSON document straight into bytes: replies are built here, without trees in between.
//!
//! Keys come from constants, field names already inside BSON and validated namespaces, so they hold no zero
//! byte; should one do, the key ends there.

use bson::raw::{RawBsonRef, RawDocument};
use bson::{Timestamp, oid::ObjectId};

/// A document under construction. Every `begin_…` needs its [`DocumentWriter::end`].
#[derive(Debug)]
pub(crate) struct DocumentWriter {
    bytes: Vec<u8>,
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    start: usize,
    /// In an array: the next index.
    next_index: usize,
}

impl Default for DocumentWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl DocumentWriter {
    /// An empty document.
    pub(crate) fn new() -> Self {
        DocumentWriter::with_capacity(256)
    }

    /// An empty document with room for so many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        let mut writer = DocumentWriter {
            bytes: Vec::with_capacity(bytes),
            open: Vec::with_capacity(4),
        };
        writer.open_here();
        writer
    }

    /// Bytes written so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Closes the document.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        assert_eq!(self.open.len(), 1, "every begun document is ended");
        self.close();
        self.bytes
    }

    pub(crate) fn i32(&mut self, key: &str, value: i32) {
        self.element(0x10, key);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn i64(&mut self, key: &str, value: i64) {
        self.element(0x12, key);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn double(&mut self, key: &str, value: f64) {
        self.element(0x01, key);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn bool(&mut self, key: &str, value: bool) {
        self.element(0x08, key);
        self.bytes.push(u8::from(value));
    }

    pub(crate) fn null(&mut self, key: &str) {
        self.element(0x0a, key);
    }

    pub(crate) fn string(&mut self, key: &str, value: &str) {
        self.element(0x02, key);
        self.raw_string(value);
    }

    pub(crate) fn object_id(&mut self, key: &str, value: ObjectId) {
        self.element(0x07, key);
        self.bytes.extend_from_slice(&value.bytes());
    }

    /// Milliseconds since 1970.
    pub(crate) fn date(&mut self, key: &str, milliseconds: i64) {
        self.element(0x09, key);
        self.bytes.extend_from_slice(&milliseconds.to_le_bytes());
    }

    pub(crate) fn timestamp(&mut self, key: &str, value: Timestamp) {
        self.element(0x11, key);
        self.bytes.extend_from_slice(&value.increment.to_le_bytes());
        self.bytes.extend_from_slice(&value.time.to_le_bytes());
    }

    /// Binary of the generic subtype.
    pub(crate) fn binary(&mut self, key: &str, value: &[u8]) {
        self.binary_of(key, 0, value);
    }

    /// Binary of subtype 4.
    pub(crate) fn uuid(&mut self, key: &str, value: &[u8; 16]) {
        self.binary_of(key, 4, value);
    }

    /// Pushes binary of the generic subtype onto the open array.
    pub(crate) fn push_binary(&mut self, value: &[u8]) {
        self.indexed(0x05);
        self.length(value.len());
        self.bytes.push(0);
        self.bytes.extend_from_slice(value);
    }

    fn binary_of(&mut self, key: &str, subtype: u8, value: &[u8]) {
        self.element(0x05, key);
        self.length(value.len());
        self.bytes.push(subtype);
        self.bytes.extend_from_slice(value);
    }

    /// A whole document.
    pub(crate) fn document(&mut self, key: &str, value: &RawDocument) {
        self.element(0x03, key);
        self.bytes.extend_from_slice(value.as_bytes());
    }

    /// Any value.
    pub(crate) fn value(&mut self, key: &str, value: RawBsonRef<'_>) {
        match value {
            RawBsonRef::Int32(value) => self.i32(key, value),
            RawBsonRef::Int64(value) => self.i64(key, value),
            RawBsonRef::String(value) => self.string(key, value),
            RawBsonRef::ObjectId(value) => self.object_id(key, value),
            RawBsonRef::Document(value) => self.document(key, value),
            RawBsonRef::Array(value) => {
                self.element(0x04, key);
                self.bytes.extend_from_slice(value.as_bytes());
            }
            other => self.rare_value(key, other),
        }
    }

    /// Types that replies seldom hold go through the library's own encoder.
    fn rare_value(&mut self, key: &str, value: RawBsonRef<'_>) {
        let mut one = bson::RawDocumentBuf::new();
        one.append(bson::raw::cstr!(""), value);
        let encoded = one.as_bytes();
        // length (4), type (1), empty key (1), value, closing zero (1)
        self.element(encoded[4], key);
        self.bytes.extend_from_slice(&encoded[6..encoded.len() - 1]);
    }

    pub(crate) fn begin_document(&mut self, key: &str) {
        self.element(0x03, key);
        self.open_here();
    }

    pub(crate) fn begin_array(&mut self, key: &str) {
        self.element(0x04, key);
        self.open_here();
    }

    /// Begins a document as the next element of the open array.
    pub(crate) fn push_begin_document(&mut self) {
        self.indexed(0x03);
        self.open_here();
    }

    /// Pushes a document onto the open array.
    pub(crate) fn push_document(&mut self, value: &RawDocument) {
        self.indexed(0x03);
        self.bytes.extend_from_slice(value.as_bytes());
    }

    /// Pushes a string onto the open array.
    pub(crate) fn push_string(&mut self, value: &str) {
        self.indexed(0x02);
        self.raw_string(value);
    }

    /// Pushes a 64-bit integer onto the open array.
    pub(crate) fn push_i64(&mut self, value: i64) {
        self.indexed(0x12);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Pushes a 32-bit integer onto the open array.
    pub(crate) fn push_i32(&mut self, value: i32) {
        self.indexed(0x10);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Ends the innermost document or array.
    pub(crate) fn end(&mut self) {
        assert!(
            self.open.len() > 1,
            "only finish() ends the outermost document"
        );
        self.close();
    }

    fn open_here(&mut self) {
        self.open.push(Open {
            start: self.bytes.len(),
            next_index: 0,
        });
        self.bytes.extend_from_slice(&[0; 4]);
    }

    fn close(&mut self) {
        let open = self.open.pop().expect("a document is open");
        self.bytes.push(0);
        let length =
            i32::try_from(self.bytes.len() - open.start).expect("replies are far below 2 GiB");
        self.bytes[open.start..open.start + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn take_index(&mut self) -> usize {
        let open = self.open.last_mut().expect("a document is open");
        open.next_index += 1;
        open.next_index - 1
    }

    fn indexed(&mut self, element_type: u8) {
        let mut index = self.take_index();
        self.bytes.push(element_type);
        let start = self.bytes.len();
        loop {
            self.bytes.push(b'0' + (index % 10) as u8);
            index /= 10;
            if index == 0 {
                break;
            }
        }
        self.bytes[start..].reverse();
        self.bytes.push(0);
    }

    fn element(&mut self, element_type: u8, key: &str) {
        self.bytes.push(element_type);
        let key = key.split('\0').next().unwrap_or("");
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.push(0);
    }

    fn raw_string(&mut self, value: &str) {
        self.length(value.len() + 1);
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
    }

    fn length(&mut self, length: usize) {
        let length = i32::try_from(length).expect("values are far below 2 GiB");
        self.bytes.extend_from_slice(&length.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Bson, Document, doc};

    fn read(writer: DocumentWriter) -> Document {
        Document::from_reader(&writer.finish()[..]).expect("sound BSON")
    }

    #[test]
    fn every_kind_of_value_reads_back() {
        let id = ObjectId::from_bytes([7; 12]);
        let mut writer = DocumentWriter::new();
        writer.i32("a", -1);
        writer.i64("b", 1 << 40);
        writer.double("c", 1.5);
        writer.bool("d", true);
        writer.null("e");
        writer.string("f", "é");
        writer.object_id("g", id);
        writer.date("h", 5);
        writer.timestamp(
            "i",
            Timestamp {
                time: 2,
                increment: 3,
            },
        );
        writer.begin_array("j");
        for n in 0..12 {
            writer.push_i64(n);
        }
        writer.end();
        writer.begin_document("k");
        writer.end();
        writer.begin_array("l");
        writer.push_binary(b"bytes");
        writer.end();
        let read = read(writer);
        let numbers: Vec<Bson> = (0..12i64).map(Bson::Int64).collect();
        assert_eq!(
            read,
            doc! {
                "a": -1, "b": 1i64 << 40, "c": 1.5, "d": true, "e": null, "f": "é", "g": id,
                "h": bson::DateTime::from_millis(5), "i": Timestamp { time: 2, increment: 3 },
                "j": numbers, "k": {},
                "l": [bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: b"bytes".to_vec() }],
            }
        );
    }

    #[test]
    fn any_value_is_copied_as_it_is() {
        let source = bson::rawdoc! {
            "decimal": bson::Decimal128::from_bytes([1; 16]),
            "regex": bson::Regex { pattern: bson::raw::cstr!("a").to_owned(), options: bson::raw::cstr!("i").to_owned() },
            "array": [1, {"x": 2}],
            "max": bson::RawBson::MaxKey,
        };
        let mut writer = DocumentWriter::new();
        for element in source.iter() {
            let (key, value) = element.expect("sound BSON");
            writer.value(key.as_str(), value);
        }
        assert_eq!(writer.finish(), source.as_bytes());
    }
}
