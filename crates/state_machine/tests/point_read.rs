//! Finds that are said to be point reads look at one document at most, and those by a unique key or `_id` are said to be.
#![allow(clippy::unwrap_used)]

mod support;

use bson::{Bson, Document, doc};
use state_machine::query::{ExplainRequest, Explained, FindRequest, Hint, Verbosity};
use support::{Database, namespace, raw};

fn find(filter: Document) -> FindRequest {
    FindRequest::new(namespace(), raw(&filter))
}

/// Forty documents, with a unique index on `b` and `_id`, a partial unique one and an ordinary one.
fn database() -> Database {
    let mut database = Database::with_forty(&[("a", doc! {"a": 1})]);
    for spec in [
        doc! {"key": {"b": 1, "_id": 1}, "name": "both", "unique": true},
        doc! {"key": {"c": 1}, "name": "c", "unique": true, "partialFilterExpression": {"c": {"$gt": 100}}},
        doc! {"key": {"d.e": 1}, "name": "d", "unique": true, "sparse": true},
    ] {
        database.create_index(raw(&spec)).unwrap();
    }
    database
}

#[test]
fn point_reads_are_told_apart() {
    let snapshot = database().reader().snapshot();
    let examined = |find: FindRequest| {
        let request = ExplainRequest {
            explained: Explained::Find(find),
            verbosity: Verbosity::ExecutionStats,
        };
        let explained = snapshot.explain(request).unwrap();
        let statistics = explained.get_document("executionStats").unwrap();
        statistics.get_i64("totalDocsExamined").unwrap()
    };
    for filter in [
        doc! {"_id": 3},
        doc! {"_id": "none"},
        doc! {"_id": 3, "b": 3},
        doc! {"d.e": "x"},
        doc! {"d.e": "x", "a": 3},
    ] {
        let request = find(filter.clone());
        assert!(request.is_point_read(&snapshot), "{filter}");
        assert!(examined(request) <= 1, "{filter}");
    }
    for filter in [
        doc! {},
        doc! {"a": 3},
        doc! {"b": 3},
        doc! {"c": 3},
        doc! {"_id": {"$gt": 3}},
        doc! {"_id": {"$in": [1, 2]}},
        doc! {"d.e": Bson::Null},
        doc! {"d.e": {"$gt": "x"}},
        doc! {"$or": [{"_id": 3}, {"_id": 4}]},
    ] {
        assert!(!find(filter.clone()).is_point_read(&snapshot), "{filter}");
    }
    let hinted = FindRequest {
        hint: Some(Hint::Name("a".to_owned())),
        ..find(doc! {"_id": 3})
    };
    assert!(!hinted.is_point_read(&snapshot));
}
