//! Which documents are taken up, and by which provider.
//!
//! A token is sent to nobody but the provider that its document names. So a name that no section has
//! is left alone, whatever it is, and the default provider gets only what names nobody.

pub(crate) mod condition;
mod filter;
mod rest;

use std::collections::{BTreeMap, BTreeSet};

use bson::{Bson, Document};

use crate::document::paths::at;
use crate::domain::ProviderId;
use crate::ports::{Finding, LEFT_ALONE};

pub use filter::AdoptionFilter;
pub(crate) use rest::Rest;

/// The fields in which applications usually name a provider, in the order in which they are looked at.
pub const USUAL_FIELDS: [&str; 7] = [
    "provider",
    "providerId",
    "provider_id",
    "providerName",
    "provider_name",
    "oauthProvider",
    "idp",
];

/// Where an application names the provider of a document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ProviderField {
    /// Nobody has said: in the [`USUAL_FIELDS`], if a document has one of them.
    #[default]
    Usual,
    /// Nowhere.
    None,
    /// In this field.
    Named(String),
}

impl ProviderField {
    /// The fields, the first one first.
    pub(crate) fn paths(&self) -> Vec<&str> {
        match self {
            Self::Usual => USUAL_FIELDS.to_vec(),
            Self::None => Vec::new(),
            Self::Named(field) => vec![field],
        }
    }
}

/// Which documents are taken up, and by which provider.
#[derive(Debug, Clone, Default)]
pub struct AdoptionRules {
    /// The sections of providers.
    pub sections: BTreeSet<ProviderId>,
    /// The provider of documents that name none.
    pub default_provider: Option<ProviderId>,
    /// Where documents name their provider.
    pub provider_field: ProviderField,
    /// The application's names of providers, beside those of the sections.
    pub provider_names: BTreeMap<String, ProviderId>,
    /// What must hold for a document to be taken up.
    pub filter: Option<AdoptionFilter>,
}

/// Whose a document is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This provider's.
    Section(ProviderId),
    /// Nobody's that is known here.
    Nobody(LeftAlone),
}

/// Why documents are left alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftAlone {
    /// They name a provider that has no section, in these words.
    Named(String),
    /// They name no provider, and there is no default.
    Unnamed,
    /// They hold an array at this path, where one value is wanted.
    Array(String),
    /// The store cannot read them.
    Unreadable,
}

/// Documents that are left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unadopted {
    /// Why.
    pub why: LeftAlone,
    /// How many.
    pub documents: u64,
}

impl Unadopted {
    /// Counts of one reason are one count.
    pub(crate) fn together(counts: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut by_reason = BTreeMap::new();
        for Self { why, documents } in counts {
            *by_reason.entry(why).or_insert(0) += documents;
        }
        by_reason.into_iter().map(|(why, documents)| Self { why, documents }).collect()
    }

    /// What `doctor` says of them. Documents of others beside grants are as they should be; but if
    /// `none_is_ours`, or what should be a grant cannot be one, somebody must do something.
    pub(crate) fn finding(counts: &[Self], none_is_ours: bool) -> Option<Finding> {
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
        Some(Finding { what: LEFT_ALONE.to_owned(), ok, detail })
    }
}

impl std::fmt::Display for Unadopted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.documents, self.why)
    }
}

impl AdoptionRules {
    /// The rules where there is one provider at most, and the settings say nothing else.
    pub fn of_one(provider: Option<ProviderId>) -> Self {
        let sections = provider.iter().cloned().collect();
        Self { sections, default_provider: provider, ..Self::default() }
    }

    /// Why a document that says this of whose it is is left alone. None if it is not.
    pub(crate) fn why_not(&self, told: Option<&Bson>) -> Option<LeftAlone> {
        match self.told(told.filter(|told| !matches!(told, Bson::Null | Bson::Undefined))) {
            Owner::Section(_) => None,
            Owner::Nobody(why) => Some(why),
        }
    }

    pub(crate) fn told(&self, told: Option<&Bson>) -> Owner {
        match (told, &self.default_provider) {
            (Some(told), _) => match told.as_str().and_then(|name| self.section_of(name)) {
                Some(section) => Owner::Section(section.clone()),
                None => Owner::Nobody(LeftAlone::Named(told_as(told))),
            },
            (None, Some(default)) => Owner::Section(default.clone()),
            (None, None) => Owner::Nobody(LeftAlone::Unnamed),
        }
    }

    /// The section that a name means. Names match exactly; a section's own name is its own.
    pub(crate) fn section_of(&self, name: &str) -> Option<&ProviderId> {
        let own = self.sections.iter().find(|section| section.as_str() == name);
        own.or_else(|| self.provider_names.get(name))
    }

    /// All names, with the sections that they mean.
    pub(crate) fn all_names(&self) -> BTreeMap<&str, &ProviderId> {
        let others = self.provider_names.iter().map(|(name, section)| (name.as_str(), section));
        let own = self.sections.iter().map(|section| (section.as_str(), section));
        others.chain(own).collect()
    }

    /// Whether the field that the settings name says by now that an adopted document is another's than
    /// `provider`'s.
    pub(crate) fn is_anothers(&self, document: &Document, provider: &ProviderId) -> bool {
        let ProviderField::Named(field) = &self.provider_field else { return false };
        let told = at(document, field);
        told.is_some_and(|told| {
            told.as_str().and_then(|name| self.section_of(name)) != Some(provider)
        })
    }
}

/// What a field says, for people.
fn told_as(told: &Bson) -> String {
    match told {
        Bson::String(name) => name.chars().take(100).collect(),
        Bson::Array(_) => "(an array)".to_owned(),
        Bson::Document(_) => "(an object)".to_owned(),
        _ => "(not a text)".to_owned(),
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

#[cfg(test)]
mod tests;
