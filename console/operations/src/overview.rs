//! The overview of the fleet, for `evergrant top`, `providers` and the web console. Unreachable
//! parts are reported, and the rest is shown.

use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::heartbeat::Heartbeat;
use evergrant_domain::limit::RateLimit;
use evergrant_domain::provider_state::ProviderStanding;
use evergrant_domain::statistics::{MINUTE, ProviderCounts, minute_of};
use evergrant_domain::{ProviderId, ProviderState, Timestamp};
use evergrant_ports::{JobQueue, Store, StoreError};
use evergrant_provider::Provider;
use serde::Serialize;

/// Due grants are counted up to this number, to limit the duration.
pub const DUE_MAX: u64 = 100_000;
/// The interval of error rates.
const RECENT_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// The state of the whole fleet.
#[derive(Debug, Clone, Serialize)]
pub struct FleetOverview {
    /// The store's time.
    pub now: Timestamp,
    /// Each provider.
    pub providers: Vec<ProviderOverview>,
    /// The running and recently seen processes.
    pub processes: Vec<Heartbeat>,
    /// Why the queue's figures are missing, if they are.
    pub queue_error: Option<String>,
}

/// The state of one provider.
#[derive(Debug, Clone, Serialize)]
pub struct ProviderOverview {
    /// Its name.
    pub provider: ProviderId,
    /// Whether requests are sent, and if not, why.
    #[serde(flatten)]
    pub standing: ProviderStanding,
    /// The limits in force.
    pub limits: Vec<RateLimit>,
    /// Whether an operator has set the limits.
    pub limits_set: bool,
    /// Until when deaths are believed, if an operator has confirmed them.
    pub deaths_believed_until: Option<Timestamp>,
    /// When our client's settings changed, if nothing has been refreshed with them yet.
    pub client_changed_at: Option<Timestamp>,
    /// Grants that need a job, counted up to [`DUE_MAX`].
    pub due: u64,
    /// Jobs in the queue. None if the queue is unreachable.
    pub queued: Option<u64>,
    /// Requests under way.
    pub in_flight: u32,
    /// Recent refreshes per second.
    pub refreshed_per_second: f64,
    /// How much of the strictest limit is used: by all requests of the last one to two minutes or
    /// by recent refreshes, whichever is more. None without a limit.
    pub budget_used_percent: Option<f64>,
    /// Counts of the last quarter of an hour.
    pub lately: ProviderCounts,
    /// The share of failed exchanges. None if there were none.
    pub failed_percent: Option<f64>,
}

/// The sources of an overview.
pub struct OverviewSources<'a> {
    /// The store with grants, processes and statistics.
    pub store: &'a Arc<dyn Store>,
    /// None leaves the queue out.
    pub queue: Option<&'a Arc<dyn JobQueue>>,
    /// The providers of the settings.
    pub providers: &'a [Provider],
}

impl OverviewSources<'_> {
    /// Collects the overview.
    ///
    /// # Errors
    /// If the store is unavailable, since there is nothing to show without it.
    pub async fn overview(&self) -> Result<FleetOverview, StoreError> {
        let now = self.store.now().await?;
        let processes = self.store.processes().await?;
        let minutes = self.store.statistics(now.minus(RECENT_INTERVAL)).await?;
        let mut overview =
            FleetOverview { now, providers: Vec::new(), processes, queue_error: None };
        for provider in self.providers {
            let state = self.store.provider_state(&provider.id).await?.value;
            let due = self.store.count_due(&provider.id, DUE_MAX).await?;
            let of_provider = minutes.iter().filter(|minute| minute.provider == provider.id);
            let of_provider = of_provider.map(|minute| (minute.minute, &minute.counts));
            let processes = &overview.processes;
            let mut shown = ProviderOverview::new(provider, &state, processes, of_provider, now);
            shown.due = due;
            shown.queued = self.depth(&provider.id, &mut overview.queue_error).await;
            overview.providers.push(shown);
        }
        Ok(overview)
    }

    /// An unavailable queue is asked once.
    async fn depth(&self, provider: &ProviderId, error: &mut Option<String>) -> Option<u64> {
        let queue = self.queue.filter(|_| error.is_none())?;
        match queue.depth(provider).await {
            Ok(depth) => Some(depth),
            Err(failed) => {
                *error = Some(failed.to_string());
                None
            }
        }
    }
}

impl ProviderOverview {
    /// The state of a provider as far as processes and statistics show it; what is due and queued
    /// is asked elsewhere.
    pub fn new<'a>(
        provider: &Provider,
        state: &ProviderState,
        processes: &[Heartbeat],
        minutes: impl Iterator<Item = (Timestamp, &'a ProviderCounts)> + Clone,
        now: Timestamp,
    ) -> Self {
        let id = &provider.id;
        let limits = state.limits(&provider.limits).to_vec();
        let mut lately = ProviderCounts::default();
        let late = minutes.clone().filter(|(minute, _)| now.minus(RECENT_INTERVAL) <= *minute);
        late.for_each(|(_, counts)| lately.add(counts));
        let living = || processes.iter().filter(|process| !process.is_gone(now));
        let lanes = living().flat_map(|process| &process.lanes);
        let refreshed_per_second = refreshed_per_second(living(), Some(id), now);
        let sent_per_second = sent_per_second(minutes, now).max(refreshed_per_second);
        Self {
            provider: id.clone(),
            standing: state.standing(now),
            limits_set: state.limits.is_some(),
            deaths_believed_until: state.deaths_believed_until.filter(|until| now < *until),
            client_changed_at: state.client.changed_at,
            due: 0,
            queued: None,
            in_flight: lanes.filter(|lane| lane.provider == *id).map(|lane| lane.in_flight).sum(),
            refreshed_per_second,
            budget_used_percent: allowed_per_second(&limits)
                .map(|allowed| sent_per_second / allowed * 100.0),
            failed_percent: failed_percent(&lately),
            limits,
            lately,
        }
    }
}

/// Recent refreshes per second of these processes, at one provider or all. Not a plain sum, because
/// that of nothing is -0.0.
pub fn refreshed_per_second<'a>(
    processes: impl Iterator<Item = &'a Heartbeat>,
    provider: Option<&ProviderId>,
    now: Timestamp,
) -> f64 {
    processes.fold(0.0, |all, process| all + process.per_second(provider, now))
}

/// The share of exchanges without new tokens. None if there were none.
#[allow(clippy::cast_precision_loss, reason = "for people")]
pub fn failed_percent(counts: &ProviderCounts) -> Option<f64> {
    let exchanges = counts.exchanges();
    (exchanges > 0).then(|| counts.failures() as f64 / exchanges as f64 * 100.0)
}

/// What all limits allow together.
pub fn allowed_per_second(limits: &[RateLimit]) -> Option<f64> {
    let rates = limits.iter().map(|limit| f64::from(limit.requests()) / limit.per().as_secs_f64());
    rates.reduce(f64::min)
}

/// Requests of the last whole minute and the present one.
#[allow(clippy::cast_precision_loss, reason = "for people")]
fn sent_per_second<'a>(
    minutes: impl Iterator<Item = (Timestamp, &'a ProviderCounts)>,
    now: Timestamp,
) -> f64 {
    let from = minute_of(now).minus(MINUTE);
    let sent: u64 = minutes
        .filter(|(minute, _)| from <= *minute)
        .map(|(_, counts)| counts.exchanges() + counts.throttled)
        .sum();
    sent as f64 / now.since(from).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_used_budget_is_of_the_strictest_limit() {
        let counts = |refreshed| ProviderCounts { refreshed, ..ProviderCounts::default() };
        let at = Timestamp::from_unix_ms;
        let minutes =
            [(at(0), counts(9_999)), (at(60_000), counts(300)), (at(120_000), counts(150))];
        let sent = sent_per_second(minutes.iter().map(|(at, counts)| (*at, counts)), at(150_000));
        let limits = ["100/s", "300/min"].map(|limit| limit.parse().unwrap());
        assert_eq!((allowed_per_second(&limits), sent), (Some(5.0), 5.0));
        assert_eq!(allowed_per_second(&[]), None);
        let none = refreshed_per_second([].iter(), None, at(0));
        assert_eq!(format!("{none:.1}"), "0.0");
    }
}
