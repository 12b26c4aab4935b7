//! Which documents are taken up, and by which provider.
//!
//! A token is sent to nobody but the provider that its document names. So a name that no section has
//! is left alone, whatever it is, and the default provider gets only what names nobody.

pub mod condition;
mod filter;

use std::collections::{BTreeMap, BTreeSet};

use bson::{Bson, Document};

use crate::paths::at;
use evergrant_domain::ProviderId;
use evergrant_ports::LeftAlone;

pub use filter::AdoptionFilter;

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
    pub fn paths(&self) -> Vec<&str> {
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
pub enum DocumentOwner {
    /// This provider's.
    Section(ProviderId),
    /// Nobody's that is known here.
    Nobody(LeftAlone),
}

impl AdoptionRules {
    /// The rules where there is one provider at most, and the settings say nothing else.
    pub fn of_one(provider: Option<ProviderId>) -> Self {
        let sections = provider.iter().cloned().collect();
        Self { sections, default_provider: provider, ..Self::default() }
    }

    /// Why a document that says this of whose it is is left alone. None if it is not.
    pub fn why_not(&self, told: Option<&Bson>) -> Option<LeftAlone> {
        match self.told(told.filter(|told| !matches!(told, Bson::Null | Bson::Undefined))) {
            DocumentOwner::Section(_) => None,
            DocumentOwner::Nobody(why) => Some(why),
        }
    }

    /// Whose a document is whose provider field says this; None is a document that names nobody.
    pub fn told(&self, told: Option<&Bson>) -> DocumentOwner {
        match (told, &self.default_provider) {
            (Some(told), _) => match told.as_str().and_then(|name| self.section_of(name)) {
                Some(section) => DocumentOwner::Section(section.clone()),
                None => DocumentOwner::Nobody(LeftAlone::Named(told_as(told))),
            },
            (None, Some(default)) => DocumentOwner::Section(default.clone()),
            (None, None) => DocumentOwner::Nobody(LeftAlone::Unnamed),
        }
    }

    /// The section that a name means. Names match exactly; a section's own name is its own.
    pub fn section_of(&self, name: &str) -> Option<&ProviderId> {
        let own = self.sections.iter().find(|section| section.as_str() == name);
        own.or_else(|| self.provider_names.get(name))
    }

    /// All names, with the sections that they mean.
    pub fn all_names(&self) -> BTreeMap<&str, &ProviderId> {
        let others = self.provider_names.iter().map(|(name, section)| (name.as_str(), section));
        let own = self.sections.iter().map(|section| (section.as_str(), section));
        others.chain(own).collect()
    }

    /// Whether the field that the settings name says by now that an adopted document is another's than
    /// `provider`'s.
    pub fn is_anothers(&self, document: &Document, provider: &ProviderId) -> bool {
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

#[cfg(test)]
mod tests;
