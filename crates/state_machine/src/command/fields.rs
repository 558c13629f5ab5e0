//! Fields of the crate's binary records: appended to an [`Output`], taken off an [`Input`]. Integers are little-endian;
//! byte strings and lists are preceded by their length or count, u32; documents carry their own length.
//!
//! An [`Input`] checks lengths and frames, never panics, and never allocates more than the bytes it was given allow.

use bson::{Bson, RawBson, RawBsonRef, RawDocument, RawDocumentBuf};

use crate::catalog::Namespace;

/// Bytes that are not a command of a version this build reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer version.
    #[error("format version {0} is newer than this member reads; upgrade it")]
    Version(u8),
    /// It holds what came only with a later version than its own.
    #[error("format version {0} does not have what it holds")]
    NewerContent(u8),
    /// The input ends inside a field.
    #[error("ends inside {0}")]
    Truncated(&'static str),
    /// A field has a value that means nothing.
    #[error("{field} has the unknown value {value}")]
    UnknownValue {
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: u8,
    },
    /// A field that should be BSON or text is not.
    #[error("{0} is damaged")]
    Damaged(&'static str),
    /// Bytes are left after the last field.
    #[error("{0} bytes too many")]
    TrailingBytes(usize),
}

/// Appends fields to a buffer.
#[derive(Default)]
pub(crate) struct Output {
    pub(crate) bytes: Vec<u8>,
}

impl Output {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Output {
            bytes: Vec::with_capacity(capacity),
        }
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).expect("a command is far smaller than 4 GiB"));
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn str(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(crate) fn document(&mut self, document: &RawDocument) {
        // A document begins with its own length.
        self.bytes.extend_from_slice(document.as_bytes());
    }

    pub(crate) fn documents(&mut self, documents: &[RawDocumentBuf]) {
        self.count(documents.len());
        documents
            .iter()
            .for_each(|document| self.document(document));
    }

    /// Any BSON value: as the only element of a document with an empty field name.
    pub(crate) fn value<'a>(&mut self, value: impl Into<RawBsonRef<'a>>) {
        let mut wrapper = RawDocumentBuf::new();
        wrapper.append(bson::raw::cstr!(""), value.into());
        self.document(&wrapper);
    }

    pub(crate) fn owned_value(&mut self, value: &Bson) {
        // Only values that came out of raw BSON get here, and those can be written again.
        let raw = RawBson::try_from(value.clone()).unwrap_or(RawBson::Null);
        self.value(raw.as_raw_bson_ref());
    }

    pub(crate) fn namespace(&mut self, namespace: &Namespace) {
        self.str(&namespace.database);
        self.str(&namespace.collection);
    }

    /// A presence byte, then the value.
    pub(crate) fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }
}

/// Takes fields off the front of a buffer.
pub(crate) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Input { rest: bytes }
    }

    pub(crate) fn take(
        &mut self,
        count: usize,
        field: &'static str,
    ) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(DecodeError::Truncated(field))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let taken = self.take(N, field)?;
        Ok(taken.try_into().expect("take gives N bytes"))
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(field)?[0])
    }

    pub(crate) fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(DecodeError::UnknownValue { field, value }),
        }
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        Ok(i32::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        Ok(i64::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.u32(field)? as usize;
        self.take(length, field)
    }

    pub(crate) fn str(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes(field)?).map_err(|_| DecodeError::Damaged(field))
    }

    pub(crate) fn document(&mut self, field: &'static str) -> Result<&'a RawDocument, DecodeError> {
        let head = self
            .rest
            .first_chunk()
            .ok_or(DecodeError::Truncated(field))?;
        let length =
            usize::try_from(i32::from_le_bytes(*head)).map_err(|_| DecodeError::Damaged(field))?;
        RawDocument::from_bytes(self.take(length, field)?).map_err(|_| DecodeError::Damaged(field))
    }

    /// A number of items that each take at least `item_bytes_min`.
    pub(crate) fn count(
        &mut self,
        item_bytes_min: usize,
        field: &'static str,
    ) -> Result<usize, DecodeError> {
        let count = self.u32(field)? as usize;
        if count > self.rest.len() / item_bytes_min {
            return Err(DecodeError::Truncated(field));
        }
        Ok(count)
    }

    pub(crate) fn documents(
        &mut self,
        field: &'static str,
    ) -> Result<Vec<RawDocumentBuf>, DecodeError> {
        let count = self.count(5, field)?;
        (0..count)
            .map(|_| Ok(self.document(field)?.to_owned()))
            .collect()
    }

    pub(crate) fn value(&mut self, field: &'static str) -> Result<RawBsonRef<'a>, DecodeError> {
        match self.document(field)?.iter().next() {
            Some(Ok((_, value))) => Ok(value),
            _ => Err(DecodeError::Damaged(field)),
        }
    }

    pub(crate) fn owned_value(&mut self, field: &'static str) -> Result<Bson, DecodeError> {
        Bson::try_from(self.value(field)?).map_err(|_| DecodeError::Damaged(field))
    }

    pub(crate) fn namespace(&mut self) -> Result<Namespace, DecodeError> {
        Ok(Namespace::new(
            self.str("database name")?,
            self.str("collection name")?,
        ))
    }

    pub(crate) fn optional<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        match self.bool(field)? {
            true => read(self).map(Some),
            false => Ok(None),
        }
    }

    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(DecodeError::TrailingBytes(left)),
        }
    }
}
