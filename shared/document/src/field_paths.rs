//! Where in a document each thing is.

use bson::{Bson, Document};

use super::FieldNames;
use super::paths::overlap;
use crate::adoption::{AdoptionRules, ProviderField};

/// What applications usually call the time at which an access token expires: names that say whose end it is,
/// and names that may be of something else.
const OWN_EXPIRY_FIELDS: [&str; 4] = [
    "access_token_expires_at",
    "accessTokenExpiresAt",
    "access_token_expires",
    "accessTokenExpires",
];
const OTHER_EXPIRY_FIELDS: [&str; 6] =
    ["expires_at", "expiresAt", "expiry_date", "expires_on", "expiry", "expires"];

/// What else an application keeps of a token answer. At the root of a document, which may be a user's, one of
/// these tells that an end without a token's name is of the answer and not of a subscription.
const ANSWER_FIELDS: [&str; 5] = ["token_type", "tokenType", "scope", "id_token", "idToken"];

/// Where applications usually keep when the access token expires.
#[derive(Debug)]
struct ExpiryPaths {
    own: Vec<String>,
    other: Vec<String>,
    /// One of them has to be there before another's end is moved; none in a sub-document of the tokens.
    beside: Vec<String>,
}

/// The paths of a document's parts, with the names that the settings give them.
#[derive(Debug)]
pub struct FieldPaths {
    /// The sub-document of Evergrant's state.
    pub state: String,
    /// The application's own fields.
    pub fields: FieldNames,
    /// Whose documents are taken up.
    pub rules: AdoptionRules,
    expiry_paths: ExpiryPaths,
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

    /// Where applications usually keep when the access token expires: beside it, under one of a few names.
    pub fn expiry_paths(&self) -> impl Iterator<Item = &String> {
        self.expiry_paths.own.iter().chain(&self.expiry_paths.other)
    }

    /// Those that say whose end it is.
    pub fn own_expiry_paths(&self) -> &[String] {
        &self.expiry_paths.own
    }

    /// Those that may be of something else.
    pub fn other_expiry_paths(&self) -> &[String] {
        &self.expiry_paths.other
    }

    /// Whether the access token has no sub-document around it.
    pub fn keeps_tokens_at_root(&self) -> bool {
        !self.fields.access_token.contains('.')
    }

    /// What is beside an end that names no token, if that is of a token answer. None where the tokens have
    /// a sub-document of their own, in which nothing else ends.
    pub fn answer_paths(&self) -> &[String] {
        &self.expiry_paths.beside
    }

    /// Leaves of the members of a token answer that they are there: an `id_token` is long, and a secret.
    pub fn forget_answer(&self, document: &mut Document) {
        for path in self.answer_paths() {
            if let Some(value) = document.get_mut(path).filter(|value| is_plain(value)) {
                *value = Bson::Boolean(true);
            }
        }
    }

    /// Whether a path is one of what has a meaning of its own, or lies within it or around it.
    pub fn is_taken(&self, path: &str) -> bool {
        is_taken(path, &self.state, &self.fields, &self.rules)
    }

    /// The value of a part of the state, as expressions want it.
    pub fn value(&self, part: &str) -> String {
        format!("${}.{part}", self.state)
    }
}

/// None that lies within another path or around it: a server reads no two such paths at once.
fn expiry_paths(state: &str, fields: &FieldNames, rules: &AdoptionRules) -> ExpiryPaths {
    let beside = fields.access_token.rsplit_once('.').map_or("", |(parent, _)| parent);
    let path = |name: &&str| match beside {
        "" => (*name).to_owned(),
        beside => format!("{beside}.{name}"),
    };
    let free = |path: &String| !is_taken(path, state, fields, rules);
    let of = |names: &[&str]| names.iter().map(path).filter(free).collect();
    let at_the_root: &[&str] = if beside.is_empty() { &ANSWER_FIELDS } else { &[] };
    ExpiryPaths {
        own: of(&OWN_EXPIRY_FIELDS),
        other: of(&OTHER_EXPIRY_FIELDS),
        beside: of(at_the_root),
    }
}

/// Whether no path can lead into a value, and whether it is there.
fn is_plain(value: &Bson) -> bool {
    !matches!(value, Bson::Document(_) | Bson::Null | Bson::Undefined)
}

fn is_taken(path: &str, state: &str, fields: &FieldNames, rules: &AdoptionRules) -> bool {
    let named = match &rules.provider_field {
        ProviderField::Named(field) => Some(field.as_str()),
        ProviderField::Usual | ProviderField::None => None,
    };
    let FieldNames { access_token, refresh_token, user_id, email, client, .. } = fields;
    let taken = ["_id", state, access_token, refresh_token, user_id, email].into_iter();
    let taken = taken.chain(named).chain(client.iter().map(String::as_str));
    taken.into_iter().any(|other| overlap(path, other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_looked_for_beside_the_access_token_and_never_within_another_field() {
        let fields =
            FieldNames { access_token: "tokens.access".to_owned(), ..FieldNames::default() };
        let paths = FieldPaths::new("evergrant", fields);
        assert!(paths.expiry_paths().all(|path| path.starts_with("tokens.")), "{paths:?}");
        let fields =
            FieldNames { refresh_token: "expires.refresh".to_owned(), ..FieldNames::default() };
        let paths = FieldPaths::new("expiresAt", fields);
        let has = |name: &str| paths.expiry_paths().any(|path| path == name);
        assert!(!has("expires") && !has("expiresAt") && has("expires_at"), "{paths:?}");
    }
}
