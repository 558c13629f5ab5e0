//! The changes of one update as a tree of path components, so that a document is rewritten in one pass.
//!
//! Two changes at one path, or at a path and one below it, conflict. New fields are created in the order of the
//! tree: numeric names by number first, the others by bytes.

use std::cmp::Ordering;
use std::sync::Arc;

use super::operators::{Operator, PathChange};
use crate::{DocumentError, ErrorKind};

/// What happens at one place of a document.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// A modifier.
    Change(Arc<dyn Operator>),
    /// Changes of named fields, or of members by index; sorted by [`compare_names`].
    Fields(Vec<(String, Node)>),
    /// Changes of all members (`None`, from `$[]`) or of those an array filter selects.
    Members(Vec<(Option<String>, Node)>),
}

/// One component of an update path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Component<'a> {
    /// A field name or index.
    Name(&'a str),
    /// `$`: the member that the filter matched.
    Positional,
    /// `$[]`.
    All,
    /// `$[identifier]`.
    Selected(&'a str),
}

/// Splits and checks a path.
pub(super) fn parse_path(path: &str) -> Result<Vec<Component<'_>>, DocumentError> {
    if path.is_empty() {
        return Err(DocumentError::new(
            ErrorKind::EmptyFieldName,
            "An empty update path is not valid.",
        ));
    }
    let mut components = Vec::with_capacity(4);
    for part in path.split('.') {
        if part.is_empty() {
            return Err(DocumentError::new(
                ErrorKind::EmptyFieldName,
                format!(
                    "The update path '{path}' contains an empty field name, which is not allowed."
                ),
            ));
        }
        components.push(parse_component(path, part)?);
    }
    if !matches!(components[0], Component::Name(_)) {
        let kind = match components[0] {
            Component::Positional => "positional (i.e. '$') element",
            _ => "array filter identifier (i.e. '$[<id>]') element",
        };
        return Err(DocumentError::bad_value(format!(
            "Cannot have {kind} in the first position in path '{path}'"
        )));
    }
    let positionals = components
        .iter()
        .filter(|component| **component == Component::Positional);
    if positionals.count() > 1 {
        return Err(DocumentError::bad_value(format!(
            "Too many positional (i.e. '$') elements found in path '{path}'"
        )));
    }
    Ok(components)
}

fn parse_component<'a>(path: &str, part: &'a str) -> Result<Component<'a>, DocumentError> {
    let Some(rest) = part.strip_prefix('$') else {
        return Ok(Component::Name(part));
    };
    if rest.is_empty() {
        return Ok(Component::Positional);
    }
    if let Some(identifier) = rest.strip_prefix('[').and_then(|r| r.strip_suffix(']')) {
        return Ok(match identifier {
            "" => Component::All,
            identifier => Component::Selected(identifier),
        });
    }
    if matches!(rest, "ref" | "id" | "db") {
        return Ok(Component::Name(part));
    }
    Err(DocumentError::new(
        ErrorKind::DollarPrefixedFieldName,
        format!("The dollar ($) prefixed field '{part}' in '{path}' is not valid for storage."),
    ))
}

/// Numeric names by number, before the others by bytes.
fn compare_names(left: &str, right: &str) -> Ordering {
    match (is_numeric(left), is_numeric(right)) {
        (true, true) => {
            let (l, r) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
            (l.len(), l, left).cmp(&(r.len(), r, right))
        }
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => left.cmp(right),
    }
}

fn is_numeric(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// The index a component names in an array: digits without needless zeros.
pub(super) fn array_index(name: &str) -> Option<usize> {
    let canonical = name == "0" || is_numeric(name) && !name.starts_with('0');
    if canonical { name.parse().ok() } else { None }
}

fn conflict(path: &str, at: &str) -> DocumentError {
    DocumentError::new(
        ErrorKind::ConflictingUpdateOperators,
        format!("Updating the path '{path}' would create a conflict at '{at}'"),
    )
}

/// Builds the tree; `matched_element` stands in for `$`.
pub(super) fn build(
    changes: &[PathChange],
    matched_element: Option<&str>,
) -> Result<Vec<(String, Node)>, DocumentError> {
    let mut root = Vec::with_capacity(changes.len());
    for change in changes {
        let mut components = parse_path(&change.path)?;
        if let Some(index) = matched_element {
            for component in &mut components {
                if *component == Component::Positional {
                    *component = Component::Name(index);
                }
            }
        }
        insert_field(&mut root, change, &components, 0)?;
    }
    Ok(root)
}

/// The path up to and with component `position`.
fn prefix(change: &PathChange, position: usize) -> &str {
    let end = change
        .path
        .match_indices('.')
        .nth(position)
        .map_or(change.path.len(), |(at, _)| at);
    &change.path[..end]
}

fn insert_field(
    fields: &mut Vec<(String, Node)>,
    change: &PathChange,
    components: &[Component<'_>],
    position: usize,
) -> Result<(), DocumentError> {
    let name = match components[position] {
        Component::Name(name) => name,
        // Kept as a name until the matched member is known.
        Component::Positional => "$",
        Component::All | Component::Selected(_) => {
            return Err(conflict(&change.path, prefix(change, position - 1)));
        }
    };
    match fields.binary_search_by(|(known, _)| compare_names(known, name)) {
        Ok(found) => insert_below(&mut fields[found].1, change, components, position),
        Err(place) => {
            let node = branch(change, components, position)?;
            fields.insert(place, (name.to_owned(), node));
            Ok(())
        }
    }
}

/// `node` stands at component `position` already; the change goes below it.
fn insert_below(
    node: &mut Node,
    change: &PathChange,
    components: &[Component<'_>],
    position: usize,
) -> Result<(), DocumentError> {
    let next = position + 1;
    if next == components.len() {
        return Err(conflict(&change.path, &change.path));
    }
    match node {
        Node::Change(_) => Err(conflict(&change.path, prefix(change, position))),
        Node::Fields(fields) => insert_field(fields, change, components, next),
        Node::Members(members) => {
            let identifier = match components[next] {
                Component::All => None,
                Component::Selected(identifier) => Some(identifier),
                _ => return Err(conflict(&change.path, prefix(change, position))),
            };
            let known = members
                .iter_mut()
                .find(|(known, _)| known.as_deref() == identifier);
            match known {
                Some((_, node)) => insert_below(node, change, components, next),
                None => {
                    let node = branch(change, components, next)?;
                    members.push((identifier.map(str::to_owned), node));
                    Ok(())
                }
            }
        }
    }
}

/// The chain of nodes for what follows component `position`.
fn branch(
    change: &PathChange,
    components: &[Component<'_>],
    position: usize,
) -> Result<Node, DocumentError> {
    let mut node = Node::Change(Arc::clone(&change.operator));
    for component in components[position + 1..].iter().rev() {
        node = match component {
            Component::Name(name) => Node::Fields(vec![((*name).to_owned(), node)]),
            Component::Positional => Node::Fields(vec![("$".to_owned(), node)]),
            Component::All => Node::Members(vec![(None, node)]),
            Component::Selected(identifier) => {
                Node::Members(vec![(Some((*identifier).to_owned()), node)])
            }
        };
    }
    Ok(node)
}

/// Both nodes apply to one array member.
pub(super) fn merge(left: &Node, right: &Node, path: &str) -> Result<Node, DocumentError> {
    match (left, right) {
        (Node::Fields(left), Node::Fields(right)) => {
            let mut merged = left.clone();
            for (name, node) in right {
                match merged.binary_search_by(|(known, _)| compare_names(known, name)) {
                    Ok(found) => {
                        let path = format!("{path}.{name}");
                        merged[found].1 = merge(&merged[found].1, node, &path)?;
                    }
                    Err(place) => merged.insert(place, (name.clone(), node.clone())),
                }
            }
            Ok(Node::Fields(merged))
        }
        (Node::Members(left), Node::Members(right)) => {
            let mut merged = left.clone();
            for (identifier, node) in right {
                match merged.iter_mut().find(|(known, _)| known == identifier) {
                    Some((_, known)) => *known = merge(known, node, path)?,
                    None => merged.push((identifier.clone(), node.clone())),
                }
            }
            Ok(Node::Members(merged))
        }
        _ => Err(DocumentError::new(
            ErrorKind::ConflictingUpdateOperators,
            format!("Update created a conflict at '{path}'"),
        )),
    }
}

/// The node of field `name`.
pub(super) fn find(fields: &[(String, Node)], name: &str) -> Option<usize> {
    /// Below this, comparing all names is quicker than searching.
    const FEW: usize = 8;
    if fields.len() <= FEW {
        return fields.iter().position(|(known, _)| known == name);
    }
    fields
        .binary_search_by(|(known, _)| compare_names(known, name))
        .ok()
}
