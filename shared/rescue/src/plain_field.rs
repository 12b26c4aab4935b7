//! The sealed form of a further field of an answer.

use serde::{Deserialize, Serialize};

use super::plain_secret::PlainSecret;
use evergrant_domain::FieldValue;
use evergrant_domain::also_write::TokenEnd;

/// The value of a field. A value of the answer may be a token.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PlainField {
    Answered(PlainSecret),
    End(TokenEnd),
}

impl From<&FieldValue> for PlainField {
    fn from(value: &FieldValue) -> Self {
        match value {
            FieldValue::Answered(value) => Self::Answered(value.into()),
            FieldValue::End(end) => Self::End(*end),
        }
    }
}

impl From<PlainField> for FieldValue {
    fn from(plain: PlainField) -> Self {
        match plain {
            PlainField::Answered(value) => Self::Answered(value.into()),
            PlainField::End(end) => Self::End(end),
        }
    }
}
