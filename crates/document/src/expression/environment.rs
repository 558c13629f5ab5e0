//! What the evaluation of an expression can refer to: documents and bound variables.

use bson::raw::{RawBsonRef, RawDocument};

use super::Value;

/// The document and the variables bound around an expression.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Environment<'a> {
    /// `$$ROOT`.
    pub root: &'a RawDocument,
    /// What plain field paths begin at.
    pub current: RawBsonRef<'a>,
    innermost: Option<&'a Frame<'a>>,
}

/// One bound variable; `None` is "missing".
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    value: Option<Value<'a>>,
    around: Option<&'a Frame<'a>>,
}

impl<'a> Environment<'a> {
    /// A document without variables.
    pub fn of(document: &'a RawDocument) -> Environment<'a> {
        Environment {
            root: document,
            current: RawBsonRef::Document(document),
            innermost: None,
        }
    }

    /// The frame of one more variable.
    pub fn bind(self, value: Option<Value<'a>>) -> Frame<'a> {
        Frame {
            value,
            around: self.innermost,
        }
    }

    /// The environment in which `frame` is the innermost variable.
    pub fn inside<'b>(self, frame: &'b Frame<'b>) -> Environment<'b>
    where
        'a: 'b,
    {
        Environment {
            innermost: Some(frame),
            ..self
        }
    }

    /// The environment in which plain field paths begin at `current`.
    pub fn at(self, current: RawBsonRef<'a>) -> Environment<'a> {
        Environment { current, ..self }
    }

    /// The variable that was bound before `above` others.
    pub fn variable(self, above: usize) -> Option<RawBsonRef<'a>> {
        let mut frame = self.innermost?;
        for _ in 0..above {
            frame = frame.around?;
        }
        frame.value.as_ref().map(Value::as_ref)
    }
}
