//! Times in which a provider answers everybody alike, whatever they ask.

use std::time::Duration;

use evergrant_shared::domain::ProviderId;
use evergrant_shared::domain::classify::Answer;
use tokio::time::Instant;

use super::Fault;
use super::plan::LONG_RECHECK;
use super::world::World;

/// What it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 429: slow down, for as long as the storm lasts.
    Throttled,
    /// 400 `invalid_grant`, though no grant is dead.
    AllDead,
}

/// A storm that is under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Storm {
    kind: Kind,
    /// Which provider answers so.
    provider: usize,
    began: Instant,
    length: Duration,
}

/// A storm begins, unless one is under way.
pub(crate) fn begin(world: &World) {
    // Whoever takes a death for one at the first or second look is taken in by such a storm.
    let is_patient = world.plan.death_recheck == LONG_RECHECK;
    let kind = if is_patient && world.below(2) == 0 { Kind::AllDead } else { Kind::Throttled };
    let length = world.some_ms(16_000, 24_000);
    let provider = world.below(world.providers.len());
    let storm = Storm { kind, provider, began: Instant::now(), length };
    let is_new = world.with(|state| {
        let is_over = state.storm.is_none_or(|storm| storm.is_over());
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
        });
    }
}

impl Storm {
    fn is_over(&self) -> bool {
        self.began.elapsed() >= self.length
    }

    fn answer(&self) -> Answer {
        let (status, error) = match self.kind {
            Kind::Throttled => (429, "slow_down"),
            Kind::AllDead => (400, "invalid_grant"),
        };
        let left = self.length.saturating_sub(self.began.elapsed());
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        Answer {
            status,
            retry_after_ms: (self.kind == Kind::Throttled).then_some(left_ms),
            body: format!(r#"{{"error":"{error}"}}"#).into_bytes(),
        }
    }
}

impl World {
    /// The answer to a request in a storm, which leaves the token alone.
    pub(crate) fn stormy_answer(&self, provider: &ProviderId) -> Option<Answer> {
        let storm = self.with(|state| state.storm)?;
        let is_its = self.providers[storm.provider].id == *provider;
        (is_its && !storm.is_over()).then(|| storm.answer())
    }
}
