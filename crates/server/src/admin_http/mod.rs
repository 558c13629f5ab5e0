//! The admin port: health and metrics over HTTP/1.1.
