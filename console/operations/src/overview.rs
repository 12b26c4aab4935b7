//! All of it at one look, for `evergrant top`, `providers` and pages alike. What cannot be reached is
//! said, and the rest is shown.

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

/// More grants than this that are due are not counted: the time that takes has a limit.
pub const DUE_MAX: u64 = 100_000;
/// The time that error rates are of.
const RECENT_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// All of it at one look.
#[derive(Debug, Clone, Serialize)]
pub struct FleetOverview {
    /// The store's clock.
    pub now: Timestamp,
    /// Each provider.
    pub providers: Vec<ProviderOverview>,
    /// The processes that live or have lately lived.
    pub processes: Vec<Heartbeat>,
    /// Why the queue's figures are missing, if they are.
    pub queue_error: Option<String>,
}

/// One provider at one look.
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
    /// Grants that want a job, counted up to [`DUE_MAX`].
    pub due: u64,
    /// Jobs that wait in the queue. None if it cannot be reached.
    pub queued: Option<u64>,
    /// Requests under way.
    pub in_flight: u32,
    /// Grants refreshed a second, of late.
    pub refreshed_per_second: f64,
    /// How much of the strictest limit is used: by all requests of the last one to two minutes, or by
    /// what was refreshed of late, if that is more. None without a limit.
    pub budget_used_percent: Option<f64>,
    /// What happened in the last quarter of an hour.
    pub lately: ProviderCounts,
    /// How many of those exchanges failed. None if there were none.
    pub failed_percent: Option<f64>,
}

/// What an overview is of.
pub struct OverviewSources<'a> {
    /// Where grants, processes and figures are.
    pub store: &'a Arc<dyn Store>,
    /// None leaves the queue out.
    pub queue: Option<&'a Arc<dyn JobQueue>>,
    /// The providers of the settings.
    pub providers: &'a [Provider],
}

impl OverviewSources<'_> {
    /// Looks at everything.
    ///
    /// # Errors
    /// If the store is away: without it there is nothing to show.
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

    /// A queue that is away is asked once.
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
    /// What processes and minutes tell of a provider. What is due and queued is asked elsewhere.
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

/// Grants that these processes refresh a second, at one provider or at all. Not a plain sum: that of
/// nothing is -0.0.
pub fn refreshed_per_second<'a>(
    processes: impl Iterator<Item = &'a Heartbeat>,
    provider: Option<&ProviderId>,
    now: Timestamp,
) -> f64 {
    processes.fold(0.0, |all, process| all + process.per_second(provider, now))
}

/// How many exchanges came to something else than new tokens. None if there were none.
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
    fn the_budget_that_is_used_is_that_of_the_strictest_limit() {
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
