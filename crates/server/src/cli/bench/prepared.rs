//! Messages built once per connection. What changes from one operation to the next (request id, transaction number, document
//! ids) is written over in place; its places were found by searching for marks that nothing else in the message equals.

use bson::{RawDocumentBuf, rawdoc};

use super::{BenchArgs, Workload};
use crate::client::message;

const NUMBER_MARK: i64 = 0x7e11_a0c3_5bd2_9f46;
const ID_MARK: i64 = 0x5c93_17e8_d4ab_6207;

/// A message whose numbers can be changed.
pub(super) struct Prepared {
    bytes: Vec<u8>,
    number_at: Option<usize>,
    ids_at: Vec<usize>,
}

impl Prepared {
    /// An insert of `count` documents.
    pub fn insert(args: &BenchArgs, session: &RawDocumentBuf, count: usize) -> Prepared {
        let body = rawdoc! {
            "insert": args.collection.as_str(), "ordered": true, "lsid": session.clone(), "txnNumber": NUMBER_MARK,
            "$db": args.db.as_str(),
        };
        let documents = vec![document(ID_MARK, args.document_bytes as usize); count];
        Prepared::new(&body, Some(("documents", &documents)))
    }

    /// An increment of one document's counter.
    pub fn update(args: &BenchArgs, session: &RawDocumentBuf) -> Prepared {
        let body = rawdoc! {
            "update": args.collection.as_str(), "ordered": true, "lsid": session.clone(), "txnNumber": NUMBER_MARK,
            "$db": args.db.as_str(),
        };
        let update = rawdoc! { "q": { "_id": ID_MARK }, "u": { "$inc": { "n": 1 } } };
        Prepared::new(&body, Some(("updates", &[update])))
    }

    /// A read of one document by its id.
    pub fn read(args: &BenchArgs, session: &RawDocumentBuf) -> Prepared {
        let body = rawdoc! {
            "find": args.collection.as_str(), "filter": { "_id": ID_MARK }, "limit": 1, "singleBatch": true,
            "lsid": session.clone(), "$db": args.db.as_str(),
        };
        Prepared::new(&body, None)
    }

    fn new(body: &RawDocumentBuf, sequence: Option<(&str, &[RawDocumentBuf])>) -> Prepared {
        let mut bytes = Vec::new();
        message::encode(&mut bytes, 0, body, sequence);
        Prepared {
            number_at: places(&bytes, NUMBER_MARK).first().copied(),
            ids_at: places(&bytes, ID_MARK),
            bytes,
        }
    }

    /// Whether it changes documents: such messages are numbered.
    pub fn writes(&self) -> bool {
        self.number_at.is_some()
    }

    /// Document ids to fill in.
    pub fn ids(&self) -> usize {
        self.ids_at.len()
    }

    /// The message for one operation; its documents get consecutive ids from `first_id`.
    pub fn fill(&mut self, request_id: i32, number: i64, first_id: i64) -> &[u8] {
        self.set_request_id(request_id);
        if let Some(at) = self.number_at {
            self.bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        for (id, at) in (first_id..).zip(&self.ids_at) {
            self.bytes[*at..*at + 8].copy_from_slice(&id.to_le_bytes());
        }
        &self.bytes
    }

    /// The same operation once more.
    pub fn again(&mut self, request_id: i32) -> &[u8] {
        self.set_request_id(request_id);
        &self.bytes
    }

    fn set_request_id(&mut self, request_id: i32) {
        let at = message::REQUEST_ID_AT;
        self.bytes[at..at + 4].copy_from_slice(&request_id.to_le_bytes());
    }
}

/// The messages one connection alternates between.
pub(super) fn messages(args: &BenchArgs) -> Vec<Prepared> {
    let session = rawdoc! { "id": bson::Binary::from(bson::Uuid::new()) };
    match args.workload {
        Workload::Insert => vec![Prepared::insert(args, &session, 1)],
        Workload::InsertMany => vec![Prepared::insert(args, &session, args.batch as usize)],
        Workload::Read => vec![Prepared::read(args, &session)],
        Workload::Update => vec![Prepared::update(args, &session)],
        Workload::Mixed => vec![
            Prepared::read(args, &session),
            Prepared::update(args, &session),
        ],
    }
}

/// A document of about `bytes` bytes: an id, a counter and text that does not compress to nothing.
pub(super) fn document(id: i64, bytes: usize) -> RawDocumentBuf {
    let bare = rawdoc! { "_id": id, "n": 0, "text": "" };
    let mut random = Random::new(7);
    let text: String = (bare.as_bytes().len()..bytes)
        .map(|_| char::from(b'a' + u8::try_from(random.below(26)).unwrap_or(0)))
        .collect();
    rawdoc! { "_id": id, "n": 0, "text": text }
}

/// A small generator for payloads and for choosing documents; quality hardly matters (xorshift64).
pub(super) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn places(bytes: &[u8], mark: i64) -> Vec<usize> {
    let mark = mark.to_le_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at + mark.len() <= bytes.len() {
        if bytes[at..at + mark.len()] == mark {
            found.push(at);
            at += mark.len();
        } else {
            at += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::BenchArgs;
    use clap::Parser;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn args(flags: &[&str]) -> BenchArgs {
        Flags::try_parse_from(["bench"].iter().chain(flags))
            .expect("sound flags")
            .args
    }

    #[test]
    fn documents_have_the_size_asked_for() {
        for bytes in [64, 256, 5000] {
            assert_eq!(document(5, bytes).as_bytes().len(), bytes);
        }
    }

    #[test]
    fn numbers_and_ids_are_written_over_in_place() {
        let mut messages = messages(&args(&["--workload", "insertMany", "--batch", "3"]));
        assert_eq!(messages[0].ids(), 3);
        let bytes = messages[0].fill(9, 77, 1000).to_vec();
        assert_eq!(bytes[4..8], 9_i32.to_le_bytes());
        for number in [77_i64, 1000, 1001, 1002] {
            assert_eq!(places(&bytes, number).len(), 1, "{number}");
        }
        assert!(places(&bytes, NUMBER_MARK).is_empty() && places(&bytes, ID_MARK).is_empty());
        assert_eq!(messages[0].again(10)[8..], bytes[8..]);
    }

    #[test]
    fn a_mixed_load_alternates_between_reading_and_updating() {
        let messages = messages(&args(&["--workload", "mixed"]));
        assert_eq!(
            messages
                .iter()
                .map(|message| message.number_at.is_some())
                .collect::<Vec<_>>(),
            [false, true]
        );
    }

    #[test]
    fn duration_and_operations_exclude_each_other() {
        assert!(Flags::try_parse_from(["bench", "--duration", "1", "--operations", "5"]).is_err());
    }
}
