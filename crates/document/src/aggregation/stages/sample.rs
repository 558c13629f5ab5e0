//! `$sample`: some documents at random, in random order.

use std::sync::Arc;

use bson::raw::RawBsonRef;

use super::options::Options;
use super::{DocumentStream, RunStage, Stage, blocking};
use crate::context::Draws;
use crate::expression::number::Numeric;
use crate::sort::Sorter;
use crate::spill::{Room, holding};
use crate::{Context, DocumentError, ErrorKind};

#[derive(Debug)]
struct Sample {
    size: usize,
    draws: Arc<Draws>,
    room: Room,
}

pub(super) fn parse(argument: RawBsonRef<'_>, context: &Context) -> Result<Stage, DocumentError> {
    let mut options = Options::of("$sample", argument, 28745)?;
    let size = options.take("size");
    options.finish(28748)?;
    let Some(size) = size else {
        return Err(DocumentError::location(
            28749,
            "$sample stage must specify a size",
        ));
    };
    let Some(size) = Numeric::of(size) else {
        return Err(DocumentError::location(
            28746,
            "size argument to $sample must be a number",
        ));
    };
    let size = match usize::try_from(size.as_double() as i64) {
        Ok(size @ 1..) => size,
        _ => {
            return Err(DocumentError::location(
                28747,
                "size argument to $sample must be a positive integer",
            ));
        }
    };
    let Some(draws) = context.draws() else {
        return Err(DocumentError::new(
            ErrorKind::CommandNotSupported,
            "$sample is not supported here: there are no random numbers",
        ));
    };
    Ok(Stage::Other(Box::new(Sample {
        size,
        draws: Arc::clone(draws),
        room: context.room().clone(),
    })))
}

impl RunStage for Sample {
    fn run(&self, input: DocumentStream) -> DocumentStream {
        let (size, draws) = (self.size, Arc::clone(&self.draws));
        let share = self.room.share();
        // The documents with the lowest of as many random keys are a fair choice in a fair order.
        blocking(input, move |input| {
            let mut sorter = Sorter::within(Some(size), share);
            for document in input {
                let document = document?;
                let bytes = document.as_bytes().len();
                sorter.push(draws.next().to_be_bytes().to_vec(), document, bytes)?;
            }
            let (documents, share) = sorter.finish_counted();
            Ok(holding(share, documents.into_iter().map(Ok)))
        })
    }
}
