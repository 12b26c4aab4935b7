//! What a refresh writes beside the tokens and the state: what the settings name, and the time at which the
//! application believes that the access token expires.
//!
//! The tokens are worth more than any of it: what does not fit its document is left out, so that the store
//! does not refuse the whole.

use bson::{Bson, Document};
use secrecy::ExposeSecret;
use serde_json::Value;

use super::app_time;
use super::field_paths::FieldPaths;
use super::paths::{at, is_open, overlap};
use evergrant_domain::schedule::RefreshTimes;
use evergrant_domain::{FieldValue, FieldValues, Timestamp};

/// A value that nests deeper is no field of an answer.
const DEPTH_MAX: usize = 16;

/// What is written of the fields of an answer that came at `refreshed_at`, by their paths.
pub(crate) fn also_written(
    names: &FieldPaths,
    document: &Document,
    also: &FieldValues,
    refreshed_at: Timestamp,
    times: &RefreshTimes,
) -> Document {
    let mut written = Document::new();
    for (path, value) in also {
        // A rescued answer may be of other settings, under which the path was free.
        if names.is_taken(path) || !is_open(document, path) {
            continue;
        }
        let value = match value {
            FieldValue::Answered(json) => answered(json.expose_secret()),
            FieldValue::End(end) => {
                end.end_of.end(times).map(|time| app_time::in_form(end.form, time))
            }
        };
        written.extend(value.map(|value| (path.clone(), value)));
    }
    // What Evergrant guesses is no better than what the application has.
    if names.fields.keeps_expiry && !times.access_is_assumed {
        for (path, value) in expiry(names, document, refreshed_at, times) {
            if !written.keys().any(|other| overlap(path, other)) {
                written.insert(path, value);
            }
        }
    }
    written
}

/// The fields by which the application tells whether the access token has expired, kept true in the form that
/// they have.
fn expiry<'a>(
    names: &'a FieldPaths,
    document: &Document,
    refreshed_at: Timestamp,
    times: &RefreshTimes,
) -> Vec<(&'a str, Bson)> {
    // One that ends much later than an access token does is of something else.
    let life = times.access_expires_at.since(refreshed_at);
    let latest = times.access_expires_at.plus(life);
    let kept = |path: &'a String| {
        let value = at(document, path)?;
        app_time::read(value).filter(|end| *end <= latest)?;
        Some((path.as_str(), app_time::in_form_of(value, times.access_expires_at)?))
    };
    let of = |paths: &'a [String]| paths.iter().filter_map(kept).collect::<Vec<_>>();
    // Beside one that names the access token, one that names no token is of something else.
    let names_the_token = names.own_expiry_paths().iter().any(|path| at(document, path).is_some());
    if names_the_token {
        return of(names.own_expiry_paths());
    }
    // In a document of more than tokens, such as a user's, it may be a subscription's.
    let beside = names.answer_paths();
    let is_of_an_answer =
        !names.keeps_tokens_at_root() || beside.iter().any(|path| at(document, path).is_some());
    if is_of_an_answer { of(names.other_expiry_paths()) } else { Vec::new() }
}

fn answered(json: &str) -> Option<Bson> {
    plain(serde_json::from_str(json).ok()?, 0)
}

/// A value of an answer as it is: `{"$oid": …}` in it is no ObjectId. None for what a store may refuse.
fn plain(value: Value, depth: usize) -> Option<Bson> {
    Some(match value {
        Value::Null => Bson::Null,
        Value::Bool(is) => Bson::Boolean(is),
        Value::Number(number) => match number.as_i64() {
            Some(number) => i32::try_from(number).map_or(Bson::Int64(number), Bson::Int32),
            None => Bson::Double(number.as_f64()?),
        },
        Value::String(text) => Bson::String(text),
        _ if depth >= DEPTH_MAX => return None,
        Value::Array(items) => {
            let items = items.into_iter().map(|item| plain(item, depth + 1));
            Bson::Array(items.collect::<Option<_>>()?)
        }
        Value::Object(members) => {
            let members = members.into_iter().map(|(name, value)| {
                let is_name = !name.is_empty() && !name.contains(['$', '.', '\0']);
                is_name.then_some(())?;
                Some((name, plain(value, depth + 1)?))
            });
            Bson::Document(members.collect::<Option<_>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bson::{DateTime, doc};
    use evergrant_domain::also_write::{EndingToken, TimeForm, TokenEnd};

    use super::*;
    use crate::FieldNames;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_795_493_241_000);
    const HOUR: Duration = Duration::from_secs(3_600);
    const NOW_S: i64 = 1_795_493_241;

    fn times() -> RefreshTimes {
        RefreshTimes {
            access_expires_at: NOW.plus(HOUR),
            access_is_assumed: false,
            refresh_idle_until: Some(NOW.plus(HOUR * 48)),
            refresh_absolute_until: Some(NOW.plus(HOUR * 24)),
            next_refresh_at: NOW.plus(HOUR),
        }
    }

    fn written(names: FieldNames, document: &Document, also: &FieldValues) -> Document {
        also_written(&FieldPaths::new("evergrant", names), document, also, NOW, &times())
    }

    fn expiry_of(document: &Document) -> Document {
        written(FieldNames::default(), document, &FieldValues::new())
    }

    fn value(json: &str) -> FieldValue {
        FieldValue::Answered(json.into())
    }

    #[test]
    fn the_applications_expiry_is_kept_true_in_its_form() {
        let date = |ms: i64| Bson::from(DateTime::from_millis(ms));
        for (name, before, after) in [
            ("expires_at", Bson::from(1_700_000_000), Bson::from(1_795_496_841)),
            ("expiry_date", Bson::from(1_700_000_000_000_i64), Bson::from(1_795_496_841_000_i64)),
            ("accessTokenExpiresAt", date(0x18b_cfe5_6800), date(1_795_496_841_000)),
            ("expires", Bson::from(NOW_S + 6_000), Bson::from(NOW_S + 3_600)),
        ] {
            let document = doc! { name: before, "token_type": "Bearer" };
            assert_eq!(expiry_of(&document), doc! { name: after }, "{name}");
        }
    }

    #[test]
    fn an_end_that_is_assumed_is_written_into_no_field_that_the_settings_do_not_name() {
        let names = FieldPaths::new("evergrant", FieldNames::default());
        let guess = RefreshTimes { access_is_assumed: true, ..times() };
        let document = doc! { "accessTokenExpiresAt": NOW_S };
        let written = |times| also_written(&names, &document, &FieldValues::new(), NOW, &times);
        assert_eq!(written(guess), doc! {});
        assert_eq!(written(times()), doc! { "accessTokenExpiresAt": NOW_S + 3_600 });
    }

    #[test]
    fn an_end_that_names_no_token_is_the_answers_beside_a_member_of_it_or_in_the_tokens_sub_document()
     {
        let user =
            doc! { "name": "A", "expires_at": NOW_S, "tokenExpiresAt": NOW_S, "scope": null };
        assert_eq!(expiry_of(&user), doc! {}, "a subscription, and a reset of the password");
        for member in ["token_type", "tokenType", "scope", "id_token", "idToken"] {
            let account = doc! { "expires_at": NOW_S, "tokenExpiresAt": NOW_S, member: "x" };
            assert_eq!(expiry_of(&account), doc! { "expires_at": NOW_S + 3_600 }, "{member}");
        }
        let named = doc! { "accessTokenExpiresAt": NOW_S };
        assert_eq!(expiry_of(&named), doc! { "accessTokenExpiresAt": NOW_S + 3_600 });
        let fields =
            FieldNames { access_token: "google.accessToken".to_owned(), ..FieldNames::default() };
        let user = doc! { "expiresAt": NOW_S, "scope": "x", "google": { "expiresAt": NOW_S } };
        let expected = doc! { "google.expiresAt": NOW_S + 3_600 };
        assert_eq!(written(fields, &user, &FieldValues::new()), expected);
    }

    #[test]
    fn what_is_not_the_access_tokens_expiry_is_left_alone() {
        for (name, value) in [
            // Much later than an access token lives: a refresh token's, or a contract's.
            ("expires_at", Bson::from(NOW_S + 14 * 86_400)),
            ("expires", Bson::from(3_600)),
            ("expires", Bson::from("never")),
            ("refresh_token_expires_at", Bson::from(NOW_S)),
            ("expiresAt", Bson::Null),
        ] {
            assert_eq!(expiry_of(&doc! { name: value, "scope": "a" }), doc! {}, "{name}");
        }
        let both = doc! { "expiresAt": NOW_S, "accessTokenExpiresAt": NOW_S };
        assert_eq!(expiry_of(&both), doc! { "accessTokenExpiresAt": NOW_S + 3_600 });
        let off = FieldNames { keeps_expiry: false, ..FieldNames::default() };
        assert_eq!(
            written(off, &doc! { "expires_at": NOW_S, "scope": "a" }, &FieldValues::new()),
            doc! {}
        );
    }

    #[test]
    fn further_fields_are_written_as_the_answer_has_them() {
        let end = |end_of, form| FieldValue::End(TokenEnd { end_of, form });
        let also = FieldValues::from([
            ("scope".to_owned(), value("\"a b\"")),
            ("meta.ids".to_owned(), value("[1, 2.5, {\"a\": null}]")),
            ("until".to_owned(), end(EndingToken::RefreshToken, TimeForm::Seconds)),
            ("expires_at".to_owned(), end(EndingToken::AccessToken, TimeForm::Text)),
        ]);
        let expected = doc! {
            "expires_at": "2026-11-24T05:07:21.000Z",
            "meta.ids": [1, 2.5, { "a": null }],
            "scope": "a b",
            "until": NOW_S + 86_400,
        };
        let document = doc! { "meta": null, "expires_at": NOW_S, "scope": "a" };
        assert_eq!(written(FieldNames::default(), &document, &also), expected);
    }

    #[test]
    fn what_does_not_fit_its_document_keeps_no_tokens_from_it() {
        let also = FieldValues::from([
            ("profile.scope".to_owned(), value("1")),
            ("evergrant.status".to_owned(), value("\"active\"")),
            ("refresh_token".to_owned(), value("\"other\"")),
            ("_id".to_owned(), value("1")),
            ("email".to_owned(), value("\"x\"")),
            ("tenant".to_owned(), value("\"x\"")),
            ("team".to_owned(), value("{\"$oid\": \"65f0c0ffee65f0c0ffee6501\"}")),
        ]);
        let document = doc! { "profile": "text" };
        let names = FieldNames { client: vec!["tenant".to_owned()], ..FieldNames::default() };
        assert_eq!(written(names, &document, &also), doc! {});
    }
}
