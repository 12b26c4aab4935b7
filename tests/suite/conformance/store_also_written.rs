//! Tests of every [`Store`]: further values that are written beside the tokens of a refresh.

use evergrant_domain::also_write::{EndingToken, TimeForm, TokenEnd};
use evergrant_domain::{ClaimNote, DocumentId, DocumentWrite, FieldValue, FieldValues, Timestamp};
use evergrant_ports::{Commit, CommitResult};
use serde_json::{Value, json};

use super::adapters::{on_each_store, store};
use super::store::{LEASE, claim_for, commit, document, exported, grant, refreshed};

on_each_store!(
    the_applications_expiry_moves_with_the_tokens,
    fields_of_the_answer_are_written_with_the_tokens,
    an_unwritable_field_does_not_block_the_tokens,
    a_commit_from_a_journal_writes_the_same_fields,
);

/// Milliseconds since 1970 of an hour after `now`, as in [`refreshed`].
fn later_ms(now: Timestamp) -> i64 {
    now.unix_ms() + 3_600_000
}

fn with(write: DocumentWrite, fields: &[(&str, FieldValue)]) -> DocumentWrite {
    let DocumentWrite::Refresh { access_token, refresh_token, refreshed_at, times, .. } = write
    else {
        panic!("no refresh")
    };
    let fields = fields.iter().map(|(path, value)| ((*path).to_owned(), value.clone()));
    let also = fields.collect::<FieldValues>();
    DocumentWrite::Refresh { access_token, refresh_token, refreshed_at, times, also }
}

fn answered(json: Value) -> FieldValue {
    FieldValue::Answered(json.to_string().into())
}

fn an_end(form: TimeForm) -> FieldValue {
    FieldValue::End(TokenEnd { end_of: EndingToken::AccessToken, form })
}

/// Imports a document with further fields, claims it, and commits a refresh.
async fn refresh(
    fields: Value,
    make: impl Fn(Timestamp) -> DocumentWrite,
    by_journal: bool,
) -> (Timestamp, Value) {
    let store = store().await;
    let mut imported = document(1, "token");
    imported.0.extend(fields.as_object().unwrap().clone());
    store.import(vec![imported]).await.unwrap();
    store.adopt().await.unwrap();
    let claimed = claim_for(&*store, &[DocumentId::Integer(1)], "o", LEASE).await;
    let write = make(claimed.now);
    let written = if by_journal {
        let commit = Commit::of_grant(grant(&claimed.rows[0]), "o", write);
        let commit = Commit { note: ClaimNote::default(), ..commit };
        store.commit(&[commit]).await.unwrap()[0]
    } else {
        commit(&*store, &claimed.rows[0], "o", write).await
    };
    assert_eq!(written, CommitResult::Applied);
    let document = exported(&*store).await.remove(0);
    assert_eq!(document["refresh_token"], "new");
    (claimed.now, document)
}

fn new_tokens(now: Timestamp) -> DocumentWrite {
    refreshed("access", Some("new"), now)
}

async fn the_applications_expiry_moves_with_the_tokens() {
    let account = json!({ "expires_at": 1_700_000_000, "scope": "a" });
    let (now, document) = refresh(account, new_tokens, false).await;
    assert_eq!(document["expires_at"], later_ms(now) / 1_000);
    assert_eq!(document["scope"], "a");
    // Beside no member of a token answer it may be a subscription's.
    let (_, document) = refresh(json!({ "expires_at": 1_700_000_000 }), new_tokens, false).await;
    assert_eq!(document["expires_at"], 1_700_000_000);
    let date = json!({ "accessTokenExpiresAt": { "$date": "2023-11-14T22:13:20Z" } });
    let (now, document) = refresh(date, new_tokens, false).await;
    let later = Timestamp::from_unix_ms(later_ms(now)).to_string();
    let written = document["accessTokenExpiresAt"]["$date"].as_str().unwrap();
    assert_eq!(written.parse::<Timestamp>().unwrap().to_string(), later);
    // It cannot belong to a token with a lifetime of an hour.
    let far = json!({ "expires_at": 4_000_000_000_i64, "scope": "a" });
    let (_, document) = refresh(far, new_tokens, false).await;
    assert_eq!(document["expires_at"], 4_000_000_000_i64);
}

async fn fields_of_the_answer_are_written_with_the_tokens() {
    let make = |now| {
        let fields = [
            ("scope", answered(json!("a b"))),
            ("meta.domain", answered(json!("https://x"))),
            ("until", an_end(TimeForm::Milliseconds)),
        ];
        with(new_tokens(now), &fields)
    };
    let before = json!({ "scope": "a", "meta": null, "id_token": "kept" });
    let (now, document) = refresh(before, make, false).await;
    assert_eq!(document["scope"], "a b");
    assert_eq!(document["meta"], json!({ "domain": "https://x" }));
    let until = &document["until"];
    let until =
        until["$numberLong"].as_str().map_or(until.clone(), |n| n.parse::<i64>().unwrap().into());
    assert_eq!(until, later_ms(now));
    assert_eq!(document["id_token"], "kept");
}

async fn an_unwritable_field_does_not_block_the_tokens() {
    let make = |now| {
        let fields = [
            ("profile.scope", answered(json!("a"))),
            ("scope", answered(json!("a"))),
            ("team", answered(json!({ "$oid": "65f0c0ffee65f0c0ffee6501" }))),
        ];
        with(new_tokens(now), &fields)
    };
    let (_, document) = refresh(json!({ "profile": "text" }), make, false).await;
    assert_eq!((&document["profile"], &document["scope"]), (&json!("text"), &json!("a")));
    assert_eq!(document["team"], Value::Null);
}

async fn a_commit_from_a_journal_writes_the_same_fields() {
    let make = |now| with(new_tokens(now), &[("meta.scope", answered(json!("a")))]);
    let before = json!({ "expires_at": 1_700_000_000, "idToken": "i", "meta": null });
    let (now, document) = refresh(before, make, true).await;
    assert_eq!(document["expires_at"], later_ms(now) / 1_000);
    assert_eq!(document["meta"]["scope"], "a");
}
