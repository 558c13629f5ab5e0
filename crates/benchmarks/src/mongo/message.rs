//! Messages built once per client. What changes between operations (request id, transaction number, ids, values) is written
//! over in place; the places are those where marks stood when the message was built.

use bson::oid::ObjectId;
use bson::raw::{RawDocument, RawDocumentBuf};
use bson::spec::BinarySubtype;
use bson::{Binary, rawdoc};

use crate::load::{Id, Random, VALUE_BYTES};

/// Bytes of the header: length, request id, response-to, opcode.
pub(super) const HEADER_BYTES: usize = 16;
/// Bytes before the body: the header, the flags, the section's kind.
pub(super) const BODY_AT: usize = HEADER_BYTES + 5;
pub(super) const OP_MSG: i32 = 2013;
const REQUEST_ID_AT: usize = 4;

pub(crate) const DATABASE: &str = "compare";

const NUMBER_MARK: i64 = 0x6d61_726b_2d6e_756d;
const ID_MARK: Id = *b"mark-of-id\xfe\xff";
const VALUE_MARK: u8 = 0xa5;

/// A message whose changing parts can be written over.
#[derive(Debug)]
pub(super) struct Prepared {
    bytes: Vec<u8>,
    number_at: Option<usize>,
    id_at: Vec<usize>,
    value_at: Vec<usize>,
}

impl Prepared {
    /// A retryable insert of `count` documents, `{_id: ObjectId, v: 256 bytes}`.
    pub(super) fn insert(
        collection: &str,
        session: &RawDocument,
        cluster_time: Option<&RawDocument>,
        count: usize,
    ) -> Self {
        let mut body = rawdoc! {
            "insert": collection, "ordered": true, "$db": DATABASE, "lsid": session.to_owned(), "txnNumber": NUMBER_MARK,
        };
        append_cluster_time(&mut body, cluster_time);
        let value = Binary {
            subtype: BinarySubtype::Generic,
            bytes: vec![VALUE_MARK; VALUE_BYTES],
        };
        let document = rawdoc! { "_id": ObjectId::from_bytes(ID_MARK), "v": value };
        Self::new(encode(
            &body,
            Some(("documents", &vec![document; count.max(1)])),
        ))
    }

    /// A read of one document by `_id`, as `findOne` sends it: the default read concern, which is linearizable here.
    pub(super) fn find(
        collection: &str,
        session: &RawDocument,
        cluster_time: Option<&RawDocument>,
    ) -> Self {
        let mut body = rawdoc! {
            "find": collection, "filter": { "_id": ObjectId::from_bytes(ID_MARK) }, "limit": 1, "singleBatch": true,
            "$db": DATABASE, "lsid": session.to_owned(),
        };
        append_cluster_time(&mut body, cluster_time);
        Self::new(encode(&body, None))
    }

    /// A retryable replacement of one document by its `_id`: two ids to write over.
    pub(super) fn replace(
        collection: &str,
        session: &RawDocument,
        cluster_time: Option<&RawDocument>,
    ) -> Self {
        let mut body = rawdoc! {
            "update": collection, "ordered": true, "$db": DATABASE, "lsid": session.to_owned(), "txnNumber": NUMBER_MARK,
        };
        append_cluster_time(&mut body, cluster_time);
        let value = Binary {
            subtype: BinarySubtype::Generic,
            bytes: vec![VALUE_MARK; VALUE_BYTES],
        };
        let id = ObjectId::from_bytes(ID_MARK);
        let update = rawdoc! { "q": { "_id": id }, "u": { "_id": id, "v": value } };
        Self::new(encode(&body, Some(("updates", &[update]))))
    }

    /// A retryable deletion of one document by its `_id`.
    pub(super) fn delete(
        collection: &str,
        session: &RawDocument,
        cluster_time: Option<&RawDocument>,
    ) -> Self {
        let mut body = rawdoc! {
            "delete": collection, "ordered": true, "$db": DATABASE, "lsid": session.to_owned(), "txnNumber": NUMBER_MARK,
        };
        append_cluster_time(&mut body, cluster_time);
        let deletion = rawdoc! { "q": { "_id": ObjectId::from_bytes(ID_MARK) }, "limit": 1 };
        Self::new(encode(&body, Some(("deletes", &[deletion]))))
    }

    fn new(bytes: Vec<u8>) -> Self {
        Prepared {
            number_at: places(&bytes, &NUMBER_MARK.to_le_bytes()).pop(),
            id_at: places(&bytes, &ID_MARK),
            value_at: places(&bytes, &[VALUE_MARK; VALUE_BYTES]),
            bytes,
        }
    }

    pub(super) fn ids(&self) -> usize {
        self.id_at.len()
    }

    pub(super) fn values(&self) -> usize {
        self.value_at.len()
    }

    pub(super) fn set_request_id(&mut self, id: i32) {
        self.bytes[REQUEST_ID_AT..REQUEST_ID_AT + 4].copy_from_slice(&id.to_le_bytes());
    }

    pub(super) fn set_number(&mut self, number: i64) {
        if let Some(at) = self.number_at {
            self.bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
    }

    pub(super) fn set_id(&mut self, which: usize, id: &Id) {
        let at = self.id_at[which];
        self.bytes[at..at + id.len()].copy_from_slice(id);
    }

    /// `value` has VALUE_BYTES bytes.
    pub(super) fn set_value(&mut self, which: usize, value: &[u8]) {
        let at = self.value_at[which];
        self.bytes[at..at + VALUE_BYTES].copy_from_slice(value);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A session id as drivers make them: a random UUID (version 4).
pub(super) fn session(random: &mut Random) -> RawDocumentBuf {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random.next_u64().to_le_bytes());
    bytes[8..].copy_from_slice(&random.next_u64().to_le_bytes());
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let id = Binary {
        subtype: BinarySubtype::Uuid,
        bytes: bytes.to_vec(),
    };
    rawdoc! { "id": id }
}

/// A whole OP_MSG: one body, at most one document sequence.
pub(super) fn encode(
    body: &RawDocument,
    sequence: Option<(&'static str, &[RawDocumentBuf])>,
) -> Vec<u8> {
    let mut bytes = vec![0; 12];
    bytes.extend_from_slice(&OP_MSG.to_le_bytes());
    bytes.extend_from_slice(&[0; 5]);
    bytes.extend_from_slice(body.as_bytes());
    if let Some((name, documents)) = sequence {
        bytes.push(1);
        let section_at = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        for document in documents {
            bytes.extend_from_slice(document.as_bytes());
        }
        write_length(&mut bytes, section_at);
    }
    write_length(&mut bytes, 0);
    bytes
}

/// The length a header claims, once four bytes are there.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    let four = bytes.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*four) as usize)
}

/// Where `mark` stands in `bytes`, without overlaps.
pub(super) fn places(bytes: &[u8], mark: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    while at + mark.len() <= bytes.len() {
        if bytes[at] == mark[0] && bytes[at..].starts_with(mark) {
            found.push(at);
            at += mark.len();
        } else {
            at += 1;
        }
    }
    found
}

fn append_cluster_time(body: &mut RawDocumentBuf, cluster_time: Option<&RawDocument>) {
    if let Some(time) = cluster_time {
        body.append(bson::cstr!("$clusterTime"), time.to_owned());
    }
}

fn write_length(bytes: &mut [u8], from: usize) {
    let length = (bytes.len() - from) as u32;
    bytes[from..from + 4].copy_from_slice(&length.to_le_bytes());
}
