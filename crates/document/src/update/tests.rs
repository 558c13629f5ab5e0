//! Updates against a model that edits trees, one path after the other.

use bson::{Bson, Document, RawDocumentBuf, doc};
use proptest::prelude::*;

use super::{Update, UpdateContext, matched_element};
use crate::ErrorKind;
use crate::validate::{DOCUMENT_BYTES_MAX, NESTING_MAX};

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).expect("names without NUL")
}

fn tree(document: &RawDocumentBuf) -> Document {
    Document::try_from(document).expect("well-formed")
}

fn apply(update: &Document, document: &Document) -> Result<Option<Document>, ErrorKind> {
    let update = raw(update);
    Update::parse(&update, &[])
        .and_then(|update| update.apply(&raw(document), &UpdateContext::default()))
        .map(|updated| updated.as_ref().map(tree))
        .map_err(|error| error.kind)
}

#[derive(Debug, Clone)]
enum Edit {
    Set(Bson),
    Unset,
    Increment(i32),
    Push(Bson),
}

impl Edit {
    fn modifier(&self) -> (&'static str, Bson) {
        match self {
            Edit::Set(value) => ("$set", value.clone()),
            Edit::Unset => ("$unset", Bson::Int32(1)),
            Edit::Increment(by) => ("$inc", Bson::Int32(*by)),
            Edit::Push(value) => ("$push", value.clone()),
        }
    }

    /// The new value; `None` takes the field away.
    fn change(&self, existing: Option<&Bson>) -> Result<Option<Bson>, ()> {
        Ok(Some(match (self, existing) {
            (Edit::Unset, _) => return Ok(None),
            (Edit::Set(value), _) => value.clone(),
            (Edit::Increment(by), None) => Bson::Int32(*by),
            (Edit::Increment(by), Some(Bson::Int32(current))) => Bson::Int32(current + by),
            (Edit::Push(value), None) => Bson::Array(vec![value.clone()]),
            (Edit::Push(value), Some(Bson::Array(members))) => {
                let mut members = members.clone();
                members.push(value.clone());
                Bson::Array(members)
            }
            _ => return Err(()),
        }))
    }

    fn edit(&self, container: &mut Bson, path: &[&str]) -> Result<(), ()> {
        let creates = !matches!(self, Edit::Unset);
        match container {
            Bson::Document(document) => self.edit_document(document, path, creates),
            Bson::Array(members) => self.edit_array(members, path, creates),
            _ if creates => Err(()),
            _ => Ok(()),
        }
    }

    fn edit_document(
        &self,
        document: &mut Document,
        path: &[&str],
        creates: bool,
    ) -> Result<(), ()> {
        let (name, below) = path.split_first().expect("a path is not empty");
        if below.is_empty() {
            match self.change(document.get(name))? {
                Some(value) => drop(document.insert(*name, value)),
                None => {
                    *document = std::mem::take(document)
                        .into_iter()
                        .filter(|(known, _)| known != name)
                        .collect();
                }
            }
            return Ok(());
        }
        if let Some(next) = document.get_mut(name) {
            return self.edit(next, below);
        }
        if creates {
            let mut next = Bson::Document(Document::new());
            self.edit(&mut next, below)?;
            document.insert(*name, next);
        }
        Ok(())
    }

    fn edit_array(&self, members: &mut Vec<Bson>, path: &[&str], creates: bool) -> Result<(), ()> {
        let (name, below) = path.split_first().expect("a path is not empty");
        let Ok(index) = name.parse::<usize>() else {
            return if creates { Err(()) } else { Ok(()) };
        };
        if index >= members.len() {
            if !creates {
                return Ok(());
            }
            let mut created = Bson::Document(Document::new());
            if below.is_empty() {
                created = self.change(None)?.expect("creates");
            } else {
                self.edit(&mut created, below)?;
            }
            members.resize(index, Bson::Null);
            members.push(created);
            return Ok(());
        }
        if below.is_empty() {
            members[index] = self.change(Some(&members[index]))?.unwrap_or(Bson::Null);
            return Ok(());
        }
        self.edit(&mut members[index], below)
    }
}

fn values() -> impl Strategy<Value = Bson> {
    let leaf = prop_oneof![
        (-5i32..5).prop_map(Bson::Int32),
        "[xy]{0,2}".prop_map(Bson::String),
        Just(Bson::Null),
        Just(Bson::Boolean(true)),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Bson::Array),
            documents(inner).prop_map(Bson::Document),
        ]
    })
}

fn documents(values: impl Strategy<Value = Bson>) -> impl Strategy<Value = Document> {
    prop::collection::vec((prop::sample::select(vec!["c", "a", "b"]), values), 0..3)
        .prop_map(|fields| fields.into_iter().map(|(n, v)| (n.to_owned(), v)).collect())
}

fn paths() -> impl Strategy<Value = Vec<&'static str>> {
    let first = prop::sample::select(vec!["a", "b", "c", "d"]);
    let below = prop::sample::select(vec!["0", "1", "3", "a", "b", "c"]);
    (first, prop::collection::vec(below, 0..3)).prop_map(|(first, mut below)| {
        below.insert(0, first);
        below
    })
}

fn edits() -> impl Strategy<Value = Edit> {
    prop_oneof![
        values().prop_map(Edit::Set),
        Just(Edit::Unset),
        (-5i32..5).prop_map(Edit::Increment),
        values().prop_map(Edit::Push),
    ]
}

fn starts_with(path: &[&str], prefix: &[&str]) -> bool {
    path.len() >= prefix.len() && path[..prefix.len()] == *prefix
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn modifiers_do_what_editing_a_tree_does(
        document in documents(values()),
        changes in prop::collection::vec((paths(), edits()), 1..4),
    ) {
        let mut update = Document::new();
        for (path, edit) in &changes {
            let (modifier, argument) = edit.modifier();
            // `$push` of a document with `$each` is no value; the strategy has no such names.
            let fields = update
                .entry(modifier.to_owned())
                .or_insert_with(|| Bson::Document(Document::new()));
            fields.as_document_mut().expect("just made").insert(path.join("."), argument);
        }
        let conflicting = changes.iter().enumerate().any(|(position, (path, edit))| {
            changes[..position].iter().any(|(other, other_edit)| {
                // The same path under the same modifier is one field of the update.
                let same = path == other && edit.modifier().0 == other_edit.modifier().0;
                !same && (starts_with(path, other) || starts_with(other, path))
            })
        });
        let result = apply(&update, &document);
        if conflicting {
            prop_assert_eq!(result, Err(ErrorKind::ConflictingUpdateOperators));
            return Ok(());
        }
        // The last one of the same path and modifier counts; digits come before letters, as in the rules.
        let mut last: Vec<(Vec<&str>, Edit)> = Vec::new();
        for (path, edit) in changes {
            last.retain(|(known, _)| *known != path);
            last.push((path, edit));
        }
        last.sort_by(|(left, _), (right, _)| left.cmp(right));
        let mut expected = Bson::Document(document.clone());
        let outcome: Result<(), ()> = last.iter().try_for_each(|(path, edit)| edit.edit(&mut expected, path));
        let Bson::Document(expected) = expected else { unreachable!() };
        match outcome {
            Err(()) => prop_assert!(result.is_err(), "{result:?}"),
            Ok(()) => {
                let updated = result.expect("the model accepts it");
                prop_assert_eq!(updated.is_none(), expected == document);
                prop_assert_eq!(updated.unwrap_or(document), expected);
            }
        }
    }

    #[test]
    fn a_second_application_of_set_changes_nothing(
        document in documents(values()),
        path in paths(),
        value in values(),
    ) {
        let update = doc! { "$set": { path.join("."): value } };
        if let Ok(Some(updated)) = apply(&update, &document) {
            prop_assert_eq!(apply(&update, &updated), Ok(None));
        }
    }

    #[test]
    fn min_and_max_keep_the_extreme(left in values(), right in values()) {
        let extreme = |modifier: &str| {
            let update = doc! { modifier: { "a": right.clone() } };
            apply(&update, &doc! { "a": left.clone() })
                .expect("no type is refused")
                .map_or(left.clone(), |updated| updated.get("a").expect("there").clone())
        };
        let compare = |l: &Bson, r: &Bson| {
            let (l, r) = (raw(&doc! { "": l.clone() }), raw(&doc! { "": r.clone() }));
            let value = |document: &RawDocumentBuf| {
                bson::RawBson::from(document.get("").expect("fine").expect("there"))
            };
            crate::order::compare(value(&l).as_raw_bson_ref(), value(&r).as_raw_bson_ref())
        };
        for value in [&left, &right] {
            prop_assert!(compare(&extreme("$min"), value).is_le());
            prop_assert!(compare(&extreme("$max"), value).is_ge());
        }
    }
}

#[test]
fn results_above_the_size_limit_are_refused() {
    let half = "x".repeat(DOCUMENT_BYTES_MAX / 2);
    let document = doc! { "_id": 1, "a": &half };
    assert_eq!(
        apply(&doc! { "$set": { "b": &half } }, &document),
        Err(ErrorKind::Location(17419))
    );
}

#[test]
fn results_above_the_nesting_limit_are_refused() {
    let nested = |levels: usize| (1..levels).fold(doc! {}, |inner, _| doc! { "a": inner });
    let set = |levels| {
        apply(
            &doc! { "$set": { "b.c": nested(levels) } },
            &doc! { "b": {} },
        )
    };
    assert!(set(NESTING_MAX - 1).is_ok());
    assert_eq!(set(NESTING_MAX), Err(ErrorKind::Overflow));
    let path = vec!["a"; NESTING_MAX + 1].join(".");
    assert!(apply(&doc! { "$set": { &path: 1 } }, &doc! {}).is_ok());
    let path = format!("{path}.a");
    assert_eq!(
        apply(&doc! { "$set": { path: 1 } }, &doc! {}),
        Err(ErrorKind::Overflow)
    );
}

#[test]
fn an_upsert_without_any_id_is_refused() {
    let update = raw(&doc! { "$set": { "a": 1 } });
    let update = Update::parse(&update, &[]).expect("valid");
    let filter = crate::filter::Filter::parse(&raw(&doc! {})).expect("valid");
    let error = update
        .upsert(&filter, None, &UpdateContext::default())
        .expect_err("no _id");
    assert_eq!(error.kind, ErrorKind::InvalidIdField);
}

#[test]
fn the_matched_element_is_that_of_the_last_array_condition() {
    let document = raw(&doc! { "a": [1, 2, 3], "b": { "c": [{ "d": 1 }, { "d": 2 }] }, "e": 1 });
    let matched = |query: Document| matched_element(&raw(&query), &document);
    assert_eq!(matched(doc! { "a": { "$gt": 1 } }), Some(1));
    assert_eq!(matched(doc! { "a": 3, "b.c.d": 1 }), Some(0));
    assert_eq!(
        matched(doc! { "$and": [{ "b.c": { "$elemMatch": { "d": 2 } } }] }),
        Some(1)
    );
    assert_eq!(matched(doc! { "e": 1 }), None);
    assert_eq!(matched(doc! { "a": 3, "e": 1 }), Some(2));
}

#[test]
fn which_updates_are_replacements_and_which_positional() {
    let parse = |update: Document| Update::parse(&raw(&update), &[]).expect("valid");
    assert!(parse(doc! { "a": 1 }).is_replacement());
    assert!(parse(doc! {}).is_replacement());
    assert!(!parse(doc! { "$set": { "a": 1 } }).is_replacement());
    assert!(parse(doc! { "$set": { "a.$": 1 } }).is_positional());
    assert!(!parse(doc! { "$set": { "a.$[]": 1 } }).is_positional());
}
