//! The codec: whatever is encoded comes back; whatever else comes in is refused without a panic.

use bson::oid::ObjectId;
use bson::{Bson, Document, RawBson, RawDocumentBuf, doc};
use proptest::prelude::*;

use super::{
    Command, DecodeError, Image, IndexChange, IndexSelection, Operation, SessionStamp, Statement,
    Upsert, WriteCommand, WriteTerms,
};
use crate::catalog::Namespace;

fn value() -> impl Strategy<Value = Bson> {
    prop_oneof![
        any::<i32>().prop_map(Bson::Int32),
        any::<i64>().prop_map(Bson::Int64),
        "[a-zé]{0,9}".prop_map(Bson::String),
        any::<[u8; 12]>().prop_map(|bytes| Bson::ObjectId(ObjectId::from_bytes(bytes))),
        Just(Bson::Null),
        Just(Bson::MaxKey),
        (any::<i32>(), any::<bool>()).prop_map(|(a, b)| Bson::Document(doc! { "a": a, "b": b })),
    ]
}

fn document() -> impl Strategy<Value = RawDocumentBuf> {
    prop::collection::vec(("[a-z$.]{1,5}", value()), 0..4).prop_map(|fields| {
        let document: Document = fields.into_iter().collect();
        RawDocumentBuf::try_from(&document).expect("names hold no null characters")
    })
}

fn raw_value() -> impl Strategy<Value = RawBson> {
    value().prop_map(|value| RawBson::try_from(value).expect("it can be encoded"))
}

fn namespace() -> impl Strategy<Value = Namespace> {
    ("[a-z]{0,5}", "[a-zü.]{0,5}")
        .prop_map(|(database, collection)| Namespace::new(database, collection))
}

fn image() -> impl Strategy<Value = Image> {
    prop_oneof![Just(Image::None), Just(Image::Before), Just(Image::After)]
}

fn update() -> impl Strategy<Value = RawBson> {
    prop_oneof![
        document().prop_map(RawBson::Document),
        prop::collection::vec(document(), 0..3)
            .prop_map(|stages| RawBson::Array(stages.into_iter().collect())),
        raw_value(),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let candidates = || prop::collection::vec(raw_value(), 0..4);
    prop_oneof![
        document().prop_map(|document| Operation::Insert { document }),
        (
            document(),
            update(),
            prop::collection::vec(document(), 0..2),
            candidates(),
            any::<bool>(),
            prop::option::of(prop::option::of(value())),
            image(),
        )
            .prop_map(
                |(filter, update, array_filters, candidates, multi, upsert, image)| {
                    Operation::Update {
                        filter,
                        update,
                        array_filters,
                        candidates,
                        multi,
                        upsert: upsert.map(|generated_id| Upsert { generated_id }),
                        image,
                    }
                }
            ),
        (document(), candidates(), any::<bool>(), image()).prop_map(
            |(filter, candidates, multi, image)| Operation::Delete {
                filter,
                candidates,
                multi,
                image,
            }
        ),
    ]
}

fn write() -> impl Strategy<Value = Command> {
    let session = (prop::collection::vec(any::<u8>(), 0..20), any::<i64>())
        .prop_map(|(lsid, txn_number)| SessionStamp { lsid, txn_number });
    let statement = (any::<i32>(), operation()).prop_map(|(statement_id, operation)| Statement {
        statement_id,
        operation,
    });
    (
        namespace(),
        prop::option::of(session),
        any::<bool>(),
        any::<i64>(),
        (
            any::<bool>(),
            document(),
            prop::collection::vec(document(), 0..3),
            any::<bool>(),
            prop::collection::vec(document(), 0..3),
        ),
        prop::collection::vec(statement, 0..5),
    )
        .prop_map(|(namespace, session, ordered, now_ms, terms, statements)| {
            Command::Write(WriteCommand {
                namespace,
                session,
                ordered,
                now_ms,
                terms: WriteTerms {
                    bypass_validation: terms.0,
                    variables: terms.1,
                    constants: terms.2,
                    supplied: terms.3,
                    collations: terms.4,
                },
                statements,
            })
        })
}

fn selection() -> impl Strategy<Value = IndexSelection> {
    prop_oneof![
        Just(IndexSelection::All),
        prop::collection::vec("[a-z_]{0,4}", 0..3).prop_map(IndexSelection::Names),
        document().prop_map(IndexSelection::Key),
    ]
}

fn index_change() -> impl Strategy<Value = IndexChange> {
    let expiry = prop::option::of(0..=i32::MAX);
    ("[a-z_]{0,4}", prop::option::of(any::<bool>()), expiry).prop_map(
        |(name, hidden, expire_after_seconds)| IndexChange {
            name,
            hidden,
            expire_after_seconds,
        },
    )
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        8 => write(),
        1 => (namespace(), document())
            .prop_map(|(namespace, options)| Command::CreateCollection { namespace, options }),
        1 => (namespace(), document(), prop::option::of(index_change()))
            .prop_map(|(namespace, changes, index)| Command::ModifyCollection { namespace, changes, index }),
        1 => namespace().prop_map(|namespace| Command::DropCollection { namespace }),
        1 => "[a-z]{0,5}".prop_map(|database| Command::DropDatabase { database }),
        1 => (namespace(), namespace(), any::<bool>())
            .prop_map(|(from, to, drop_target)| Command::RenameCollection { from, to, drop_target }),
        1 => (namespace(), prop::collection::vec(document(), 0..3))
            .prop_map(|(namespace, specs)| Command::CreateIndexes { namespace, specs }),
        1 => any::<(u32, u32)>()
            .prop_map(|(index_id, limit)| Command::IndexBuildChunk { index_id, limit }),
        1 => any::<u32>().prop_map(|index_id| Command::IndexBuildFinish { index_id }),
        1 => (namespace(), selection())
            .prop_map(|(namespace, indexes)| Command::DropIndexes { namespace, indexes }),
        1 => (any::<i64>(), prop::collection::vec(any::<u8>(), 0..20), any::<u32>()).prop_map(
            |(last_used_before_ms, after, limit)| Command::ExpireSessions {
                last_used_before_ms,
                after,
                limit,
            }
        ),
        1 => any::<u32>().prop_map(|limit| Command::Reclaim { limit }),
        1 => (any::<u32>(), any::<i64>(), prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..4))
            .prop_map(|(index_id, now_ms, entries)| Command::ExpireDocuments { index_id, now_ms, entries }),
    ]
}

proptest! {
    #[test]
    fn what_was_encoded_comes_back(command in command()) {
        prop_assert_eq!(Command::decode(&command.encode()), Ok(command));
    }

    #[test]
    fn the_planned_time_is_read_without_the_rest(command in command()) {
        let planned = match &command {
            Command::Write(write) => Some(write.now_ms),
            Command::ExpireDocuments { now_ms, .. } => Some(*now_ms),
            _ => None,
        };
        prop_assert_eq!(Command::planned_ms(&command.encode()), planned);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Command::planned_ms(&bytes);
        let _ = Command::decode(&bytes);
    }

    #[test]
    fn changed_bytes_never_panic(
        command in command(),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = command.encode();
        for (place, byte) in places {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let _ = Command::decode(&bytes);
    }

    #[test]
    fn a_cut_command_is_refused(command in command(), cut in any::<prop::sample::Index>()) {
        let bytes = command.encode();
        prop_assert!(Command::decode(&bytes[..cut.index(bytes.len())]).is_err());
    }
}

#[test]
fn a_newer_version_is_told_apart_from_damage() {
    let mut bytes = Command::Reclaim { limit: 1 }.encode();
    bytes[0] = 4;
    assert_eq!(Command::decode(&bytes), Err(DecodeError::Version(4)));
    bytes[0] = 1;
    bytes.push(0);
    assert_eq!(Command::decode(&bytes), Err(DecodeError::TrailingBytes(1)));
}

/// Members that read only the first format must be able to read whatever they can do.
#[test]
fn a_command_is_written_in_the_oldest_format_that_holds_it() {
    let index = |options: Document| {
        let mut spec = doc! { "key": { "at": 1 }, "name": "at" };
        spec.extend(options);
        Command::CreateIndexes {
            namespace: Namespace::new("d", "c"),
            specs: vec![RawDocumentBuf::try_from(&spec).expect("it can be encoded")],
        }
    };
    assert_eq!(index(doc! { "unique": true }).encode()[0], 1);
    assert_eq!(Command::Reclaim { limit: 1 }.encode()[0], 1);
    let expiring = index(doc! { "expireAfterSeconds": 5 });
    let mut bytes = expiring.encode();
    assert_eq!(bytes[0], 2);
    assert_eq!(Command::decode(&bytes), Ok(expiring));
    let hashed = Command::CreateIndexes {
        namespace: Namespace::new("d", "c"),
        specs: vec![
            RawDocumentBuf::try_from(&doc! { "key": { "a": "hashed" }, "name": "a" })
                .expect("it can be encoded"),
        ],
    };
    let newest = hashed.encode();
    assert_eq!(newest[0], 3);
    assert_eq!(Command::decode(&newest), Ok(hashed));
    // What members of the first format refused stays refused when a newer one replays the log.
    bytes[0] = 1;
    assert_eq!(Command::decode(&bytes), Err(DecodeError::NewerContent(1)));
}
