//! Independent actors: users, the provider, operators, and outages.

use std::sync::Arc;
use std::time::Duration;

use evergrant_budget::change_provider;
use evergrant_domain::settlement::TripReason;
use evergrant_domain::{ClaimedDocument, DocumentId, ProviderState, Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Fault;
use super::world::World;

type Act = fn(&Arc<World>);

/// Starts all of them. They end when the calm begins.
pub(crate) fn start_all(world: &Arc<World>) {
    let pauses = &world.plan.pauses;
    let people: [(Option<Duration>, Act); 10] = [
        (pauses.kill, kill),
        (pauses.restart, restart),
        (pauses.freeze, freeze),
        (pauses.sign_in, sign_in),
        (pauses.revocation, revoke),
        (pauses.edit, edit),
        (pauses.storm, super::storm::begin),
        (pauses.store_outage, store_outage),
        (pauses.broker_outage, broker_outage),
        (pauses.partition, partition),
    ];
    for (pause, act) in people {
        if let Some(pause) = pause {
            tokio::spawn(now_and_then(Arc::clone(world), pause, act));
        }
    }
}

async fn now_and_then(world: Arc<World>, pause: Duration, act: Act) {
    let mean_ms = pause.as_millis() as u64;
    loop {
        tokio::time::sleep(world.some_ms(mean_ms / 4, mean_ms * 7 / 4)).await;
        if world.is_calm() {
            return;
        }
        act(&world);
    }
}

fn some_process(world: &World) -> Option<Arc<super::process::Process>> {
    let alive = world.with(|state| state.alive.values().cloned().collect::<Vec<_>>());
    alive.get(world.below(alive.len())).cloned()
}

fn some_document(world: &World) -> (DocumentId, String) {
    let number = world.below(world.with(|state| state.users.len()));
    let found = world
        .with(|state| state.users.iter().nth(number).map(|(id, user)| (id.clone(), user.clone())));
    found.unwrap_or((DocumentId::Integer(1), String::new()))
}

/// A document that is just being refreshed, if there is one.
fn some_document_in_flight(world: &World) -> (DocumentId, String) {
    let busy = world.with(|state| state.tokens.documents_in_flight());
    let user = busy.get(world.below(busy.len())).and_then(|id| {
        let user = world.with(|state| state.users.get(id).cloned())?;
        Some((id.clone(), user))
    });
    user.unwrap_or_else(|| some_document(world))
}

fn kill(world: &Arc<World>) {
    if let Some(process) = some_process(world) {
        process.crash();
    }
}

fn freeze(world: &Arc<World>) {
    let Some(process) = some_process(world) else { return };
    let duration = world.some_ms(7_000, 20_000);
    world.reached(Fault::Frozen);
    world.note(|| format!("{} stands still for {duration:?}", process.name));
    process.freeze(duration);
}

fn restart(world: &Arc<World>) {
    if let Some(process) = some_process(world) {
        world.note(|| format!("{} is asked to end", process.name));
        process.asked_to_end.cancel();
    }
}

/// The application writes new tokens and knows nothing of Evergrant.
fn sign_in(world: &Arc<World>) {
    let in_flight = world.below(2) == 0;
    let (id, user) = if in_flight { some_document_in_flight(world) } else { some_document(world) };
    sign_in_again(world, &id, &user);
}

/// The user of a document signs in again.
pub(crate) fn sign_in_again(world: &World, id: &DocumentId, user: &str) {
    let Ok(document) = serde_json::to_value(world.oauth.sign_in(user)) else { return };
    let token = document["refresh_token"].as_str().unwrap_or_default();
    world.note(|| format!("the user of {id} signs in again"));
    world.with(|state| {
        state.tokens.signed_in(token, id);
    });
    world.reached(Fault::SignIn);
    world.refresh_asked_for(id);
    for field in ["access_token", "refresh_token"] {
        set(world, id, field, Some(document[field].clone()));
    }
}

fn revoke(world: &Arc<World>) {
    let (id, user) = some_document(world);
    world.note(|| format!("the provider revokes the grants of {id}"));
    if world.oauth.revoke(&[user]).revoked > 0 {
        world.reached(Fault::Revocation);
    }
}

/// Someone with a database client, or an operator.
fn edit(world: &Arc<World>) {
    let (id, _) = some_document(world);
    match world.below(5) {
        0 => spoil(world, &id),
        1 => {
            world.reached(Fault::NoteEdited);
            // The application ignores that a refresh is under way.
            let (id, _) = some_document_in_flight(world);
            let note = format!("note-{id} of {}", world.now());
            world.with(|state| state.notes.insert(id.clone(), note.clone()));
            set(world, &id, "note", Some(json!(note)));
        }
        // Making the confirmation of a death due at once would make the death believed at once.
        2 if is_questioned(world, &id) => {}
        2 => {
            world.reached(Fault::DueEdited);
            let now = world.now().to_string();
            world.refresh_asked_for(&id);
            set(world, &id, "evergrant.next_refresh_at", Some(json!({ "$date": now })));
        }
        3 => {
            world.reached(Fault::MarkEdited);
            set(world, &id, "evergrant.queued_until", None);
        }
        _ => super::operators::act(world, id),
    }
}

/// Whether its death is to be asked again.
fn is_questioned(world: &World, id: &DocumentId) -> bool {
    matches!(world.store.look(id), ClaimedDocument::Present { grant, .. } if grant.questioned)
}

/// Overwrites a token with something that the provider never issued.
fn spoil(world: &World, id: &DocumentId) {
    world.reached(Fault::TokenSpoilt);
    let token = format!("made-up-{}", world.some_ms(0, u64::MAX / 1_000_000).as_millis());
    world.with(|state| state.tokens.made_up(&token, id));
    set(world, id, "refresh_token", Some(json!(token)));
}

fn set(world: &World, id: &DocumentId, path: &str, value: Option<Value>) {
    world.note(|| format!("{id}: {path} is edited"));
    // It is JSON, and the document exists.
    let _ = world.store.edit(id, path, value);
    world.changed(id);
    world.check_answers();
}

fn outage(world: &World) -> Duration {
    let long = world.chance(0.3);
    world.some_ms(100, if long { 30_000 } else { 5_000 })
}

fn store_outage(world: &Arc<World>) {
    let duration = outage(world);
    world.reached(Fault::StoreOutage);
    world.note(|| format!("the store is away for {duration:?}"));
    world.with(|state| state.store_away_until = Some(Instant::now() + duration));
}

fn broker_outage(world: &Arc<World>) {
    let duration = outage(world);
    world.reached(Fault::BrokerOutage);
    world.note(|| format!("the broker is away for {duration:?}"));
    world.with(|state| state.broker_away_until = Some(Instant::now() + duration));
    let alive = world.with(|state| state.alive.values().cloned().collect::<Vec<_>>());
    alive.iter().for_each(|process| process.lose_consumers());
    world.broker.cut_all();
}

fn partition(world: &Arc<World>) {
    let Some(process) = some_process(world) else { return };
    let duration = outage(world);
    world.reached(Fault::Partition);
    let (from_store, from_broker) = [(true, false), (false, true), (true, true)][world.below(3)];
    world.note(|| {
        let name = &process.name;
        format!("{name} is cut off for {duration:?}: store {from_store}, broker {from_broker}")
    });
    process.cut_off(from_store, from_broker, duration);
}

/// How long an operator waits for a circuit to close by itself.
const CIRCUIT_TIMEOUT: Duration = Duration::from_secs(120);

/// During the calm, an operator checks repeatedly: confirms deaths that are not believed, resumes a
/// provider whose answers could not be read, and redrives failed grants.
pub(crate) async fn look_after(world: &World) {
    let is_stuck = world.is_calm_for(CIRCUIT_TIMEOUT);
    let confirm = |state: &mut ProviderState, now: Timestamp| match state.gate.tripped() {
        Some(TripReason::Suspicious) => state.confirm_deaths(now),
        // If all grants are dead, no probe succeeds.
        Some(_) if is_stuck => state.resume(),
        Some(TripReason::Unreadable) => state.probe_now(now),
        _ => {}
    };
    for provider in world.provider_ids() {
        if world.known_of(&provider).gate.tripped().is_some() {
            // Conflicts do not last long.
            let _ = change_provider(&*world.store, &provider, confirm).await;
            world.let_go_on(&provider);
        }
    }
    for id in world.with(|state| state.users.keys().cloned().collect::<Vec<_>>()) {
        super::operators::redrive(world, &id).await;
        super::operators::resume(world, &id).await;
    }
}
