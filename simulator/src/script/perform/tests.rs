//! A provider that plays a script, without HTTP.

use serde_json::Value;

use crate::ledger::{GrantVerdict, TokenState};
use crate::oauth::Reply;
use crate::provider::{Answer, Delivery};
use crate::script::AnswerScript;
use crate::test_bench::Bench;

fn playing(script: &str) -> Bench {
    let bench = Bench::strict();
    bench.handle.play(AnswerScript::parse(script).unwrap()).unwrap();
    bench
}

fn reply(answer: Answer) -> Reply {
    match answer.delivery {
        Delivery::Reply(reply) => reply,
        other => panic!("{other:?}"),
    }
}

fn json(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

#[test]
fn an_answer_in_another_shape_rotates_the_token_all_the_same() {
    let bench = playing(
        "[[rules]]\nusers = 'ada'\n\
         answers = [{ status = 201, body = { data = { rt = '{refresh_token}', at = '{access_token}', ttl = '{access_token_s}' } } }]",
    );
    let (ada, bob) = (bench.token("ada"), bench.token("bob"));
    let nested = reply(bench.refresh(&ada));
    assert_eq!((nested.status, &json(&nested)["data"]["ttl"]), (201, &3_600.into()));
    let new = json(&nested)["data"]["rt"].as_str().unwrap().to_owned();
    assert_eq!(bench.state(&new), TokenState::Live);
    assert_eq!(bench.state(&ada), TokenState::Rotated);
    assert!(json(&reply(bench.refresh(&bob)))["refresh_token"].is_string());
    assert_eq!(bench.handle.stats().answers.refreshed, 2);
}

#[test]
fn a_refusal_leaves_the_token_and_a_scripted_death_is_the_providers() {
    let bench = playing(
        "[[rules]]\nusers = 'ada'\nanswers = [{ status = 403, body = { error = 'x' } }]\n\
         [[rules]]\nusers = 'bob'\nanswers = [{ status = 403, body = { error = 'x' }, token = 'revoke' }]",
    );
    let (ada, bob) = (bench.sign_in("ada"), bench.sign_in("bob"));
    for document in [&ada, &bob] {
        let refused = reply(bench.refresh(document.refresh_token.as_str().unwrap()));
        assert_eq!((refused.status, &json(&refused)["error"]), (403, &"x".into()));
    }
    assert_eq!(bench.verdict(&ada), GrantVerdict::Live);
    assert!(matches!(bench.verdict(&bob), GrantVerdict::Dead(_)));
    // It is told so as often as it is asked.
    assert_eq!(reply(bench.refresh(bob.refresh_token.as_str().unwrap())).status, 403);
}

#[test]
fn reuse_is_judged_whatever_the_script_answers() {
    let bench = playing("rotated = { status = 200, body = { status = 503 } }");
    let token = bench.token("ada");
    bench.refresh(&token);
    let reused = reply(bench.refresh(&token));
    assert_eq!((reused.status, &json(&reused)["status"]), (200, &503.into()));
    assert_eq!(bench.handle.stats().reused, 1);
    let told = bench.handle.requests();
    assert_eq!([told[0].token, told[1].token], [TokenState::Live, TokenState::Rotated]);
    assert_eq!((told[0].refreshed, told[1].refreshed), (true, false));
}

#[test]
fn a_rule_cannot_give_tokens_of_a_dead_grant() {
    let bench = playing("[[rules]]\nusers = '.*'\ntokens = 'any'\nanswers = [{ usual = true }]");
    let token = bench.token("ada");
    bench.handle.revoke(&["ada"]);
    assert_eq!(reply(bench.refresh(&token)).status, 400);
    assert_eq!(reply(bench.refresh("a token of nobody")).status, 400);
}

#[test]
fn an_answer_that_is_lost_has_rotated() {
    let bench = playing(
        "[[rules]]\nusers = 'ada'\nanswers = [{ usual = true, delivery = 'reset', delay_ms = 40 }]",
    );
    let token = bench.token("ada");
    let answer = bench.refresh(&token);
    assert!(matches!(answer.delivery, Delivery::Reset));
    assert_eq!(answer.latency_ms, 40);
    assert_eq!(bench.state(&token), TokenState::Rotated);
    assert_eq!(bench.handle.requests()[0].status, None);
}

#[test]
fn settings_of_a_script_are_in_force_and_a_new_script_begins_anew() {
    let script = "settings = { rotate = false }\n\
                  [[rules]]\nusers = 'ada'\nthen = 'usual'\nanswers = [{ status = 500 }]";
    let bench = playing(script);
    let token = bench.token("ada");
    let statuses = |_| reply(bench.refresh(&token)).status;
    assert_eq!([0, 1].map(statuses), [500, 200]);
    assert_eq!(bench.state(&token), TokenState::Live);
    bench.handle.play(AnswerScript::parse(script).unwrap()).unwrap();
    assert_eq!([0, 1].map(statuses), [500, 200]);
    bench.handle.play(AnswerScript::default()).unwrap();
    assert_eq!([0, 1].map(statuses), [200, 200]);
    assert!(bench.handle.play(AnswerScript::parse("settings = { grace = 1 }").unwrap()).is_err());
}

#[test]
fn a_request_that_lacks_what_the_script_requires_is_turned_away() {
    let bench = playing(
        "[[require]]\nparameter = 'audience'\notherwise = { status = 422, body = 'no audience' }",
    );
    let token = bench.token("ada");
    assert_eq!(reply(bench.refresh(&token)).status, 422);
    assert_eq!(bench.state(&token), TokenState::Live);
    assert_eq!(bench.handle.requests()[0].user_id.as_deref(), Some("ada"));
    bench
        .handle
        .play(AnswerScript::parse("[[require]]\nparameter = 'grant_type'").unwrap())
        .unwrap();
    assert_eq!(reply(bench.refresh(&token)).status, 200);
}
