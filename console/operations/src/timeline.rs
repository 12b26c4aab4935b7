//! The timeline of a grant.

use evergrant_domain::Timestamp;
use evergrant_domain::audit::AuditEntry;
use evergrant_ports::GrantView;
use serde::Serialize;

/// A past or future event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimelineEvent {
    /// When.
    pub at: Timestamp,
    /// What happened, as text.
    pub what: String,
}

/// The known events of a grant. `audit` holds operators' actions on it.
pub fn timeline(grant: &GrantView, audit: &[AuditEntry], now: Timestamp) -> Vec<TimelineEvent> {
    let failed = grant.last_error.as_ref().map(|error| {
        let mut what = format!("failed: {}", error.reason.as_str());
        if let Some(status) = error.http_status {
            what.push_str(&format!(", HTTP status {status}"));
        }
        if let Some(code) = &error.code {
            what.push_str(&format!(", {code}"));
        }
        (Some(error.at), what)
    });
    let refreshed = match grant.generation {
        1 => "refreshed for the first time".to_owned(),
        times => format!("refreshed, {times} times in all"),
    };
    let or = |at: Option<Timestamp>, past: &str, to_come: &str| {
        (at, if at.is_some_and(|at| at <= now) { past } else { to_come }.to_owned())
    };
    let known = [
        (grant.refreshed_at, refreshed),
        (grant.failing_since, "the present run of failures began".to_owned()),
        or(grant.next_refresh_at, "became due", "due"),
        or(grant.leased_until, "a worker's lease ran out", "a worker's lease ends"),
        or(grant.access_expires_at, "the access token expired", "the access token expires"),
        or(
            grant.refresh_idle_until,
            "the refresh token expired, unless it was exchanged",
            "the refresh token expires, unless it is exchanged",
        ),
        or(grant.refresh_absolute_until, "the grant ended", "the grant ends"),
    ];
    let events = known
        .into_iter()
        .chain(failed)
        .filter_map(|(at, what)| Some(TimelineEvent { at: at?, what }));
    let done = audit.iter().map(|entry| TimelineEvent { at: entry.at, what: told(entry, now) });
    let mut events: Vec<_> = events.chain(done).collect();
    events.sort_by_key(|event| event.at);
    events
}

fn told(entry: &AuditEntry, now: Timestamp) -> String {
    let outcome = entry.outcome(now).as_str();
    let mut what = format!("{} by {}: {outcome}", entry.action, entry.who);
    if !entry.why.is_empty() {
        what.push_str(&format!(" ({})", entry.why));
    }
    what
}

#[cfg(test)]
mod tests {
    use evergrant_domain::audit::{ActionIntent, OperatorAction};
    use evergrant_domain::{DocumentId, FailureKind, GrantStatus, LastError};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_ms(seconds * 1_000)
    }

    #[test]
    fn a_life_is_told_in_the_order_of_time() {
        let grant = GrantView {
            id: DocumentId::Integer(1),
            user: None,
            email: None,
            provider: None,
            status: Some(GrantStatus::Paused),
            generation: 3,
            refreshed_at: Some(at(10)),
            access_expires_at: Some(at(20)),
            refresh_idle_until: Some(at(90)),
            refresh_absolute_until: None,
            next_refresh_at: Some(at(40)),
            queued_until: None,
            leased_until: None,
            attempts: 2,
            failing_since: Some(at(41)),
            in_doubt: false,
            last_error: Some(LastError {
                reason: FailureKind::Transient,
                http_status: Some(503),
                code: None,
                description: None,
                at: at(42),
            }),
        };
        let intent = ActionIntent {
            who: "ann@host".to_owned(),
            action: OperatorAction::TokenPause,
            provider: None,
            document: Some(grant.id.clone()),
            request: serde_json::Value::Null,
            why: "asked to".to_owned(),
        };
        let paused = AuditEntry::begin("43".to_owned(), intent, at(43), None);
        let told = timeline(&grant, &[paused], at(50));
        let told: Vec<_> =
            told.iter().map(|event| (event.at.unix_ms() / 1_000, event.what.as_str())).collect();
        let expected = [
            (10, "refreshed, 3 times in all"),
            (20, "the access token expired"),
            (40, "became due"),
            (41, "the present run of failures began"),
            (42, "failed: transient, HTTP status 503"),
            (43, "token_pause by ann@host: running (asked to)"),
            (90, "the refresh token expires, unless it is exchanged"),
        ];
        assert_eq!(told, expected);
    }
}
