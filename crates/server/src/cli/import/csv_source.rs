//! Documents out of CSV. A value that reads as an integer, a decimal number, `true` or `false` becomes one, if writing it
//! again would give the same text: `007`, `+49` and `1e5` stay strings. A dotted name makes nested documents.

use std::io::Read;

use bson::{Bson, Document};

use super::{ImportArgs, SourceError};

/// How values and names are taken.
#[derive(Clone, Copy)]
pub(super) struct Options {
    pub infer: bool,
    pub ignore_blanks: bool,
}

/// Reads to the end, handing over each document.
pub(super) fn read(
    input: &mut impl Read,
    args: &ImportArgs,
    take: &mut dyn FnMut(Document) -> Result<(), SourceError>,
) -> Result<(), SourceError> {
    let delimiter = u8::try_from(args.delimiter)
        .map_err(|_| SourceError::Input("the delimiter must be one ASCII character".to_owned()))?;
    let first_line_is_head = args.headerline || args.fields.is_empty();
    let options = Options {
        infer: !args.no_type_inference,
        ignore_blanks: args.ignore_blanks,
    };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(first_line_is_head)
        .flexible(true)
        .from_reader(input);
    let names: Vec<String> = if args.fields.is_empty() {
        let head = reader.headers().map_err(|error| malformed(&error))?;
        head.iter()
            .map(|name| name.trim_start_matches('\u{feff}').to_owned())
            .collect()
    } else {
        args.fields.clone()
    };
    check_names(&names)?;
    let mut record = csv::StringRecord::new();
    while reader
        .read_record(&mut record)
        .map_err(|error| malformed(&error))?
    {
        if record.len() > names.len() {
            let line = record.position().map_or(0, csv::Position::line);
            return Err(SourceError::Input(format!(
                "line {line} has {} values for {} fields",
                record.len(),
                names.len()
            )));
        }
        take(document(&names, &record, options)?)?;
    }
    Ok(())
}

fn check_names(names: &[String]) -> Result<(), SourceError> {
    let empty = |name: &String| name.split('.').any(str::is_empty);
    match names.iter().position(empty) {
        None => Ok(()),
        Some(at) => Err(SourceError::Input(format!(
            "field {} has no name ({:?})",
            at + 1,
            names[at]
        ))),
    }
}

fn document(
    names: &[String],
    record: &csv::StringRecord,
    options: Options,
) -> Result<Document, SourceError> {
    let mut document = Document::new();
    for (name, text) in names.iter().zip(record) {
        if !(text.is_empty() && options.ignore_blanks) {
            let value = if options.infer {
                infer(text)
            } else {
                Bson::String(text.to_owned())
            };
            set(&mut document, name, value)?;
        }
    }
    Ok(document)
}

fn set(document: &mut Document, name: &str, value: Bson) -> Result<(), SourceError> {
    let Some((first, rest)) = name.split_once('.') else {
        document.insert(name, value);
        return Ok(());
    };
    let inner = document
        .entry(first.to_owned())
        .or_insert_with(|| Bson::Document(Document::new()));
    match inner {
        Bson::Document(inner) => set(inner, rest, value),
        _ => Err(SourceError::Input(format!(
            "the fields {first:?} and {name:?} contradict each other"
        ))),
    }
}

/// The type a text reads as.
pub(super) fn infer(text: &str) -> Bson {
    match text {
        "true" => return Bson::Boolean(true),
        "false" => return Bson::Boolean(false),
        _ => {}
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let whole = digits.split('.').next().unwrap_or_default();
    let canonical = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
        && !whole.is_empty()
        && (whole.len() == 1 || !whole.starts_with('0'));
    if !canonical || text == "-0" {
        return Bson::String(text.to_owned());
    }
    if let Ok(number) = text.parse::<i32>() {
        return Bson::Int32(number);
    }
    if let Ok(number) = text.parse::<i64>() {
        return Bson::Int64(number);
    }
    // Beyond 17 digits a double would not be the number that was written.
    match text.parse::<f64>() {
        Ok(number) if text.contains('.') && !text.ends_with('.') && digits.len() <= 17 => {
            Bson::Double(number)
        }
        _ => Bson::String(text.to_owned()),
    }
}

fn malformed(error: &csv::Error) -> SourceError {
    SourceError::Input(format!("not valid CSV: {error}"))
}
