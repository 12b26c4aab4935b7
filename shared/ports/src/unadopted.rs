//! Documents that are not adopted, and why.

use std::collections::BTreeMap;

use crate::{InspectionFinding, LEFT_ALONE};

/// Why documents are not adopted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftAlone {
    /// They name this provider, which has no section.
    Named(String),
    /// They name no provider, and there is no default.
    Unnamed,
    /// They hold an array at this path, where one value is expected.
    Array(String),
    /// The store cannot read them.
    Unreadable,
}

/// Documents that are not adopted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnadoptedDocuments {
    /// The reason.
    pub why: LeftAlone,
    /// How many.
    pub documents: u64,
}

impl UnadoptedDocuments {
    /// Adds up counts with the same reason.
    pub fn together(counts: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut by_reason = BTreeMap::new();
        for Self { why, documents } in counts {
            *by_reason.entry(why).or_insert(0) += documents;
        }
        by_reason.into_iter().map(|(why, documents)| Self { why, documents }).collect()
    }

    /// The finding of `doctor`. Documents of other applications beside grants are in order. An
    /// operator has to act if `none_is_ours`, or if a document that should be a grant cannot be
    /// one.
    pub fn finding(counts: &[Self], none_is_ours: bool) -> Option<InspectionFinding> {
        if counts.is_empty() {
            return None;
        }
        let each: Vec<_> = counts.iter().map(ToString::to_string).collect();
        let has = |of: fn(&LeftAlone) -> bool| counts.iter().any(|count| of(&count.why));
        let named = has(|why| matches!(why, LeftAlone::Named(_)));
        let unnamed = has(|why| matches!(why, LeftAlone::Unnamed));
        let broken = has(|why| matches!(why, LeftAlone::Array(_) | LeftAlone::Unreadable));
        let mut detail = format!("{}: they are left alone", each.join("; "));
        if unnamed {
            detail += ". Set store.default_provider, or store.provider_field if a field of the \
                       documents names it";
        }
        if named && none_is_ours {
            detail += ". Map the names to sections in store.provider_names; or if that field does not \
                       name the provider, set store.provider_field";
        }
        let ok = !(unnamed || broken || none_is_ours);
        Some(InspectionFinding { what: LEFT_ALONE.to_owned(), ok, detail })
    }
}

impl std::fmt::Display for UnadoptedDocuments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.documents, self.why)
    }
}

impl std::fmt::Display for LeftAlone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(name) => write!(f, "name the provider {name:?}, which has no section"),
            Self::Unnamed => f.write_str("name no provider"),
            Self::Array(path) => {
                write!(f, "have a token within {path}, which is an array: arrays are not supported")
            }
            Self::Unreadable => f.write_str("cannot be read"),
        }
    }
}
