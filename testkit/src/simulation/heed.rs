//! What a worker was told about a provider is heeded: a pause, an open circuit, a stop. And whatever is
//! wrong with a provider is told to those who look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::settlement::TripReason;
use evergrant_domain::{DocumentId, ProviderId, ProviderState};
use evergrant_ports::ProviderStates;
use futures::FutureExt;
use tokio::time::Instant;

use super::process::Process;
use super::world::World;

/// What was told of providers.
#[derive(Default)]
pub(crate) struct ProviderNotices {
    /// Since when each provider is shut, as the store has it.
    shut_since: BTreeMap<ProviderId, Instant>,
    /// When a process was given an answer last that nobody can read.
    unreadable: BTreeMap<Lane, Instant>,
    /// Who was throttled in a row.
    throttled: BTreeMap<Lane, ThrottleNotice>,
    /// Whose requests were refused in a row because of our client.
    refused: BTreeMap<Lane, BTreeSet<DocumentId>>,
    /// How often each provider was let go on.
    let_go_on: BTreeMap<ProviderId, u64>,
}

/// A process and a provider that it asks.
type Lane = (String, ProviderId);

#[derive(Default)]
struct ThrottleNotice {
    grants: BTreeSet<DocumentId>,
    /// When it was throttled last, and until when it is to wait.
    told: Option<(Instant, Instant)>,
}

/// What has been sent in the same moment as an answer came.
const SAME_MOMENT: Duration = Duration::from_millis(50);
/// A worker may take the store's clock to be so much further than it is, and a pause to be over.
const OFF_BY: Duration = Duration::from_millis(100);
/// The pause after so many different grants were throttled in a row, if the provider asks for as much.
const PAUSES: [Duration; 3] =
    [Duration::from_secs(3), Duration::from_secs(12), Duration::from_secs(18)];
/// The first pause is that of so many.
const FIRST: usize = 3;
/// So many different grants refused in a row, where none has ever succeeded, are the client's fault.
const REFUSALS: usize = 5;
/// Within this, what is wrong is in the store.
const TOLD_WITHIN: Duration = Duration::from_secs(8);

impl World {
    /// A process has changed what all know of a provider.
    pub(crate) fn provider_written(
        &self,
        provider: &ProviderId,
        before: &ProviderState,
        after: &ProviderState,
    ) {
        let now = self.now();
        let (was_shut, is_shut) =
            (before.shut_until(now).is_some(), after.shut_until(now).is_some());
        self.with(|state| {
            let since = &mut state.told.shut_since;
            if !is_shut {
                since.remove(provider);
            } else if !was_shut {
                since.insert(provider.clone(), Instant::now());
            }
        });
        if before.gate.is_stopped() && !after.gate.is_stopped() {
            self.let_go_on(provider);
        }
    }

    /// A provider that was stopped may be asked again.
    pub(crate) fn let_go_on(&self, provider: &ProviderId) {
        self.with(|state| {
            state.told.shut_since.remove(provider);
            state.told.unreadable.retain(|(_, of), _| of != provider);
            *state.told.let_go_on.entry(provider.clone()).or_default() += 1;
        });
    }

    /// What all know of a provider.
    pub(crate) fn known_of(&self, provider: &ProviderId) -> ProviderState {
        let read = self.store.provider_state(provider).now_or_never();
        read.and_then(Result::ok).map(|read| read.value).unwrap_or_default()
    }

    /// A process sends a request: nothing that it was told must forbid that.
    pub(crate) fn check_heeds(&self, process: &Process, provider: &ProviderId) {
        let name = &process.name;
        let lane = (name.clone(), provider.clone());
        let known = self.known_of(provider);
        let (shut_since, unreadable, throttled) = self.with(|state| {
            let told = &state.told;
            let throttled = told.throttled.get(&lane).and_then(|throttled| throttled.told);
            let unreadable = told.unreadable.get(&lane).copied();
            (told.shut_since.get(provider).copied(), unreadable, throttled)
        });
        let news = self.plan.news_come_within();
        if known.shut_until(self.now().plus(OFF_BY)).is_some()
            && !is_probing(&known)
            && !process.is_frozen_lately()
            && shut_since.is_some_and(|since| since.elapsed() > news)
            && process.has_reached_store_for(news)
        {
            self.violate(format!("{name} asks {provider}, which is shut"));
        }
        if unreadable.is_some_and(|at| at.elapsed() > SAME_MOMENT) {
            self.violate(format!("{name} asks {provider}, whose answers it cannot read"));
        }
        let waits = |(told, until): (Instant, Instant)| {
            told.elapsed() > SAME_MOMENT && Instant::now() < until
        };
        if known.gate.tripped().is_none() && throttled.is_some_and(waits) {
            self.violate(format!("{name} asks {provider}, which wants it to slow down"));
        }
    }

    /// A process was throttled.
    pub(crate) fn told_to_wait(&self, process: &Process, provider: &ProviderId, token: &str) {
        let left = self.with(|state| state.storm).map(|storm| storm.left()).unwrap_or_default();
        self.with(|state| {
            let Some(id) = state.tokens.document_of(token) else { return };
            let lane = (process.name.clone(), provider.clone());
            let throttled = state.told.throttled.entry(lane).or_default();
            throttled.grants.insert(id);
            let pause = throttled.grants.len().checked_sub(FIRST);
            let Some(pause) = pause.map(|more| PAUSES[more.min(PAUSES.len() - 1)]) else { return };
            let until = Instant::now() + pause.min(left.saturating_sub(Duration::from_secs(1)));
            let latest = throttled.told.map_or(until, |(_, known)| known.max(until));
            throttled.told = Some((Instant::now(), latest));
        });
    }

    /// A process was told that our client is wrong. If none was ever told otherwise, all are to know soon.
    pub(crate) fn told_wrong(
        self: &Arc<Self>,
        process: &Arc<Process>,
        provider: &ProviderId,
        token: &str,
    ) {
        let enough = self.with(|state| {
            let Some(id) = state.tokens.document_of(token) else { return false };
            let lane = (process.name.clone(), provider.clone());
            let refused = state.told.refused.entry(lane).or_default();
            refused.insert(id) && refused.len() == REFUSALS
        });
        if enough {
            self.is_soon_known(process, provider, TripReason::Misconfigured);
        }
    }

    /// How many times a provider was let go on.
    pub(crate) fn times_let_go_on(&self, provider: &ProviderId) -> u64 {
        self.with(|state| state.told.let_go_on.get(provider).copied().unwrap_or_default())
    }

    /// A process was given an answer that nobody can read: all are to know soon. Not of one to a request that
    /// was sent before the provider was let go on for the last time, so many times were `before`: that tells
    /// of how it was then.
    pub(crate) fn told_unreadably(
        self: &Arc<Self>,
        process: &Arc<Process>,
        provider: &ProviderId,
        token: &str,
        before: u64,
    ) {
        self.with(|state| {
            let tokens = &mut state.tokens;
            for known in [&mut tokens.unread, &mut tokens.replies_lost, &mut tokens.doubted] {
                known.insert(token.to_owned());
            }
        });
        if self.times_let_go_on(provider) != before {
            return;
        }
        let lane = (process.name.clone(), provider.clone());
        self.with(|state| state.told.unreadable.insert(lane, Instant::now()));
        self.is_soon_known(process, provider, TripReason::Unreadable);
    }

    /// A process was given new tokens.
    pub(crate) fn told_well(&self, process: &Process, provider: &ProviderId) {
        let lane = (process.name.clone(), provider.clone());
        self.with(|state| {
            state.told.throttled.remove(&lane);
            state.told.refused.remove(&lane);
        });
    }

    fn is_soon_known(
        self: &Arc<Self>,
        process: &Arc<Process>,
        provider: &ProviderId,
        why: TripReason,
    ) {
        if self.plan.rates.store_slow > 0.0 {
            return;
        }
        let before = self.times_let_go_on(provider);
        let (world, process, provider) = (Arc::clone(self), Arc::clone(process), provider.clone());
        tokio::spawn(async move {
            tokio::time::sleep(TOLD_WITHIN).await;
            let could_tell = !process.is_dead()
                && process.has_reached_store_for(TOLD_WITHIN)
                && !process.is_frozen_lately();
            let was_let_go_on = world.times_let_go_on(&provider) != before;
            let tripped = world.known_of(&provider).gate.tripped();
            let is_over = why == TripReason::Misconfigured && world.storm_of(&provider).is_none();
            if could_tell && !was_let_go_on && !is_over && tripped.is_none() {
                let name = &process.name;
                world.violate(format!("{provider} is open though {name} was told: {why:?}"));
            }
        });
    }
}

/// Whether one request is sent to see whether the circuit may close.
fn is_probing(known: &ProviderState) -> bool {
    let gate = serde_json::to_value(&known.gate).unwrap_or_default();
    gate["state"].get("probing").is_some()
}

impl super::plan::Plan {
    /// Within this a worker that reaches the store has heard what is new there.
    fn news_come_within(&self) -> Duration {
        Duration::from_secs(if self.rates.store_slow > 0.0 { 45 } else { 3 })
    }
}
