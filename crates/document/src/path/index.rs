//! The keys a document has in an index.
//!
//! Each path is followed to a value or to the first array. All paths of a compound index that meet an array must
//! meet the same one; its members are then taken one by one, with every path going on inside the member. Two
//! different arrays would need their cross product and are refused.

use super::{Path, array_position, field, member, split_first};
use crate::collation::{Collation, collated};
use crate::error::{DocumentError, ErrorKind};
use crate::key_encoding::{self, Direction};
use bson::raw::{RawArray, RawBsonRef, RawDocument};

/// The values an index or a sort sees at one path, in document order, and whether an array was expanded: members
/// of an array one by one, undefined for an empty array, null for a missing field. Never empty.
pub fn index_values<'d>(
    document: &'d RawDocument,
    path: &Path,
) -> Result<(Vec<RawBsonRef<'d>>, bool), DocumentError> {
    let (tuples, multikey) = index_tuples(document, &[path])?;
    let values = tuples.into_iter().flatten().collect();
    Ok((values, multikey))
}

/// Tuples of values, one per index entry, and whether an array was expanded.
pub type IndexTuples<'d> = (Vec<Vec<RawBsonRef<'d>>>, bool);

/// Like [`index_values`] for several paths at once, expanding an array they share together. Never empty.
pub fn index_tuples<'d>(
    document: &'d RawDocument,
    paths: &[&Path],
) -> Result<IndexTuples<'d>, DocumentError> {
    let expansion = expand(document, paths.iter().map(|path| path.as_str()).collect())?;
    let tuples = expansion
        .tuples
        .into_iter()
        .map(|tuple| tuple.into_iter().map(Slot::or_null).collect())
        .collect();
    Ok((tuples, expansion.multikey))
}

/// The encoded keys of `document` in an index over `fields`, sorted and without duplicates, and whether the
/// document makes the index multikey. A sparse index has no key for a document that lacks all fields.
pub fn index_keys(
    document: &RawDocument,
    fields: &[(Path, Direction)],
    sparse: bool,
) -> Result<(Vec<Vec<u8>>, bool), DocumentError> {
    index_keys_in(document, fields, sparse, None)
}

/// The same with strings in the order of a collation.
pub fn index_keys_in(
    document: &RawDocument,
    fields: &[(Path, Direction)],
    sparse: bool,
    collation: Option<&Collation>,
) -> Result<(Vec<Vec<u8>>, bool), DocumentError> {
    let expansion = expand(
        document,
        fields.iter().map(|(path, _)| path.as_str()).collect(),
    )?;
    let mut keys: Vec<Vec<u8>> = expansion
        .tuples
        .into_iter()
        .filter(|tuple| !sparse || tuple.iter().any(|slot| !matches!(slot, Slot::Missing)))
        .map(|tuple| {
            let mut key = Vec::new();
            for (slot, (_, direction)) in tuple.into_iter().zip(fields) {
                let value = collated(collation, slot.or_null());
                key_encoding::encode(value.as_ref(), *direction, &mut key);
            }
            key
        })
        .collect();
    keys.sort_unstable();
    keys.dedup();
    Ok((keys, expansion.multikey))
}

/// What is known of one field of a tuple.
#[derive(Clone, Copy)]
enum Slot<'d, 'p> {
    /// The rest of the path goes on in a document.
    Open(&'d RawDocument, &'p str),
    /// An array stands in the way. Its place in the path, for the error, and the rest of the path after it.
    Array(&'d RawArray, &'p str, Option<&'p str>),
    Value(RawBsonRef<'d>),
    Missing,
}

impl<'d> Slot<'d, '_> {
    fn or_null(self) -> RawBsonRef<'d> {
        match self {
            Slot::Value(value) => value,
            _ => RawBsonRef::Null,
        }
    }
}

struct Expansion<'d, 'p> {
    tuples: Vec<Vec<Slot<'d, 'p>>>,
    multikey: bool,
}

fn expand<'d, 'p>(
    document: &'d RawDocument,
    paths: Vec<&'p str>,
) -> Result<Expansion<'d, 'p>, DocumentError> {
    let mut expansion = Expansion {
        tuples: Vec::new(),
        multikey: false,
    };
    let slots = paths
        .into_iter()
        .map(|path| Slot::Open(document, path))
        .collect();
    expansion.fill(slots)?;
    Ok(expansion)
}

impl<'d, 'p> Expansion<'d, 'p> {
    /// Recursion is bounded by the nesting of the document.
    fn fill(&mut self, mut slots: Vec<Slot<'d, 'p>>) -> Result<(), DocumentError> {
        for slot in &mut slots {
            if let Slot::Open(document, path) = *slot {
                *slot = self.follow(document, path)?;
            }
        }
        let Some(array) = shared_array(&slots)? else {
            self.tuples.push(slots);
            return Ok(());
        };
        self.multikey = true;
        let mut members = array.into_iter().map_while(Result::ok).peekable();
        if members.peek().is_none() {
            return self.fill(enter(&slots, None));
        }
        for member in members {
            self.fill(enter(&slots, Some(member)))?;
        }
        Ok(())
    }

    /// Follows `path` from `document` to a value, to nothing, or to an array it has to enter.
    fn follow(
        &mut self,
        document: &'d RawDocument,
        path: &'p str,
    ) -> Result<Slot<'d, 'p>, DocumentError> {
        let (name, mut rest) = split_first(path);
        let mut place = name;
        let mut value = field(document, name);
        loop {
            let Some(found) = value else {
                return Ok(Slot::Missing);
            };
            let Some(path_below) = rest else {
                return Ok(match found {
                    RawBsonRef::Array(array) => Slot::Array(array, place, None),
                    _ => Slot::Value(found),
                });
            };
            let (name, below) = split_first(path_below);
            value = match found {
                RawBsonRef::Document(inner) => field(inner, name),
                RawBsonRef::Array(array) => match array_position(name) {
                    Some(position) => {
                        refuse_ambiguous(array, name)?;
                        self.multikey = true;
                        member(array, position)
                    }
                    None => return Ok(Slot::Array(array, place, Some(path_below))),
                },
                _ => return Ok(Slot::Missing),
            };
            place = name;
            rest = below;
        }
    }
}

/// The slots inside one member of the array (None: the array is empty).
fn enter<'d, 'p>(slots: &[Slot<'d, 'p>], member: Option<RawBsonRef<'d>>) -> Vec<Slot<'d, 'p>> {
    slots
        .iter()
        .map(|slot| match (*slot, member) {
            (Slot::Array(_, _, None), Some(member)) => Slot::Value(member),
            (Slot::Array(_, _, None), None) => Slot::Value(RawBsonRef::Undefined),
            (Slot::Array(_, _, Some(rest)), Some(RawBsonRef::Document(inner))) => {
                Slot::Open(inner, rest)
            }
            (Slot::Array(_, _, Some(_)), _) => Slot::Missing,
            (settled, _) => settled,
        })
        .collect()
}

/// The one array that slots wait for, if any does.
fn shared_array<'d, 'p>(slots: &[Slot<'d, 'p>]) -> Result<Option<&'d RawArray>, DocumentError> {
    let mut shared: Option<(&'d RawArray, &'p str)> = None;
    for slot in slots {
        let Slot::Array(array, place, _) = *slot else {
            continue;
        };
        match shared {
            Some((other, other_place)) if !std::ptr::eq(other.as_bytes(), array.as_bytes()) => {
                return Err(DocumentError::new(
                    ErrorKind::CannotIndexParallelArrays,
                    format!("cannot index parallel arrays [{place}] [{other_place}]"),
                ));
            }
            _ => shared = Some((array, place)),
        }
    }
    Ok(shared.map(|(array, _)| array))
}

/// A number in a path may mean a member or a field of the members' documents, not both at once.
fn refuse_ambiguous(array: &RawArray, name: &str) -> Result<(), DocumentError> {
    let ambiguous = array
        .into_iter()
        .map_while(Result::ok)
        .filter_map(RawBsonRef::as_document)
        .any(|document| field(document, name).is_some());
    if ambiguous {
        return Err(DocumentError::location(
            16746,
            format!(
                "Ambiguous field name found in array (do not use numeric field names in embedded elements in an \
                 array), field: '{name}' for array"
            ),
        ));
    }
    Ok(())
}
