//! Setting computed values at paths of a document: `$addFields`, computed fields of `$project`, `$unwind`.
//!
//! A path creates the documents it needs, replaces scalars on its way by documents, and applies to every member of
//! an array on its way. Existing fields keep their place; new ones follow in the order given.

use bson::raw::{RawBsonRef, RawDocument};

use crate::DocumentError;
use crate::expression::Evaluated;
use crate::raw::{self, DocumentWriter, elements};

/// Paths as a tree, with what is to be assigned at the leaves.
#[derive(Debug, Clone)]
pub(crate) struct Assignments<L> {
    fields: Vec<(String, Assignment<L>)>,
}

#[derive(Debug, Clone)]
enum Assignment<L> {
    Value(L),
    Below(Assignments<L>),
}

impl<L> Assignments<L> {
    pub fn new() -> Assignments<L> {
        Assignments { fields: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// What is assigned, wherever it goes.
    pub fn leaves(&self) -> Vec<&L> {
        let fields = self.fields.iter();
        fields
            .flat_map(|(_, assignment)| match assignment {
                Assignment::Value(leaf) => vec![leaf],
                Assignment::Below(nested) => nested.leaves(),
            })
            .collect()
    }

    /// Adds an assignment; a path at, above or below an earlier one is refused.
    pub fn insert(&mut self, path: &str, leaf: L) -> Result<(), DocumentError> {
        self.insert_rest(path, path, leaf)
    }

    fn insert_rest(&mut self, path: &str, rest: &str, leaf: L) -> Result<(), DocumentError> {
        let (name, below) = match rest.split_once('.') {
            Some((name, below)) => (name, Some(below)),
            None => (rest, None),
        };
        let known = self.fields.iter_mut().find(|(known, _)| known == name);
        match (known, below) {
            (None, None) => self.fields.push((name.to_owned(), Assignment::Value(leaf))),
            (None, Some(below)) => {
                let mut nested = Assignments::new();
                nested.insert_rest(path, below, leaf)?;
                self.fields
                    .push((name.to_owned(), Assignment::Below(nested)));
            }
            (Some((_, Assignment::Below(nested))), Some(below)) => {
                nested.insert_rest(path, below, leaf)?;
            }
            (Some(_), _) => {
                return Err(DocumentError::location(
                    40176,
                    format!(
                        "specification contains two conflicting paths. Cannot specify both '{path}' and a path that it is a prefix of or that is a prefix of it"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Writes the fields of `document` with the assignments; a leaf that evaluates to "missing" takes its field away.
    pub fn write<'a>(
        &'a self,
        document: &'a RawDocument,
        evaluate: &mut dyn FnMut(&'a L) -> Evaluated<'a>,
        out: &mut DocumentWriter,
    ) -> Result<(), DocumentError> {
        let mut done = vec![false; self.fields.len()];
        for element in elements(document) {
            let position = self
                .fields
                .iter()
                .position(|(name, _)| name == element.name);
            match position {
                None => out.copy(&element),
                Some(position) if done[position] => {}
                Some(position) => {
                    done[position] = true;
                    self.fields[position].1.write(
                        element.name,
                        Some(element.value()),
                        evaluate,
                        out,
                    )?;
                }
            }
        }
        for ((name, assignment), _) in self.fields.iter().zip(done).filter(|(_, done)| !done) {
            assignment.write(name, None, evaluate, out)?;
        }
        Ok(())
    }
}

impl<L> Assignment<L> {
    fn write<'a>(
        &'a self,
        name: &str,
        existing: Option<RawBsonRef<'a>>,
        evaluate: &mut dyn FnMut(&'a L) -> Evaluated<'a>,
        out: &mut DocumentWriter,
    ) -> Result<(), DocumentError> {
        let below = match self {
            Assignment::Value(leaf) => {
                if let Some(value) = evaluate(leaf)? {
                    out.append(name, value.as_ref());
                }
                return Ok(());
            }
            Assignment::Below(below) => below,
        };
        match existing {
            Some(RawBsonRef::Array(array)) => {
                let begun = out.begin_array(name);
                for (index, member) in raw::members(array).enumerate() {
                    self.write(&index.to_string(), Some(member), evaluate, out)?;
                }
                out.end(begun);
            }
            Some(RawBsonRef::Document(document)) => {
                let begun = out.begin_document(name);
                below.write(document, evaluate, out)?;
                out.end(begun);
            }
            _ => {
                let begun = out.begin_document(name);
                for (name, assignment) in &below.fields {
                    assignment.write(name, None, evaluate, out)?;
                }
                out.end(begun);
            }
        }
        Ok(())
    }
}
