//! `cstore restore`: the first member of a new cluster from a backup; with an archive, as it was at an index or a time.

use std::path::PathBuf;
use std::process::ExitCode;

use indicatif::HumanCount;
use node::{RestoreStep, Restored, Until, hex};
use platform::{OsDisk, OsEntropy};

use super::CliError;
use super::backup::{describe, open, time};
use super::transfer_progress::TransferProgress;

/// The flags of `restore`.
#[derive(clap::Args, Debug)]
#[command(
    long_about = "Makes the first member of a new cluster from a backup. The data directory must be empty; start it with cstore \
serve afterwards, and let others join it as usual. The cluster has a new id: members of the old one are refused by it.\n\n\
With --archive-dir the entries that members of the old cluster archived after the backup (cstore serve --archive-dir) are \
replayed: all of them, or up to --to-index, or up to --to-time. If entries are missing on the way, nothing is restored, and \
they are named."
)]
pub(crate) struct RestoreArgs {
    /// The backup; - for standard input
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The new member's directory; made if missing
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// What the old cluster's members were given as --archive-dir
    #[arg(long, value_name = "DIR")]
    archive_dir: Option<PathBuf>,
    /// The last log entry to replay
    #[arg(
        long,
        value_name = "N",
        requires = "archive_dir",
        conflicts_with = "to_time"
    )]
    to_index: Option<u64>,
    /// Replay what was written up to this time, such as 2026-05-01T12:30:00Z
    #[arg(long, value_name = "RFC3339", requires = "archive_dir", value_parser = parse_time)]
    to_time: Option<i64>,
    /// No progress bar
    #[arg(long, short)]
    quiet: bool,
}

fn parse_time(text: &str) -> Result<i64, String> {
    bson::DateTime::parse_rfc3339_str(text)
        .map(bson::DateTime::timestamp_millis)
        .map_err(|_| {
            "not a time; write it as 2026-05-01T12:30:00Z or 2026-05-01T14:30:00.250+02:00"
                .to_owned()
        })
}

pub(crate) fn run(args: &RestoreArgs) -> Result<ExitCode, CliError> {
    let (backup, length) = open(&args.from)?;
    let head = backup.head().clone();
    let until = match (args.to_index, args.to_time) {
        (Some(index), _) => Until::Index(index),
        (None, Some(time)) => Until::Time(time),
        (None, None) => Until::End,
    };
    let archive = args
        .archive_dir
        .as_ref()
        .map(|directory| (directory.as_path(), until));
    let progress = TransferProgress::new(length, args.quiet);
    let watch = |step: RestoreStep| match step {
        RestoreStep::Reading { bytes, documents } => progress.at(bytes, documents),
        RestoreStep::Comparing => progress.say("comparing with the backup"),
        RestoreStep::Replaying { done, of } => {
            progress.say(&format!("{}/{} entries", HumanCount(done), HumanCount(of)));
        }
    };
    let restored = node::restore(&OsDisk, &OsEntropy, &args.data_dir, backup, archive, watch);
    progress.finish();
    let restored = restored?;
    let mut text = format!("{}\n", describe(&head, &restored.summary));
    text.push_str(&conclusion(args, &restored));
    super::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn conclusion(args: &RestoreArgs, restored: &Restored) -> String {
    let mut text = String::new();
    if args.archive_dir.is_some() {
        let made = match restored.last_ms {
            Some(last) => format!(", the last of them made {} or before", time(last)),
            None => String::new(),
        };
        text.push_str(&format!(
            "{} entries replayed{made}\n",
            HumanCount(restored.replayed)
        ));
    }
    if restored.ends_before_time {
        text.push_str(
            "NOTE: the archive ends before the time asked for: what was written after its last entry is not in it\n",
        );
    }
    text.push_str(&format!(
        "restored as of entry {}: cluster {}, in {}; start it with cstore serve --data-dir {}\n",
        restored.index,
        hex(&restored.cluster_id),
        args.data_dir.display(),
        args.data_dir.display()
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_may_have_an_offset() {
        let utc = parse_time("2026-05-01T12:30:00Z").expect("a time");
        assert_eq!(parse_time("2026-05-01T14:30:00+02:00"), Ok(utc));
        assert_eq!(parse_time("2026-05-01T12:30:00.250Z"), Ok(utc + 250));
        parse_time("yesterday").expect_err("no time");
    }
}
