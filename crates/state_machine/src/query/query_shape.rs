//! The shape of a query: what is left of it without its values. Queries of one shape can be served by the same indexes.
//!
//! The order of conditions and an explicit `$and` make no difference, `$comment` is no part. Two queries that are taken for
//! one shape though they are none, or the other way round, cost time, never a wrong row: a shape only says which plan to
//! look at first, and names a query for people.

use bson::{RawArray, RawBsonRef, RawDocument};
use document::Collation;
use document::key_encoding::Direction;
use document::sort::SortSpec;
use md5::{Digest, Md5};

/// What a shape is made of.
#[derive(Clone, Copy)]
pub(super) struct QueryShape<'a> {
    pub filter: &'a RawDocument,
    pub sort: Option<&'a SortSpec>,
    pub projection: &'a RawDocument,
    pub collation: Option<&'a Collation>,
}

impl QueryShape<'_> {
    /// The shape as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut shape = conjunction(self.filter).into_bytes();
        shape.push(b'|');
        for field in self.sort.iter().flat_map(|sort| sort.fields()) {
            let sign = match field.direction {
                Direction::Ascending => "+",
                Direction::Descending => "-",
            };
            shape.extend_from_slice(format!("{sign}{:?}", field.path).as_bytes());
        }
        shape.push(b'|');
        shape.extend_from_slice(projected(self.projection).as_bytes());
        if let Some(collation) = self.collation {
            shape.push(b'|');
            shape.extend_from_slice(collation.document().as_bytes());
        }
        shape
    }
}

/// The shape together with the indexes that could serve it.
pub(super) fn cache_key(mut shape: Vec<u8>, mut indexes: Vec<u32>) -> Vec<u8> {
    indexes.sort_unstable();
    indexes.dedup();
    for index in indexes {
        shape.extend_from_slice(&index.to_be_bytes());
    }
    shape
}

/// A shape or a key in eight digits, as people compare them.
pub(super) fn hash(bytes: &[u8]) -> String {
    let digest: [u8; 16] = Md5::digest(bytes).into();
    let [a, b, c, d, ..] = digest;
    format!("{:08X}", u32::from_be_bytes([a, b, c, d]))
}

fn conjunction(filter: &RawDocument) -> String {
    let mut conditions = Vec::new();
    add_conjuncts(filter, &mut conditions);
    joined(conditions)
}

fn joined(mut conditions: Vec<String>) -> String {
    conditions.sort_unstable();
    format!("({})", conditions.join(";"))
}

/// Requests nest a bounded number of times: that is checked when they are parsed.
fn add_conjuncts(filter: &RawDocument, conditions: &mut Vec<String>) {
    for (name, value) in filter.iter().map_while(Result::ok) {
        match (name.as_str(), value) {
            ("$comment", _) => {}
            ("$and", RawBsonRef::Array(clauses)) => {
                for clause in documents(clauses) {
                    add_conjuncts(clause, conditions);
                }
            }
            (name @ ("$or" | "$nor"), RawBsonRef::Array(clauses)) => {
                let clauses = documents(clauses).map(conjunction).collect();
                conditions.push(format!("{name}{}", joined(clauses)));
            }
            (name, value) if name.starts_with('$') => {
                conditions.push(format!("{name} {}", outline(value)));
            }
            (path, value) => add_conditions(&format!("{path:?}"), value, conditions),
        }
    }
}

fn add_conditions(path: &str, value: RawBsonRef<'_>, conditions: &mut Vec<String>) {
    match value {
        RawBsonRef::Document(operators) if has_operators(operators) => {
            for (name, operand) in operators.iter().map_while(Result::ok) {
                match (name.as_str(), operand) {
                    // Said by `$regex`, or by `$near` and its like.
                    ("$options" | "$comment", _) => {}
                    ("$not", operand) => {
                        let mut inner = Vec::new();
                        add_conditions("", operand, &mut inner);
                        conditions.push(format!("{path} $not{}", joined(inner)));
                    }
                    ("$elemMatch", RawBsonRef::Document(inner)) => {
                        let inner = match has_operators(inner) {
                            true => {
                                let mut tests = Vec::new();
                                add_conditions("", RawBsonRef::Document(inner), &mut tests);
                                joined(tests)
                            }
                            false => conjunction(inner),
                        };
                        conditions.push(format!("{path} $elemMatch{inner}"));
                    }
                    (name, _) => conditions.push(format!("{path} {name}")),
                }
            }
        }
        RawBsonRef::RegularExpression(_) => conditions.push(format!("{path} $regex")),
        _ => conditions.push(format!("{path} $eq")),
    }
}

fn has_operators(document: &RawDocument) -> bool {
    let first = document.iter().next();
    first.is_some_and(|first| first.is_ok_and(|(name, _)| name.as_str().starts_with('$')))
}

fn documents(array: &RawArray) -> impl Iterator<Item = &RawDocument> {
    let members = array.into_iter().map_while(Result::ok);
    members.filter_map(|member| member.as_document())
}

/// An expression without its constants.
fn outline(value: RawBsonRef<'_>) -> String {
    match value {
        RawBsonRef::Document(fields) => {
            let fields = fields.iter().map_while(Result::ok);
            let fields: Vec<String> = fields
                .map(|(name, value)| format!("{:?}:{}", name.as_str(), outline(value)))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        RawBsonRef::Array(members) => {
            let members = members.into_iter().map_while(Result::ok);
            let members: Vec<String> = members.map(outline).collect();
            format!("[{}]", members.join(","))
        }
        RawBsonRef::String(path) if path.starts_with('$') => format!("{path:?}"),
        _ => "?".to_owned(),
    }
}

/// A projection: which fields, and whether they are in or out.
fn projected(projection: &RawDocument) -> String {
    let fields = projection.iter().map_while(Result::ok);
    let fields: Vec<String> = fields
        .map(|(name, value)| {
            let said = match value {
                RawBsonRef::Boolean(false) | RawBsonRef::Int32(0) | RawBsonRef::Int64(0) => {
                    "0".to_owned()
                }
                RawBsonRef::Double(0.0) => "0".to_owned(),
                RawBsonRef::Boolean(_) | RawBsonRef::Int32(_) | RawBsonRef::Int64(_) => {
                    "1".to_owned()
                }
                RawBsonRef::Double(_) => "1".to_owned(),
                other => outline(other),
            };
            format!("{:?}:{said}", name.as_str())
        })
        .collect();
    fields.join(",")
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, rawdoc};

    use super::*;

    fn shape(filter: &RawDocument) -> Vec<u8> {
        QueryShape {
            filter,
            sort: None,
            projection: &RawDocumentBuf::new(),
            collation: None,
        }
        .encode()
    }

    fn same(left: &RawDocument, right: &RawDocument) -> bool {
        shape(left) == shape(right)
    }

    #[test]
    fn values_order_and_and_make_no_difference() {
        let filter = rawdoc! { "a": 1, "b": { "$gt": 2, "$lt": 5 } };
        assert!(same(
            &filter,
            &rawdoc! { "a": "x", "b": { "$gt": 7, "$lt": 9.5 } }
        ));
        assert!(same(
            &filter,
            &rawdoc! { "b": { "$lt": 5, "$gt": 2 }, "a": null, "$comment": "why" }
        ));
        assert!(same(
            &filter,
            &rawdoc! { "$and": [{ "b": { "$lt": 1 } }, { "$and": [{ "a": 3 }] }, { "b": { "$gt": 0 } }] }
        ));
        assert!(same(
            &rawdoc! { "$or": [{ "a": 1 }, { "b": { "$in": [1, 2] } }] },
            &rawdoc! { "$or": [{ "b": { "$in": [] } }, { "a": {} }] }
        ));
    }

    #[test]
    fn paths_operators_and_nesting_do() {
        let different = [
            rawdoc! {},
            rawdoc! { "a": 1 },
            rawdoc! { "b": 1 },
            rawdoc! { "a": { "$gt": 1 } },
            rawdoc! { "a": { "$not": { "$gt": 1 } } },
            rawdoc! { "a": { "$elemMatch": { "$gt": 1 } } },
            rawdoc! { "a": { "$elemMatch": { "b": { "$gt": 1 } } } },
            rawdoc! { "a": { "$regex": "x", "$options": "i" } },
            rawdoc! { "$or": [{ "a": 1 }] },
            rawdoc! { "$nor": [{ "a": 1 }] },
            rawdoc! { "$or": [{ "a": 1 }, { "b": 1 }] },
            rawdoc! { "$or": [{ "a": 1, "b": 1 }] },
            rawdoc! { "$expr": { "$gt": ["$a", 1] } },
            rawdoc! { "$expr": { "$gt": ["$b", 1] } },
            // A path that spells what two conditions come to.
            rawdoc! { "a\" $eq;\"b": 1 },
            rawdoc! { "a": 1, "b": 1 },
        ];
        for (position, left) in different.iter().enumerate() {
            for right in &different[position + 1..] {
                assert!(!same(left, right), "{left:?} and {right:?}");
            }
        }
    }

    #[test]
    fn sort_projection_and_collation_are_part_of_it() {
        let filter = rawdoc! { "a": 1 };
        let sorts = [
            rawdoc! {},
            rawdoc! { "a": 1 },
            rawdoc! { "a": -1 },
            rawdoc! { "b": 1 },
        ];
        let projections = [
            rawdoc! {},
            rawdoc! { "a": 1 },
            rawdoc! { "a": false },
            rawdoc! { "a": "$b" },
        ];
        let english = Collation::parse(&rawdoc! { "locale": "en" }).expect("a locale");
        let mut seen = std::collections::BTreeSet::new();
        for sort in &sorts {
            let sort = SortSpec::parse(sort).expect("a sort");
            for projection in &projections {
                for collation in [None, english.as_ref()] {
                    let shape = QueryShape {
                        filter: &filter,
                        sort: Some(&sort),
                        projection,
                        collation,
                    };
                    assert!(
                        seen.insert(shape.encode()),
                        "{sort:?} {projection:?} {collation:?}"
                    );
                    assert_eq!(hash(&shape.encode()).len(), 8);
                }
            }
        }
        let keys = [vec![1], vec![1, 2]].map(|indexes| cache_key(shape(&filter), indexes));
        assert_ne!(keys[0], keys[1]);
        assert_eq!(keys[1], cache_key(shape(&filter), vec![2, 1, 2]));
    }
}
