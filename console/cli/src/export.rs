//! `evergrant export`: all documents, tokens included.

use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use evergrant_domain::audit::{ActionOutcome, OperatorAction};
use evergrant_domain::printable::ascii_json;
use evergrant_files::private_file::PrivateFile;
use evergrant_ports::{Store, StoreError, TransferStore};
use futures::TryStreamExt;
use serde_json::json;

use crate::args::ExportArgs;
use crate::exit::Exit;
use crate::output::Output;
use evergrant_operations::operator::{ActingOperator, ActionSubject, unaudited_hint};

/// An export that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    #[error("{0}{hint}", hint = unaudited_hint(.0))]
    Store(#[from] StoreError),
    #[error("{} exists: choose another name, or replace it with --force", .0.display())]
    Exists(PathBuf),
    #[error("export to {}: {reason}", path.display())]
    Write { path: PathBuf, reason: std::io::ErrorKind },
}

/// Writes all documents as JSON lines, and a note of it into the audit record before.
pub(crate) async fn export(
    store: &Arc<dyn Store>,
    wish: &ExportArgs,
    output: &Output,
) -> Result<Exit, ExportError> {
    let work = write(&**store, &wish.file, wish.force, output);
    let count = if wish.unaudited {
        work.await?
    } else {
        let about = ActionSubject::all(
            OperatorAction::Export,
            json!({ "file": wish.file.display().to_string() }),
        );
        let told = |count: &u64| match count {
            0 => (ActionOutcome::Nothing, String::new()),
            count => (ActionOutcome::Done, format!("{count} documents")),
        };
        ActingOperator::of_this_terminal(Arc::clone(store)).audited(about, work, told).await?
    };
    output.message(&format!("exported {count} documents"));
    Ok(if count == 0 { Exit::Nothing } else { Exit::Done })
}

/// A file appears under its name only when it is whole.
async fn write(
    store: &dyn TransferStore,
    path: &Path,
    force: bool,
    output: &Output,
) -> Result<u64, ExportError> {
    let fail =
        |error: std::io::Error| ExportError::Write { path: path.to_owned(), reason: error.kind() };
    if path == Path::new("-") {
        if std::io::stdout().is_terminal() {
            output.message("warning: these lines hold tokens");
        }
        return write_all(store, path, &mut BufWriter::new(std::io::stdout()), fail).await;
    }
    if path.exists() && !force {
        return Err(ExportError::Exists(path.to_owned()));
    }
    let mut writer = BufWriter::new(PrivateFile::create(path).map_err(fail)?);
    let count = write_all(store, path, &mut writer, fail).await?;
    let file = writer.into_inner().map_err(|error| fail(error.into_error()))?;
    file.replace().map_err(fail)?;
    Ok(count)
}

async fn write_all(
    store: &dyn TransferStore,
    path: &Path,
    writer: &mut impl Write,
    fail: impl Fn(std::io::Error) -> ExportError,
) -> Result<u64, ExportError> {
    // A terminal gets nothing that it could act on.
    let is_shown = std::io::stdout().is_terminal() && path == Path::new("-");
    let mut documents = store.export();
    let mut count = 0;
    while let Some(document) = documents.try_next().await? {
        let json = document.to_string();
        let json = if is_shown { ascii_json(&json) } else { json };
        writeln!(writer, "{json}").map_err(&fail)?;
        count += 1;
    }
    writer.flush().map_err(&fail)?;
    Ok(count)
}
