//! `evergrant console`

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use evergrant_web::{UserName, UserRole};

#[derive(Debug, ClapArgs)]
pub(crate) struct ConsoleArgs {
    /// Address and port to serve it at. Off the loopback interface a login is required; on it, without
    /// users, the printed address admits one browser.
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
    /// Manage the users.
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user, or change a user's role and password.
    Add {
        /// The name: letters, digits and . _ @ -
        name: UserName,
        /// What the user may do.
        #[arg(long, value_enum, default_value_t = UserRole::Viewer)]
        role: UserRole,
        /// File whose first line is the password, or - for standard input [default: prompt].
        #[arg(long)]
        password_file: Option<PathBuf>,
    },
    /// List users and their roles.
    List,
    /// Remove a user and end the user's logins.
    Remove {
        /// The name.
        name: UserName,
    },
}
