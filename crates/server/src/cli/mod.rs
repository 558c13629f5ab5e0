//! The command line.

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(
    name = "cstore",
    version,
    about = "A replicated, MongoDB-compatible document database"
)]
enum CommandLine {
    /// Run one node.
    Serve(crate::serve::ServeArgs),
}

/// Runs the command line and returns the process's exit code.
pub fn main() -> ExitCode {
    match CommandLine::parse() {
        CommandLine::Serve(args) => crate::serve::run(args),
    }
}
