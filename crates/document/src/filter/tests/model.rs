//! The same semantics again over trees, written for plainness: every rule is looked up anew for every value.

use bson::{Bson, Document, Regex, doc};
use proptest::prelude::*;
use std::cmp::Ordering;

/// What stands at `path`, as matching sees it; None is a missing value.
fn visits(document: &Document, path: &[&str], enter_last: bool) -> Vec<Option<Bson>> {
    let rest = &path[1..];
    match document.get(path[0]) {
        None => vec![None],
        Some(Bson::Array(members)) if rest.is_empty() => {
            let itself = Some(Bson::Array(members.clone()));
            let members = members.iter().cloned().map(Some);
            if enter_last {
                members.chain([itself]).collect()
            } else {
                vec![itself]
            }
        }
        Some(value) if rest.is_empty() => vec![Some(value.clone())],
        Some(Bson::Document(inner)) => visits(inner, rest, enter_last),
        Some(Bson::Array(members)) => visits_members(members, rest, enter_last),
        Some(_) => vec![None],
    }
}

fn visits_members(members: &[Bson], path: &[&str], enter_last: bool) -> Vec<Option<Bson>> {
    let mut all = Vec::new();
    for (position, member) in members.iter().enumerate() {
        if let Bson::Document(inner) = member {
            all.extend(visits(inner, path, enter_last));
        }
        if path[0] == position.to_string() {
            match (member, &path[1..]) {
                (_, []) => all.push(Some(member.clone())),
                (Bson::Document(inner), rest) => all.extend(visits(inner, rest, enter_last)),
                (Bson::Array(inner), rest) => all.extend(visits_members(inner, rest, enter_last)),
                _ => {}
            }
        }
    }
    all
}

/// Whether `document` satisfies `query`.
pub(super) fn matches(query: &Document, document: &Document) -> bool {
    query.iter().all(|(name, condition)| match name.as_str() {
        "$and" => clauses(condition).all(|clause| matches(clause, document)),
        "$or" => clauses(condition).any(|clause| matches(clause, document)),
        "$nor" => !clauses(condition).any(|clause| matches(clause, document)),
        path => field_matches(path, condition, document),
    })
}

fn clauses(condition: &Bson) -> impl Iterator<Item = &Document> {
    condition
        .as_array()
        .unwrap()
        .iter()
        .map(|clause| clause.as_document().unwrap())
}

fn operators_of(condition: &Bson) -> Option<&Document> {
    condition.as_document().filter(|fields| {
        fields
            .keys()
            .next()
            .is_some_and(|name| name.starts_with('$'))
    })
}

fn field_matches(path: &str, condition: &Bson, document: &Document) -> bool {
    let path: Vec<&str> = path.split('.').collect();
    let any =
        |enter_last: bool, test: Test<'_>| visits(document, &path, enter_last).iter().any(test);
    match operators_of(condition) {
        None => any(true, &|value| equal_or_found(value, condition)),
        Some(operators) => operators_hold(operators, &any),
    }
}

/// A condition on one visited value.
type Test<'t> = &'t dyn Fn(&Option<Bson>) -> bool;

/// Whether all `operators` hold, where `any` tells whether some visited value passes a test.
fn operators_hold(operators: &Document, any: &dyn Fn(bool, Test<'_>) -> bool) -> bool {
    operators.iter().all(|(name, operand)| match name.as_str() {
        "$eq" => any(true, &|value| compares(value, operand, &[Ordering::Equal])),
        "$ne" => !any(true, &|value| compares(value, operand, &[Ordering::Equal])),
        "$gt" => any(true, &|value| {
            compares(value, operand, &[Ordering::Greater])
        }),
        "$gte" => any(true, &|value| {
            compares(value, operand, &[Ordering::Greater, Ordering::Equal])
        }),
        "$lt" => any(true, &|value| compares(value, operand, &[Ordering::Less])),
        "$lte" => any(true, &|value| {
            compares(value, operand, &[Ordering::Less, Ordering::Equal])
        }),
        "$in" => any(true, &|value| is_one_of(value, operand)),
        "$nin" => !any(true, &|value| is_one_of(value, operand)),
        "$exists" => any(true, &Option::is_some) == operand.as_bool().unwrap(),
        "$size" => any(false, &|value| match value {
            Some(Bson::Array(members)) => members.len() as i32 == operand.as_i32().unwrap(),
            _ => false,
        }),
        "$regex" => any(true, &|value| match value {
            Some(Bson::String(text)) => text_found(operand.as_str().unwrap(), text),
            _ => false,
        }),
        "$all" => {
            let members = operand.as_array().unwrap();
            !members.is_empty()
                && members
                    .iter()
                    .all(|member| any(true, &|value| equal_or_found(value, member)))
        }
        "$not" => match operators_of(operand) {
            Some(inner) => !operators_hold(inner, any),
            None => !any(true, &|value| equal_or_found(value, operand)),
        },
        "$elemMatch" => any(false, &|value| match value {
            Some(Bson::Array(members)) => {
                members.iter().any(|member| member_holds(operand, member))
            }
            _ => false,
        }),
        other => panic!("the model has no {other}"),
    })
}

fn member_holds(condition: &Bson, member: &Bson) -> bool {
    if let Some(operators) = operators_of(condition) {
        let member = Some(member.clone());
        return operators_hold(operators, &|_, test| test(&member));
    }
    let condition = condition.as_document().unwrap();
    match member {
        Bson::Document(fields) => matches(condition, fields),
        Bson::Array(members) => {
            let positions = members.iter().enumerate();
            matches(
                condition,
                &positions
                    .map(|(i, member)| (i.to_string(), member.clone()))
                    .collect(),
            )
        }
        _ => false,
    }
}

fn is_one_of(value: &Option<Bson>, members: &Bson) -> bool {
    members
        .as_array()
        .unwrap()
        .iter()
        .any(|member| equal_or_found(value, member))
}

fn equal_or_found(value: &Option<Bson>, operand: &Bson) -> bool {
    match (operand, value) {
        (Bson::RegularExpression(regex), Some(Bson::String(text))) => {
            text_found(regex.pattern.as_str(), text)
        }
        (Bson::RegularExpression(_), _) => false,
        _ => compares(value, operand, &[Ordering::Equal]),
    }
}

/// The patterns of the generator: text, with or without an anchor.
fn text_found(pattern: &str, text: &str) -> bool {
    match pattern.strip_prefix('^') {
        Some(prefix) => text.starts_with(prefix),
        None => text.contains(pattern),
    }
}

fn compares(value: &Option<Bson>, operand: &Bson, accepted: &[Ordering]) -> bool {
    let equal_is_accepted = accepted.contains(&Ordering::Equal);
    let missing = Bson::Undefined;
    let value = value.as_ref().unwrap_or(&missing);
    if *operand == Bson::Null {
        return equal_is_accepted && matches!(value, Bson::Null | Bson::Undefined);
    }
    if *operand == Bson::MinKey || *operand == Bson::MaxKey {
        // They compare with every type.
        return if value == operand {
            equal_is_accepted
        } else if *operand == Bson::MinKey {
            accepted.contains(&Ordering::Greater)
        } else {
            accepted.contains(&Ordering::Less)
        };
    }
    if class(value) != class(operand) {
        return false;
    }
    let (l, r) = (is_nan(value), is_nan(operand));
    if l || r {
        return l && r && equal_is_accepted;
    }
    accepted.contains(&compare(value, operand))
}

fn is_nan(value: &Bson) -> bool {
    matches!(value, Bson::Double(double) if double.is_nan())
}

fn class(value: &Bson) -> u8 {
    match value {
        Bson::MinKey => 0,
        Bson::Undefined => 1,
        Bson::Null => 2,
        Bson::Int32(_) | Bson::Double(_) => 3,
        Bson::String(_) => 4,
        Bson::Document(_) => 5,
        Bson::Array(_) => 6,
        Bson::Boolean(_) => 7,
        Bson::MaxKey => 8,
        other => panic!("the model has no {other:?}"),
    }
}

fn number(value: &Bson) -> f64 {
    match value {
        Bson::Int32(integer) => f64::from(*integer),
        Bson::Double(double) => *double,
        other => panic!("{other:?} is not a number"),
    }
}

fn compare(left: &Bson, right: &Bson) -> Ordering {
    class(left)
        .cmp(&class(right))
        .then_with(|| match (left, right) {
            (Bson::String(l), Bson::String(r)) => l.cmp(r),
            (Bson::Boolean(l), Bson::Boolean(r)) => l.cmp(r),
            (Bson::Document(l), Bson::Document(r)) => {
                let fields = l.iter().zip(r).map(|((l_name, l), (r_name, r))| {
                    class(l)
                        .cmp(&class(r))
                        .then(l_name.cmp(r_name))
                        .then_with(|| compare(l, r))
                });
                first_difference(fields).then(l.len().cmp(&r.len()))
            }
            (Bson::Array(l), Bson::Array(r)) => {
                let members = l.iter().zip(r).map(|(l, r)| compare(l, r));
                first_difference(members).then(l.len().cmp(&r.len()))
            }
            (Bson::Int32(_) | Bson::Double(_), _) => match (is_nan(left), is_nan(right)) {
                (false, false) => number(left).partial_cmp(&number(right)).unwrap(),
                (l, r) => r.cmp(&l),
            },
            _ => Ordering::Equal,
        })
}

fn first_difference(mut orderings: impl Iterator<Item = Ordering>) -> Ordering {
    orderings
        .find(|ordering| ordering.is_ne())
        .unwrap_or(Ordering::Equal)
}

fn any_name() -> impl Strategy<Value = String> {
    proptest::sample::select(vec!["a", "b", "0"]).prop_map(str::to_owned)
}

fn any_scalar() -> impl Strategy<Value = Bson> {
    prop_oneof![
        6 => (0i32..3).prop_map(Bson::Int32),
        3 => proptest::sample::select(vec![0.5, 1.0, -0.0, f64::NAN]).prop_map(Bson::Double),
        4 => proptest::sample::select(vec!["", "a", "ab", "b"]).prop_map(Bson::from),
        2 => any::<bool>().prop_map(Bson::Boolean),
        3 => Just(Bson::Null),
        1 => proptest::sample::select(vec![Bson::MinKey, Bson::MaxKey]),
    ]
}

fn nested(scalar: BoxedStrategy<Bson>) -> impl Strategy<Value = Bson> {
    scalar.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Bson::Array),
            proptest::collection::vec((any_name(), inner), 0..3)
                .prop_map(|fields| Bson::Document(fields.into_iter().collect())),
        ]
    })
}

pub(super) fn any_document() -> impl Strategy<Value = Document> {
    let value = nested(prop_oneof![15 => any_scalar(), 1 => Just(Bson::Undefined)].boxed());
    proptest::collection::vec((any_name(), value), 0..4)
        .prop_map(|fields| fields.into_iter().collect())
}

fn any_pattern() -> impl Strategy<Value = String> {
    proptest::sample::select(vec!["a", "^a", "^ab", "b"]).prop_map(str::to_owned)
}

fn any_regex() -> impl Strategy<Value = Bson> {
    any_pattern().prop_map(|pattern| {
        Bson::RegularExpression(Regex {
            pattern: pattern.try_into().unwrap(),
            options: "".try_into().unwrap(),
        })
    })
}

fn any_operand() -> impl Strategy<Value = Bson> {
    nested(any_scalar().boxed())
}

fn any_operators() -> BoxedStrategy<Document> {
    let comparison = proptest::sample::select(vec!["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]);
    let membership = proptest::sample::select(vec!["$in", "$nin", "$all"]);
    let member = prop_oneof![6 => any_operand(), 1 => any_regex()];
    let one = prop_oneof![
        6 => (comparison, any_operand()).prop_map(|(name, operand)| doc! { name: operand }),
        3 => (membership, proptest::collection::vec(member, 0..4))
            .prop_map(|(name, members)| doc! { name: members }),
        1 => any::<bool>().prop_map(|exists| doc! { "$exists": exists }),
        1 => (0i32..3).prop_map(|size| doc! { "$size": size }),
        1 => any_pattern().prop_map(|pattern| doc! { "$regex": pattern }),
    ]
    .boxed();
    one.prop_recursive(2, 6, 2, |inner| {
        let name = proptest::sample::select(vec!["a", "b", "a.b", "0"]);
        prop_oneof![
            2 => (inner.clone(), inner.clone()).prop_map(|(mut left, right)| { left.extend(right); left }),
            1 => inner.clone().prop_map(|operators| doc! { "$not": operators }),
            1 => inner.clone().prop_map(|operators| doc! { "$elemMatch": operators }),
            1 => (name, inner).prop_map(|(name, operators)| doc! { "$elemMatch": { name: operators } }),
        ]
    })
    .boxed()
}

pub(super) fn any_query() -> impl Strategy<Value = Document> {
    let paths = vec![
        "a", "b", "a.b", "a.a", "a.0", "a.0.b", "a.b.0", "a.b.a", "a.0.0",
    ];
    let condition = prop_oneof![
        2 => any_operand(),
        1 => any_regex(),
        6 => any_operators().prop_map(Bson::Document),
        1 => any_regex().prop_map(|regex| Bson::Document(doc! { "$not": regex })),
    ];
    let field = (proptest::sample::select(paths), condition)
        .prop_map(|(path, condition)| (path.to_owned(), condition));
    let fields = proptest::collection::vec(field, 1..3)
        .prop_map(|fields| fields.into_iter().collect::<Document>());
    fields.prop_recursive(2, 6, 3, |inner| {
        let name = proptest::sample::select(vec!["$and", "$or", "$nor"]);
        (name, proptest::collection::vec(inner.clone(), 1..3), inner).prop_map(
            |(name, clauses, mut beside)| {
                beside.insert(
                    name,
                    clauses.into_iter().map(Bson::Document).collect::<Vec<_>>(),
                );
                beside
            },
        )
    })
}
