//! Invariants about a provider's signals: workers respect a pause, an open circuit and a stop, and
//! problems of a provider are reported.

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

/// The signals of providers.
#[derive(Default)]
pub(crate) struct ProviderNotices {
    /// Since when each provider is closed, according to the store.
    shut_since: BTreeMap<ProviderId, Instant>,
    /// When each process last got an unreadable answer.
    unreadable: BTreeMap<Lane, Instant>,
    /// Consecutive throttles.
    throttled: BTreeMap<Lane, ThrottleNotice>,
    /// Requests refused in a row because of the client.
    refused: BTreeMap<Lane, BTreeSet<DocumentId>>,
    /// How often each provider was resumed.
    let_go_on: BTreeMap<ProviderId, u64>,
}

/// A process and a provider.
type Lane = (String, ProviderId);

#[derive(Default)]
struct ThrottleNotice {
    grants: BTreeSet<DocumentId>,
    /// When it was last throttled, and until when it has to wait.
    told: Option<(Instant, Instant)>,
}

/// Requests that were sent at the moment when an answer arrived.
const SAME_MOMENT: Duration = Duration::from_millis(50);
/// How far a worker's estimate of the store's clock may be ahead, so that a pause seems to be over.
const OFF_BY: Duration = Duration::from_millis(100);
/// The pauses after consecutive throttles of different grants, if the provider asks for as much.
const PAUSES: [Duration; 3] =
    [Duration::from_secs(3), Duration::from_secs(12), Duration::from_secs(18)];
/// The number of grants for the first pause.
const FIRST: usize = 3;
/// This many different grants refused in a row, without any earlier success, blame the client.
const REFUSALS: usize = 5;
/// Within this time, a problem is in the store.
const TOLD_WITHIN: Duration = Duration::from_secs(8);

impl World {
    /// Notes that a process has changed the shared state of a provider.
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

    /// Notes that a stopped provider may be asked again.
    pub(crate) fn let_go_on(&self, provider: &ProviderId) {
        self.with(|state| {
            state.told.shut_since.remove(provider);
            state.told.unreadable.retain(|(_, of), _| of != provider);
            *state.told.let_go_on.entry(provider.clone()).or_default() += 1;
        });
    }

    /// The shared state of a provider.
    pub(crate) fn known_of(&self, provider: &ProviderId) -> ProviderState {
        let read = self.store.provider_state(provider).now_or_never();
        read.and_then(Result::ok).map(|read| read.value).unwrap_or_default()
    }

    /// Checks a request that is sent: no signal that the process got may forbid it.
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

    /// Notes that a process was throttled.
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

    /// Notes that a process was told that the client is wrong. Without an earlier success, that
    /// must soon be in the store.
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

    /// How often a provider was resumed.
    pub(crate) fn times_let_go_on(&self, provider: &ProviderId) -> u64 {
        self.with(|state| state.told.let_go_on.get(provider).copied().unwrap_or_default())
    }

    /// Notes an unreadable answer, which must soon be in the store. An answer to a request from
    /// before the last resume does not count; `before` is the number of resumes at its sending.
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

    /// Notes that a process got new tokens.
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

/// Whether one request is sent as a probe.
fn is_probing(known: &ProviderState) -> bool {
    let gate = serde_json::to_value(&known.gate).unwrap_or_default();
    gate["state"].get("probing").is_some()
}

impl super::plan::Plan {
    /// Within this time, a worker that reaches the store knows its changes.
    fn news_come_within(&self) -> Duration {
        Duration::from_secs(if self.rates.store_slow > 0.0 { 45 } else { 3 })
    }
}
