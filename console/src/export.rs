//! `evergrant export`: all documents, tokens included.

use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use evergrant_shared::ports::{StoreError, TokenStore};
use evergrant_shared::private_file::PrivateFile;
use futures::TryStreamExt;

use crate::exit::Exit;
use crate::output::Output;

/// An export that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{} exists: choose another name, or replace it with --force", .0.display())]
    Exists(PathBuf),
    #[error("export to {}: {reason}", path.display())]
    Write { path: PathBuf, reason: std::io::ErrorKind },
}

/// Writes all documents as JSON lines. A file appears under its name only when it is whole.
pub(crate) async fn export(
    store: &dyn TokenStore,
    path: &Path,
    force: bool,
    output: &Output,
) -> Result<Exit, ExportError> {
    let fail =
        |error: std::io::Error| ExportError::Write { path: path.to_owned(), reason: error.kind() };
    let count = if path == Path::new("-") {
        if std::io::stdout().is_terminal() {
            output.message("warning: these lines hold tokens");
        }
        write_all(store, &mut std::io::stdout().lock(), fail).await?
    } else {
        if path.exists() && !force {
            return Err(ExportError::Exists(path.to_owned()));
        }
        let mut writer = BufWriter::new(PrivateFile::create(path).map_err(fail)?);
        let count = write_all(store, &mut writer, fail).await?;
        let file = writer.into_inner().map_err(|error| fail(error.into_error()))?;
        file.replace().map_err(fail)?;
        count
    };
    output.message(&format!("exported {count} documents"));
    Ok(if count == 0 { Exit::Nothing } else { Exit::Done })
}

async fn write_all(
    store: &dyn TokenStore,
    writer: &mut impl Write,
    fail: impl Fn(std::io::Error) -> ExportError,
) -> Result<u64, ExportError> {
    let mut documents = store.export();
    let mut count = 0;
    while let Some(document) = documents.try_next().await? {
        serde_json::to_writer(&mut *writer, &document).map_err(|error| fail(error.into()))?;
        writer.write_all(b"\n").map_err(&fail)?;
        count += 1;
    }
    writer.flush().map_err(&fail)?;
    Ok(count)
}
