//! `evergrant import`: token documents into the store.

mod read;

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use evergrant_document::canonical_id;
use evergrant_domain::DocumentId;
use evergrant_domain::marks::mark;
use evergrant_ports::{ImportDocument, ImportMode, Imported, StoreError, TransferStore};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::copies::{KnownTokens, kind};
use crate::exit::Exit;
use crate::output::Output;
use read::{Item, read_documents};

/// Documents written at once.
const BATCH: usize = 500;

/// An import that failed. What was written before stays written; importing again is harmless, since
/// an older token is not laid over a newer one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("import: cannot open {}: {reason}", path.display())]
    Open { path: PathBuf, reason: std::io::ErrorKind },
}

/// Imports a file, or standard input.
pub(crate) async fn import(
    store: &dyn TransferStore,
    path: &Path,
    token_field: &str,
    overwrite: bool,
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
    let mode = if overwrite { ImportMode::Overwrite } else { ImportMode::KeepNewer };
    let known = KnownTokens::of(store).await?;
    Import::new(store, mode, token_field, known, output).run(items).await
}

struct Import<'a> {
    store: &'a dyn TransferStore,
    mode: ImportMode,
    /// Where a document has its refresh token: a dot leads into a sub-document.
    token_field: &'a str,
    /// Whose refresh tokens are known: those of the store, and of the file so far.
    known: KnownTokens,
    output: &'a Output,
    batch: Vec<ImportDocument>,
    /// Where each document of the batch was, and its `_id` as it is shown.
    places: Vec<(String, String)>,
    /// The `_id`s of the batch: of two documents with one, the later wins, in order.
    in_batch: HashSet<DocumentId>,
    count: Count,
}

/// What became of the documents so far.
#[derive(Default)]
struct Count {
    inserted: u64,
    updated: u64,
    kept: u64,
    kept_unknown: u64,
    broken: u64,
}

impl Count {
    fn all(&self) -> u64 {
        self.inserted + self.updated + self.kept + self.kept_unknown + self.broken
    }
}

impl<'a> Import<'a> {
    fn new(
        store: &'a dyn TransferStore,
        mode: ImportMode,
        token_field: &'a str,
        known: KnownTokens,
        output: &'a Output,
    ) -> Self {
        Self {
            store,
            mode,
            token_field,
            known,
            output,
            batch: Vec::with_capacity(BATCH),
            places: Vec::with_capacity(BATCH),
            in_batch: HashSet::new(),
            count: Count::default(),
        }
    }

    async fn run(mut self, mut items: mpsc::Receiver<Item>) -> Result<Exit, ImportError> {
        let progress = self.output.counter("documents");
        while let Some(item) = items.recv().await {
            match item {
                Item::Broken { place, why } => self.reject(&place, &why),
                Item::Document { place, document } => match identified(&document) {
                    Ok(id) => match self.other_holder(&id, &document) {
                        None => self.add(place, id, document).await?,
                        Some(why) => self.reject(&place, &why),
                    },
                    Err(why) => self.reject(&place, why),
                },
            }
            progress.set_position(self.count.all());
        }
        self.write().await?;
        progress.finish_and_clear();
        Ok(self.report())
    }

    fn reject(&mut self, place: &str, why: &str) {
        self.count.broken += 1;
        self.output.message(&format!("{place}: {why}"));
    }

    /// Another document that holds the refresh token of this one, or held it.
    fn other_holder(&mut self, id: &DocumentId, document: &Map<String, Value>) -> Option<String> {
        let mut names = self.token_field.split('.');
        let found = document.get(names.next()?)?;
        let found = names.try_fold(found, |found, name| found.get(name))?;
        let token = found.as_str().filter(|token| !token.is_empty())?;
        let other = self.known.add(mark(Some(&token.into())), id)?;
        Some(format!(
            "{id} ({}) brings the refresh token that the document {other} ({}) holds or held: two \
             documents of one grant would spend each other's tokens. Keep one of them",
            kind(id),
            kind(other)
        ))
    }

    async fn add(
        &mut self,
        place: String,
        id: DocumentId,
        document: Map<String, Value>,
    ) -> Result<(), StoreError> {
        if self.batch.len() == BATCH || self.in_batch.contains(&id) {
            self.write().await?;
        }
        self.places.push((place, id.to_string()));
        self.in_batch.insert(id);
        self.batch.push(ImportDocument(document));
        Ok(())
    }

    async fn write(&mut self) -> Result<(), StoreError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.in_batch.clear();
        let imported = self.store.import_as(std::mem::take(&mut self.batch), self.mode).await?;
        let places = std::mem::take(&mut self.places);
        for ((place, id), imported) in places.into_iter().zip(imported) {
            match imported {
                Imported::Inserted => self.count.inserted += 1,
                Imported::Updated => self.count.updated += 1,
                Imported::Kept => self.count.kept += 1,
                Imported::KeptUnknown => self.count.kept_unknown += 1,
                Imported::Twin(twin) => self.reject(&place, &twins(&id, &twin)),
            }
        }
        Ok(())
    }

    fn report(&self) -> Exit {
        let Count { inserted, updated, kept, kept_unknown, broken } = self.count;
        if self.output.json {
            let kept = kept + kept_unknown;
            let json = serde_json::json!({
                "inserted": inserted, "updated": updated, "kept": kept, "broken": broken,
            });
            self.output.json(&json);
        } else {
            let part = |count, what| match count {
                0 => String::new(),
                count => format!(", {count} {what}"),
            };
            let kept = part(kept + kept_unknown, "kept as they are");
            let broken = part(broken, "not imported");
            self.output.line(&format!(
                "imported {} documents: {inserted} new, {updated} updated{kept}{broken}",
                inserted + updated
            ));
        }
        if kept > 0 {
            self.output.message(&format!("{kept} {KEPT}"));
        }
        if kept_unknown > 0 {
            self.output.message(&format!("{kept_unknown} {KEPT_UNKNOWN}"));
        }
        if self.count.all() == 0 {
            self.output.message("there are no documents");
            return Exit::Nothing;
        }
        if broken + kept_unknown == 0 { Exit::Done } else { Exit::Partial }
    }
}

const KEPT: &str = "documents were kept as they are: Evergrant has refreshed them since, so their tokens \
                    are newer than those of the file. --overwrite lays the file's tokens over them.";
const KEPT_UNKNOWN: &str = "documents were kept as they are: Evergrant has refreshed them so often that it \
                            cannot tell whether the file's tokens are older. If their users have signed \
                            in again, import these with --overwrite.";

fn twins(id: &str, twin: &DocumentId) -> String {
    let (this, other) = match twin {
        DocumentId::ObjectId(_) => ("a string", "an ObjectId"),
        _ => ("an ObjectId", "a string"),
    };
    format!(
        "the _id {id} is {this} here, and there is a document whose _id is the same as {other}: \
         two documents of one user would spend each other's tokens. Write the _id as {other}, or delete \
         that document first"
    )
}

fn identified(document: &Map<String, Value>) -> Result<DocumentId, &'static str> {
    let id = document.get("_id").ok_or("the document has no _id")?;
    let id = DocumentId::try_from(id.clone());
    id.map(|id| canonical_id(&id)).map_err(|_| "the _id is not one that MongoDB takes")
}
