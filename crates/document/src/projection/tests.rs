//! Projections against a model that walks trees.

use bson::{Bson, Document, RawDocumentBuf, doc};
use proptest::prelude::*;

use super::Projection;

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).expect("names without NUL")
}

fn project(specification: &Document, document: &Document) -> Document {
    let projection = Projection::parse(&raw(specification)).expect("valid");
    Document::try_from(projection.apply(&raw(document))).expect("well-formed")
}

/// Keeps or drops each field by looking at its whole path; array members add nothing to a path.
fn model(document: &Document, prefix: &str, paths: &[String], include: bool) -> Document {
    let mut kept = Document::new();
    for (name, value) in document {
        let path = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        let named = paths.contains(&path);
        let leads = paths
            .iter()
            .any(|known| known.starts_with(&format!("{path}.")));
        let value = match (named, leads) {
            (true, _) if include => Some(value.clone()),
            (true, _) => None,
            (false, true) => model_value(value, &path, paths, include),
            (false, false) => (!include).then(|| value.clone()),
        };
        if let Some(value) = value {
            kept.insert(name, value);
        }
    }
    kept
}

fn model_value(value: &Bson, path: &str, paths: &[String], include: bool) -> Option<Bson> {
    match value {
        Bson::Document(embedded) => Some(Bson::Document(model(embedded, path, paths, include))),
        Bson::Array(members) => Some(Bson::Array(
            members
                .iter()
                .filter_map(|member| model_value(member, path, paths, include))
                .collect(),
        )),
        scalar => (!include).then(|| scalar.clone()),
    }
}

fn values() -> impl Strategy<Value = Bson> {
    let leaf = prop_oneof![
        (0i32..9).prop_map(Bson::Int32),
        "[xy]{0,2}".prop_map(Bson::String)
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Bson::Array),
            documents(inner).prop_map(Bson::Document),
        ]
    })
}

fn documents(values: impl Strategy<Value = Bson>) -> impl Strategy<Value = Document> {
    prop::collection::vec((prop::sample::select(vec!["a", "b", "c"]), values), 0..4)
        .prop_map(|fields| fields.into_iter().map(|(n, v)| (n.to_owned(), v)).collect())
}

fn paths() -> impl Strategy<Value = Vec<String>> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    let path = prop::collection::vec(name, 1..4).prop_map(|names| names.join("."));
    prop::collection::vec(path, 1..4).prop_map(|paths| {
        let mut apart: Vec<String> = Vec::new();
        for path in paths {
            let nested = |l: &str, r: &str| l == r || l.starts_with(&format!("{r}."));
            if !apart
                .iter()
                .any(|known| nested(known, &path) || nested(&path, known))
            {
                apart.push(path);
            }
        }
        apart
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn projections_do_what_walking_a_tree_does(
        document in documents(values()),
        paths in paths(),
        include in any::<bool>(),
        without_id in any::<bool>(),
    ) {
        let mut stored = doc! { "_id": 7 };
        stored.extend(document);
        let mut specification: Document =
            paths.iter().map(|path| (path.clone(), Bson::Int32(i32::from(include)))).collect();
        let mut modelled = paths.clone();
        if without_id {
            specification.insert("_id", 0);
        }
        // An inclusion keeps `_id` unless told otherwise; an exclusion drops it only when told to.
        if include != without_id {
            modelled.push("_id".to_owned());
        }
        prop_assert_eq!(project(&specification, &stored), model(&stored, "", &modelled, include));
    }
}

#[test]
fn what_an_index_could_answer() {
    let fields = |specification: Document| {
        let projection = Projection::parse(&raw(&specification)).expect("valid");
        projection.included_fields().map(|fields| fields.join(" "))
    };
    assert_eq!(fields(doc! { "a": 1, "_id": 0 }), Some("a".to_owned()));
    assert_eq!(fields(doc! { "a": 1 }), Some("a _id".to_owned()));
    assert_eq!(fields(doc! { "a.b": 1 }), None);
    assert_eq!(fields(doc! { "a": 0 }), None);
}
