//! The command line: one file per subcommand. An error goes to stderr as one sentence; the exit code is 1 when the work
//! failed and 2 when the command line was wrong.

mod backup;
mod bench;
mod check;
mod dev;
mod import;
mod member;
mod recover;
mod restore;
mod status;
mod transfer_progress;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::client::{Client, ClientError, ConnectionString};

/// Where `cstore dev` listens unless told otherwise; a lone `serve` is among them.
const URI_DEFAULT: &str = "mongodb://127.0.0.1:27017,127.0.0.1:27018,127.0.0.1:27019";

#[derive(Parser)]
#[command(
    name = "cstore",
    version,
    about = "A replicated, MongoDB-compatible document database",
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one node
    Serve(Box<crate::serve::ServeArgs>),
    /// Run a local cluster, one process per node
    Dev(dev::DevArgs),
    /// Show the members of a cluster and how far each has come
    Status(status::StatusArgs),
    /// List and change the members of a cluster
    #[command(subcommand)]
    Member(member::MemberCommand),
    /// Load JSON or CSV files into a collection
    Import(import::ImportArgs),
    /// Measure throughput and latency
    Bench(bench::BenchArgs),
    /// Write a consistent copy of everything into one file while the cluster works
    Backup(backup::BackupArgs),
    /// Make a new cluster from a backup, and an archive up to an index or a time
    Restore(restore::RestoreArgs),
    /// Compare every collection across the members of a cluster
    Check(check::CheckArgs),
    /// Go on with what is left of a stopped directory, when the other members are lost for good
    Recover(recover::RecoverArgs),
}

/// Which cluster a subcommand talks to.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClusterArgs {
    /// Connection string of the cluster
    #[arg(long, value_name = "URI", default_value = URI_DEFAULT)]
    pub uri: ConnectionString,
    /// How long to look for a primary, and to repeat what a fail-over interrupts
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub wait: u64,
}

impl ClusterArgs {
    fn client(&self) -> Client {
        Client::new(&self.uri).with_patience(Duration::from_secs(self.wait))
    }
}

/// Why a subcommand failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0} answered without the field {1:?}; is it a cstore of another version?")]
    Reply(String, &'static str),
    #[error("{path}: {reason}")]
    File { path: String, reason: String },
    #[error("cannot write the output: {0}")]
    Output(#[source] std::io::Error),
    /// A sentence that is complete in itself.
    #[error("{0}")]
    Failed(String),
}

/// Runs the command line and returns the process's exit code.
pub fn main() -> ExitCode {
    let outcome = match CommandLine::parse().command {
        Command::Serve(args) => {
            dev::stop_with_parent();
            return crate::serve::run(*args);
        }
        Command::Dev(args) => dev::run(args),
        Command::Status(args) => status::run(&args),
        Command::Member(command) => member::run(&command),
        Command::Import(args) => import::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Backup(args) => backup::run(&args),
        Command::Restore(args) => restore::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Recover(args) => recover::run(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(CliError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cstore: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes text to stdout; a closed pipe is an error the caller passes on.
fn print(text: &str) -> Result<(), CliError> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(CliError::Output)
}

/// Rows as columns of equal width, the first row being the heads.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_mistyped_flag_is_answered_with_the_right_one() {
        let error = CommandLine::try_parse_from(["cstore", "status", "--jsno"])
            .err()
            .expect("unknown")
            .to_string();
        assert!(error.contains("--json"), "{error}");
    }

    #[test]
    fn a_bad_connection_string_is_explained() {
        let parsed = CommandLine::try_parse_from(["cstore", "status", "--uri", "localhost"]);
        let error = parsed.err().expect("not a connection string").to_string();
        assert!(error.contains("mongodb://HOST:PORT"), "{error}");
    }

    #[test]
    fn tables_align() {
        let rows = [
            vec!["id".to_owned(), "role".to_owned()],
            vec!["100".to_owned(), "leader".to_owned()],
        ];
        assert_eq!(table(&rows), "id   role\n100  leader\n");
    }
}
