//! What each request comes to, without HTTP.

use serde_json::Value;

use crate::faults::FaultRates;
use crate::ledger::{SeedPlan, TokenState};
use crate::provider::{Answer, Delivery};
use crate::settings::{DeadReply, SimulatorSettings};
use crate::stats::AnswerKind;
use crate::test_bench::Bench;

fn json(answer: &Answer) -> Value {
    match &answer.delivery {
        Delivery::Reply(reply) | Delivery::Truncated(reply) => {
            serde_json::from_slice(&reply.body).unwrap()
        }
        other => panic!("no body in {other:?}"),
    }
}

fn new_token(answer: &Answer) -> String {
    json(answer)["refresh_token"].as_str().unwrap().to_owned()
}

fn status(answer: &Answer) -> u16 {
    match &answer.delivery {
        Delivery::Reply(reply) => reply.status,
        other => panic!("no status in {other:?}"),
    }
}

#[test]
fn a_refresh_yields_tokens_and_ends_the_old_one() {
    let bench = Bench::new(SimulatorSettings::default());
    let old = bench.token("ada");
    let answer = bench.refresh(&old);
    let reply = json(&answer);
    assert_eq!((status(&answer), &reply["expires_in"]), (200, &Value::from(3_600)));
    assert_eq!(reply["token_type"], "Bearer");
    assert_eq!(reply["scope"], "data:read offline_access");
    assert!(reply["access_token"].as_str().unwrap().starts_with("evgsim_at_"));
    assert_eq!(bench.state(&old), TokenState::Rotated);
    assert_eq!(bench.state(&new_token(&answer)), TokenState::Live);
}

#[test]
fn access_tokens_of_one_refresh_token_differ_from_time_to_time() {
    let bench = Bench::new(SimulatorSettings { rotate: false, ..SimulatorSettings::default() });
    let token = bench.token("ada");
    let first = json(&bench.refresh(&token));
    bench.clock.advance_ms(1);
    assert_ne!(first["access_token"], json(&bench.refresh(&token))["access_token"]);
    assert_eq!(first.get("refresh_token"), None);
}

#[test]
fn faults_before_the_token_store_leave_the_token_alone() {
    let rates = |set: fn(&mut FaultRates)| {
        let mut rates = FaultRates::default();
        set(&mut rates);
        rates
    };
    for (faults, kind) in [
        (rates(|rates| rates.http_500 = 1.0), AnswerKind::ServerError),
        (rates(|rates| rates.http_503 = 1.0), AnswerKind::ServerError),
        (rates(|rates| rates.html_error = 1.0), AnswerKind::ServerError),
        (rates(|rates| rates.reset_before = 1.0), AnswerKind::Unanswered),
        (rates(|rates| rates.throttle_429 = 1.0), AnswerKind::Throttled),
        (rates(|rates| rates.invalid_client = 1.0), AnswerKind::InvalidClient),
    ] {
        let bench = Bench::with_faults(faults);
        let token = bench.token("ada");
        assert_eq!(bench.refresh(&token).kind, kind, "{faults:?}");
        assert_eq!(bench.state(&token), TokenState::Live, "{faults:?}");
    }
}

#[test]
fn faults_behind_the_token_store_rotate_the_token_and_lose_the_reply() {
    let reset = FaultRates { reset_after: 1.0, ..FaultRates::default() };
    let silence = FaultRates { no_reply: 1.0, ..FaultRates::default() };
    let truncated = FaultRates { truncated_body: 1.0, ..FaultRates::default() };
    for faults in [reset, silence, truncated] {
        let bench = Bench::with_faults(faults);
        let token = bench.token("ada");
        let answer = bench.refresh(&token);
        assert_eq!(answer.kind, AnswerKind::Unanswered);
        assert!(!matches!(answer.delivery, Delivery::Reply(_)));
        assert_eq!(bench.state(&token), TokenState::Rotated);
        assert_eq!(bench.handle.stats().exchanges, 1);
    }
}

#[test]
fn faults_of_form_change_the_reply_and_nothing_else() {
    let text = FaultRates { expires_in_string: 1.0, ..FaultRates::default() };
    let bench = Bench::with_faults(text);
    assert_eq!(json(&bench.refresh(&bench.token("ada")))["expires_in"], "3600");
    let missing = FaultRates { expires_in_missing: 1.0, ..FaultRates::default() };
    let bench = Bench::with_faults(missing);
    let answer = bench.refresh(&bench.token("ada"));
    assert_eq!(json(&answer).get("expires_in"), None);
    assert_eq!(bench.state(&new_token(&answer)), TokenState::Live);
}

#[test]
fn a_reply_without_a_new_refresh_token_leaves_the_old_one_valid() {
    let bench =
        Bench::with_faults(FaultRates { no_new_refresh_token: 1.0, ..FaultRates::default() });
    let token = bench.token("ada");
    let answer = bench.refresh(&token);
    assert_eq!((answer.kind, json(&answer).get("refresh_token")), (AnswerKind::Refreshed, None));
    assert_eq!(bench.state(&token), TokenState::Live);
}

#[test]
fn faults_that_kill_are_true_to_their_word() {
    let plain = FaultRates { invalid_grant: 1.0, ..FaultRates::default() };
    let in_ok = FaultRates { ok_with_error: 1.0, ..FaultRates::default() };
    for (faults, code, word) in [(plain, 400, "invalid_grant"), (in_ok, 200, "bad_refresh_token")] {
        let bench = Bench::with_faults(faults);
        let token = bench.token("ada");
        let answer = bench.refresh(&token);
        assert_eq!((status(&answer), json(&answer)["error"].as_str()), (code, Some(word)));
        assert_eq!(answer.kind, AnswerKind::InvalidGrant);
        assert_eq!(bench.state(&token), TokenState::Revoked);
        bench.handle.change(|settings| settings.faults = FaultRates::default()).unwrap();
        assert_eq!(bench.refresh(&token).kind, AnswerKind::InvalidGrant);
        assert_eq!(bench.handle.summary().killed_by_fault, 1);
    }
}

#[test]
fn a_token_of_nobody_is_refused_in_the_providers_own_way() {
    let bench = Bench::new(SimulatorSettings {
        dead_reply: DeadReply::Hubspot,
        ..SimulatorSettings::default()
    });
    let answer = bench.refresh("evgsim_rt_nonsense");
    assert_eq!((status(&answer), &json(&answer)["status"]), (400, &"BAD_REFRESH_TOKEN".into()));
}

#[test]
fn the_same_seed_gives_each_grant_the_same_faults_in_any_order() {
    let faults = FaultRates { http_500: 0.3, throttle_429: 0.3, ..FaultRates::default() };
    let outcomes = |backwards: bool| {
        let bench = Bench::with_faults(faults);
        let tokens: Vec<_> = (0..200).map(|n| bench.token(&format!("user-{n}"))).collect();
        let mut kinds = vec![None; tokens.len()];
        let mut order: Vec<usize> = (0..tokens.len()).collect();
        if backwards {
            order.reverse();
        }
        for n in order {
            kinds[n] = Some(bench.refresh(&tokens[n]).kind);
        }
        kinds
    };
    assert_eq!(outcomes(false), outcomes(true));
}

#[test]
fn a_retry_draws_anew() {
    let bench = Bench::with_faults(FaultRates { http_500: 0.5, ..FaultRates::default() });
    let tokens: Vec<_> = (0..50).map(|n| bench.token(&format!("user-{n}"))).collect();
    for token in tokens {
        let tries = (0..40).take_while(|_| bench.refresh(&token).kind == AnswerKind::ServerError);
        assert!(tries.count() < 40);
    }
}

#[test]
fn the_limit_comes_before_the_grant_and_names_the_time_to_wait() {
    let limits = vec!["2/10s".parse().unwrap()];
    let bench = Bench::new(SimulatorSettings { limits, ..SimulatorSettings::default() });
    let tokens = ["a", "b", "c"].map(|user| bench.token(user));
    bench.refresh(&tokens[0]);
    bench.clock.advance_ms(2_500);
    bench.refresh(&tokens[1]);
    let refused = bench.refresh(&tokens[2]);
    let Delivery::Reply(reply) = &refused.delivery else { panic!("no reply") };
    assert_eq!((reply.status, reply.retry_after.as_deref()), (429, Some("8")));
    assert_eq!(bench.state(&tokens[2]), TokenState::Live);
    bench.clock.advance_ms(7_500);
    assert_eq!(bench.refresh(&tokens[2]).kind, AnswerKind::Refreshed);
    assert_eq!(bench.handle.stats().max_in_60s, 4);
}

#[test]
fn latency_spreads_evenly_around_its_middle() {
    let settings = SimulatorSettings {
        latency_ms: 100,
        latency_spread_ms: 20,
        ..SimulatorSettings::default()
    };
    let bench = Bench::new(settings);
    let latencies: Vec<_> =
        (0..2_000).map(|n| bench.refresh(&bench.token(&format!("user-{n}"))).latency_ms).collect();
    assert!(latencies.iter().all(|latency_ms| (80..=120).contains(latency_ms)));
    assert!(latencies.contains(&80) && latencies.contains(&120));
    let mean_ms = latencies.iter().sum::<u64>() / 2_000;
    assert!((98..=102).contains(&mean_ms), "{mean_ms}");
}

#[test]
fn every_request_counts_as_one_answer() {
    let faults = FaultRates { http_503: 0.2, invalid_grant: 0.2, ..FaultRates::default() };
    let bench = Bench::with_faults(faults);
    for user in bench.handle.seed(SeedPlan { count: 300, ..SeedPlan::default() }).unwrap() {
        bench.refresh(user.refresh_token.unwrap().as_str().unwrap());
    }
    let stats = bench.handle.stats();
    let answers = stats.answers;
    assert_eq!(answers.refreshed + answers.invalid_grant + answers.server_error, 300);
    assert_eq!(stats.faults["http_503"], answers.server_error);
    assert_eq!(stats.faults["invalid_grant"], answers.invalid_grant);
    assert_eq!(stats.exchanges, answers.refreshed);
    bench.handle.reset_stats();
    assert_eq!(bench.handle.stats().exchanges, 0);
}
