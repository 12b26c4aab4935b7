//! What must hold of a document.

use std::time::Duration;

use bson::{Bson, Document};

use crate::numbers::number;
use crate::paths::at;
use evergrant_domain::Timestamp;

/// A condition on a document, by paths. A null is nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum DocumentCondition {
    /// What is at the path is one of these. A null among them stands for nothing.
    OneOf(String, Vec<Bson>),
    /// There is something at the path.
    Present(String),
    /// The time at the path is not in the future, or there is none.
    Over(String),
    /// The time at the path is later than so long from now.
    After(String, Duration),
    /// It does not hold.
    Not(Box<Self>),
    /// All of them hold.
    All(Vec<Self>),
    /// One of them holds.
    Any(Vec<Self>),
}

impl DocumentCondition {
    /// What is at the path is this.
    pub fn is(path: impl Into<String>, value: impl Into<Bson>) -> Self {
        Self::OneOf(path.into(), vec![value.into()])
    }

    /// There is nothing at the path.
    pub fn nothing(path: impl Into<String>) -> Self {
        Self::is(path, Bson::Null)
    }

    /// Whether it holds of a document, at a time of the store's clock.
    pub fn holds(&self, document: &Document, now: Timestamp) -> bool {
        match self {
            Self::OneOf(path, values) => {
                let found = at(document, path).unwrap_or(&Bson::Null);
                values.iter().any(|value| is_same(found, value))
            }
            Self::Present(path) => at(document, path).is_some(),
            Self::Over(path) => time_ms(document, path).is_none_or(|ms| ms <= now.unix_ms()),
            Self::After(path, later) => {
                time_ms(document, path).is_some_and(|ms| ms > now.plus(*later).unix_ms())
            }
            Self::Not(condition) => !condition.holds(document, now),
            Self::All(conditions) => conditions.iter().all(|it| it.holds(document, now)),
            Self::Any(conditions) => conditions.iter().any(|it| it.holds(document, now)),
        }
    }
}

/// Numbers of one value are the same, whatever their types.
fn is_same(found: &Bson, wanted: &Bson) -> bool {
    found == wanted || number(found).is_some_and(|found| number(wanted) == Some(found))
}

/// A time in whatever form it is taken: a date or a number of milliseconds.
fn time_ms(document: &Document, path: &str) -> Option<i64> {
    match at(document, path)? {
        Bson::DateTime(time) => Some(time.timestamp_millis()),
        other => number(other),
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn a_null_and_what_is_missing_are_nothing() {
        let document = doc! { "null": null, "zero": 0_i64 };
        let now = Timestamp::from_unix_ms(0);
        for path in ["null", "missing", "zero.deeper"] {
            assert!(DocumentCondition::nothing(path).holds(&document, now), "{path}");
            assert!(!DocumentCondition::Present(path.to_owned()).holds(&document, now), "{path}");
            assert!(DocumentCondition::Over(path.to_owned()).holds(&document, now), "{path}");
        }
        assert!(DocumentCondition::is("zero", 0).holds(&document, now));
        let zero = DocumentCondition::OneOf("missing".to_owned(), vec![0.into(), Bson::Null]);
        assert!(zero.holds(&document, now));
    }

    #[test]
    fn a_time_is_over_in_its_last_millisecond_and_not_before() {
        let document = doc! { "date": bson::DateTime::from_millis(5), "number": 5.0 };
        for path in ["date", "number"] {
            let over = DocumentCondition::Over(path.to_owned());
            let after = DocumentCondition::After(path.to_owned(), Duration::from_millis(1));
            let holds = |condition: &DocumentCondition, ms| {
                condition.holds(&document, Timestamp::from_unix_ms(ms))
            };
            assert_eq!((holds(&over, 4), holds(&over, 5)), (false, true), "{path}");
            assert_eq!((holds(&after, 3), holds(&after, 4)), (true, false), "{path}");
        }
    }
}
