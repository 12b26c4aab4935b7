//! `evergrant migrate`: all documents from one store into another, and the proof that they are there.
//!
//! Both stores give their documents in the order of their `_id`, and documents are written in that
//! order. So what an earlier try has written is the beginning of the whole: it is compared and passed
//! over, and nothing is written twice. Only the last batch of that try may have holes, since a server
//! takes what it can of a batch: a few that are missing before one that is there.

mod checksum;
mod installation;

use std::sync::Arc;

use evergrant_domain::DocumentId;
use evergrant_domain::audit::{ActionOutcome, OperatorAction};
use evergrant_ports::{
    GrantAdmin, GrantFilter, ImportDocument, ImportMode, QueueError, Store, StoreError,
    TransferStore,
};
use futures::TryStreamExt;
use futures::stream::BoxStream;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::output::Output;
use checksum::{Summary, summarise};
use evergrant_operations::operator::{ActingOperator, ActionSubject, unaudited_hint};
pub(crate) use installation::Installation;

/// Documents written at once.
const BATCH: usize = 500;

/// A migration that failed. What was written stays; to start again goes on from there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MigrateError {
    #[error("{0}{hint}", hint = unaudited_hint(.0))]
    Store(#[from] StoreError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(
        "{0} documents are being refreshed: stop the producer and the workers of the store that you \
         leave, and start again"
    )]
    AtWork(u64),
    #[error(
        "{0} documents carry the lease of a worker that died: it may have got new tokens that are not \
         written yet, and the old ones are spent. Start a worker on the store that you leave until no \
         document has a lease, stop it, and start again"
    )]
    Unwritten(u64),
    #[error(
        "new tokens wait in the rescue queue of the installation that you leave: start a worker there \
         until it has written them, stop it, and start again"
    )]
    RescuedAnswers,
    #[error(
        "{0} dead letters of the installation that you leave hold new tokens that are nowhere else \
         (uncommitted_answer): redrive them there with a worker running, or discard them by \
         --include-uncommitted-answers, and start again"
    )]
    Letters(u64),
    #[error(
        "the store that you move to holds the document {0}, which the store that you leave does not: \
         move to an empty collection or a new file"
    )]
    Foreign(String),
    #[error(
        "the stores differ after the migration: {from} there, {to} here. Something else writes to \
         one of them: stop it, and start again"
    )]
    Differ {
        /// The store that is left.
        from: Summary,
        /// The store that is moved to.
        to: Summary,
    },
}

/// What was done.
#[derive(Debug, Default)]
struct Tally {
    /// Documents that were written.
    written: u64,
    /// Documents that were there already.
    there: u64,
    /// Documents that were there and had changed since.
    renewed: u64,
}

/// What a migration is about.
pub(crate) struct Stores<'a> {
    pub(crate) from: &'a Arc<dyn Store>,
    pub(crate) to: &'a Arc<dyn Store>,
    /// Whose stores they are.
    pub(crate) old: &'a Installation,
}

impl Stores<'_> {
    /// Copies all documents and compares the two stores. Both audit records have a note of it before.
    pub(crate) async fn migrate(
        &self,
        unaudited: bool,
        output: &Output,
    ) -> Result<Exit, MigrateError> {
        let work = migrate(&**self.from, &**self.to, self.old, output);
        if unaudited {
            return work.await;
        }
        let about = |direction: &str| {
            ActionSubject::all(OperatorAction::Migrate, json!({ "direction": direction }))
        };
        let told = |exit: &Exit| -> (ActionOutcome, String) { ((*exit).into(), String::new()) };
        let [from, to] =
            [self.from, self.to].map(|store| ActingOperator::of_this_terminal(Arc::clone(store)));
        from.audited(about("out"), to.audited(about("in"), work, told), told).await
    }
}

async fn migrate(
    from: &dyn Store,
    to: &dyn Store,
    old: &Installation,
    output: &Output,
) -> Result<Exit, MigrateError> {
    let total = count_at_rest(from).await?;
    old.ensure_written(output).await?;
    to.prepare().await?;
    let progress = progress(total);
    progress.set_message("copied");
    let tally = copy(from, to, &old.state_field, &progress).await?;
    progress.set_position(0);
    progress.set_message("compared");
    let moved = |document| without_job(document, &old.state_field);
    let (left, arrived) =
        tokio::try_join!(summarise(from, moved, Some(&progress)), summarise(to, |it| it, None))?;
    progress.finish_and_clear();
    if left != arrived {
        return Err(MigrateError::Differ { from: left, to: arrived });
    }
    report(&tally, &arrived, output);
    Ok(if arrived.documents == 0 { Exit::Nothing } else { Exit::Done })
}

fn report(tally: &Tally, arrived: &Summary, output: &Output) {
    let Tally { written, there, renewed } = tally;
    if output.json {
        return output.json(&json!({
            "documents": arrived.documents, "sha256": arrived.sha256,
            "written": written, "there_already": there, "renewed": renewed,
        }));
    }
    output.line(&format!(
        "migrated {} documents: {written} written, {there} there already, {renewed} renewed\n\
         both stores hold the same, byte for byte but for which jobs are under way: SHA-256 {}",
        arrived.documents, arrived.sha256
    ));
    output.message(
        "jobs and dead letters stay in the old queue; the producer makes new jobs for what is due",
    );
}

/// How many documents there are.
///
/// # Errors
/// If one is being refreshed: its token would be rotated away under the copy. Or if one was when its
/// worker died: the answer may be in a journal.
async fn count_at_rest(store: &dyn GrantAdmin) -> Result<u64, MigrateError> {
    let now = store.now().await?;
    let mut grants = store.list(GrantFilter::default());
    let (mut total, mut leased, mut abandoned) = (0, 0, 0);
    while let Some(grant) = grants.try_next().await? {
        total += 1;
        match grant.leased_until {
            Some(until) if until > now => leased += 1,
            Some(_) => abandoned += 1,
            None => {}
        }
    }
    match (leased, abandoned) {
        (0, 0) => Ok(total),
        (0, abandoned) => Err(MigrateError::Unwritten(abandoned)),
        (leased, _) => Err(MigrateError::AtWork(leased)),
    }
}

async fn copy(
    from: &dyn TransferStore,
    to: &dyn TransferStore,
    state_field: &str,
    progress: &ProgressBar,
) -> Result<Tally, MigrateError> {
    let mut tally = Tally::default();
    let (mut there, mut ahead) = (Some(to.export()), None);
    let (mut missing, mut batch) = (Vec::new(), Vec::with_capacity(BATCH));
    let mut documents = from.export();
    while let Some(document) = documents.try_next().await? {
        let document = without_job(document, state_field);
        if ahead.is_none() {
            ahead = next_of(&mut there).await?;
        }
        match ahead.take() {
            None => {
                tally.written += 1;
                batch.push(document);
            }
            Some(other) if other.get("_id") != document.get("_id") => {
                missing.push(document);
                if missing.len() > BATCH {
                    return Err(foreign(&other));
                }
                ahead = Some(other);
            }
            Some(other) => {
                tally.written += missing.len() as u64;
                batch.append(&mut missing);
                if other == document {
                    tally.there += 1;
                } else {
                    tally.renewed += 1;
                    batch.push(document);
                }
            }
        }
        if batch.len() >= BATCH {
            write(to, &mut batch).await?;
        }
        progress.inc(1);
    }
    if ahead.is_none() {
        ahead = next_of(&mut there).await?;
    }
    if let Some(other) = ahead {
        return Err(foreign(&other));
    }
    write(to, &mut batch).await?;
    Ok(tally)
}

/// The next document of a store until its end: what is written after that is not read again.
async fn next_of(
    documents: &mut Option<BoxStream<'_, Result<Value, StoreError>>>,
) -> Result<Option<Value>, StoreError> {
    let Some(stream) = documents else { return Ok(None) };
    let next = stream.try_next().await?;
    if next.is_none() {
        *documents = None;
    }
    Ok(next)
}

async fn write(to: &dyn TransferStore, batch: &mut Vec<Value>) -> Result<(), StoreError> {
    let documents = batch.drain(..).filter_map(|document| match document {
        Value::Object(fields) => Some(ImportDocument(fields)),
        _ => None,
    });
    let documents: Vec<_> = documents.collect();
    if documents.is_empty() {
        Ok(())
    } else {
        to.import_as(documents, ImportMode::Copy).await.map(drop)
    }
}

/// A document as it arrives: its job stays in the old queue, so it has none, and a due one gets one at
/// once.
fn without_job(mut document: Value, state_field: &str) -> Value {
    let state = format!("/{}", state_field.replace('.', "/"));
    if let Some(Value::Object(state)) = document.pointer_mut(&state) {
        // Not by swapping: the order of the others is theirs.
        state.shift_remove("queued_until");
    }
    document
}

fn foreign(document: &Value) -> MigrateError {
    let id = document.get("_id").cloned().and_then(|id| DocumentId::try_from(id).ok());
    MigrateError::Foreign(id.map_or_else(|| "without an _id".to_owned(), |id| id.to_string()))
}

fn progress(total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    let template = "{bar:30} {human_pos} of {human_len} {msg}, {per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
