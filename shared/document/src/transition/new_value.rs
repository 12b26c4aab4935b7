//! What a transition sets.

use std::time::Duration;

use bson::{Bson, Document};

use super::DocumentCondition;
use crate::document_update::date;
use crate::paths::at;
use evergrant_domain::Timestamp;

/// A value, told by the document and the store's clock.
#[derive(Debug, Clone, PartialEq)]
pub enum NewValue {
    /// This one.
    Constant(Bson),
    /// What is at the path; nothing where there is none.
    At(String),
    /// The time now, or so long from now.
    FromNow(Duration),
    /// The first value where the condition holds, else the second.
    Either(Box<(DocumentCondition, Self, Self)>),
    /// A sub-document.
    Object(Vec<(&'static str, Self)>),
}

impl NewValue {
    /// The time now.
    pub const NOW: Self = Self::FromNow(Duration::ZERO);

    /// This one.
    pub fn constant(value: impl Into<Bson>) -> Self {
        Self::Constant(value.into())
    }

    /// One of two values, by a condition.
    pub fn either(condition: DocumentCondition, value: Self, other: Self) -> Self {
        Self::Either(Box::new((condition, value, other)))
    }

    /// The value for a document, at a time of the store's clock.
    pub fn evaluate(&self, document: &Document, now: Timestamp) -> Option<Bson> {
        match self {
            Self::Constant(value) => Some(value.clone()),
            Self::At(path) => at(document, path).cloned(),
            Self::FromNow(later) => Some(date(now.plus(*later)).into()),
            Self::Either(either) => {
                let (condition, value, other) = &**either;
                let chosen = if condition.holds(document, now) { value } else { other };
                chosen.evaluate(document, now)
            }
            Self::Object(parts) => {
                let part = |(name, value): &(&'static str, Self)| {
                    Some(((*name).to_owned(), value.evaluate(document, now)?))
                };
                Some(parts.iter().filter_map(part).collect::<Document>().into())
            }
        }
    }
}
