//! Whose a document is, by the rules of adoption.

use bson::Document;

use super::field_paths::FieldPaths;
use super::paths::{array_on_the_way, at};
use evergrant_ports::LeftAlone;

use crate::adoption::{DocumentOwner, ProviderField};

impl FieldPaths {
    /// Whose an unadopted document is. None if it does not fulfil the filter, so is no business of ours.
    pub fn owner(&self, document: &Document) -> Option<DocumentOwner> {
        let Self { rules, fields, .. } = self;
        if rules.filter.as_ref().is_some_and(|filter| !filter.holds(document)) {
            return None;
        }
        let tokens = [&fields.refresh_token, &fields.access_token];
        if let Some(array) = tokens.iter().find_map(|path| array_on_the_way(document, path)) {
            return Some(DocumentOwner::Nobody(LeftAlone::Array(array.to_owned())));
        }
        let in_state = at(document, &self.path("provider"));
        let in_field = rules.provider_field.paths().into_iter().find_map(|path| at(document, path));
        // A setting outweighs what the state says, which outweighs a guess.
        let told = match rules.provider_field {
            ProviderField::Named(_) => in_field.or(in_state),
            ProviderField::Usual | ProviderField::None => in_state.or(in_field),
        };
        Some(rules.told(told))
    }
}
