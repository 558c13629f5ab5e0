//! A small client of the wire protocol, for the command line's own use.
