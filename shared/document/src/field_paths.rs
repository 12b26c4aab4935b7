//! Where in a document each thing is.

use super::FieldNames;
use super::paths::is_within;
use crate::adoption::{AdoptionRules, ProviderField};

/// What applications usually call the time at which an access token expires.
const EXPIRY_FIELDS: [&str; 6] = [
    "expires_at",
    "expiresAt",
    "access_token_expires_at",
    "accessTokenExpiresAt",
    "expiry_date",
    "expires",
];

/// The paths of a document's parts, with the names that the settings give them.
#[derive(Debug)]
pub struct FieldPaths {
    /// The sub-document of Evergrant's state.
    pub state: String,
    /// The application's own fields.
    pub fields: FieldNames,
    /// Whose documents are taken up.
    pub rules: AdoptionRules,
    /// Where applications usually keep when the access token expires: beside it, under one of a few names.
    pub expiry_paths: Vec<String>,
}

impl FieldPaths {
    /// The paths of documents whose state is the field `state`, with the usual rules of adoption.
    pub fn new(state: &str, fields: FieldNames) -> Self {
        let rules = AdoptionRules::default();
        let expiry_paths = expiry_paths(state, &fields, &rules);
        Self { state: state.to_owned(), fields, rules, expiry_paths }
    }

    /// The same with rules of adoption.
    pub fn with_rules(self, rules: AdoptionRules) -> Self {
        let expiry_paths = expiry_paths(&self.state, &self.fields, &rules);
        Self { rules, expiry_paths, ..self }
    }

    /// The path of a part of the state, as filters and classic updates want it.
    pub fn path(&self, part: &str) -> String {
        format!("{}.{part}", self.state)
    }

    /// The value of a part of the state, as expressions want it.
    pub fn value(&self, part: &str) -> String {
        format!("${}.{part}", self.state)
    }
}

/// None that lies within another path or around it: a server reads no two such paths at once.
fn expiry_paths(state: &str, fields: &FieldNames, rules: &AdoptionRules) -> Vec<String> {
    let FieldNames { access_token, refresh_token, .. } = fields;
    let beside = access_token.rsplit_once('.').map_or("", |(parent, _)| parent);
    let paths = EXPIRY_FIELDS.iter().map(|name| match beside {
        "" => (*name).to_owned(),
        beside => format!("{beside}.{name}"),
    });
    let named = match &rules.provider_field {
        ProviderField::Named(field) => Some(field.as_str()),
        ProviderField::Usual | ProviderField::None => None,
    };
    let taken: Vec<_> = [access_token, refresh_token, state].into_iter().chain(named).collect();
    let overlap = |one: &str, other: &str| is_within(one, other) || is_within(other, one);
    paths.filter(|path| !taken.iter().any(|other| overlap(path, other))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_looked_for_beside_the_access_token_and_never_within_another_field() {
        let fields =
            FieldNames { access_token: "tokens.access".to_owned(), ..FieldNames::default() };
        let paths = FieldPaths::new("evergrant", fields).expiry_paths;
        assert_eq!(paths[0], "tokens.expires_at");
        let fields =
            FieldNames { refresh_token: "expires.refresh".to_owned(), ..FieldNames::default() };
        let paths = FieldPaths::new("expiresAt", fields).expiry_paths;
        assert!(!paths.iter().any(|path| path == "expires" || path == "expiresAt"), "{paths:?}");
        assert!(paths.contains(&"expires_at".to_owned()));
    }
}
