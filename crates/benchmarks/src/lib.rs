//! Side-by-side runs against peers (being written by another engineer).
#![forbid(unsafe_code)]
