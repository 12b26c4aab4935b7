//! Operators with old copies of documents, who also discard dead letters.

use std::collections::{BTreeMap, BTreeSet};

use evergrant_domain::{ClaimedDocument, DeadReason, DocumentId, Timestamp};
use evergrant_ports::{
    GrantView, ImportDocument, ImportMode, ImportResult, JobQueue, TransferStore,
};
use evergrant_simulator::TokenState;
use futures::TryStreamExt;
use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use super::world::World;
use super::{Fault, Sabotage};

/// What operators have kept and discarded.
#[derive(Default)]
pub(crate) struct Copies {
    /// Earlier copies of documents.
    documents: BTreeMap<DocumentId, Vec<Map<String, Value>>>,
    /// The discarded dead letters: their documents and times.
    discarded: BTreeSet<(DocumentId, Timestamp)>,
}

impl Copies {
    /// Keeps a copy of a document.
    pub(crate) fn keep(&mut self, id: &DocumentId, document: &Map<String, Value>) {
        self.documents.entry(id.clone()).or_default().push(document.clone());
    }
}

/// An operator exports a document.
pub(crate) async fn keep_copy(world: &World, id: &DocumentId) {
    let exported: Vec<Value> = world.store.export().try_collect().await.unwrap_or_default();
    let is_its = |json: &Value| {
        json.get("_id").cloned().and_then(|id| DocumentId::try_from(id).ok()).as_ref() == Some(id)
    };
    if let Some(Value::Object(document)) = exported.into_iter().find(is_its) {
        world.with(|state| state.copies.keep(id, &document));
    }
}

/// An operator imports an old copy of a document.
pub(crate) async fn import_copy(world: &World) {
    let number = world.below(world.with(|state| state.copies.documents.len()));
    let copies = world.with(|state| {
        state.copies.documents.iter().nth(number).map(|(id, copies)| (id.clone(), copies.clone()))
    });
    let Some((id, copies)) = copies else { return };
    let Some(document) = copies.get(world.below(copies.len())).cloned() else { return };
    // Forgetting a grant also forgets the earlier tokens of its document.
    if world.with(|state| state.bounds.was_forgotten(&id)) {
        return;
    }
    let token = document.get("refresh_token").and_then(Value::as_str).unwrap_or_default();
    if !world.is_told_of(&id, token) {
        return;
    }
    let is_broken = world.is_broken_by(Sabotage::ImportUnconditional);
    let mode = if is_broken { ImportMode::Overwrite } else { ImportMode::KeepNewer };
    let note = document.get("note").and_then(Value::as_str).map(str::to_owned);
    let before = world.token_in(&id);
    let imported = world.store.import_as(vec![ImportDocument(document)], mode).await;
    let after = world.token_in(&id);
    world.reached(Fault::Imported);
    world.note(|| format!("an old copy of {id} is imported: {imported:?}"));
    if let (Ok([ImportResult::Updated]), Some(note)) = (imported.as_deref(), note) {
        world.changed(&id);
        world.refresh_asked_for(&id);
        world.with(|state| {
            state.notes.insert(id.clone(), note);
            state.bounds.restated(&id);
        });
    }
    let lives = |token: &String| {
        matches!(world.oauth.token_state(token), TokenState::Live | TokenState::InGrace)
    };
    if let (Some(before), Some(after)) = (before, after)
        && lives(&before)
        && !lives(&after)
    {
        world.violate(format!("an old copy of {id} takes the place of a newer one"));
    }
    world.check_answers();
}

/// An operator discards dead letters, except those with new tokens.
pub(crate) async fn discard(world: &World) {
    let queue = world.broker.connect();
    for provider in world.provider_ids() {
        let Ok(mut look) = queue.dead_letters(&provider).await else { continue };
        while let Ok(Some(letter)) = look.next().await {
            let Some(id) = letter.id.filter(|_| letter.reason != DeadReason::UncommittedAnswer)
            else {
                continue;
            };
            if world.below(2) == 0 && look.remove().await.is_ok() {
                world.reached(Fault::Discarded);
                world.note(|| format!("a letter of {id} is discarded"));
                world.with(|state| state.copies.discarded.insert((id, letter.last_failed_at)));
            }
        }
    }
}

impl World {
    fn token_in(&self, id: &DocumentId) -> Option<String> {
        let ClaimedDocument::Present { grant, .. } = self.store.look(id) else { return None };
        Some(grant.refresh_token.expose_secret().to_owned())
    }

    /// Whether a document's state remembers a token, or one of the same sign-in. Others are unknown
    /// to it.
    fn is_told_of(&self, id: &DocumentId, token: &str) -> bool {
        let held = self.token_in(id).unwrap_or_default();
        self.with(|state| {
            state.tokens.told.contains(token) || state.tokens.are_of_one_sign_in(token, &held)
        })
    }

    /// Whether the letter about a document's end was discarded.
    pub(crate) fn is_discarded(&self, view: &GrantView) -> bool {
        let Some(error) = &view.last_error else { return false };
        let letter = (view.id.clone(), error.at);
        self.with(|state| state.copies.discarded.contains(&letter))
    }
}
