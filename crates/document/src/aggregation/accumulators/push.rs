//! `$push`: all values in the order of arrival; missing ones are left out.

use bson::RawArrayBuf;
use bson::raw::{RawBson, RawBsonRef};

use super::Accumulator;
use crate::DocumentError;

struct Push(RawArrayBuf);

pub(super) fn start() -> Box<dyn Accumulator> {
    Box::new(Push(RawArrayBuf::new()))
}

impl Accumulator for Push {
    fn add(&mut self, value: Option<RawBsonRef<'_>>) -> Result<(), DocumentError> {
        if let Some(value) = value {
            self.0.push(value);
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> RawBson {
        RawBson::Array(self.0)
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.0.as_bytes().len()
    }
}
