//! The embedded presets: each is whole, and each of its vectors has the meaning that it says.

use std::time::Duration;

use secrecy::ExposeSecret;

use evergrant_domain::classify::{ExchangeResult, HttpAnswer, ThrottleScope, classify};
use evergrant_domain::{ExchangeSecrets, NewTokens, Outcome, Timestamp, TokenExpiry};
use evergrant_provider::Provider;
use evergrant_provider::{PresetFile, PresetVector, VectorMeans, preset, preset_names};
use evergrant_runtime::config::Config;

/// Facts that need a source, and parts that need one as a whole.
const SOURCED: [&str; 13] = [
    "token_url",
    "client_auth",
    "scope",
    "limits",
    "access_lifetime",
    "refresh_idle_lifetime",
    "refresh_absolute_lifetime",
    "rotation",
    "rotation_grace",
    "revocation_url",
    "sign_in_url",
    "request",
    "answer",
];

fn provider(name: &str) -> Provider {
    let file = preset(name).unwrap();
    let given = [("PRESET", name), ("CLIENT_ID", "c"), ("CLIENT_SECRET", "s")];
    let mut variables = given.map(|(name, value)| (name.to_owned(), value)).to_vec();
    if !file.has("token_url") {
        variables.push(("TOKEN_URL".to_owned(), "https://a.example/token"));
    }
    let required = file.about.requires.keys();
    variables.extend(required.map(|name| (name.replace('.', "__").to_uppercase(), "x")));
    let variables = variables
        .into_iter()
        .map(|(name, value)| (format!("EVERGRANT_PROVIDERS__P__{name}").into(), value.into()));
    let config = Config::from_parts(None, variables, &[]);
    config
        .and_then(|config| config.providers())
        .unwrap_or_else(|error| panic!("{name}: {error}"))
        .remove(0)
}

/// What is wrong with what a file says of its sources.
fn unsourced(name: &str, file: &PresetFile) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut facts: Vec<&str> = SOURCED.into_iter().filter(|fact| file.has(fact)).collect();
    let lists = ["dead_codes", "dead_texts", "not_dead_texts", "throttle_codes", "throttle_scope"];
    let has_rules = file.facts().iter().any(|fact| fact.name == "meaning");
    if has_rules || lists.iter().any(|list| file.has(list)) {
        facts.push("meaning");
    }
    for fact in &facts {
        if !file.about.sources.contains_key(*fact) {
            wrong.push(format!("{name}: {fact} has no source"));
        }
    }
    for (fact, source) in &file.about.sources {
        let is_date = format!("{}T00:00:00Z", source.date).parse::<Timestamp>().is_ok();
        let note = source.note.as_ref().is_none_or(|note| !note.is_empty());
        if !facts.contains(&fact.as_str()) {
            wrong.push(format!("{name}: a source of {fact}, which the file has not"));
        }
        if !source.source.starts_with("https://") || !is_date || !note {
            wrong.push(format!("{name}: the source of {fact} has no address, date or note"));
        }
    }
    wrong
}

/// What an answer comes to at a provider.
fn outcome(provider: &Provider, vector: &PresetVector, now: Timestamp) -> Outcome {
    let header = |name: &str| {
        let named = |(known, _): &(&String, &String)| known.eq_ignore_ascii_case(name);
        vector.headers.iter().find(named).map(|(_, value)| value.as_str())
    };
    let seconds = header("retry-after").and_then(|text| text.parse::<u64>().ok());
    let mut answer = HttpAnswer {
        status: vector.status,
        retry_after_ms: seconds.map(|seconds| seconds * 1_000),
        body: vector.body.clone().into_bytes(),
    };
    answer.read_wait(&provider.dialect.answer.retry_after, header, now);
    classify(ExchangeResult::Answered(answer), &provider.dialect, ExchangeSecrets::default())
}

/// What was found beside what a vector says, where it says something.
#[derive(Default)]
struct Compared(Vec<String>);

impl Compared {
    fn compare<T: std::fmt::Debug + PartialEq>(&mut self, what: &str, found: T, said: T) {
        if found != said {
            self.0.push(format!("{what} is {found:?} and not {said:?}"));
        }
    }

    fn duration(&mut self, what: &str, found: Option<Duration>, said: &Option<String>) {
        if let Some(said) = said {
            self.compare(what, found, Some(humantime::parse_duration(said).unwrap()));
        }
    }
}

/// What a vector finds other than it says.
fn play(provider: &Provider, vector: &PresetVector) -> Vec<String> {
    let now = vector.now.unwrap_or(Timestamp::from_unix_ms(1_795_867_200_000));
    let outcome = outcome(provider, vector, now);
    let mut compared = Compared::default();
    compared.compare("means", VectorMeans::from_outcome(&outcome), Some(vector.means));
    if let Outcome::Refreshed(NewTokens { access_token, refresh_token, ends, .. }) = &outcome {
        let life = |end: Option<TokenExpiry>| end.and_then(|end| end.life_from(now));
        compared.duration("access_lifetime", life(ends.access), &vector.access_lifetime);
        compared.duration("refresh_idle_lifetime", life(ends.idle), &vector.refresh_idle_lifetime);
        let absolute = life(ends.absolute);
        let said = &vector.refresh_absolute_lifetime;
        compared.duration("refresh_absolute_lifetime", absolute, said);
        if let Some(said) = &vector.access_token {
            compared.compare("access_token", access_token.expose_secret(), said);
        }
        let found = refresh_token.as_ref().map(|token| token.expose_secret());
        compared.compare("refresh_token", found, vector.refresh_token.as_deref());
    }
    if let Some(failure) = outcome.failure() {
        let wait = failure.retry_after_ms.map(Duration::from_millis);
        compared.duration("retry_after", wait, &vector.retry_after);
        if vector.code.is_some() {
            compared.compare("code", failure.code.as_ref(), vector.code.as_ref());
        }
    }
    if let (Outcome::Throttled(_, grants), Some(said)) = (&outcome, vector.scope) {
        let is = if *grants == 0 { ThrottleScope::User } else { ThrottleScope::Client };
        compared.compare("scope", is, said);
    }
    compared.0
}

#[test]
fn each_preset_makes_a_provider_and_says_where_its_facts_come_from() {
    let mut wrong = Vec::new();
    for name in preset_names() {
        let file = preset(name).unwrap_or_else(|error| panic!("{error}"));
        assert!(!file.about.title.is_empty(), "{name} has no title");
        provider(name);
        wrong.extend(unsourced(name, &file));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_answer_of_each_preset_means_what_its_vector_says() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for name in preset_names() {
        let provider = provider(name);
        let vectors = preset(name).unwrap().about.vector;
        for vector in &vectors {
            count += 1;
            for found in play(&provider, vector) {
                wrong.push(format!("{name}: {}: {found}", vector.name));
            }
        }
        for kind in [VectorMeans::Refreshed, VectorMeans::Dead, VectorMeans::Throttled] {
            if !vectors.iter().any(|vector| vector.means == kind) {
                wrong.push(format!("{name}: no vector that means {kind:?}"));
            }
        }
        let of_client = [VectorMeans::ClientMisconfigured, VectorMeans::Refused];
        if !vectors.iter().any(|vector| of_client.contains(&vector.means)) {
            wrong.push(format!("{name}: no vector of a client's error"));
        }
    }
    assert!(wrong.is_empty(), "{count} vectors\n{}", wrong.join("\n"));
}
