//! `evergrant backup`: a copy of the SQLite file while it is in use, tokens included.

use std::path::{Path, PathBuf};

use anyhow::bail;
use evergrant_shared::config::Config;
use evergrant_shared::sqlite;

use crate::exit::Exit;
use crate::output::Output;

/// What is in a backup, beside the documents.
const KEY: &str = "the key of sealed answers is not in it: keep the folder beside the file, too";

/// Copies the file of the settings.
pub(crate) async fn backup(
    config: &Config,
    path: &Path,
    force: bool,
    output: &Output,
) -> anyhow::Result<Exit> {
    let Some(file) = config.store.file()? else {
        bail!("backup copies a SQLite file, and store.url names a server: use mongodump")
    };
    if path.exists() && !force {
        bail!("{} exists: choose another name, or replace it with --force", path.display());
    }
    refuse_itself(&file, path)?;
    let bytes = sqlite::backup(&file, path).await?;
    output.message(&format!(
        "copied {} to {}: {bytes} bytes; {KEY}",
        file.display(),
        path.display()
    ));
    Ok(Exit::Done)
}

/// A copy in the place of the file itself would take it from those who have it open.
fn refuse_itself(file: &Path, path: &Path) -> anyhow::Result<()> {
    let real = |path: &Path| -> Option<PathBuf> { path.canonicalize().ok() };
    if real(file).is_some() && real(file) == real(path) {
        bail!("{} is the file itself: choose another name", path.display());
    }
    Ok(())
}
