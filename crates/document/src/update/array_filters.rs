//! `arrayFilters`: predicates on array members, named by the identifier their paths begin with.

use std::collections::BTreeMap;

use bson::RawDocumentBuf;
use bson::raw::{RawBsonRef, RawDocument};

use super::operators::PathChange;
use super::tree::{Component, parse_path};
use crate::filter::Filter;
use crate::{DocumentError, display, raw};

/// Filters by identifier. A filter runs on a document with the member in the field of that name, which is just
/// what its paths say.
#[derive(Debug, Clone, Default)]
pub(super) struct ArrayFilters(BTreeMap<String, Filter>);

impl ArrayFilters {
    pub fn parse(filters: &[RawDocumentBuf]) -> Result<ArrayFilters, DocumentError> {
        let mut parsed = BTreeMap::new();
        for filter in filters {
            let identifier = identifier_of(filter)?.ok_or_else(|| {
                DocumentError::failed_to_parse(
                    "Cannot use an expression without a top-level field name in arrayFilters",
                )
            })?;
            check_identifier(&identifier)?;
            let predicate = Filter::parse(filter)?;
            if parsed.insert(identifier.clone(), predicate).is_some() {
                return Err(DocumentError::failed_to_parse(format!(
                    "Found multiple array filters with the same top-level field name {identifier}"
                )));
            }
        }
        Ok(ArrayFilters(parsed))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every filter is used, and every identifier has its filter.
    pub fn check_against(
        &self,
        changes: &[PathChange],
        update: RawBsonRef<'_>,
    ) -> Result<(), DocumentError> {
        let mut used = Vec::new();
        for change in changes {
            for component in parse_path(&change.path)? {
                let Component::Selected(identifier) = component else {
                    continue;
                };
                if !self.0.contains_key(identifier) {
                    return Err(DocumentError::bad_value(format!(
                        "No array filter found for identifier '{identifier}' in path '{}'",
                        change.path
                    )));
                }
                used.push(identifier);
            }
        }
        match self.0.keys().find(|known| !used.contains(&known.as_str())) {
            None => Ok(()),
            Some(unused) => Err(DocumentError::failed_to_parse(format!(
                "The array filter for identifier '{unused}' was not used in the update {}",
                display::value(update)
            ))),
        }
    }

    /// Whether the filter called `identifier` selects `member`.
    pub fn selects(&self, identifier: &str, member: RawBsonRef<'_>) -> bool {
        let mut writer = raw::DocumentWriter::with_capacity(64);
        writer.append(identifier, member);
        let wrapped = writer.finish();
        self.0
            .get(identifier)
            .is_some_and(|filter| filter.matches(&wrapped))
    }
}

/// The first path component all paths of the filter share; `None` when it has no paths.
fn identifier_of(filter: &RawDocument) -> Result<Option<String>, DocumentError> {
    let mut identifier: Option<String> = None;
    for clause in raw::elements(filter) {
        let mut found = Vec::new();
        if clause.name.starts_with('$') {
            if let RawBsonRef::Array(alternatives) = clause.value() {
                for alternative in raw::members(alternatives) {
                    if let RawBsonRef::Document(alternative) = alternative {
                        found.extend(identifier_of(alternative)?);
                    }
                }
            }
        } else {
            let first = clause.name.split('.').next().unwrap_or_default();
            found.push(first.to_owned());
        }
        for name in found {
            match &identifier {
                Some(known) if *known != name => {
                    return Err(DocumentError::failed_to_parse(format!(
                        "Error parsing array filter :: caused by :: Expected a single top-level field name, found \
                         '{known}' and '{name}'"
                    )));
                }
                _ => identifier = Some(name),
            }
        }
    }
    Ok(identifier)
}

fn check_identifier(identifier: &str) -> Result<(), DocumentError> {
    let mut letters = identifier.chars();
    let well_formed = letters
        .next()
        .is_some_and(|first| first.is_ascii_lowercase())
        && letters.all(|letter| letter.is_ascii_alphanumeric());
    if well_formed {
        return Ok(());
    }
    Err(DocumentError::bad_value(format!(
        "Error parsing array filter :: caused by :: The top-level field name must be an alphanumeric string \
         beginning with a lowercase letter, found '{identifier}'"
    )))
}
