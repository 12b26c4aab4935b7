//! The final judgement: every grant is refreshed or correctly reported.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use evergrant_domain::{DocumentId, FailureKind, GrantStatus, Timestamp};
use evergrant_ports::{GrantAdmin, GrantView, JobQueue, TransferStore};
use evergrant_simulator::{GrantVerdict, LedgerDocument};
use futures::TryStreamExt;
use serde_json::Value;

use super::Excuse;
use super::plan::ENDLESS_GRACE_S;
use super::world::World;

/// Whether every grant was refreshed or has ended since the calm began.
pub(crate) async fn is_settled(world: &World) -> Result<(), String> {
    let calm_since = world.with(|state| state.calm_since);
    for view in views(world).await {
        let id = &view.id;
        if view.status.is_none() {
            return Err(format!("{id} is not adopted"));
        }
        if view.status == Some(GrantStatus::Paused) {
            return Err(format!("{id} is paused"));
        }
        if world.is_poisoned(id) {
            continue;
        }
        if view.status == Some(GrantStatus::Active) && view.refreshed_at < calm_since {
            return Err(format!("{id} is active and was not refreshed: {view:?}"));
        }
    }
    if let Some(token) = world.with(|state| state.tokens.left_for(LEFT_BEHIND)) {
        return Err(format!("{token} is left in a journal or in the rescue queue"));
    }
    for case in cases(world).await {
        let lives = matches!(case.verdict, GrantVerdict::Live | GrantVerdict::LiveInGrace);
        let is_well = !world.is_poisoned(&case.view.id);
        let status = case.view.status.filter(|status| *status != GrantStatus::Active);
        if let Some(status) = status.filter(|_| lives && is_well) {
            return Err(format!("{} lives and is {}", case.view.id, status.as_str()));
        }
    }
    Ok(())
}

/// The longest time for which an answer stays in a journal or in the rescue queue during the calm.
const LEFT_BEHIND: Duration = Duration::from_secs(60);

/// One document at the end.
struct Case {
    view: GrantView,
    verdict: GrantVerdict,
    token: String,
    note: Option<String>,
}

/// All documents as operators see them, one for each user.
async fn views(world: &World) -> Vec<GrantView> {
    let views = world.store.list(Default::default()).try_collect().await;
    let views: Vec<GrantView> = views.unwrap_or_else(|error| {
        world.violate(format!("the documents cannot be listed: {error}"));
        Vec::new()
    });
    let (seen, users) = (views.len(), world.with(|state| state.users.len()));
    if seen != users {
        world.violate(format!("there are {seen} documents of {users} users"));
    }
    views
}

async fn cases(world: &World) -> Vec<Case> {
    let exported: Result<Vec<Value>, _> = world.store.export().try_collect().await;
    let by_id: BTreeMap<DocumentId, Value> = exported
        .unwrap_or_default()
        .into_iter()
        .filter_map(|json| Some((DocumentId::try_from(json.get("_id")?.clone()).ok()?, json)))
        .collect();
    let mut cases = Vec::new();
    for view in views(world).await {
        let Some(json) = by_id.get(&view.id) else {
            world.violate(format!("{} is listed and not exported", view.id));
            continue;
        };
        let text = |field: &str| json.get(field).and_then(Value::as_str).map(str::to_owned);
        let Ok(document) = LedgerDocument::from_json(json.to_string().as_bytes()) else {
            world.violate(format!("{} cannot be judged", view.id));
            continue;
        };
        let verdict = world.oauth.judge(&document).verdict;
        let token = text("refresh_token").unwrap_or_default();
        cases.push(Case { view, verdict, token, note: text("note") });
    }
    cases
}

/// Judges every document and reports the first failure. A document that is just being refreshed, or
/// whose dead letter is just being published, is judged afterwards.
pub(crate) async fn judge(world: &World) {
    let mut judged = BTreeSet::new();
    let mut unfinished = None;
    for _ in 0..LOOKS_MAX {
        let letters = dead_letters(world).await;
        unfinished = None;
        world.check_answers();
        for case in cases(world).await {
            let id = case.view.id.clone();
            if judged.contains(&id) {
                continue;
            }
            if world.with(|state| state.tokens.is_busy(&id)) {
                unfinished = Some(format!("{id}: it is being refreshed whenever it is looked at"));
                continue;
            }
            let job_lost = world.with(|state| state.jobs_lost.contains(&id));
            let is_buried = is_buried(&case.view, &letters);
            let is_buried = is_buried || world.is_discarded(&case.view);
            if job_lost && !is_buried {
                world.excused(Excuse::JobLost);
            } else if !is_buried {
                unfinished = Some(format!("{id}: it was given up and has no dead letter"));
                continue;
            }
            if let Err(what) = world.judge_one(&case) {
                return world.violate(format!("{id}: {what}"));
            }
            judged.insert(id);
        }
        if unfinished.is_none() {
            return;
        }
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
    if let Some(what) = unfinished {
        world.violate(what);
    }
}

const LOOKS_MAX: u32 = 100;
const CHECK_INTERVAL: Duration = Duration::from_millis(300);

impl World {
    fn judge_one(&self, case: &Case) -> Result<(), String> {
        let (status, reason) = (case.view.status, case.view.last_error.as_ref());
        let reason = reason.map(|error| error.reason);
        let id = &case.view.id;
        if case.note != self.with(|state| state.notes.get(id).cloned()) {
            return Err("a field of the application's has changed".to_owned());
        }
        if status != Some(GrantStatus::Active) {
            self.with(|state| state.figures.given_up += 1);
        }
        let (lost_reply, forsaken, doubted, spoilt, unread) = self.with(|state| {
            let tokens = &state.tokens;
            let lost_reply = tokens.replies_lost.contains(&case.token);
            let forsaken = tokens.forsaken.contains(&case.token);
            let doubted = tokens.doubted.contains(&case.token);
            let unread = tokens.unread.contains(&case.token);
            (lost_reply, forsaken, doubted, tokens.is_made_up(&case.token), unread)
        });
        let lost_response = reason == Some(FailureKind::LostResponse);
        if lost_response && status == Some(GrantStatus::NeedsReauth) && !doubted && !spoilt {
            return Err("lost_response is reported though no reply was lost".to_owned());
        }
        match case.verdict {
            GrantVerdict::Lost(_) if spoilt => {
                self.excused(Excuse::MadeUp);
                Ok(())
            }
            // Its own reply was not lost, so the loss cannot be distinguished from a death.
            GrantVerdict::Lost(_) if forsaken && !lost_reply => {
                self.excused(Excuse::Forsaken);
                Ok(())
            }
            GrantVerdict::Lost(_) if unread => {
                self.excused(Excuse::Unread);
                Ok(())
            }
            GrantVerdict::Lost(cause) if !lost_reply => Err(format!("lost: {cause:?}")),
            GrantVerdict::Lost(_) => {
                self.with(|state| state.figures.lost += 1);
                self.excused(Excuse::GraceOver);
                if self.plan.grace_s == ENDLESS_GRACE_S {
                    return Err("lost though the grace had not ended".to_owned());
                }
                let doubts_gone = self.with(|state| state.bounds.has_lost_doubts(id));
                if status == Some(GrantStatus::NeedsReauth) && !lost_response && !doubts_gone {
                    return Err("a lost reply is reported as a plain death".to_owned());
                }
                Ok(())
            }
            GrantVerdict::Dead(_) | GrantVerdict::Live | GrantVerdict::LiveInGrace => Ok(()),
            GrantVerdict::Malformed | GrantVerdict::Unknown => Err("nobody's token".to_owned()),
        }
    }
}

/// The dead letters of documents, with their times.
async fn dead_letters(world: &World) -> BTreeSet<(DocumentId, Timestamp)> {
    let mut letters = BTreeSet::new();
    let queue = world.broker.connect();
    for provider in world.provider_ids() {
        let Ok(mut look) = queue.dead_letters(&provider).await else { continue };
        while let Ok(Some(letter)) = look.next().await {
            letters.extend(letter.id.map(|id| (id, letter.last_failed_at)));
        }
    }
    letters
}

/// Whether it has not ended, or has a dead letter of its end.
fn is_buried(view: &GrantView, letters: &BTreeSet<(DocumentId, Timestamp)>) -> bool {
    let ended = matches!(view.status, Some(GrantStatus::NeedsReauth | GrantStatus::Failed));
    let failed_at = view.last_error.as_ref().map(|error| error.at);
    match failed_at {
        Some(at) if ended => letters.contains(&(view.id.clone(), at)),
        _ => true,
    }
}
