//! `evergrant backup`: a copy of the SQLite file while it is in use, tokens included.

use std::path::{Path, PathBuf};

use anyhow::bail;
use evergrant_domain::audit::{ActionOutcome, OperatorAction};
use evergrant_ports::StoreError;
use evergrant_runtime::config::Config;
use evergrant_runtime::connect;
use evergrant_sqlite::BackupError;
use serde_json::json;

use crate::args::BackupArgs;
use crate::exit::Exit;
use crate::output::Output;
use evergrant_operations::operator::{ActingOperator, ActionSubject, unaudited_hint};

/// What is in a backup, beside the documents.
const KEY: &str = "the key of sealed answers is not in it: keep that of the settings (rescue.key_file), or the \
    folder beside the file, too";

/// Copies the file of the settings, and notes it in the audit record before.
pub(crate) async fn backup(
    config: &Config,
    wish: &BackupArgs,
    output: &Output,
) -> anyhow::Result<Exit> {
    let path = &wish.file;
    let Some(file) = config.store.url.file() else {
        bail!("backup copies a SQLite file, and store.url names a server: use mongodump")
    };
    if path.exists() && !wish.force {
        bail!("{} exists: choose another name, or replace it with --force", path.display());
    }
    refuse_itself(file, path)?;
    let bytes = match wish.unaudited || !file.exists() {
        true => evergrant_sqlite::backup(file, path).await?,
        false => audited(config, file, path).await?,
    };
    output.message(&format!(
        "copied {} to {}: {bytes} bytes; {KEY}",
        file.display(),
        path.display()
    ));
    Ok(Exit::Done)
}

async fn audited(config: &Config, file: &Path, path: &Path) -> anyhow::Result<u64> {
    let operator = ActingOperator::of_this_terminal(connect::store(config).await?);
    let about =
        ActionSubject::all(OperatorAction::Backup, json!({ "file": path.display().to_string() }));
    let work = async { Ok(evergrant_sqlite::backup(file, path).await?) };
    let told = |bytes: &u64| (ActionOutcome::Done, format!("{bytes} bytes"));
    let copied: Result<u64, BackupFailure> = operator.audited(about, work, told).await;
    Ok(copied?)
}

/// A backup that failed.
#[derive(Debug, thiserror::Error)]
enum BackupFailure {
    #[error("{0}{hint}", hint = unaudited_hint(.0))]
    Store(#[from] StoreError),
    #[error(transparent)]
    Backup(#[from] BackupError),
}

/// A copy in the place of the file itself would take it from those who have it open.
fn refuse_itself(file: &Path, path: &Path) -> anyhow::Result<()> {
    let real = |path: &Path| -> Option<PathBuf> { path.canonicalize().ok() };
    if real(file).is_some() && real(file) == real(path) {
        bail!("{} is the file itself: choose another name", path.display());
    }
    Ok(())
}
