//! The confirmation before dead letters are redriven or discarded: the consequences, and the
//! reason.

use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use evergrant_domain::provider_state::ProviderStanding;
use evergrant_domain::{DeadReason, ProviderId};
use evergrant_ports::wall_clock;

use super::Fact;
use crate::Web;
use crate::address::local;
use crate::fields::Query;
use crate::filter;
use crate::format::{self, ShownTime};
use crate::letters::Letter;
use crate::page_context::PageContext;
use crate::page_layout::{Nav, PageLayout, html};
use crate::problem::Problem;
use evergrant_operations::bulk::{BulkKind, BulkRequest, LetterMatch};

/// The field with the store's time at which the letters were counted: the confirmation includes no
/// later letter.
pub(super) const CUTOFF: &str = "cutoff";
/// The field with their number.
pub(super) const COUNT: &str = "count";

/// A rate that leaves room for grants that are due.
const USUAL_RPS: &str = "20";

#[derive(Template)]
#[template(path = "confirm.html")]
struct Confirm {
    frame: PageLayout,
    verb: &'static str,
    /// Redrive or discard, for the form.
    what: &'static str,
    discards: bool,
    count: String,
    /// How many of them hold new tokens, which need a confirmation of their own.
    uncommitted: Option<String>,
    many: bool,
    warnings: Vec<String>,
    facts: Vec<Fact>,
    hidden: Vec<(String, String)>,
    rps: &'static str,
    back: String,
}

pub(crate) async fn page(
    State(web): State<Arc<Web>>,
    seen: PageContext,
    Query(query): Query,
) -> Result<Response, Problem> {
    let back = query.address("/dead-letters", &[("do", ""), (filter::PICK, "")]);
    let bad = |text: String| Problem::bad(text).or_go("Back", back.clone());
    let (what, verb, all) = match query.get("do") {
        Some("redrive") => ("redrive", "Redrive", false),
        Some("discard") => ("discard", "Discard", false),
        Some("redrive-all") => ("redrive", "Redrive", true),
        Some("discard-all") => ("discard", "Discard", true),
        _ => return Err(bad("Choose an action: redrive or discard.".to_owned())),
    };
    let read = filter::read(&query).map_err(bad)?;
    let picked = if all { BTreeSet::new() } else { filter::picked(&query).map_err(bad)? };
    if !all && picked.is_empty() {
        return Err(bad("No letter is ticked. Tick some, or choose all that match.".to_owned()));
    }
    let dead = web.letters.latest().await;
    let Some(taken) = &dead.taken else {
        return Err(bad("The dead letters were not read yet. Try again.".to_owned()));
    };
    let Some(cutoff) = taken.cutoff else {
        return Err(bad(
            "The store is unavailable, so nothing can be done now. Try again.".to_owned()
        ));
    };
    let matched = filter::matching(&web, taken, &read, &picked).await?;
    let kind = if what == "discard" { BulkKind::Discard } else { BulkKind::Redrive };
    let mut request = BulkRequest { picked, ..BulkRequest::new(kind, read, cutoff) };
    let uncommitted = filter::meant(&request, &matched).left_uncommitted;
    // The box is for those; without it they stay.
    request.uncommitted_answers = true;
    let meant: Vec<_> =
        matched.into_iter().filter(|l| request.meaning(&l.letter) == LetterMatch::Meant).collect();
    if meant.is_empty() {
        return Err(bad("No dead letter matches any more. There is nothing to do.".to_owned()));
    }
    let count = meant.len() as u64 - uncommitted;
    let mut hidden = filter::hidden(&query, &request.picked);
    hidden.push((CUTOFF.to_owned(), cutoff.to_string()));
    hidden.push((COUNT.to_owned(), meant.len().to_string()));
    let now = wall_clock();
    html(&Confirm {
        frame: PageLayout::new(&web, &seen, verb, Nav::DeadLetters),
        verb,
        what,
        discards: what == "discard",
        count: format::number(count),
        uncommitted: (uncommitted > 0).then(|| format::number(uncommitted)),
        many: count != 1,
        warnings: warnings(&web, &meant, what),
        facts: vec![
            ("Which", filter::words(&query, &request.picked)),
            ("Reasons", reasons(&meant)),
            ("Counted", ShownTime::new(taken.at, now).words()),
            ("Means", means(what).to_owned()),
        ],
        hidden,
        rps: if what == "redrive" { USUAL_RPS } else { "" },
        back: local(&back).unwrap_or("/dead-letters").to_owned(),
    })
}

const fn means(what: &str) -> &'static str {
    match what.as_bytes() {
        b"redrive" => {
            "each grant becomes active, gets a job, and is refreshed by a worker. What dies after this \
             was begun is left alone, and so is what fails again."
        }
        _ => {
            "each letter is removed for good. The documents stay as they are. A letter that comes after \
             this was counted is left alone."
        }
    }
}

fn reasons(matched: &[&Letter]) -> String {
    let mut counts = std::collections::BTreeMap::<DeadReason, u64>::new();
    for letter in matched {
        *counts.entry(letter.letter.reason).or_default() += 1;
    }
    let parts = counts.into_iter().map(|(reason, n)| format!("{} {reason}", format::number(n)));
    parts.collect::<Vec<_>>().join(", ")
}

fn warnings(web: &Web, matched: &[&Letter], what: &str) -> Vec<String> {
    let known = web.watcher.known();
    let now = known.now();
    let providers: BTreeSet<&ProviderId> = matched.iter().map(|l| &l.letter.provider).collect();
    let mut warnings = Vec::new();
    if what == "redrive" {
        for id in providers {
            let state = known.provider(id).and_then(|watch| watch.state.as_ref());
            warnings.extend(state.and_then(|state| shut(id, &state.standing(now))));
        }
        let dead = |letter: &&&Letter| {
            matches!(letter.letter.reason, DeadReason::GrantDead | DeadReason::LostResponse)
        };
        let hopeless = matched.iter().filter(dead).count() as u64;
        if hopeless > 0 {
            warnings.push(format!(
                "{} of them are dead by the provider's own word. Unless their users have signed in \
                 again or the provider was wrong, they will die again.",
                format::number(hopeless)
            ));
        }
    } else if matched.iter().any(|l| l.letter.reason == DeadReason::UncommittedAnswer) {
        let words = "Some hold new tokens that are nowhere else (uncommitted_answer). They stay unless \
                     you tick their box. To discard them is to lose those grants.";
        warnings.push(words.to_owned());
    }
    warnings
}

fn shut(id: &ProviderId, standing: &ProviderStanding) -> Option<String> {
    let how = match standing {
        ProviderStanding::Open | ProviderStanding::Throttled { .. } => return None,
        ProviderStanding::Paused(pause) if pause.why.is_empty() => "is paused".to_owned(),
        ProviderStanding::Paused(pause) => format!("is paused ({})", format::visible(&pause.why)),
        ProviderStanding::Tripped { reason, .. } => {
            format!("has an open circuit ({})", reason.as_str())
        }
    };
    Some(format!("{id} {how}. The jobs will be queued and sent when it opens; none is burned."))
}
