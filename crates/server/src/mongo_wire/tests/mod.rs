//! A real one-node server behind a real socket: dialogues, and bytes that are not the protocol.

mod dialogues;
mod exhaust;
mod garbage;
mod harness;
mod hostile;
mod monitoring;
