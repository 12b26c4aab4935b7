//! Reads the error codes and texts of an answer, in the shapes that providers use.
//!
//! RFC 6749 §5.2 has `error` and `error_description` at the top. Real providers also use numbers,
//! arrays and nested objects: `{"errors": [{"code": "invalid"}]}`, `{"error": {"type":
//! "OAuthException", "code": 190}}`, `{"message": "Invalid refresh token"}`.

use serde_json::{Map, Value};

use super::answer_form::AnswerForm;
use crate::values::plain_name::plain_name;

/// The codes and the words of an answer.
#[derive(Debug, Default)]
pub(super) struct ErrorBody {
    /// Candidates for the code, the most specific first. `type` and `code` of one object make
    /// another one: `OAuthException:190`.
    pub(super) codes: Vec<String>,
    /// Texts for people.
    pub(super) texts: Vec<String>,
    /// Whether the body reports an error. A success may hold `"error": null` or `"code": 0`.
    pub(super) is_error: bool,
}

/// Members that hold a code, the most specific first.
const CODES: [&str; 9] =
    ["error", "errorcode", "errcode", "code", "errortype", "type", "reason", "resource", "status"];
/// Members that report an error by any value except one of success.
const TELLING: [&str; 5] = ["error", "errorcode", "errcode", "code", "status"];
/// Members with texts.
const TEXTS: [&str; 11] = [
    "errordescription",
    "developermessage",
    "usermessage",
    "errormessage",
    "message",
    "msg",
    "errmsg",
    "faultstring",
    "detail",
    "description",
    "title",
];
/// Members that may contain an error.
const NESTED: [&str; 7] = ["error", "errors", "fault", "detail", "body", "data", "response"];
/// Words in the place of a code that have no meaning.
const NO_CODES: [&str; 12] = [
    "",
    "0",
    "ok",
    "success",
    "succeeded",
    "none",
    "null",
    "true",
    "false",
    "error",
    "fail",
    "failed",
];
const DEPTH_MAX: usize = 4;
const ITEMS_MAX: usize = 16;

impl ErrorBody {
    /// Reads a body. Values at the places of the provider's form come first.
    pub(super) fn from_body(body: &Value, form: &AnswerForm) -> Self {
        let mut read =
            Self { codes: form.error_codes(body), texts: form.error_texts(body), is_error: false };
        read.look_into(body, 0);
        read
    }

    fn look_into(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Array(items) if depth < DEPTH_MAX => {
                items.iter().take(ITEMS_MAX).for_each(|item| self.look_into(item, depth + 1));
            }
            Value::Object(members) => self.look_at(members, depth),
            Value::String(text) if depth > 0 => self.texts.push(text.clone()),
            _ => {}
        }
    }

    fn look_at(&mut self, members: &Map<String, Value>, depth: usize) {
        let members: Vec<_> =
            members.iter().map(|(name, value)| (plain_name(name), value)).collect();
        let named =
            |wanted: &str| members.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
        let code_of = |name: &str| named(name).and_then(scalar).filter(|code| is_code(code));
        let kind = ["type", "errortype", "resource"].iter().find_map(|name| code_of(name));
        if let (Some(kind), Some(code)) = (kind, code_of("code")) {
            self.codes.push(format!("{kind}:{code}"));
        }
        for name in CODES {
            let Some(value) = named(name) else { continue };
            self.is_error |= TELLING.contains(&name) && tells_of_an_error(name, value);
            match scalar(value) {
                Some(code) if is_code(&code) => self.codes.push(code),
                Some(text) if text.contains(' ') => self.texts.push(text),
                _ => {}
            }
        }
        self.texts.extend(TEXTS.iter().filter_map(|name| named(name)?.as_str()).map(str::to_owned));
        self.is_error |= ["ok", "success"].iter().any(|name| named(name) == Some(&false.into()));
        for name in NESTED {
            if let Some(value @ (Value::Object(_) | Value::Array(_))) = named(name)
                && depth < DEPTH_MAX
            {
                let is_empty = value.as_array().is_some_and(Vec::is_empty);
                self.is_error |= matches!(name, "error" | "errors" | "fault") && !is_empty;
                self.look_into(value, depth + 1);
            }
        }
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn is_code(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    text.chars().all(word) && !NO_CODES.contains(&text.to_ascii_lowercase().as_str())
}

/// Whether a member reports an error. `"code": 0`, `"status": 200` and `"status": "success"` do
/// not.
fn tells_of_an_error(name: &str, value: &Value) -> bool {
    match value {
        Value::Bool(is_error) => *is_error && name == "error",
        Value::Number(number) => !matches!(number.as_i64(), Some(0 | 200..=299)),
        Value::String(text) if name == "error" => {
            let text = text.trim().to_ascii_lowercase();
            !["", "0", "none", "null", "false", "ok", "success"].contains(&text.as_str())
        }
        Value::String(text) => !NO_CODES[..9].contains(&text.trim().to_ascii_lowercase().as_str()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(body: &Value) -> ErrorBody {
        ErrorBody::from_body(body, &AnswerForm::default())
    }

    fn codes(body: Value) -> Vec<String> {
        of(&body).codes
    }

    #[test]
    fn the_code_of_the_rfc_comes_first() {
        assert_eq!(codes(json!({"status": "x", "error": "invalid_grant"}))[0], "invalid_grant");
    }

    #[test]
    fn codes_are_found_in_numbers_objects_and_arrays() {
        assert_eq!(codes(json!({"error": 400})), ["400"]);
        let meta = json!({"error": {"message": "m", "type": "OAuthException", "code": 190}});
        assert_eq!(codes(meta), ["OAuthException:190", "190", "OAuthException"]);
        let strava = json!({"errors": [{"resource": "RefreshToken", "code": "invalid"}]});
        assert_eq!(codes(strava)[0], "RefreshToken:invalid");
        let fitbit = json!({"errors": [{"errorType": "invalid_grant"}], "success": false});
        assert_eq!(codes(fitbit), ["invalid_grant"]);
    }

    #[test]
    fn a_success_may_speak_of_no_error() {
        for body in [
            json!({"error": null}),
            json!({"error": ""}),
            json!({"error": "none", "code": 0, "status": 200, "errors": []}),
            json!({"status": "success", "message": "OK"}),
        ] {
            assert!(!of(&body).is_error, "{body}");
        }
        for body in [
            json!({"ok": false}),
            json!({"status": 503}),
            json!({"code": 40001}),
            json!({"errors": [{"message": "no"}]}),
            json!({"error": "Invalid Params: invalid refresh_token"}),
        ] {
            assert!(of(&body).is_error, "{body}");
        }
    }

    #[test]
    fn a_deep_or_long_answer_is_read_partially() {
        let mut deep = json!({"error": "deepest"});
        for _ in 0..50 {
            deep = json!({"error": deep});
        }
        assert!(of(&deep).codes.is_empty());
    }
}
