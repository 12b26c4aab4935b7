//! Storms: times in which a provider gives all requests the same answer.

use std::sync::Arc;
use std::time::Duration;

use evergrant_budget::change_provider;
use evergrant_domain::classify::HttpAnswer;
use evergrant_domain::settlement::TripReason;
use evergrant_domain::{ClaimedDocument, GrantStatus, ProviderId};
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::Fault;
use super::people::sign_in_again;
use super::plan::LONG_RECHECK;
use super::world::World;

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 429: slow down until the end of the storm.
    Throttled,
    /// 400 `invalid_grant`, although no grant is dead.
    AllDead,
    /// 401 `invalid_client`, from the start.
    WrongClient,
    /// Its successes are unreadable.
    Unreadable,
}

/// A running storm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Storm {
    kind: Kind,
    /// The provider that answers like this.
    provider: usize,
    began: Instant,
    length: Duration,
}

/// Starts with a wrong client, if the plan says so.
pub(crate) fn begin_wrong(world: &Arc<World>) {
    if let Some(length) = world.plan.wrong_client {
        begin_one(world, Kind::WrongClient, length);
    }
}

/// Starts a storm, unless one is running.
pub(crate) fn begin(world: &Arc<World>) {
    // A worker that believes deaths at once or after one confirmation is deceived by such a storm,
    // or by two of them.
    let is_first = world.with(|state| state.reached.of(Fault::DeadAll.as_str())) == 0;
    let is_patient = world.plan.death_recheck == LONG_RECHECK && is_first;
    let kind = match world.below(4) {
        0 | 1 if is_patient => Kind::AllDead,
        2 => Kind::Unreadable,
        _ => Kind::Throttled,
    };
    let length = world.some_ms(16_000, 24_000);
    begin_one(world, kind, length);
}

fn begin_one(world: &Arc<World>, kind: Kind, length: Duration) {
    let provider = world.below(world.providers.len());
    let storm = Storm { kind, provider, began: Instant::now(), length };
    let is_new = world.with(|state| {
        let is_over = state.storm.is_none_or(|storm| storm.left().is_zero());
        if is_over {
            state.storm = Some(storm);
        }
        is_over
    });
    if is_new {
        world.note(|| format!("the provider answers everybody alike for {length:?}: {kind:?}"));
        world.reached(match kind {
            Kind::Throttled => Fault::ThrottledAll,
            Kind::AllDead => Fault::DeadAll,
            Kind::WrongClient => Fault::WrongClient,
            Kind::Unreadable => Fault::Unreadable,
        });
        if kind == Kind::Unreadable {
            let provider = world.providers[provider].id.clone();
            tokio::spawn(let_go_on(Arc::clone(world), provider, length));
        }
    }
}

/// An operator resumes a provider whose answers can be read again. Users sign in again whose tokens
/// were in unreadable answers.
async fn let_go_on(world: Arc<World>, provider: ProviderId, after: Duration) {
    tokio::time::sleep(after).await;
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        if world.known_of(&provider).gate.is_stopped() {
            world.note(|| format!("an operator lets {provider} go on"));
            let again = |state: &mut _, now| probe(state, now);
            if change_provider(&*world.store, &provider, again).await.is_ok() {
                world.let_go_on(&provider);
            }
        }
        world.sign_in_unread();
    }
}

fn probe(state: &mut evergrant_domain::ProviderState, now: evergrant_domain::Timestamp) {
    if state.gate.tripped() == Some(TripReason::Unreadable) {
        state.probe_now(now);
    }
}

/// The interval between an operator's checks.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

impl Storm {
    /// Its remaining time.
    pub(crate) fn left(&self) -> Duration {
        self.length.saturating_sub(self.began.elapsed())
    }

    /// An answer that leaves the token unchanged. None if the provider works normally.
    fn answer(&self) -> Option<HttpAnswer> {
        let (status, error) = match self.kind {
            Kind::Throttled => (429, "slow_down"),
            Kind::AllDead => (400, "invalid_grant"),
            Kind::WrongClient => (401, "invalid_client"),
            Kind::Unreadable => return None,
        };
        let left_ms = u64::try_from(self.left().as_millis()).unwrap_or(u64::MAX);
        Some(HttpAnswer {
            status,
            retry_after_ms: (self.kind == Kind::Throttled).then_some(left_ms),
            body: format!(r#"{{"error":"{error}"}}"#).into_bytes(),
        })
    }
}

impl World {
    pub(crate) fn storm_of(&self, provider: &ProviderId) -> Option<Storm> {
        let storm = self.with(|state| state.storm)?;
        let is_its = self.providers[storm.provider].id == *provider;
        (is_its && !storm.left().is_zero()).then_some(storm)
    }

    /// The answer to a request during a storm, which leaves the token unchanged.
    pub(crate) fn stormy_answer(&self, provider: &ProviderId) -> Option<HttpAnswer> {
        self.storm_of(provider)?.answer()
    }

    /// Whether a provider's successes are unreadable now.
    pub(crate) fn is_unreadable(&self, provider: &ProviderId) -> bool {
        self.storm_of(provider).is_some_and(|storm| storm.kind == Kind::Unreadable)
    }

    /// All users sign in again, sooner or later, whose new tokens came in an unreadable answer.
    fn sign_in_unread(&self) {
        for (id, user) in self.with(|state| state.users.clone()) {
            let ClaimedDocument::Present { grant, .. } = self.store.look(&id) else { continue };
            let has_ended = matches!(grant.status, GrantStatus::Failed | GrantStatus::NeedsReauth);
            let token = grant.refresh_token.expose_secret();
            let is_lost = self.with(|state| state.tokens.unread.contains(token));
            if has_ended && is_lost && (self.is_calm() || self.below(4) == 0) {
                sign_in_again(self, &id, &user);
            }
        }
    }
}
