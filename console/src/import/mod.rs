//! `evergrant import`: token documents into the store.

mod read;

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use evergrant_shared::domain::DocumentId;
use evergrant_shared::ports::{ImportCount, ImportDocument, StoreError, TokenStore};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::exit::Exit;
use crate::output::Output;
use read::{Item, read_documents};

/// Documents written at once.
const BATCH: usize = 500;

/// An import that failed. What was written before stays written; importing again is harmless.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("import: cannot open {}: {reason}", path.display())]
    Open { path: PathBuf, reason: std::io::ErrorKind },
}

/// Imports a file, or standard input.
pub(crate) async fn import(
    store: &dyn TokenStore,
    path: &Path,
    output: &Output,
) -> Result<Exit, ImportError> {
    let source: Box<dyn Read + Send> =
        if path == Path::new("-") {
            Box::new(std::io::stdin())
        } else {
            let open = File::open(path).and_then(|file| match file.metadata()?.is_dir() {
                true => Err(std::io::ErrorKind::IsADirectory.into()),
                false => Ok(file),
            });
            Box::new(open.map_err(|error| ImportError::Open {
                path: path.to_owned(),
                reason: error.kind(),
            })?)
        };
    let (sender, items) = mpsc::channel(BATCH);
    // Reading blocks, so it has a thread of its own; the channel keeps it from running ahead.
    std::thread::spawn(move || read_documents(BufReader::new(source), &sender));
    Import::new(store, output).run(items).await
}

struct Import<'a> {
    store: &'a dyn TokenStore,
    output: &'a Output,
    batch: Vec<ImportDocument>,
    /// The `_id`s of the batch: of two documents with one, the later wins, in order.
    in_batch: HashSet<DocumentId>,
    count: ImportCount,
    broken: u64,
}

impl<'a> Import<'a> {
    fn new(store: &'a dyn TokenStore, output: &'a Output) -> Self {
        Self {
            store,
            output,
            batch: Vec::with_capacity(BATCH),
            in_batch: HashSet::new(),
            count: ImportCount::default(),
            broken: 0,
        }
    }

    async fn run(mut self, mut items: mpsc::Receiver<Item>) -> Result<Exit, ImportError> {
        let progress = self.output.counter("documents");
        while let Some(item) = items.recv().await {
            match item {
                Item::Broken { place, why } => self.reject(&place, &why),
                Item::Document { place, document } => match identified(&document) {
                    Ok(id) => self.add(id, document).await?,
                    Err(why) => self.reject(&place, why),
                },
            }
            progress.set_position(self.count.inserted + self.count.updated);
        }
        self.write().await?;
        progress.finish_and_clear();
        Ok(self.report())
    }

    fn reject(&mut self, place: &str, why: &str) {
        self.broken += 1;
        self.output.message(&format!("{place}: {why}"));
    }

    async fn add(
        &mut self,
        id: DocumentId,
        document: Map<String, Value>,
    ) -> Result<(), StoreError> {
        if self.batch.len() == BATCH || self.in_batch.contains(&id) {
            self.write().await?;
        }
        self.in_batch.insert(id);
        self.batch.push(ImportDocument(document));
        Ok(())
    }

    async fn write(&mut self) -> Result<(), StoreError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.in_batch.clear();
        let written = self.store.import(std::mem::take(&mut self.batch)).await?;
        self.count.inserted += written.inserted;
        self.count.updated += written.updated;
        Ok(())
    }

    fn report(&self) -> Exit {
        let ImportCount { inserted, updated } = self.count;
        let (all, broken) = (inserted + updated, self.broken);
        if self.output.json {
            let json =
                serde_json::json!({"inserted": inserted, "updated": updated, "broken": broken});
            self.output.json(&json);
        } else {
            let rejected = if broken > 0 { format!(", {broken} not read") } else { String::new() };
            self.output.line(&format!(
                "imported {all} documents: {inserted} new, {updated} updated{rejected}"
            ));
        }
        match (all, broken) {
            (0, 0) => {
                self.output.message("there are no documents");
                Exit::Nothing
            }
            (_, 0) => Exit::Done,
            _ => Exit::Partial,
        }
    }
}

fn identified(document: &Map<String, Value>) -> Result<DocumentId, &'static str> {
    let id = document.get("_id").ok_or("the document has no _id")?;
    DocumentId::try_from(id.clone()).map_err(|_| "the _id is not one that MongoDB takes")
}
