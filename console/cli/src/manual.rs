//! Manual pages and completions, from the same source as the command line itself.

use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Args;
use crate::exit::Exit;
use crate::output::Output;

/// Prints what makes a shell complete these commands.
pub(crate) fn complete(shell: Shell) -> Exit {
    clap_complete::generate(shell, &mut Args::command(), "evergrant", &mut std::io::stdout());
    Exit::Done
}

/// Writes a page for each command.
pub(crate) fn write_pages(folder: &Path, output: &Output) -> anyhow::Result<Exit> {
    let what = || format!("write manual pages into {}", folder.display());
    anyhow::ensure!(folder.is_dir(), "{}: there is no such folder: make it first", what());
    clap_mangen::generate_to(Args::command(), folder).with_context(what)?;
    output.message(&format!("read them with: man -l {}/evergrant.1", folder.display()));
    Ok(Exit::Done)
}
