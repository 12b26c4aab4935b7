//! The expected result of a case.

use std::collections::BTreeMap;

use evergrant_document::app_time;
use evergrant_ports::wall_clock;
use evergrant_simulator::{GrantVerdict, RequestRecord, TokenState};
use mongodb::bson::Bson;
use regex::RegexBuilder;
use serde::Deserialize;
use serde_json::Value;

use super::condition::whole;
use super::observed::{ObservedState, SeenDocument};

/// The expected result. Patterns of ids and users match the whole text.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Right {
    /// The most lost grants.
    lost: usize,
    /// The most spent tokens that may be sent.
    reused: usize,
    /// The most unknown tokens that may be sent.
    unknown: usize,
    /// The most valid grants that may be given up.
    given_up: usize,
    /// The status of documents, by id: one of these.
    status: BTreeMap<String, OneOf>,
    /// Documents whose grants are refreshed at least once.
    refreshed: Option<String>,
    /// How often grants are refreshed, by the ids of their documents.
    generation: BTreeMap<String, Range>,
    /// Failed attempts since the last success, by the ids of documents.
    attempts: BTreeMap<String, Range>,
    /// Reasons of the letters of documents, one of these for each; none if it is empty.
    letters: BTreeMap<String, OneOf>,
    /// The number of requests.
    requests: Option<Range>,
    /// Requests of each user.
    requests_of: BTreeMap<String, Range>,
    /// How soon after the first request of all the first refresh of each user is, in seconds.
    refreshed_within_s: BTreeMap<String, f64>,
    /// The least time between two requests of one user, in milliseconds.
    apart_ms: BTreeMap<String, u64>,
    /// The state of providers, one of these.
    provider: BTreeMap<String, OneOf>,
    /// The output of commands.
    told: BTreeMap<String, CommandReport>,
    /// The number of documents.
    documents: Option<usize>,
    /// Values in documents: id, then path.
    fields: BTreeMap<String, BTreeMap<String, Value>>,
    /// Times in documents, in any form, as seconds from now: id, then path.
    ends_in_s: BTreeMap<String, BTreeMap<String, Range>>,
    /// A pattern in the log, ignoring case.
    log: Option<String>,
    /// A pattern that must not be in the log.
    log_not: Option<String>,
}

/// A text, or several alternatives.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum OneOf {
    One(String),
    Several(Vec<String>),
}

/// The bounds of a number.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Range {
    at_least: u64,
    at_most: Option<u64>,
}

/// The expected output of a command.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CommandReport {
    /// Its exit code, one of these.
    exit: Option<Vec<i32>>,
    says: Option<String>,
    says_not: Option<String>,
    lines_at_most: Option<usize>,
}

impl OneOf {
    fn allows(&self, found: &str) -> bool {
        match self {
            Self::One(one) => one == found,
            Self::Several(several) => several.iter().any(|one| one == found),
        }
    }

    fn is_none(&self) -> bool {
        matches!(self, Self::Several(several) if several.is_empty())
    }
}

impl Range {
    fn holds(self, number: u64) -> bool {
        number >= self.at_least && self.at_most.is_none_or(|at_most| number <= at_most)
    }
}

/// The failures so far.
struct CaseFailures(Vec<String>);

impl CaseFailures {
    fn unless(&mut self, is_right: bool, what: impl FnOnce() -> String) {
        if !is_right {
            self.0.push(what());
        }
    }
}

impl Right {
    /// The failures, one per line.
    pub(super) fn compare(&self, seen: &ObservedState) -> Vec<String> {
        let mut wrong = CaseFailures(Vec::new());
        self.compare_with_the_ledger(seen, &mut wrong);
        let checks = [
            self.compare_documents(seen, &mut wrong),
            self.compare_letters(seen, &mut wrong),
            self.compare_requests(seen, &mut wrong),
            self.compare_words(seen, &mut wrong),
        ];
        wrong.0.extend(checks.into_iter().filter_map(Result::err));
        wrong.0
    }

    fn compare_with_the_ledger(&self, seen: &ObservedState, wrong: &mut CaseFailures) {
        let ids = |is_so: &dyn Fn(&SeenDocument) -> bool| -> Vec<&str> {
            let so = seen.documents.iter().filter(|document| is_so(document));
            so.map(|document| document.id.as_str()).collect()
        };
        let lost = ids(&|document| matches!(document.verdict, GrantVerdict::Lost(_)));
        wrong.unless(lost.len() <= self.lost, || format!("lost: {}", few(&lost)));
        let given_up = ids(&|document| {
            let lives = matches!(document.verdict, GrantVerdict::Live | GrantVerdict::LiveInGrace);
            lives && matches!(document.status.as_str(), "needs_reauth" | "failed")
        });
        wrong.unless(given_up.len() <= self.given_up, || {
            format!("given up though they live: {}", few(&given_up))
        });
        let sent = |states: &[TokenState]| {
            seen.requests.iter().filter(|request| states.contains(&request.token)).count()
        };
        let reused = sent(&[TokenState::Rotated]);
        wrong.unless(reused <= self.reused, || format!("{reused} spent tokens were sent"));
        let unknown = sent(&[TokenState::Unknown]);
        wrong.unless(unknown <= self.unknown, || format!("{unknown} tokens of nobody were sent"));
        let texts = seen.told.values().map(|said| &said.text).chain([&seen.log]);
        let told = texts.filter(|text| text.contains("evgsim_")).count();
        wrong.unless(told == 0, || "a token was told".to_owned());
    }

    fn compare_documents(
        &self,
        seen: &ObservedState,
        wrong: &mut CaseFailures,
    ) -> Result<(), String> {
        let count = seen.documents.len();
        wrong.unless(self.documents.is_none_or(|wanted| wanted == count), || {
            format!("{count} documents")
        });
        for (pattern, wanted) in &self.status {
            for document in matching(seen, pattern)? {
                wrong.unless(wanted.allows(&document.status), || {
                    format!("{} is {}, not {wanted:?}", document.id, document.status)
                });
            }
        }
        if let Some(pattern) = &self.refreshed {
            let never: Vec<_> = matching(seen, pattern)?
                .into_iter()
                .filter(|document| document.generation == 0)
                .map(|document| document.id.as_str())
                .collect();
            wrong.unless(never.is_empty(), || format!("never refreshed: {}", few(&never)));
        }
        for (pattern, wanted) in &self.generation {
            for document in matching(seen, pattern)? {
                wrong.unless(wanted.holds(document.generation), || {
                    format!("{} was refreshed {} times", document.id, document.generation)
                });
            }
        }
        for (pattern, wanted) in &self.attempts {
            for document in matching(seen, pattern)? {
                wrong.unless(wanted.holds(document.attempts.into()), || {
                    format!("{} has {} attempts", document.id, document.attempts)
                });
            }
        }
        for (id, fields) in &self.fields {
            let found = seen.documents.iter().find(|document| document.id == *id);
            let document = found.ok_or_else(|| format!("there is no document {id}"))?;
            for (path, wanted) in fields {
                let found = path.split('.').fold(&document.json, |value, part| &value[part]);
                wrong.unless(found == wanted, || format!("{id}.{path} is {found}, not {wanted}"));
            }
        }
        for (id, times) in &self.ends_in_s {
            let found = seen.documents.iter().find(|document| document.id == *id);
            let document = found.ok_or_else(|| format!("there is no document {id}"))?;
            for (path, wanted) in times {
                let found = path.split('.').fold(&document.json, |value, part| &value[part]);
                let time =
                    Bson::try_from(found.clone()).ok().and_then(|time| app_time::read(&time));
                let ends_in = time.map(|time| time.since(wall_clock()).as_secs());
                wrong.unless(ends_in.is_some_and(|ends_in| wanted.holds(ends_in)), || {
                    format!("{id}.{path} is {found}, {ends_in:?} s from now")
                });
            }
        }
        Ok(())
    }

    fn compare_letters(
        &self,
        seen: &ObservedState,
        wrong: &mut CaseFailures,
    ) -> Result<(), String> {
        for (pattern, wanted) in &self.letters {
            for document in matching(seen, pattern)? {
                let found = seen.letters.get(&document.id).map(Vec::as_slice).unwrap_or_default();
                let right = if wanted.is_none() {
                    found.is_empty()
                } else {
                    found.iter().any(|reason| wanted.allows(reason))
                };
                wrong.unless(right, || format!("letters of {}: {found:?}", document.id));
            }
        }
        for (name, wanted) in &self.provider {
            let state = seen.providers.get(name).map_or("not there", String::as_str);
            wrong.unless(wanted.allows(state), || format!("provider {name} is {state}"));
        }
        Ok(())
    }

    fn compare_requests(
        &self,
        seen: &ObservedState,
        wrong: &mut CaseFailures,
    ) -> Result<(), String> {
        let all = seen.requests.len() as u64;
        wrong.unless(self.requests.is_none_or(|wanted| wanted.holds(all)), || {
            format!("{all} requests")
        });
        let times = request_times(seen);
        for (pattern, wanted) in &self.requests_of {
            for (user, of_user) in users(&times, pattern)? {
                let count = of_user.len();
                wrong.unless(wanted.holds(count as u64), || format!("{count} requests of {user}"));
            }
        }
        for (pattern, least_ms) in &self.apart_ms {
            for (user, of_user) in users(&times, pattern)? {
                let gap_ms = of_user.windows(2).map(|pair| pair[1] - pair[0]).min();
                wrong.unless(gap_ms.is_none_or(|gap_ms| gap_ms >= *least_ms), || {
                    format!("two requests of {user} are only {} ms apart", gap_ms.unwrap_or(0))
                });
            }
        }
        let first_ms = seen.requests.iter().map(|request| request.at_ms).min().unwrap_or(0);
        for (pattern, limit_s) in &self.refreshed_within_s {
            let limit_ms = first_ms + (limit_s * 1e3) as u64;
            let late = |user: &&str| {
                let in_time = |request: &RequestRecord| {
                    let is_theirs = request.user_id.as_deref() == Some(user);
                    request.refreshed && is_theirs && request.at_ms <= limit_ms
                };
                !seen.requests.iter().any(in_time)
            };
            let all = users(&times, pattern)?;
            let late: Vec<_> = all.iter().map(|(user, _)| user.as_str()).filter(late).collect();
            wrong.unless(late.is_empty(), || format!("not within {limit_s} s: {}", few(&late)));
        }
        Ok(())
    }

    fn compare_words(&self, seen: &ObservedState, wrong: &mut CaseFailures) -> Result<(), String> {
        for (name, wanted) in &self.told {
            let said = seen.told.get(name).ok_or_else(|| format!("{name} was not run"))?;
            let (exit, text) = (said.exit, said.text.as_str());
            let right =
                wanted.exit.as_ref().is_none_or(|codes| codes.iter().any(|c| Some(*c) == exit));
            wrong.unless(right, || format!("{name} ends with {exit:?}:\n{text}"));
            let lines = text.lines().count();
            let right = wanted.lines_at_most.is_none_or(|at_most| lines <= at_most);
            wrong.unless(right, || format!("{name} says {lines} lines"));
            says(name, text, wanted.says.as_deref(), true, wrong)?;
            says(name, text, wanted.says_not.as_deref(), false, wrong)?;
        }
        says("the log", &seen.log, self.log.as_deref(), true, wrong)?;
        says("the log", &seen.log, self.log_not.as_deref(), false, wrong)
    }
}

/// Whether a text contains, or does not contain, a pattern.
fn says(
    name: &str,
    text: &str,
    pattern: Option<&str>,
    wanted: bool,
    wrong: &mut CaseFailures,
) -> Result<(), String> {
    let Some(pattern) = pattern else { return Ok(()) };
    let regex = RegexBuilder::new(pattern).case_insensitive(true).build();
    let found = regex.map_err(|error| error.to_string())?.is_match(text);
    let verb = if wanted { "does not say" } else { "says" };
    wrong.unless(found == wanted, || {
        format!("{name} {verb} {pattern:?}:\n{}", super::scene::tail(text))
    });
    Ok(())
}

/// The documents whose ids match. A pattern without a match is an error in the case.
fn matching<'a>(seen: &'a ObservedState, pattern: &str) -> Result<Vec<&'a SeenDocument>, String> {
    let regex = whole(pattern)?;
    let all = seen.documents.iter().filter(|document| regex.is_match(&document.id));
    let found: Vec<_> = all.collect();
    if found.is_empty() { Err(format!("no document matches {pattern:?}")) } else { Ok(found) }
}

/// When each user's token was presented, and the users whose token never was.
fn request_times(seen: &ObservedState) -> BTreeMap<String, Vec<u64>> {
    let ids = seen.documents.iter().map(|document| (document.id.clone(), Vec::new()));
    let mut times: BTreeMap<String, Vec<u64>> = ids.collect();
    for request in &seen.requests {
        if let Some(user) = &request.user_id {
            times.entry(user.clone()).or_default().push(request.at_ms);
        }
    }
    times
}

fn users<'a>(
    times: &'a BTreeMap<String, Vec<u64>>,
    pattern: &str,
) -> Result<Vec<(&'a String, &'a Vec<u64>)>, String> {
    let regex = whole(pattern)?;
    let found: Vec<_> = times.iter().filter(|(user, _)| regex.is_match(user)).collect();
    if found.is_empty() { Err(format!("no user matches {pattern:?}")) } else { Ok(found) }
}

/// The first of many.
fn few(ids: &[&str]) -> String {
    let first = ids[..ids.len().min(5)].join(", ");
    format!("{} ({first}{})", ids.len(), if ids.len() > 5 { ", …" } else { "" })
}
