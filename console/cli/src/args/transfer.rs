//! `evergrant import`, `evergrant export` and `evergrant backup`

use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::import::MapEntry;

#[derive(Debug, ClapArgs)]
pub(crate) struct ImportArgs {
    /// A file, or - for standard input.
    pub(crate) file: PathBuf,
    /// Overwrite tokens in the store even with older ones. A token that was exchanged is spent: sending it
    /// again may end the user's grant.
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Take a table with a line of names (CSV; tabs, semicolons and bars, too). A file whose name ends in
    /// .csv or .tsv needs no such word. All its values are texts; an empty one is none.
    #[arg(long)]
    pub(crate) csv: bool,
    /// Which column or field of the file becomes which field of the document: id=_id. A dot leads into a
    /// sub-document. For each one that has another name than the settings say, and may be given several times.
    #[arg(long, value_name = "NAME=PATH")]
    pub(crate) map: Vec<MapEntry>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ExportArgs {
    /// File to write, readable by its owner only, or - for standard output.
    #[arg(default_value = "-")]
    pub(crate) file: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    pub(crate) force: bool,
    /// Write no audit entry, for a store that cannot be written.
    #[arg(long)]
    pub(crate) unaudited: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct BackupArgs {
    /// File to write, readable by its owner only.
    pub(crate) file: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    pub(crate) force: bool,
    /// Write no audit entry, for a store that cannot be written.
    #[arg(long)]
    pub(crate) unaudited: bool,
}
