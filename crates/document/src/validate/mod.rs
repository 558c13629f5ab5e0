//! What untrusted bytes must satisfy before anything else in this crate sees them.
//!
//! One pass over the bytes with an explicit stack: neither a lying length nor deep nesting can make it read
//! outside the document, recurse or allocate more than the stack's fixed bound.

#[cfg(test)]
mod tests;
mod walk;

use crate::error::{DocumentError, ErrorKind};
use bson::raw::RawDocument;
use bson::spec::ElementType;

/// The greatest stored document.
pub const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The greatest number of documents and arrays inside one another, below the document itself, in a stored document.
pub const NESTING_MAX: usize = 100;
/// The same for documents that are not stored: commands, filters, updates, which wrap stored values in their own.
pub const REQUEST_NESTING_MAX: usize = 200;

const _: () = assert!(REQUEST_NESTING_MAX > NESTING_MAX);

/// A document about to be stored: well-formed, not too large, not too deep, and with acceptable field names and `_id`.
pub fn document(document: &RawDocument) -> Result<(), DocumentError> {
    let size = document.as_bytes().len();
    if size > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::new(
            ErrorKind::BsonObjectTooLarge,
            format!(
                "object to insert too large. size in bytes: {size}, max size: {DOCUMENT_BYTES_MAX}"
            ),
        ));
    }
    walk::walk(document.as_bytes(), NESTING_MAX, &mut stored_field)
}

/// Well-formed BSON all the way down, with at most `nesting_max` levels below the document itself.
pub fn well_formed(document: &RawDocument, nesting_max: usize) -> Result<(), DocumentError> {
    walk::walk(document.as_bytes(), nesting_max, &mut |_| Ok(()))
}

/// The rules for the fields of the document itself and for those directly inside its `_id`.
fn stored_field(field: walk::Field<'_>) -> Result<(), DocumentError> {
    if field.level == 0 && field.name == b"_id" {
        let refused = match field.element_type {
            ElementType::Array => Some("an array"),
            ElementType::RegularExpression => Some("a regex"),
            ElementType::Undefined => Some("a undefined"),
            _ => None,
        };
        if let Some(refused) = refused {
            return Err(DocumentError::new(
                ErrorKind::InvalidIdField,
                format!("can't use {refused} for _id"),
            ));
        }
    }
    // Since MongoDB 5.0 other fields may begin with a dollar sign.
    if !(field.name.starts_with(b"$") && field.level == 1 && field.in_id) {
        return Ok(());
    }
    let name = String::from_utf8_lossy(field.name);
    let message =
        format!("_id fields may not contain '$'-prefixed fields: {name} is not valid for storage.");
    Err(DocumentError::new(
        ErrorKind::DollarPrefixedFieldName,
        message,
    ))
}
