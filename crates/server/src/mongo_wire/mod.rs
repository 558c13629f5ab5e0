//! The MongoDB wire protocol.
