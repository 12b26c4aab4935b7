//! `evergrant export` and `evergrant backup`

use std::path::PathBuf;

use clap::Args as ClapArgs;

#[derive(Debug, ClapArgs)]
pub(crate) struct ExportArgs {
    /// A file, made readable by its owner only, or - for standard output.
    #[arg(default_value = "-")]
    pub(crate) file: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    pub(crate) force: bool,
    /// Without a note in the audit record, for a store that cannot be written.
    #[arg(long)]
    pub(crate) unaudited: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct BackupArgs {
    /// The copy, made readable by its owner only.
    pub(crate) file: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    pub(crate) force: bool,
    /// Without a note in the audit record, for a store that cannot be written.
    #[arg(long)]
    pub(crate) unaudited: bool,
}
