//! Which names databases and collections may have.

use super::Namespace;
use crate::CommandError;
use crate::limits::{DATABASE_NAME_BYTES_MAX, NAMESPACE_BYTES_MAX};

/// Whether a collection of this name may be created.
pub fn validate_namespace(namespace: &Namespace) -> Result<(), CommandError> {
    let reason = database_fault(&namespace.database)
        .or_else(|| collection_fault(&namespace.collection))
        .or_else(|| {
            let bytes = namespace.database.len() + 1 + namespace.collection.len();
            (bytes > NAMESPACE_BYTES_MAX).then_some("the full name is longer than 255 bytes")
        });
    refuse(namespace.clone(), reason)
}

/// Whether a database of this name may exist.
pub fn validate_database_name(database: &str) -> Result<(), CommandError> {
    refuse(Namespace::new(database, ""), database_fault(database))
}

fn refuse(namespace: Namespace, reason: Option<&'static str>) -> Result<(), CommandError> {
    match reason {
        Some(reason) => Err(CommandError::InvalidNamespace { namespace, reason }),
        None => Ok(()),
    }
}

fn database_fault(database: &str) -> Option<&'static str> {
    if database.is_empty() {
        Some("database names cannot be empty")
    } else if database.len() > DATABASE_NAME_BYTES_MAX {
        Some("database names are at most 63 bytes long")
    } else if database.contains([
        '/', '\\', '.', ' ', '"', '$', '*', '<', '>', ':', '|', '?', '\0',
    ]) {
        Some("database names cannot contain any of /\\. \"$*<>:|? or the null character")
    } else {
        None
    }
}

fn collection_fault(collection: &str) -> Option<&'static str> {
    if collection.is_empty() {
        Some("collection names cannot be empty")
    } else if collection.starts_with('.') || collection.ends_with('.') {
        Some("collection names cannot start or end with '.'")
    } else if collection.contains(['$', '\0']) {
        Some("collection names cannot contain '$' or the null character")
    } else if collection.starts_with("system.") {
        Some("names that start with 'system.' are reserved")
    } else {
        None
    }
}
