//! What the sources make of their input.

use bson::{Bson, Document, doc, rawdoc};
use clap::Parser;

use super::*;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    args: ImportArgs,
}

fn args(flags: &[&str]) -> ImportArgs {
    Flags::try_parse_from(["import", "file.csv"].iter().chain(flags))
        .expect("sound flags")
        .args
}

fn json(text: &str) -> Result<Vec<Document>, String> {
    let mut documents = Vec::new();
    let read = json_source::read(&mut text.as_bytes(), &mut |document| {
        documents.push(document);
        Ok(())
    });
    finish(read, documents)
}

fn csv(text: &str, flags: &[&str]) -> Result<Vec<Document>, String> {
    let mut documents = Vec::new();
    let read = csv_source::read(&mut text.as_bytes(), &args(flags), &mut |document| {
        documents.push(document);
        Ok(())
    });
    finish(read, documents)
}

fn finish(
    read: Result<(), SourceError>,
    documents: Vec<Document>,
) -> Result<Vec<Document>, String> {
    match read {
        Ok(()) => Ok(documents),
        Err(SourceError::Input(reason)) => Err(reason),
        Err(SourceError::Sending(error)) => Err(error.to_string()),
    }
}

#[test]
fn json_lines_and_arrays_give_the_same_documents() {
    let expected = vec![doc! { "a": 1 }, doc! { "b": [1.5, "x", null] }];
    assert_eq!(
        json("{\"a\":1}\n{\"b\":[1.5,\"x\",null]}\n"),
        Ok(expected.clone())
    );
    assert_eq!(
        json("\u{feff} \n[ {\"a\":1},\n {\"b\":[1.5,\"x\",null]} ]\n"),
        Ok(expected)
    );
    assert_eq!(json(""), Ok(vec![]));
    assert_eq!(json("[]"), Ok(vec![]));
}

#[test]
fn extended_json_becomes_the_type_it_names() {
    let id = "507f1f77bcf86cd799439011";
    let read = json(&format!(
        "{{\"_id\":{{\"$oid\":\"{id}\"}},\"n\":{{\"$numberLong\":\"5\"}},\"big\":5000000000}}"
    ));
    let expected = doc! { "_id": ObjectId::parse_str(id).expect("an id"), "n": 5_i64, "big": 5_000_000_000_i64 };
    assert_eq!(read, Ok(vec![expected]));
}

#[test]
fn bad_json_says_where() {
    assert!(
        json("{\"a\":1}\n{\"a\":}")
            .expect_err("malformed")
            .contains("line 2")
    );
    assert!(
        json("[{\"a\":1}, 5]")
            .expect_err("no object")
            .contains("document 2")
    );
    assert!(
        json("[{\"a\":1}")
            .expect_err("cut")
            .contains("not valid JSON")
    );
    assert!(
        json("[{\"a\":1}] x")
            .expect_err("more after it")
            .contains("not valid JSON")
    );
}

#[test]
fn csv_takes_its_names_from_the_first_line_and_infers_types() {
    let read = csv("a,b.c,b.d,e\n1,2.5,true,x\n-7,,007,\"q\"\"r,\ns\"\n", &[]);
    let expected = vec![
        doc! { "a": 1, "b": { "c": 2.5, "d": true }, "e": "x" },
        doc! { "a": -7, "b": { "c": "", "d": "007" }, "e": "q\"r,\ns" },
    ];
    assert_eq!(read, Ok(expected));
}

#[test]
fn csv_flags() {
    let named = csv(
        "1;;x\n",
        &["--fields", "a,b,c", "--delimiter", ";", "--ignore-blanks"],
    );
    assert_eq!(named, Ok(vec![doc! { "a": 1, "c": "x" }]));
    let replaced = csv(
        "x,y\n1,2\n",
        &["--fields", "a,b", "--headerline", "--no-type-inference"],
    );
    assert_eq!(replaced, Ok(vec![doc! { "a": "1", "b": "2" }]));
}

#[test]
fn bad_csv_is_explained() {
    assert!(
        csv("a,b\n1,2,3\n", &[])
            .expect_err("too many")
            .contains("line 2 has 3 values for 2 fields")
    );
    assert!(
        csv("a,,c\n1,2,3\n", &[])
            .expect_err("no name")
            .contains("field 2 has no name")
    );
    assert!(
        csv("a,a.b\n1,2\n", &[])
            .expect_err("contradiction")
            .contains("contradict")
    );
}

#[test]
fn inference_keeps_what_a_number_would_lose() {
    assert_eq!(csv_source::infer("2147483648"), Bson::Int64(2_147_483_648));
    assert_eq!(csv_source::infer("0.5"), Bson::Double(0.5));
    assert_eq!(csv_source::infer("0"), Bson::Int32(0));
    for text in [
        "",
        "-",
        "-0",
        "007",
        "+1",
        "1e5",
        ".5",
        "5.",
        "1.2.3",
        "NaN",
        "inf",
        "12345678901234567890",
        "1 ",
    ] {
        assert_eq!(
            csv_source::infer(text),
            Bson::String(text.to_owned()),
            "{text:?}"
        );
    }
}

#[test]
fn documents_get_an_id_in_front_unless_they_have_one() {
    let given = with_id(doc! { "a": 1, "_id": 5 });
    assert_eq!(given, doc! { "a": 1, "_id": 5 });
    let made = with_id(doc! { "a": 1 });
    assert_eq!(made.keys().next().map(String::as_str), Some("_id"));
}

#[test]
fn the_collection_is_named_after_the_file() {
    assert_eq!(collection(&args(&[])).expect("named"), "file");
    assert_eq!(collection(&args(&["-c", "x"])).expect("named"), "x");
    let stdin = Flags::try_parse_from(["import", "-"]).expect("sound").args;
    assert!(collection(&stdin).is_err());
}

#[test]
fn refused_documents_are_counted_and_shown() {
    let reply = rawdoc! { "n": 3, "writeErrors": [{ "index": 1, "code": 11000, "errmsg": "E11000 duplicate" }], "ok": 1.0 };
    let totals = sender::judge(&reply, 4);
    assert_eq!(
        totals,
        Totals {
            inserted: 3,
            failed: 1,
            failures: vec!["E11000 duplicate".to_owned()]
        }
    );
}
