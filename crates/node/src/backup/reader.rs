//! Reads a backup in one pass. Whoever has read it to its end has verified it: every chunk, their order, the totals, the
//! hash of every collection, and that nothing follows.

use std::io::{ErrorKind, Read};

use state_machine::{CHUNK_HEADER_BYTES, CollectionCounts, ImportError, Survey, chunk_bytes};

use super::format::{HEAD_BYTES, TRAILER_HEAD_BYTES};
use super::{BackupError, BackupHead, BackupSummary};

/// A backup being read.
pub struct BackupReader<R> {
    input: R,
    head: BackupHead,
    survey: Survey,
    offset: u64,
    chunks: u64,
    chunk_bytes: u64,
    chunk: Vec<u8>,
}

impl<R: Read> BackupReader<R> {
    /// Reads the head.
    pub fn open(input: R) -> Result<Self, BackupError> {
        let head = BackupHead {
            cluster_id: [0; 16],
            index: 0,
            term: 0,
            taken_ms: 0,
        };
        let mut reader = BackupReader {
            input,
            head,
            survey: Survey::new(0),
            offset: 0,
            chunks: 0,
            chunk_bytes: 0,
            chunk: Vec::new(),
        };
        let mut bytes = [0; HEAD_BYTES];
        let read = reader.fill(&mut bytes)?;
        if read < HEAD_BYTES {
            return Err(match bytes.starts_with(super::format::MAGIC) {
                true => reader.cut_off("its head".to_owned()),
                false => BackupError::NotABackup,
            });
        }
        reader.head = BackupHead::decode(&bytes)?;
        reader.survey = Survey::new(reader.head.index);
        Ok(reader)
    }

    /// What it is of.
    pub fn head(&self) -> &BackupHead {
        &self.head
    }

    /// Documents so far, and their bytes.
    pub fn total(&self) -> CollectionCounts {
        self.survey.total()
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next chunk, verified; `None` after the last one: then [`BackupReader::finish`] is to be called.
    pub fn next_chunk(&mut self) -> Result<Option<&[u8]>, BackupError> {
        if self.survey.is_whole() {
            return Ok(None);
        }
        let (place, start) = (format!("chunk {}", self.chunks + 1), self.offset);
        let mut header = [0; CHUNK_HEADER_BYTES];
        if self.fill(&mut header)? < header.len() {
            return Err(self.cut_off(place));
        }
        let damaged = |what: String| BackupError::Damaged {
            place: place.clone(),
            offset: start,
            what,
        };
        let length = chunk_bytes(&header)
            .ok_or_else(|| damaged("it does not begin as a chunk does".to_owned()))?;
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.clear();
        chunk.extend_from_slice(&header);
        let rest = length - header.len();
        let read = (&mut self.input).take(rest as u64).read_to_end(&mut chunk);
        read.map_err(|source| BackupError::Read {
            offset: start,
            source,
        })?;
        self.offset = start + chunk.len() as u64;
        if chunk.len() < length {
            return Err(self.cut_off(place));
        }
        self.survey.chunk(&chunk).map_err(|error| match error {
            // Not damage: it cannot be read here.
            ImportError::Damaged(state_machine::DecodeError::Version(_)) => error.into(),
            error => damaged(error.to_string()),
        })?;
        self.chunks += 1;
        self.chunk_bytes += length as u64;
        self.chunk = chunk;
        Ok(Some(&self.chunk))
    }

    /// Reads the trailer, after the last chunk, and compares it with what came.
    pub fn finish(mut self) -> Result<BackupSummary, BackupError> {
        let (place, start) = ("its trailer".to_owned(), self.offset);
        let damaged = |what: &str| BackupError::Damaged {
            place: place.clone(),
            offset: start,
            what: what.to_owned(),
        };
        let mut head = [0; TRAILER_HEAD_BYTES];
        if self.fill(&mut head)? < head.len() {
            return Err(self.cut_off(place));
        }
        let length = BackupSummary::body_bytes(&head)
            .ok_or_else(|| damaged("it does not begin as one does"))?;
        let mut body = Vec::new();
        let read = (&mut self.input).take(length as u64).read_to_end(&mut body);
        read.map_err(|source| BackupError::Read {
            offset: start,
            source,
        })?;
        self.offset += body.len() as u64;
        if body.len() < length {
            return Err(self.cut_off(place));
        }
        let announced = BackupSummary::decode(&head, &body)
            .ok_or_else(|| damaged("its checksum does not match its bytes"))?;
        let found = BackupSummary {
            chunks: self.chunks,
            chunk_bytes: self.chunk_bytes,
            collections: std::mem::replace(&mut self.survey, Survey::new(0)).finish()?,
        };
        if announced != found {
            return Err(damaged("it does not say what the chunks hold"));
        }
        let end = self.offset;
        match self.fill(&mut [0; 1])? {
            0 => Ok(found),
            _ => Err(BackupError::Damaged {
                place: "what follows its trailer".to_owned(),
                offset: end,
                what: "the file goes on".to_owned(),
            }),
        }
    }

    /// Reads the file to its end.
    pub fn verify(mut self, mut progress: impl FnMut(&Self)) -> Result<BackupSummary, BackupError> {
        while self.next_chunk()?.is_some() {
            progress(&self);
        }
        self.finish()
    }

    /// Reads until `buffer` is full or the input ends; returns how many bytes.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, BackupError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.input.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(BackupError::Read {
                        offset: self.offset,
                        source,
                    });
                }
            }
        }
        self.offset += filled as u64;
        Ok(filled)
    }

    fn cut_off(&self, place: String) -> BackupError {
        BackupError::CutOff {
            place,
            offset: self.offset,
        }
    }
}
