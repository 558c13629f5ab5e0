//! A deterministic in-memory disk that loses what was not synced.

/// Placeholder until the next commit.
#[derive(Clone, Debug, Default)]
pub struct SimulatedDisk;
/// Placeholder until the next commit.
#[derive(Debug)]
pub struct SimulatedFile;
/// Placeholder until the next commit.
#[derive(Debug)]
pub struct SimulatedLock;
