//! The forecast at the present pace, for `evergrant plan` and as metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::forecast::{Forecast, GrantProspect, GrantSample, ProviderClosure, forecast};
use evergrant_domain::limit::RateLimit;
use evergrant_domain::rate_schedule::RateSchedule;
use evergrant_domain::{GrantStatus, ProviderId, ProviderState, Timestamp};
use evergrant_ports::{GrantAdmin, GrantFilter, GrantView, ProviderStates, StoreError};
use evergrant_provider::Provider;
use evergrant_telemetry::{MetricLabels, ProcessMetrics};
use futures::TryStreamExt;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// How many days the metrics look ahead.
const METRICS_DAYS: u32 = 7;
const METRICS_KIND: &str = "7d";
/// How often the metrics are recomputed. Each time, every grant is read once.
const METRICS_INTERVAL: Duration = Duration::from_secs(600);

/// Forecasts the grants of each provider for these numbers of days, which ascend. Memory does not
/// grow with the number of grants.
///
/// # Errors
/// If the store cannot be read.
pub async fn outlook(
    store: &(impl GrantAdmin + ProviderStates + ?Sized),
    providers: &[Arc<Provider>],
    default_provider: Option<&ProviderId>,
    horizons_days: &[u32],
) -> Result<Vec<(ProviderId, Forecast)>, StoreError> {
    let now = store.now().await?;
    let mut samples: BTreeMap<&ProviderId, GrantSample> = BTreeMap::new();
    let mut grants = store.list(GrantFilter::default());
    while let Some(grant) = grants.try_next().await? {
        let id = grant.provider.as_ref().or(default_provider);
        let provider = providers.iter().find(|provider| Some(&provider.id) == id);
        // A document without a status will be adopted, and is due then.
        let kept = matches!(grant.status, None | Some(GrantStatus::Active));
        if let (Some(provider), true) = (provider, kept) {
            let sample = samples.entry(&provider.id).or_insert_with(|| GrantSample::new(now));
            sample.add(prospect(&grant, provider, now));
            if grant.is_held_as_sealed() {
                sample.note_sealed();
            }
        }
    }
    drop(grants);
    let mut outlook = Vec::with_capacity(providers.len());
    for provider in providers {
        let sample = samples.remove(&provider.id).unwrap_or_else(|| GrantSample::new(now));
        // An operator may have set limits that differ from the settings.
        let state = store.provider_state(&provider.id).await?.value;
        let rate = rate_per_s(state.limits(&provider.limits));
        let shut = shut(&state, now);
        let (this, days) = (Arc::clone(provider), horizons_days.to_vec());
        // May take a second.
        let computed = tokio::task::spawn_blocking(move || {
            forecast(sample, rate, shut, &this.policy.schedule, &days)
        });
        if let Ok(forecast) = computed.await {
            outlook.push((provider.id.clone(), forecast));
        }
    }
    Ok(outlook)
}

/// A grant that was never refreshed counts as signed in just now, because no field says when.
fn prospect(grant: &GrantView, provider: &Provider, now: Timestamp) -> GrantProspect {
    let idle = provider.policy.schedule.refresh_idle_lifetime;
    let idle_until = match (grant.refresh_idle_until, grant.generation) {
        (Some(until), _) => Some(until),
        (None, 0) => idle.map(|idle| now.plus(idle)),
        (None, _) => None,
    };
    let ends_at = grant.refresh_absolute_until;
    GrantProspect {
        due_at: grant.next_refresh_at.unwrap_or(now),
        dies_at: [idle_until, ends_at].into_iter().flatten().min(),
        ends_at,
    }
}

/// Whether refreshes are stopped now. It is unknown when an open circuit closes.
fn shut(state: &ProviderState, now: Timestamp) -> Option<ProviderClosure> {
    match state.shut_until(now) {
        _ if state.gate.tripped().is_some() => Some(ProviderClosure::WithoutEnd),
        Some(Some(until)) => Some(ProviderClosure::Until(until)),
        Some(None) => Some(ProviderClosure::WithoutEnd),
        None => None,
    }
}

/// The requests a second that these limits allow in the long run.
fn rate_per_s(limits: &[RateLimit]) -> Option<f64> {
    RateSchedule::default().spacing(limits).map(|spacing| 1.0 / spacing.as_secs_f64())
}

/// Keeps the metrics `evergrant_slack_seconds` and `evergrant_expiring_unrefreshed` up to date,
/// without end.
pub async fn keep_outlook(
    store: Arc<impl GrantAdmin + ProviderStates + ?Sized>,
    providers: Vec<Arc<Provider>>,
    default_provider: Option<ProviderId>,
    metrics: ProcessMetrics,
) {
    let slack = metrics.add(
        "slack_seconds",
        "The least time between a refresh and the expiry that it prevents",
        Family::<MetricLabels, Gauge>::default(),
    );
    let expiring = metrics.add(
        "expiring_unrefreshed",
        "Grants that will expire before they are refreshed, at the present limits",
        Family::<MetricLabels, Gauge>::default(),
    );
    let mut ticks = tokio::time::interval(METRICS_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let looked = outlook(&*store, &providers, default_provider.as_ref(), &[METRICS_DAYS]).await;
        let forecasts = match looked {
            Ok(forecasts) => forecasts,
            Err(error) => {
                tracing::warn!(%error, "the forecast metrics were not updated: trying again later");
                continue;
            }
        };
        for (provider, forecast) in forecasts {
            let labels = MetricLabels { provider: provider.to_string(), kind: METRICS_KIND };
            let Some(week) = forecast.horizons.first() else { continue };
            let lost = week.expiring_unrefreshed + forecast.dead_already;
            expiring.get_or_create(&labels).set(i64::try_from(lost).unwrap_or(i64::MAX));
            if let Some(slack_s) = week.slack_s {
                slack.get_or_create(&labels).set(slack_s);
            }
            if week.expiring_unrefreshed > 0 {
                let (expiring, rate_needed_per_s) =
                    (week.expiring_unrefreshed, week.rate_needed_per_s);
                tracing::error!(%provider, expiring, rate_needed_per_s,
                    "grants will expire before they are refreshed: see evergrant plan");
            }
        }
    }
}
