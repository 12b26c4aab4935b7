//! Adoption: documents without a state get one. See [`evergrant_document::adoption`] for whose they are; what is
//! decided there of one document is asked here of the server, for all of them.

use std::time::Instant;

use futures::StreamExt;
use mongodb::bson::{Bson, Document, doc};

use super::MongoStore;
use super::errors::{driver, refused};
use super::transition::{is_nothing, literal};
use super::update::{DURABLE, Statement};
use evergrant_document::adoption::{AdoptionRules, ProviderField};
use evergrant_document::numbers::number;
use evergrant_domain::GrantStatus;
use evergrant_ports::{LeftAlone, StoreError, UnadoptedDocuments};

/// The number of the type "array".
const ARRAY: i32 = 4;
/// Documents in one command where each is adopted for itself.
const BATCH: usize = 500;
/// Reasons to leave documents alone that are counted each for itself.
const REASONS_MAX: i64 = 50;

impl MongoStore {
    /// Gives the state to documents without one that are a provider's of ours.
    pub(super) async fn adopt_documents(&self) -> Result<u64, StoreError> {
        if !self.rest.is_over() {
            return Ok(0);
        }
        let rules = &self.names.rules;
        if rules.all_names().is_empty() && rules.default_provider.is_none() {
            return Ok(0);
        }
        let began = Instant::now();
        let mut conditions = self.unadopted();
        conditions.push(doc! { "$or": self.ours() });
        conditions.extend(self.arrays().map(|path| doc! { path: { "$not": { "$type": ARRAY } } }));
        let state = doc! {
            self.names.path("provider"): self.provider(&self.told_paths()),
            self.names.path("status"): self.adopted_as(),
            self.names.path("generation"): 0_i64,
            self.names.path("attempts"): 0,
            self.names.path("next_refresh_at"): "$$NOW",
        };
        let (ours, change) = (doc! { "$and": conditions }, doc! { "$set": state });
        let adopting = self.collection.update_many(ours.clone(), vec![change.clone()]).await;
        let adopted = match adopting.map_err(|error| driver("adopt", &error)) {
            Ok(result) => result.matched_count,
            Err(StoreError::Refused { reason, .. }) => {
                tracing::warn!(
                    reason,
                    "a document is not adopted: the others are, each for itself"
                );
                self.adopt_each(ours, change).await?
            }
            Err(error) => return Err(error),
        };
        if adopted == 0 {
            self.rest.begin(began.elapsed());
        }
        Ok(adopted)
    }

    /// The same, each for itself: an update of many ends at the first document that the server refuses.
    async fn adopt_each(&self, ours: Document, change: Document) -> Result<u64, StoreError> {
        let failed = |error| driver("adopt", &error);
        let found = self.collection.find(ours).projection(doc! { "_id": 1 }).await;
        let mut found = found.map_err(failed)?.chunks(BATCH);
        let mut adopted = 0;
        while let Some(batch) = found.next().await {
            let ids = batch.into_iter().map(|document| document.map_err(failed));
            let statements = ids.filter_map(|document| {
                let adopt = |document: Document| {
                    let id = document.get("_id").cloned().unwrap_or(Bson::Null);
                    let unadopted = doc! { "_id": id, self.names.path("status"): Bson::Null };
                    Statement::new(unadopted, vec![change.clone()])
                };
                document.map(adopt).transpose()
            });
            match self.update("adopt", statements.collect::<Result<_, _>>()?, DURABLE).await {
                Ok(updated) => adopted += updated,
                // The others of the batch are adopted.
                Err(StoreError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(adopted)
    }

    /// Refuses a filter that the server cannot evaluate.
    pub(super) async fn check_filter(&self) -> Result<(), StoreError> {
        let Some(filter) = &self.names.rules.filter else { return Ok(()) };
        let tried = self.collection.find_one(filter.query().clone()).projection(doc! { "_id": 1 });
        match tried.await.map_err(|error| driver("prepare", &error)) {
            Ok(_) => Ok(()),
            Err(StoreError::Refused { reason, .. }) => {
                Err(refused("prepare", format!("the server does not take store.filter: {reason}")))
            }
            Err(error) => Err(error),
        }
    }

    /// Counts the documents that are left alone, by the reason.
    pub(super) async fn count_unadopted(&self) -> Result<Vec<UnadoptedDocuments>, StoreError> {
        let key = doc! { "told": self.told(&self.told_paths()), "array": self.array() };
        let pipeline = vec![
            doc! { "$match": { "$and": self.unadopted() } },
            doc! { "$group": { "_id": key, "n": { "$sum": 1 } } },
            doc! { "$sort": { "n": -1 } },
            doc! { "$limit": REASONS_MAX },
        ];
        let rows = self.aggregate("unadopted", pipeline).await?;
        let counted = rows.iter().filter_map(|row| {
            let key = row.get_document("_id").ok()?;
            let why = self.why(key)?;
            let documents = row.get("n").and_then(number).unwrap_or_default();
            Some(UnadoptedDocuments {
                why,
                documents: u64::try_from(documents).unwrap_or_default(),
            })
        });
        Ok(UnadoptedDocuments::together(counted))
    }

    /// None for documents that only wait to be adopted.
    fn why(&self, key: &Document) -> Option<LeftAlone> {
        if let Ok(array) = key.get_str("array") {
            return Some(LeftAlone::Array(array.to_owned()));
        }
        self.names.rules.why_not(key.get("told"))
    }

    /// What holds for documents that are not adopted and fulfil the filter.
    fn unadopted(&self) -> Vec<Document> {
        // Also matches a document in which the path is missing.
        let unadopted = doc! { self.names.path("status"): Bson::Null };
        let filter = self.names.rules.filter.as_ref().map(|filter| filter.query().clone());
        std::iter::once(unadopted).chain(filter).collect()
    }

    /// Where documents say whose they are, the weightiest place first.
    fn told_paths(&self) -> Vec<String> {
        let AdoptionRules { provider_field, .. } = &self.names.rules;
        let fields = provider_field.paths().into_iter().map(str::to_owned);
        let state = std::iter::once(self.names.path("provider"));
        match provider_field {
            ProviderField::Named(_) => fields.chain(state).collect(),
            ProviderField::Usual | ProviderField::None => state.chain(fields).collect(),
        }
    }

    /// The documents of our providers: those of which one place names one, with nothing in those before
    /// it; and those that name nobody, if there is a default.
    fn ours(&self) -> Vec<Document> {
        let rules = &self.names.rules;
        let names: Vec<_> = rules.all_names().into_keys().collect();
        let (mut ours, mut nothing) = (Vec::new(), Document::new());
        for path in self.told_paths() {
            let mut named = nothing.clone();
            named.insert(&path, doc! { "$in": &names, "$not": { "$type": ARRAY } });
            ours.push(named);
            // Also matches a list in which there is a null.
            nothing.insert(path, doc! { "$eq": null, "$not": { "$type": ARRAY } });
        }
        ours.extend(rules.default_provider.is_some().then_some(nothing));
        ours
    }

    /// An expression: the provider of a document of ours.
    fn provider(&self, paths: &[String]) -> Bson {
        let rules = &self.names.rules;
        let Some((path, others)) = paths.split_first() else {
            let default = rules.default_provider.as_ref();
            return default.map_or(Bson::Null, |section| literal(&section.as_str().into()));
        };
        let value = format!("${path}");
        let meant = |(name, section): (&str, &evergrant_domain::ProviderId)| {
            doc! { "case": { "$eq": [&value, literal(&name.into())] }, "then": literal(&section.as_str().into()) }
        };
        let branches: Vec<_> = rules.all_names().into_iter().map(meant).collect();
        if branches.is_empty() {
            return self.provider(others);
        }
        let named = doc! { "$switch": { "branches": branches, "default": null } };
        doc! { "$cond": [is_nothing(&value), self.provider(others), named] }.into()
    }

    /// An expression: what a document says of whose it is.
    fn told(&self, paths: &[String]) -> Bson {
        let Some((path, others)) = paths.split_first() else { return Bson::Null };
        let value = format!("${path}");
        doc! { "$cond": [is_nothing(&value), self.told(others), &value] }.into()
    }

    /// Where an array would be in the way of a token.
    fn arrays(&self) -> impl Iterator<Item = &str> {
        let fields = &self.names.fields;
        [fields.refresh_token.as_str(), fields.access_token.as_str()].into_iter().flat_map(prefixes)
    }

    /// An expression: where there is an array in the way of a token, or null.
    fn array(&self) -> Bson {
        let paths: Vec<_> = self.arrays().collect();
        paths.into_iter().rev().fold(Bson::Null, |others, path| {
            let is_array = doc! { "$isArray": [format!("${path}")] };
            doc! { "$cond": [is_array, literal(&path.into()), others] }.into()
        })
    }

    /// An expression: the status of a document that is adopted.
    fn adopted_as(&self) -> Document {
        let token = format!("${}", self.names.fields.refresh_token);
        let none = doc! { "$or": [is_nothing(&token), { "$eq": [token, ""] }] };
        doc! { "$cond": [none, GrantStatus::NoToken.as_str(), GrantStatus::Active.as_str()] }
    }
}

/// The parts of a path, from its first step on.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.match_indices('.').map(|(end, _)| end).chain([path.len()]);
    ends.map(move |end| path.split_at(end).0)
}
