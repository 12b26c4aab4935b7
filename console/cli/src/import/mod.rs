//! `evergrant import`: token documents into the store.

mod columns;
mod encoding;
mod item;
mod json;
mod kind;
mod legacy;
mod mapping;
mod read;
mod refusals;
mod shell;
mod table;

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use evergrant_document::{canonical_id, check_import};
use evergrant_domain::DocumentId;
use evergrant_domain::marks::mark;
use evergrant_ports::{ImportDocument, ImportMode, ImportResult, StoreError, TransferStore};
use evergrant_runtime::config::StoreSettings;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use crate::args::ImportArgs;
use crate::copies::{KnownTokens, kind};
use crate::exit::Exit;
use crate::output::Output;
use columns::KnownFields;
use item::{Item, Reading};
pub(crate) use mapping::MapEntry;
use mapping::Mapping;
use read::read_documents;
use refusals::RefusalLog;

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
    #[error("import: nothing of {} is imported: {why}", path.display())]
    Foreign { path: PathBuf, why: String },
}

/// What the audit record has of an import.
pub(crate) fn request(wish: &ImportArgs) -> Value {
    let mut request =
        json!({ "file": wish.file.display().to_string(), "overwrite": wish.overwrite });
    if !wish.map.is_empty() {
        request["map"] = wish.map.iter().map(ToString::to_string).collect();
    }
    request
}

/// Imports a file, or standard input.
pub(crate) async fn import(
    store: &dyn TransferStore,
    wish: ImportArgs,
    config: &StoreSettings,
    output: &Output,
) -> Result<Exit, ImportError> {
    let ImportArgs { file: path, overwrite, csv, map } = wish;
    let source = open(&path)?;
    let reading = Reading {
        is_table: csv || is_named_as_table(&path),
        mapping: Mapping(map),
        fields: KnownFields::of(config),
    };
    let (sender, items) = mpsc::channel(BATCH);
    // Reading blocks, so it has a thread of its own; the channel keeps it from running ahead.
    std::thread::spawn(move || read_documents(source, &reading, &sender));
    let mode = if overwrite { ImportMode::Overwrite } else { ImportMode::KeepNewer };
    let token_field = &config.fields.refresh_token;
    let known = KnownTokens::from_store(store).await?;
    let import = Import::new(store, mode, token_field, known, output).run(items).await;
    import.map_err(|error| match error {
        Stop::Store(error) => error.into(),
        Stop::Foreign(why) => ImportError::Foreign { path, why },
    })
}

fn open(path: &Path) -> Result<Box<dyn Read + Send>, ImportError> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    let open = File::open(path).and_then(|file| match file.metadata()?.is_dir() {
        true => Err(std::io::ErrorKind::IsADirectory.into()),
        false => Ok(file),
    });
    match open {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(ImportError::Open { path: path.to_owned(), reason: error.kind() }),
    }
}

/// Whether the file's name says that it is a table, packed or not.
fn is_named_as_table(path: &Path) -> bool {
    let name = path.to_string_lossy().to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.ends_with(".csv") || name.ends_with(".tsv")
}

/// Why an import ends before its file does.
enum Stop {
    Store(StoreError),
    Foreign(String),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
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
    /// The line of each document of the batch, and its `_id` as it is shown.
    places: Vec<(u64, String)>,
    /// The `_id`s of the batch: of two documents with one, the later wins, in order.
    in_batch: HashSet<DocumentId>,
    count: Count,
    refused: RefusalLog<'a>,
}

/// What became of the documents so far.
#[derive(Default)]
struct Count {
    inserted: u64,
    updated: u64,
    kept: u64,
    kept_unknown: u64,
}

impl Count {
    const fn all(&self) -> u64 {
        self.inserted + self.updated + self.kept + self.kept_unknown
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
            refused: RefusalLog::new(output),
        }
    }

    async fn run(mut self, mut items: mpsc::Receiver<Item>) -> Result<Exit, Stop> {
        let progress = self.output.counter("documents");
        let mut is_first = true;
        while let Some(item) = items.recv().await {
            match item {
                Item::Foreign(why) => return Err(Stop::Foreign(why)),
                Item::Note(words) => self.output.message(&words),
                Item::Broken { line, column, why } => self.refused.add(line, column, why),
                Item::Document { document, .. } if is_first && lacks_only_the_name(&document) => {
                    return Err(Stop::Foreign(ID_WITHOUT_UNDERSCORE.to_owned()));
                }
                Item::Document { line, document } => {
                    is_first = false;
                    self.take(line, document).await?;
                }
            }
            progress.set_position(self.count.all() + self.refused.count);
        }
        self.write().await?;
        self.refused.flush();
        progress.finish_and_clear();
        Ok(self.report())
    }

    async fn take(&mut self, line: u64, document: Map<String, Value>) -> Result<(), StoreError> {
        let (id, document) = match identified(document) {
            Ok(identified) => identified,
            Err(why) => {
                self.refused.add(line, None, why.to_owned());
                return Ok(());
            }
        };
        match self.other_holder(&id, &document.0) {
            None => self.add(line, id, document).await,
            Some(why) => {
                self.refused.add(line, None, why);
                Ok(())
            }
        }
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
        line: u64,
        id: DocumentId,
        document: ImportDocument,
    ) -> Result<(), StoreError> {
        self.refused.flush();
        if self.batch.len() == BATCH || self.in_batch.contains(&id) {
            self.write().await?;
        }
        self.places.push((line, id.to_string()));
        self.in_batch.insert(id);
        self.batch.push(document);
        Ok(())
    }

    async fn write(&mut self) -> Result<(), StoreError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.in_batch.clear();
        let imported = self.store.import_as(std::mem::take(&mut self.batch), self.mode).await?;
        let places = std::mem::take(&mut self.places);
        for ((line, id), imported) in places.into_iter().zip(imported) {
            match imported {
                ImportResult::Inserted => self.count.inserted += 1,
                ImportResult::Updated => self.count.updated += 1,
                ImportResult::Kept => self.count.kept += 1,
                ImportResult::KeptUnknown => self.count.kept_unknown += 1,
                ImportResult::Twin(twin) => self.refused.add(line, None, twins(&id, &twin)),
            }
        }
        Ok(())
    }

    fn report(&self) -> Exit {
        let Count { inserted, updated, kept, kept_unknown } = self.count;
        let broken = self.refused.count;
        if self.output.json {
            let kept = kept + kept_unknown;
            let json = json!({
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
            if broken > 0 {
                return Exit::Error;
            }
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

const NO_ID: &str = "the document has no _id; --map NAME=_id takes another field for it";
const ID_WITHOUT_UNDERSCORE: &str = "its documents have \"id\" and no \"_id\", as rows of SQL do: to take id as the _id, add --map id=_id";

/// A document that has an id and not under the name that it must have.
fn lacks_only_the_name(document: &Map<String, Value>) -> bool {
    document.contains_key("id") && !document.contains_key("_id")
}

/// The document, with the `_id` that it has in the store.
fn identified(document: Map<String, Value>) -> Result<(DocumentId, ImportDocument), &'static str> {
    let id = document.get("_id").ok_or(NO_ID)?;
    let id =
        DocumentId::try_from(id.clone()).map_err(|_| "the _id is not one that MongoDB takes")?;
    let document = ImportDocument(document);
    check_import(&document)?;
    Ok((canonical_id(&id), document))
}
