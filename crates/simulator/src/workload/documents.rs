//! Documents and statements, shortly written.

use bson::{Document, RawBson, RawDocument, RawDocumentBuf};
use state_machine::plan::{
    DeleteStatement, FindAndModifyOperation, FindAndModifyRequest, StatementOutcome,
    UpdateStatement,
};

use super::{Answer, Request};
use state_machine::Namespace;

pub(super) fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).expect("keys without zero bytes")
}

pub(super) fn namespace(collection: &str) -> Namespace {
    Namespace::new("simulation", collection)
}

pub(super) fn update(filter: &Document, change: &Document, upsert: bool) -> UpdateStatement {
    UpdateStatement {
        filter: raw(filter),
        update: RawBson::Document(raw(change)),
        array_filters: Vec::new(),
        multi: false,
        upsert,
        hint: None,
        sort: None,
        collation: None,
    }
}

pub(super) fn delete(filter: &Document) -> DeleteStatement {
    DeleteStatement {
        filter: raw(filter),
        multi: false,
        hint: None,
        collation: None,
    }
}

pub(super) fn find_and_modify(
    filter: &Document,
    change: &Document,
    upsert: bool,
) -> FindAndModifyRequest {
    FindAndModifyRequest {
        filter: raw(filter),
        sort: None,
        projection: None,
        operation: FindAndModifyOperation::Update {
            update: RawBson::Document(raw(change)),
            array_filters: Vec::new(),
            upsert,
            return_new: true,
        },
        hint: None,
        collation: None,
    }
}

pub(super) fn read(namespace: &Namespace, filter: &Document) -> Request {
    Request::Read {
        namespace: namespace.clone(),
        filter: raw(filter),
    }
}

/// The number in a field; an error names what was found instead.
pub(super) fn number(document: &RawDocument, field: &str) -> Result<i64, String> {
    match document.get(field) {
        Ok(Some(bson::RawBsonRef::Int64(number))) => Ok(number),
        Ok(Some(bson::RawBsonRef::Int32(number))) => Ok(i64::from(number)),
        other => Err(format!("{document:?}: {field} is {other:?}, not a number")),
    }
}

/// The documents of a read.
pub(super) fn documents(answer: Answer) -> Result<Vec<RawDocumentBuf>, String> {
    match answer {
        Answer::Documents(documents) => Ok(documents),
        other => Err(format!("a read was answered by {other:?}")),
    }
}

/// The outcome of the only statement of a write, and the document it gave back.
pub(super) fn statement(
    answer: Answer,
) -> Result<(StatementOutcome, Option<RawDocumentBuf>), String> {
    match answer {
        Answer::Written(mut outcome) if outcome.statements.len() == 1 => {
            Ok((outcome.statements.remove(0), outcome.value))
        }
        other => Err(format!(
            "a write of one statement was answered by {other:?}"
        )),
    }
}
