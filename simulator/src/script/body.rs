//! The body of a scripted answer, with places for what is known only when it is given.

use serde::Deserialize;
use serde_json::Value;

/// What fills the places.
#[derive(Debug, Clone, Default)]
pub(crate) struct Words {
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
    /// The refresh token that was presented.
    pub(crate) presented: String,
    pub(crate) user: String,
    /// The time of the request, in seconds since the Unix epoch.
    pub(crate) now_s: u64,
    /// The access token's lifetime, in seconds.
    pub(crate) access_token_s: u64,
}

/// A text that is sent as it is, or a table that is sent as JSON.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Body {
    Text(String),
    Json(Value),
}

impl Default for Body {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl Body {
    pub(crate) fn mentions(&self, place: &str) -> bool {
        match self {
            Self::Text(text) => text.contains(place),
            Self::Json(value) => value.to_string().contains(place),
        }
    }

    /// The body with its places filled.
    pub(crate) fn filled(&self, words: &Words) -> Vec<u8> {
        match self {
            Self::Text(text) => words.fill(text).into_bytes(),
            Self::Json(value) => {
                let mut value = value.clone();
                words.fill_json(&mut value);
                value.to_string().into_bytes()
            }
        }
    }
}

impl Words {
    fn numbers(&self) -> [(&'static str, u64); 3] {
        [
            ("{now_s}", self.now_s),
            ("{expires_at_s}", self.now_s + self.access_token_s),
            ("{access_token_s}", self.access_token_s),
        ]
    }

    fn fill(&self, text: &str) -> String {
        let texts = [
            ("{access_token}", &self.access_token),
            ("{refresh_token}", &self.refresh_token),
            ("{presented}", &self.presented),
            ("{user}", &self.user),
        ];
        let filled =
            texts.iter().fold(text.to_owned(), |text, (place, word)| text.replace(place, word));
        self.numbers()
            .iter()
            .fold(filled, |text, (place, number)| text.replace(place, &number.to_string()))
    }

    /// A text that is nothing but the place of a number becomes a number.
    fn fill_json(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                let number = self.numbers().into_iter().find(|(place, _)| text == place);
                *value = number.map_or_else(|| self.fill(text).into(), |(_, number)| number.into());
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.fill_json(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.fill_json(field)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn words() -> Words {
        Words {
            access_token: "a".into(),
            refresh_token: "r".into(),
            presented: "p".into(),
            user: "ada".into(),
            now_s: 100,
            access_token_s: 60,
        }
    }

    #[test]
    fn places_in_a_text_are_filled_and_other_braces_stay() {
        let body = Body::Text(r#"{"t": "{refresh_token}", "at": {expires_at_s}, "x": {}}"#.into());
        assert_eq!(body.filled(&words()), br#"{"t": "r", "at": 160, "x": {}}"#);
    }

    #[test]
    fn places_in_a_table_are_filled_at_any_depth_and_numbers_stay_numbers() {
        let body = Body::Json(json!({"data": [{"{user}": "{user} {now_s}", "at": "{now_s}"}]}));
        let filled: Value = serde_json::from_slice(&body.filled(&words())).unwrap();
        assert_eq!(filled, json!({"data": [{"{user}": "ada 100", "at": 100}]}));
    }
}
