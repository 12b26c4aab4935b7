//! Operators who act while workers run.

use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::{ClaimedDocument, DocumentId, GrantStatus, Job};
use evergrant_ports::{ChangeResult, GrantAdmin, GrantChange, JobPublisher};

use super::Fault;
use super::copies::{discard, import_copy, keep_copy};
use super::world::World;

/// An operator acts on a grant.
pub(crate) fn act(world: &Arc<World>, id: DocumentId) {
    let world = Arc::clone(world);
    match world.below(8) {
        0 => drop(tokio::spawn(async move { pause(&world, &id).await })),
        1 => drop(tokio::spawn(async move { forget(&world, &id).await })),
        2 => drop(tokio::spawn(async move { discard(&world).await })),
        3 => drop(tokio::spawn(async move { keep_copy(&world, &id).await })),
        4 | 5 => drop(tokio::spawn(async move { import_copy(&world).await })),
        _ => drop(tokio::spawn(async move { redrive(&world, &id).await })),
    }
}

/// Pauses a grant for a while.
async fn pause(world: &World, id: &DocumentId) {
    if !change(world, id, GrantChange::Pause).await {
        return;
    }
    world.reached(Fault::Paused);
    world.note(|| format!("{id} is paused"));
    tokio::time::sleep(world.some_ms(500, 20_000)).await;
    change(world, id, GrantChange::Resume).await;
    world.note(|| format!("{id} is resumed"));
}

/// Forgets a grant. The next adoption starts over, with the default provider.
async fn forget(world: &World, id: &DocumentId) {
    if waits_for_answer(&world.store.look(id)) {
        return;
    }
    let is_default = world.with(|state| {
        let provider = state.provider_of.get(id);
        provider.is_some_and(|provider| *provider == world.providers[0].id)
    });
    if is_default && change(world, id, GrantChange::Forget).await {
        world.reached(Fault::Forgotten);
        world.note(|| format!("{id} is forgotten"));
        world.with(|state| state.bounds.forget(id));
        world.refresh_asked_for(id);
    }
}

/// Resumes a paused grant.
pub(crate) async fn resume(world: &World, id: &DocumentId) {
    change(world, id, GrantChange::Resume).await;
}

async fn change(world: &World, id: &DocumentId, change: GrantChange) -> bool {
    let is_changed =
        matches!(world.store.change_grant(id, change).await, Ok(ChangeResult::Applied));
    if is_changed {
        world.changed(id);
    }
    is_changed
}

/// Whether the new tokens of a document are in a letter: operators wait until they are written.
fn waits_for_answer(row: &ClaimedDocument) -> bool {
    let ClaimedDocument::Present { grant, .. } = row else { return false };
    grant.last_error.as_ref().is_some_and(|error| error.reason.waits_for_answer())
}

/// Redrives a grant that has ended.
pub(crate) async fn redrive(world: &World, id: &DocumentId) {
    let row = world.store.look(id);
    let has_failed = matches!(&row, ClaimedDocument::Present { grant, .. } if grant.status == GrantStatus::Failed);
    if !has_failed || waits_for_answer(&row) {
        return;
    }
    world.note(|| format!("{id} is sent back by an operator"));
    world.refresh_asked_for(id);
    world.changed(id);
    let queued = Duration::from_secs(15);
    if let Ok(Some(due)) = world.store.reactivate(id, queued).await {
        let job = Job {
            force: true,
            redrive_count: 1,
            ..Job::new(due.provider, due.id, due.generation, world.now())
        };
        // The queue exists.
        let _ = world.broker.connect().publish(&[job]).await;
    }
}
