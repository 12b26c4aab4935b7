//! Documents in: each is inserted, laid over the one that is there, or left out.
//!
//! What is there is read, what becomes of it is decided ([`evergrant_domain::import`]), and it is written
//! on the condition that the document still is as it was read: a worker may refresh it meanwhile. What
//! was not written is read and decided anew.

use std::collections::{HashMap, HashSet};

use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};

use super::MongoStore;
use super::errors::{DUPLICATE_KEY, driver, refused, server, unavailable};
use super::update::{JOURNALLED, Statement, batches};
use evergrant_document::field_paths::FieldPaths;
use evergrant_document::ids;
use evergrant_document::import::{id_and_fields, kept, marks_after, prepared};
use evergrant_document::paths::{at, first};
use evergrant_document::state::HELD_BEFORE;
use evergrant_domain::DocumentId;
use evergrant_ports::{ImportDocument, ImportMode, ImportResult, StoreError};

const OPERATION: &str = "import";
/// How often a batch is decided anew while others change its documents.
const ROUNDS: u32 = 20;
const UNWRITABLE: &str = "the name of one of its fields cannot be written as BSON";

/// A document to import.
struct Line {
    id: Bson,
    fields: Document,
    outcome: Option<ImportResult>,
}

impl MongoStore {
    /// Imports `documents`, or none of them if one cannot be a document.
    pub(super) async fn import_documents(
        &self,
        documents: Vec<ImportDocument>,
        mode: ImportMode,
    ) -> Result<Vec<ImportResult>, StoreError> {
        let lines = documents.into_iter().enumerate().map(|(index, document)| {
            let line = id_and_fields(document).and_then(|(id, fields)| {
                // Also what is never written is refused, so that all or none are.
                Statement::insertion(&doc! { "fields": &fields }).ok_or(UNWRITABLE)?;
                Ok(Line { id, fields, outcome: None })
            });
            line.map_err(|what| {
                let reason = format!("document {} of those to import: {what}", index + 1);
                refused(OPERATION, reason)
            })
        });
        let mut lines = lines.collect::<Result<Vec<_>, _>>()?;
        for _ in 0..ROUNDS {
            let found = self.found(&lines, mode).await?;
            self.import_round(&mut lines, &found, mode).await?;
            if lines.iter().all(|line| line.outcome.is_some()) {
                return Ok(lines.into_iter().filter_map(|line| line.outcome).collect());
            }
        }
        Err(unavailable(OPERATION, "others change the documents all the time; try again"))
    }

    /// What is there of the documents that are not settled yet, and of their twins.
    async fn found(
        &self,
        lines: &[Line],
        mode: ImportMode,
    ) -> Result<HashMap<DocumentId, Document>, StoreError> {
        let mut wanted: Vec<Bson> = Vec::new();
        for line in lines.iter().filter(|line| line.outcome.is_none()) {
            wanted.push(line.id.clone());
            if mode != ImportMode::Copy {
                wanted.extend(ids::from_bson(&line.id).twins().iter().filter_map(ids::to_bson));
            }
        }
        let fields = &self.names.fields;
        let projection = doc! {
            first(&self.names.state): 1,
            first(&fields.refresh_token): 1,
            first(&fields.access_token): 1,
        };
        let failed = |error| driver(OPERATION, &error);
        let found = self.collection.find(doc! { "_id": { "$in": wanted } }).projection(projection);
        let found: Vec<Document> =
            found.await.map_err(failed)?.try_collect().await.map_err(failed)?;
        let id = |found: &Document| ids::from_bson(found.get("_id").unwrap_or(&Bson::Null));
        Ok(found.into_iter().map(|found| (id(&found), found)).collect())
    }

    async fn import_round(
        &self,
        lines: &mut [Line],
        found: &HashMap<DocumentId, Document>,
        mode: ImportMode,
    ) -> Result<(), StoreError> {
        let (mut inserted, mut updated) = (Vec::new(), Vec::new());
        let mut seen: HashSet<DocumentId> = found.keys().cloned().collect();
        for line in lines.iter_mut().filter(|line| line.outcome.is_none()) {
            let id = ids::from_bson(&line.id);
            let twins = if mode == ImportMode::Copy { Vec::new() } else { id.twins() };
            match found.get(&id) {
                Some(document) => match kept(&self.names, document, &line.fields, mode) {
                    Some(kept) => line.outcome = Some(kept),
                    None => updated.push((line, document)),
                },
                None => match twins.into_iter().find(|twin| seen.contains(twin)) {
                    Some(twin) => line.outcome = Some(ImportResult::Twin(twin)),
                    None => inserted.push(line),
                },
            }
            seen.insert(id);
        }
        self.insert_lines(inserted, mode).await?;
        self.update_lines(updated, mode).await
    }

    /// Inserts documents. Where one has appeared meanwhile, its line stays unsettled.
    async fn insert_lines(
        &self,
        lines: Vec<&mut Line>,
        mode: ImportMode,
    ) -> Result<(), StoreError> {
        let statement = |line: &&mut Line| {
            let mut document = doc! { "_id": line.id.clone() };
            document.extend(prepared(&self.names, None, line.fields.clone(), mode));
            Statement::insertion(&document).ok_or_else(|| refused(OPERATION, UNWRITABLE))
        };
        let statements = lines.iter().map(statement).collect::<Result<Vec<_>, _>>()?;
        let mut lines = lines.into_iter();
        for batch in batches(statements) {
            let of_batch: Vec<_> = lines.by_ref().take(batch.len()).collect();
            let there = self.insert(OPERATION, self.collection.name(), batch, JOURNALLED).await?;
            for id in of_batch.iter().enumerate().filter(|(at, _)| there.contains(at)) {
                // Its `_id` is not there: what rejects it is another unique index.
                let is_there = self.collection.find_one(doc! { "_id": &id.1.id });
                let is_there = is_there.projection(doc! { "_id": 1 }).await;
                if is_there.map_err(|error| driver(OPERATION, &error))?.is_none() {
                    return Err(server(OPERATION, DUPLICATE_KEY, ""));
                }
            }
            for (at, line) in of_batch.into_iter().enumerate() {
                line.outcome = (!there.contains(&at)).then_some(ImportResult::Inserted);
            }
        }
        Ok(())
    }

    /// Lays fields over documents that still are as they were read. If one is not, none of its batch is
    /// settled: which ones were written, the next round sees.
    async fn update_lines(
        &self,
        lines: Vec<(&mut Line, &Document)>,
        mode: ImportMode,
    ) -> Result<(), StoreError> {
        let statement = |(line, document): &(&mut Line, &Document)| {
            let fields = prepared(&self.names, Some(document), line.fields.clone(), mode);
            let statement = lay_over(&self.names, line.id.clone(), fields, document);
            statement.ok_or_else(|| refused(OPERATION, UNWRITABLE))
        };
        let statements = lines.iter().map(statement).collect::<Result<Vec<_>, _>>()?;
        // In a sharded cluster a statement may find a document twice, while it moves, and stand for one
        // that finds none: there each is told for itself.
        let batches = match self.is_sharded(OPERATION).await? {
            true => statements.into_iter().map(|statement| vec![statement]).collect(),
            false => batches(statements),
        };
        let mut lines = lines.into_iter();
        for batch in batches {
            let wanted = batch.len();
            let of_batch: Vec<_> = lines.by_ref().take(wanted).collect();
            if self.update(OPERATION, batch, JOURNALLED).await? >= wanted as u64 {
                of_batch
                    .into_iter()
                    .for_each(|(line, _)| line.outcome = Some(ImportResult::Updated));
            }
        }
        Ok(())
    }
}

/// An update that lays a line's fields over a document, if that still is as it was read.
///
/// A pipeline, because a classic `$set` puts new fields in alphabetical order and takes a dot in a
/// name for a path. The document is a literal, so that nothing in it is an expression.
fn lay_over(
    names: &FieldPaths,
    id: Bson,
    fields: Document,
    document: &Document,
) -> Option<Statement> {
    let mut filter = doc! { "_id": id };
    let brings_state = fields.contains_key(first(&names.state));
    let owner = brings_state.then(|| names.path("lease.owner"));
    let generation = names.path("generation");
    for path in
        [Some(&names.fields.refresh_token), Some(&generation), owner.as_ref()].into_iter().flatten()
    {
        // A null is also what is missing.
        filter.insert(path, doc! { "$eq": at(document, path).cloned().unwrap_or(Bson::Null) });
    }
    let marks = marks_after(names, document, &fields);
    let merged = doc! { "$mergeObjects": ["$$ROOT", { "$literal": fields }] };
    let mut stages = vec![doc! { "$replaceWith": merged }];
    if let Some(marks) = marks {
        stages.push(doc! { "$set": { names.path(HELD_BEFORE): { "$literal": marks } } });
    }
    Statement::new(filter, stages)
}
