//! Where mingo differs from MongoDB, each with what MongoDB's documentation says. The list is about mingo only: a
//! disagreement that is not on it is ours to explain.

use std::collections::BTreeSet;

use document::DocumentError;
use serde_json::Value;

/// What mingo refuses and MongoDB does not.
const MINGO_REFUSES: &[(&str, &str)] = &[
    (
        "expression must resolve to non-zero array",
        "$first and $last of an empty array are missing",
    ),
    (
        "arguments must resolve to array for",
        "$sum, $avg, $min and $max take a single value too",
    ),
    (
        "$strcasecmp arguments expression must resolve to array of string",
        "$strcasecmp takes numbers and dates as their text",
    ),
    (
        "$substrCP arg1 <string> expression must resolve to string",
        "$substrCP takes numbers and dates as their text",
    ),
];

/// What MongoDB refuses by its documentation, and mingo takes for null or for the value itself.
const MINGO_ACCEPTS: &[(i32, &str)] = &[
    (14, "operands of arithmetic are numbers or dates"),
    (16007, "what has no text cannot be part of a string"),
    (16020, "an operator takes as many operands as it says"),
    (16702, "$concat takes strings"),
    (28651, "$filter takes an array"),
    (28664, "$concatArrays takes arrays"),
    (28689, "$arrayElemAt takes an array"),
    (28714, "$sqrt takes what is not negative"),
    (28765, "functions of one number take a number"),
    (34435, "$reverseArray takes an array"),
    (40080, "$reduce takes an array"),
    (40085, "$split takes a string"),
    (40090, "$indexOfArray takes an array"),
    (40390, "$objectToArray takes an object"),
    (50699, "$trim takes a string"),
    (51104, "regular expressions look at strings"),
    (51746, "$replaceOne and $replaceAll take strings"),
    (51081, "$round and $trunc take numbers"),
];

/// Why mingo answers differently, where it is mingo that differs from MongoDB. `operators` are those of the case.
pub fn excused(
    case: &Value,
    operators: &[String],
    ours: &Result<Value, DocumentError>,
) -> Option<&'static str> {
    let message = case.get("error").and_then(Value::as_str);
    match (message, ours) {
        (Some(message), Ok(_)) => {
            let known = MINGO_REFUSES
                .iter()
                .find(|(known, _)| message.contains(known));
            return known.map(|(_, why)| *why);
        }
        (None, Err(error)) => {
            let known = MINGO_ACCEPTS
                .iter()
                .find(|(code, _)| error.kind.code() == *code);
            return known.map(|(_, why)| *why);
        }
        _ => {}
    }
    if operators.iter().any(|name| name == "$round") {
        return Some("$round takes halves to the even neighbour of the decimal digits");
    }
    computes_below_a_computed_field(case)
        .then_some("what is computed below an array goes into each of its elements")
}

/// Whether a `$project` computes fields below one that an earlier `$project` has computed: mingo puts them in its place.
fn computes_below_a_computed_field(case: &Value) -> bool {
    let stages = case["specification"].as_array().into_iter().flatten();
    let projects = stages.filter_map(|stage| stage.get("$project")?.as_object());
    let mut computed = BTreeSet::new();
    for (name, value) in projects.flatten() {
        let fields = value.as_object();
        let is_nested = fields.is_some_and(|fields| fields.keys().all(|key| !key.starts_with('$')));
        if is_nested && computed.contains(name) {
            return true;
        }
        computed.insert(name);
    }
    false
}
