//! How each provider stands: its circuit, what its exchanges come to, its grants, its budget.

use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::provider_state::{ProviderStanding, SlowStore};
use evergrant_domain::statistics::ProviderCounts;
use evergrant_domain::{GrantStatus, LastError, ProviderId, Timestamp};
use evergrant_ports::{GrantAdmin, GrantCount, GrantFilter, Store, StoreError};
use evergrant_provider::Provider;
use futures::TryStreamExt;

use super::row::{DoctorRow, Level};
use crate::sealed::SealedSample;
use evergrant_operations::overview::{OverviewSources, ProviderOverview};

/// Grants among which one is looked for that tells why a circuit is open.
const EXAMPLES: u64 = 500;
/// Fewer exchanges tell nothing.
const FEW_EXCHANGES: u64 = 20;
/// Fewer grants that ended are no number.
const FEW_ENDED: u64 = 5;
/// A slow reservation that is older tells nothing of now.
const SLOW_STORE_TTL: Duration = Duration::from_secs(120);

/// Some rows for each provider.
pub(super) async fn rows(store: &Arc<dyn Store>, providers: &[Provider]) -> Vec<DoctorRow> {
    match look(store, providers).await {
        Ok(rows) => rows,
        Err(error) => vec![DoctorRow::new(Level::Wrong, "providers", error.to_string())],
    }
}

async fn look(
    store: &Arc<dyn Store>,
    providers: &[Provider],
) -> Result<Vec<DoctorRow>, StoreError> {
    let overview = OverviewSources { store, queue: None, providers }.overview().await?;
    let counts = store.count_grants().await?;
    let mut rows = Vec::new();
    for (provider, found) in providers.iter().zip(&overview.providers) {
        let example = match &found.standing {
            ProviderStanding::Tripped { reason, .. } => {
                example(&**store, &provider.id, reason.as_str(), overview.now).await?
            }
            _ => None,
        };
        rows.push(circuit(provider, &found.standing, example.as_ref()));
        rows.push(exchanges(found));
        rows.push(grants(&provider.id, &counts));
        if let Some(words) = SealedSample::of(&**store, &provider.id).await?.words() {
            rows.push(DoctorRow::new(Level::Wrong, format!("tokens of {}", provider.id), words));
        }
        let state = store.provider_state(&provider.id).await?;
        // Without limits nothing is slowed down.
        if !state.value.limits(&provider.limits).is_empty() {
            rows.extend(budget(&provider.id, state.value.slow_store, overview.now));
        }
    }
    Ok(rows)
}

/// The last error of a grant that met the open circuit. Those are due, and the ones that are due the longest
/// were tried first.
async fn example(
    store: &dyn GrantAdmin,
    provider: &ProviderId,
    reason: &str,
    now: Timestamp,
) -> Result<Option<LastError>, StoreError> {
    let due = GrantFilter {
        provider: Some(provider.clone()),
        due_by: Some(now),
        limit: Some(EXAMPLES),
        ..GrantFilter::default()
    };
    let errors: Vec<_> = store
        .list(due)
        .try_filter_map(|grant| async move { Ok(grant.last_error) })
        .try_collect()
        .await?;
    Ok(errors.into_iter().max_by_key(|error| (error.reason.as_str() == reason, error.at)))
}

fn circuit(
    provider: &Provider,
    standing: &ProviderStanding,
    example: Option<&LastError>,
) -> DoctorRow {
    let id = &provider.id;
    let what = format!("circuit of {id}");
    match standing {
        ProviderStanding::Open => DoctorRow::new(Level::Ok, what, "requests are sent"),
        ProviderStanding::Paused(pause) => {
            let until = pause.until.map_or_else(String::new, |until| format!(" until {until}"));
            let detail = format!(
                "paused by an operator since {}{until}: {}; to end it: evergrant providers resume {id}",
                pause.since, pause.why
            );
            DoctorRow::new(Level::Note, what, detail)
        }
        ProviderStanding::Throttled { until } => {
            let detail = format!("the provider asked to wait until {until}");
            DoctorRow::new(Level::Note, what, detail)
        }
        ProviderStanding::Tripped { reason, .. } => {
            let said = example.map_or_else(String::new, |error| format!(" ({})", words(error)));
            let detail = format!(
                "open, so nothing is refreshed: {}{said}; {}",
                why(reason.as_str()),
                remedy(reason.as_str(), provider)
            );
            DoctorRow::new(Level::Wrong, what, detail)
        }
    }
}

fn why(reason: &str) -> &'static str {
    match reason {
        "misconfigured" => "the provider refuses our client",
        "suspicious" => "it called unusually many grants dead at once, which is not believed",
        "unreadable" => "it answered with a success in which no tokens were found",
        _ => "nobody succeeds any more",
    }
}

fn remedy(reason: &str, provider: &Provider) -> String {
    let id = &provider.id;
    let resume = format!("then evergrant providers probe {id}");
    match reason {
        "misconfigured" => {
            let auth = provider.client_auth.as_str();
            format!(
                "check client_id, client_secret and client_auth, which is {auth}, and what the \
                 application may do there; evergrant doctor --try-client tells whether the client is \
                 accepted; {resume}"
            )
        }
        "suspicious" => format!(
            "check the client and the provider's status page, {resume}; if those users must sign in \
             again indeed: evergrant providers confirm {id}"
        ),
        "unreadable" => format!(
            "the new token is kept in a dead letter uncommitted_answer; make the settings fit the \
             answer, {resume}"
        ),
        _ => format!("look at the errors with evergrant tokens show, {resume}"),
    }
}

fn words(error: &LastError) -> String {
    let status = error.http_status.map(|status| status.to_string());
    let parts = [status, error.code.clone(), error.description.clone()];
    let said = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
    format!("{said} at {}", error.at)
}

/// What the exchanges of the last quarter of an hour came to.
fn exchanges(found: &ProviderOverview) -> DoctorRow {
    let ProviderCounts { refreshed, throttled, .. } = found.lately;
    let (id, lately) = (&found.provider, &found.lately);
    let what = format!("exchanges of {id}");
    let (all, failed, ended) = (lately.exchanges(), lately.failures(), lately.dead_in_all());
    let counted = format!(
        "in 15 minutes {refreshed} refreshed, {failed} failed, {throttled} throttled, {ended} ended"
    );
    if ended >= FEW_ENDED && ended * 20 >= all {
        let reasons: Vec<_> =
            lately.dead.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
        let detail = format!(
            "{counted}: grants end in numbers ({}); see evergrant dlq list",
            reasons.join(", ")
        );
        return DoctorRow::new(Level::Wrong, what, detail);
    }
    if all >= FEW_EXCHANGES && failed * 2 >= all {
        let detail = format!(
            "{counted}: at least half fail; see the last errors with evergrant tokens list --provider \
             {id} and tokens show"
        );
        return DoctorRow::new(Level::Wrong, what, detail);
    }
    DoctorRow::new(Level::Ok, what, counted)
}

/// How many grants are given up.
fn grants(provider: &ProviderId, counts: &[GrantCount]) -> DoctorRow {
    let what = format!("grants of {provider}");
    let of = |status: Option<GrantStatus>| -> u64 {
        let of_provider = counts.iter().filter(|count| count.provider.as_ref() == Some(provider));
        let counted = of_provider.filter(|count| status.is_none() || count.status == status);
        counted.map(|count| count.count).sum()
    };
    let (all, dead) = (of(None), of(Some(GrantStatus::NeedsReauth)));
    let failed = of(Some(GrantStatus::Failed));
    let counted = format!("{all}, of which {dead} need a new sign-in and {failed} failed");
    if failed >= FEW_ENDED && failed * 20 >= all {
        let detail = format!(
            "{counted}: see evergrant dlq list, cure the cause, then evergrant dlq redrive"
        );
        return DoctorRow::new(Level::Wrong, what, detail);
    }
    if dead >= FEW_EXCHANGES && dead * 2 >= all {
        let detail = format!(
            "{counted}: at least half must sign in again; if they need not, see what the provider said \
             with evergrant dlq show --reason grant_dead"
        );
        return DoctorRow::new(Level::Warning, what, detail);
    }
    DoctorRow::new(Level::Ok, what, counted)
}

/// Whether reservations in the store take so long that they lower the rate.
fn budget(provider: &ProviderId, slow: Option<SlowStore>, now: Timestamp) -> Option<DoctorRow> {
    let slow = slow.filter(|slow| now.since(slow.at) < SLOW_STORE_TTL)?;
    let detail = format!(
        "the store took {} ms to reserve requests at {}, so fewer are sent than the limits allow: look \
         at its latency and its load",
        slow.took_ms, slow.at
    );
    Some(DoctorRow::new(Level::Warning, format!("budget of {provider}"), detail))
}

#[cfg(test)]
mod tests {
    use evergrant_domain::DeadReason;

    use super::*;

    fn count(status: GrantStatus, count: u64) -> GrantCount {
        GrantCount { provider: "p".parse().ok(), status: Some(status), count }
    }

    #[test]
    fn some_users_who_must_sign_in_again_are_normal_and_half_of_them_are_not() {
        let provider = "p".parse().unwrap();
        let level = |dead, failed| {
            let counts = [
                count(GrantStatus::Active, 100 - dead - failed),
                count(GrantStatus::NeedsReauth, dead),
                count(GrantStatus::Failed, failed),
            ];
            grants(&provider, &counts).level
        };
        assert_eq!([level(3, 0), level(30, 4)], [Level::Ok, Level::Ok]);
        assert_eq!([level(50, 0), level(0, 5)], [Level::Warning, Level::Wrong]);
    }

    #[test]
    fn grants_that_end_in_numbers_and_exchanges_that_mostly_fail_are_wrong() {
        let level = |counts: ProviderCounts| {
            exchanges(&ProviderOverview {
                provider: "p".parse().unwrap(),
                standing: ProviderStanding::Open,
                limits: Vec::new(),
                limits_set: false,
                deaths_believed_until: None,
                client_changed_at: None,
                due: 0,
                queued: None,
                in_flight: 0,
                refreshed_per_second: 0.0,
                budget_used_percent: None,
                lately: counts,
                failed_percent: None,
            })
            .level
        };
        let counts = |refreshed, retried, dead| ProviderCounts {
            refreshed,
            retried,
            dead: [(DeadReason::GrantDead, dead)].into(),
            ..ProviderCounts::default()
        };
        assert_eq!(level(counts(1_000, 30, 8)), Level::Ok);
        assert_eq!(level(counts(0, 3, 0)), Level::Ok, "too few to tell");
        assert_eq!(level(counts(20, 30, 0)), Level::Wrong);
        assert_eq!(level(counts(90, 0, 10)), Level::Wrong);
    }

    #[test]
    fn a_slow_store_is_told_while_it_is_slow() {
        let at = Timestamp::from_unix_ms(1_700_000_000_000);
        let (provider, slow) = ("p".parse().unwrap(), Some(SlowStore { took_ms: 600, at }));
        assert!(budget(&provider, slow, at.plus(Duration::from_secs(60))).is_some());
        assert_eq!(budget(&provider, slow, at.plus(SLOW_STORE_TTL)), None);
        assert_eq!(budget(&provider, None, at), None);
    }
}
