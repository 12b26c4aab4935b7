//! Those who act on their own: users, the provider, operators, and whatever takes servers away.

use std::sync::Arc;
use std::time::Duration;

use evergrant_shared::domain::{DocumentId, Job, Row};
use evergrant_shared::ports::{JobQueue, TokenStore};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::world::World;

type Act = fn(&Arc<World>);

/// Starts all of them. They end when it becomes calm.
pub(crate) fn start_all(world: &Arc<World>) {
    let pauses = &world.plan.pauses;
    let people: [(Option<Duration>, Act); 8] = [
        (pauses.kill, kill),
        (pauses.restart, restart),
        (pauses.sign_in, sign_in),
        (pauses.revocation, revoke),
        (pauses.edit, edit),
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

/// One that is in the midst of a refresh, if there is one.
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

fn restart(world: &Arc<World>) {
    if let Some(process) = some_process(world) {
        world.note(|| format!("{} is asked to end", process.name));
        process.asked_to_end.cancel();
    }
}

/// The application writes the new tokens and knows nothing of Evergrant.
fn sign_in(world: &Arc<World>) {
    let in_flight = world.below(2) == 0;
    let (id, user) = if in_flight { some_document_in_flight(world) } else { some_document(world) };
    let Ok(document) = serde_json::to_value(world.oauth.sign_in(&user)) else { return };
    let token = document["refresh_token"].as_str().unwrap_or_default();
    world.note(|| format!("the user of {id} signs in again"));
    world.with(|state| {
        state.tokens.signed_in(token, &id);
        state.spoilt.remove(&id);
        state.figures.sign_ins += 1;
    });
    for field in ["access_token", "refresh_token"] {
        set(world, &id, field, Some(document[field].clone()));
    }
}

fn revoke(world: &Arc<World>) {
    let (id, user) = some_document(world);
    world.note(|| format!("the provider revokes the grants of {id}"));
    let revoked = world.oauth.revoke(&[user]).revoked;
    world.with(|state| state.figures.revocations += revoked);
}

/// Someone with a database client, or an operator.
fn edit(world: &Arc<World>) {
    let (id, _) = some_document(world);
    world.with(|state| state.figures.edits += 1);
    match world.below(5) {
        0 => spoil(world, &id),
        1 => set(world, &id, "note", Some(json!(format!("note-{id}")))),
        2 => {
            let now = world.now().to_string();
            set(world, &id, "evergrant.next_refresh_at", Some(json!({ "$date": now })));
        }
        3 => set(world, &id, "evergrant.queued_until", None),
        _ => {
            tokio::spawn(redrive(Arc::clone(world), id));
        }
    }
}

/// Something that the provider never issued.
fn spoil(world: &World, id: &DocumentId) {
    let token = format!("made-up-{}", world.some_ms(0, u64::MAX / 1_000_000).as_millis());
    world.with(|state| {
        state.tokens.made_up(&token, id);
        state.spoilt.insert(id.clone());
    });
    set(world, id, "refresh_token", Some(json!(token)));
}

fn set(world: &World, id: &DocumentId, path: &str, value: Option<Value>) {
    world.note(|| format!("{id}: {path} is edited"));
    // It is JSON, and the document is there.
    let _ = world.store.edit(id, path, value);
    world.changed(id);
    world.check_answers();
}

/// An operator sends a grant that was given up back to work.
async fn redrive(world: Arc<World>, id: DocumentId) {
    let Row::Present { grant, .. } = world.store.look(&id) else { return };
    if grant.status != evergrant_shared::domain::Status::Failed {
        return;
    }
    world.note(|| format!("{id} is sent back by an operator"));
    world.changed(&id);
    let queued = Duration::from_secs(15);
    if let Ok(Some(due)) = world.store.reactivate(&id, queued).await {
        let job = Job {
            force: true,
            redrive_count: 1,
            ..Job::new(due.provider, due.id, due.generation, world.now())
        };
        // The queue is there.
        let _ = world.broker.connect().publish(&[job]).await;
    }
}

fn outage(world: &World) -> Duration {
    world.with(|state| state.figures.outages += 1);
    let long = world.chance(0.3);
    world.some_ms(100, if long { 30_000 } else { 5_000 })
}

fn store_outage(world: &Arc<World>) {
    let duration = outage(world);
    world.note(|| format!("the store is away for {duration:?}"));
    world.with(|state| state.store_away_until = Some(Instant::now() + duration));
}

fn broker_outage(world: &Arc<World>) {
    let duration = outage(world);
    world.note(|| format!("the broker is away for {duration:?}"));
    world.with(|state| state.broker_away_until = Some(Instant::now() + duration));
    let alive = world.with(|state| state.alive.values().cloned().collect::<Vec<_>>());
    alive.iter().for_each(|process| process.lose_consumers());
    world.broker.cut_all();
}

fn partition(world: &Arc<World>) {
    let Some(process) = some_process(world) else { return };
    let duration = outage(world);
    let (from_store, from_broker) = [(true, false), (false, true), (true, true)][world.below(3)];
    world.note(|| {
        let name = &process.name;
        format!("{name} is cut off for {duration:?}: store {from_store}, broker {from_broker}")
    });
    process.cut_off(from_store, from_broker, duration);
}
