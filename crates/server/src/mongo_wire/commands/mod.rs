//! The commands, one file each, and the table that finds them by name.
//!
//! A command states its fields, so that what it does not know is refused by name, never ignored.

mod aggregate;
mod build_info;
mod bulk_write;
mod coll_mod;
mod collection_options;
mod collection_stats;
mod configure_fail_point;
mod connection_status;
mod count;
mod create;
mod create_indexes;
mod cstore_backup;
mod cstore_hash;
mod cstore_member;
mod cstore_status;
mod current_op;
mod db_hash;
mod db_stats;
mod delete;
mod distinct;
mod drop;
mod drop_database;
mod drop_indexes;
mod explain;
mod find;
mod find_and_modify;
mod get_cmd_line_opts;
mod get_log;
mod get_more;
mod get_parameter;
pub(crate) mod hello;
mod host_info;
mod insert;
mod kill_cursors;
mod kill_op;
mod list_collections;
mod list_commands;
mod list_databases;
mod list_indexes;
mod ping;
mod plan_cache;
mod profile;
mod rename_collection;
mod repl_set_freeze;
mod repl_set_get_config;
mod repl_set_get_status;
mod repl_set_step_down;
mod server_status;
mod sessions;
mod set_parameter;
mod unsupported;
mod update;
mod validate;
mod whats_my_uri;

use std::future::Future;
use std::pin::Pin;

use super::dispatch::{Answer, Invocation};
use super::failure::Failure;
use super::request::Fields;

/// A command's work.
pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Result<Answer, Failure>> + Send + 'a>>;

/// Whether a command changes data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Touches no data, or decides for itself.
    Free,
    /// Reads data: the command asks [`super::read_point`] for a snapshot.
    Read,
    /// Changes data through the log.
    Write,
}

/// One command.
pub(crate) struct Command {
    pub name: &'static str,
    /// Other spellings.
    pub aliases: &'static [&'static str],
    /// `None`: takes any field (the handshake and other requests whose clients send what they like).
    pub fields: Option<Fields>,
    pub access: Access,
    pub admin_only: bool,
    /// Part of MongoDB's Stable API, version 1.
    pub in_api_1: bool,
    pub help: &'static str,
    pub run: for<'a> fn(&'a Invocation<'a>) -> Running<'a>,
}

impl Command {
    /// A command of no fields that touches no data; the others change what differs.
    const fn new(
        name: &'static str,
        help: &'static str,
        run: for<'a> fn(&'a Invocation<'a>) -> Running<'a>,
    ) -> Self {
        Command {
            name,
            aliases: &[],
            fields: None,
            access: Access::Free,
            admin_only: false,
            in_api_1: false,
            help,
            run,
        }
    }
}

static COMMANDS: &[&Command] = &[
    &find::COMMAND,
    &insert::COMMAND,
    &update::COMMAND,
    &delete::COMMAND,
    &get_more::COMMAND,
    &find_and_modify::COMMAND,
    &aggregate::COMMAND,
    &count::COMMAND,
    &distinct::COMMAND,
    &hello::HELLO,
    &hello::IS_MASTER,
    &ping::COMMAND,
    &sessions::END,
    &sessions::REFRESH,
    &sessions::START,
    &sessions::KILL,
    &kill_cursors::COMMAND,
    &build_info::COMMAND,
    &bulk_write::COMMAND,
    &coll_mod::COMMAND,
    &collection_stats::COMMAND,
    &configure_fail_point::COMMAND,
    &connection_status::COMMAND,
    &create::COMMAND,
    &create_indexes::COMMAND,
    &cstore_backup::BEGIN,
    &cstore_backup::NEXT,
    &cstore_backup::END,
    &cstore_hash::COMMAND,
    &cstore_member::PROMOTE,
    &cstore_member::REMOVE,
    &cstore_member::TRANSFER,
    &cstore_status::COMMAND,
    &current_op::COMMAND,
    &db_hash::COMMAND,
    &db_stats::COMMAND,
    &drop::COMMAND,
    &drop_database::COMMAND,
    &drop_indexes::COMMAND,
    &explain::COMMAND,
    &get_cmd_line_opts::COMMAND,
    &get_log::COMMAND,
    &get_parameter::COMMAND,
    &host_info::COMMAND,
    &kill_op::COMMAND,
    &list_collections::COMMAND,
    &list_commands::COMMAND,
    &list_databases::COMMAND,
    &list_indexes::COMMAND,
    &plan_cache::CLEAR,
    &plan_cache::SET_FILTER,
    &plan_cache::LIST_FILTERS,
    &plan_cache::CLEAR_FILTERS,
    &profile::COMMAND,
    &rename_collection::COMMAND,
    &repl_set_freeze::COMMAND,
    &repl_set_get_config::COMMAND,
    &repl_set_get_status::COMMAND,
    &repl_set_step_down::COMMAND,
    &server_status::COMMAND,
    &set_parameter::COMMAND,
    &validate::COMMAND,
    &whats_my_uri::COMMAND,
    &unsupported::COMMIT_TRANSACTION,
    &unsupported::ABORT_TRANSACTION,
    &unsupported::SASL_START,
    &unsupported::SASL_CONTINUE,
    &unsupported::AUTHENTICATE,
    &unsupported::CREATE_SEARCH_INDEXES,
    &unsupported::UPDATE_SEARCH_INDEX,
    &unsupported::DROP_SEARCH_INDEX,
];

/// The command of this name.
pub(crate) fn find(name: &str) -> Option<&'static Command> {
    COMMANDS
        .iter()
        .copied()
        .find(|command| command.name == name || command.aliases.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        let mut names = std::collections::BTreeSet::new();
        for command in COMMANDS {
            for name in std::iter::once(&command.name).chain(command.aliases) {
                assert!(names.insert(*name), "{name} stands twice");
                assert!(find(name).is_some());
            }
        }
        assert!(find("atlasVersion").is_none());
    }
}
