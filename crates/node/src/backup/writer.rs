//! Writes a backup from the chunks of a member's stream, checking each on the way.

use std::io::Write;

use state_machine::{CollectionCounts, Survey};

use super::{BackupError, BackupHead, BackupSummary};

/// A backup on its way into a file or pipe. What is dropped before [`BackupWriter::finish`] is no backup.
pub struct BackupWriter<W> {
    output: W,
    survey: Survey,
    offset: u64,
    chunks: u64,
    chunk_bytes: u64,
}

impl<W: Write> BackupWriter<W> {
    /// Begins with the head.
    pub fn new(output: W, head: &BackupHead) -> Result<Self, BackupError> {
        let mut writer = BackupWriter {
            output,
            survey: Survey::new(head.index),
            offset: 0,
            chunks: 0,
            chunk_bytes: 0,
        };
        writer.write(&head.encode())?;
        Ok(writer)
    }

    /// Takes the next chunk; one that is damaged, or not the next one, is refused.
    pub fn chunk(&mut self, chunk: &[u8]) -> Result<(), BackupError> {
        self.survey.chunk(chunk)?;
        self.write(chunk)?;
        self.chunks += 1;
        self.chunk_bytes += chunk.len() as u64;
        Ok(())
    }

    /// Documents so far, and their bytes.
    pub fn total(&self) -> CollectionCounts {
        self.survey.total()
    }

    /// Whether the last chunk has come.
    pub fn is_whole(&self) -> bool {
        self.survey.is_whole()
    }

    /// Ends with the trailer, and gives the output back, flushed.
    pub fn finish(mut self) -> Result<(W, BackupSummary), BackupError> {
        let survey = std::mem::replace(&mut self.survey, Survey::new(0));
        let summary = BackupSummary {
            chunks: self.chunks,
            chunk_bytes: self.chunk_bytes,
            collections: survey.finish()?,
        };
        self.write(&summary.encode())?;
        let flushed = self.output.flush();
        flushed.map_err(|source| self.failed(source))?;
        Ok((self.output, summary))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        let written = self.output.write_all(bytes);
        written.map_err(|source| self.failed(source))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn failed(&self, source: std::io::Error) -> BackupError {
        BackupError::Write {
            offset: self.offset,
            source,
        }
    }
}
