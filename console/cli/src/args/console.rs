//! `evergrant console`

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use evergrant_web::{UserName, UserRole};

#[derive(Debug, ClapArgs)]
pub(crate) struct ConsoleArgs {
    /// Where it is served: an address and a port. Off the loopback interface it demands a login; on it,
    /// without users, it prints an address that lets one browser in.
    #[arg(long, global = true)]
    pub(crate) listen: Option<String>,
    /// Who may log in.
    #[arg(long, global = true)]
    pub(crate) users_file: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Option<ConsoleCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConsoleCommand {
    /// Say who may log in.
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user, or give one another role and password.
    Add {
        /// The name: letters, digits and . _ @ -
        name: UserName,
        /// What the user may do.
        #[arg(long, value_enum, default_value_t = UserRole::Viewer)]
        role: UserRole,
        /// A file whose first line is the password, or - for standard input; asked for otherwise.
        #[arg(long)]
        password_file: Option<PathBuf>,
    },
    /// List users and their roles.
    List,
    /// Remove a user. Who is logged in is logged out.
    Remove {
        /// The name.
        name: UserName,
    },
}
