//! A person's identity and role, from the claims of an ID token.

use evergrant_domain::printable::printable;
use serde_json::Value;

use super::OidcError;
use crate::auth::users::UserRole;
use crate::settings::OidcSettings;

/// The prefix of names: no user of the users file or of a terminal has such a name.
const NAMES_BEGIN: &str = "openid:";
/// The longest name that is shown.
const NAME_MAX: usize = 100;

/// A person known to the OpenID provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    /// The provider's permanent identifier (`sub`).
    pub(crate) subject: String,
    /// The name for the audit record, with a prefix that distinguishes it from other users.
    pub(crate) name: String,
    /// The role, by the groups at the time of the login.
    pub(crate) role: UserRole,
}

impl Person {
    /// # Errors
    /// If none of the person's groups has a role.
    pub(super) fn from_claims(claims: &Value, config: &OidcSettings) -> Result<Self, OidcError> {
        let subject = claims["sub"].as_str().unwrap_or_default().to_owned();
        let name = find(claims, &config.name_claim).and_then(Value::as_str).unwrap_or_default();
        let name = if name.trim().is_empty() { &subject } else { name.trim() };
        let name: String = printable(name).chars().take(NAME_MAX).collect();
        let name = format!("{NAMES_BEGIN}{name}");
        if is_overage(claims, &config.groups_claim) {
            return Err(OidcError::Refused(format!(
                "the ID token of {name} leaves out {}, since there are too many: have the provider send \
                 app roles, or only the groups that are assigned to this client",
                config.groups_claim
            )));
        }
        let groups = groups(claims, &config.groups_claim);
        let is_in = |wanted: &[String]| wanted.iter().any(|group| groups.contains(&group.as_str()));
        let role = match (is_in(&config.operators), is_in(&config.viewers)) {
            (true, _) => UserRole::Operator,
            (false, true) => UserRole::Viewer,
            (false, false) => return Err(OidcError::NoRole { name }),
        };
        Ok(Self { subject, name, role })
    }
}

/// A claim by its name, or by a path of names.
fn find<'a>(claims: &'a Value, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| name.split('.').try_fold(claims, |value, part| value.get(part)))
}

/// Whether the provider refers to another place for a claim (OpenID Connect Core 1.0 §5.6.2), as
/// Entra does with more than 200 groups.
fn is_overage(claims: &Value, name: &str) -> bool {
    claims.get(name).is_none() && claims["_claim_names"].get(name).is_some()
}

/// The groups in a claim: several, or one. An address counts if the provider has verified it.
fn groups<'a>(claims: &'a Value, name: &str) -> Vec<&'a str> {
    if name == "email" && claims["email_verified"] != Value::Bool(true) {
        return Vec::new();
    }
    match find(claims, name) {
        Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(group)) => vec![group],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(groups_claim: &str) -> OidcSettings {
        OidcSettings {
            issuer: "https://login.example.com".to_owned(),
            client_id: "console".to_owned(),
            client_secret: None,
            client_secret_file: None,
            label: String::new(),
            scopes: Vec::new(),
            name_claim: "preferred_username".to_owned(),
            groups_claim: groups_claim.to_owned(),
            operators: vec!["platform".to_owned(), "ann@example.com".to_owned()],
            viewers: vec!["support".to_owned()],
        }
    }

    fn role(claims: &Value, groups_claim: &str) -> Option<UserRole> {
        Person::from_claims(claims, &config(groups_claim)).ok().map(|person| person.role)
    }

    #[test]
    fn groups_become_roles_and_no_group_is_refused() {
        let of = |groups: Value| role(&json!({ "sub": "1", "groups": groups }), "groups");
        assert_eq!(of(json!(["support", "platform"])), Some(UserRole::Operator));
        assert_eq!(of(json!(["other", "support"])), Some(UserRole::Viewer));
        assert_eq!(of(json!("support")), Some(UserRole::Viewer));
        for none in
            [json!(["other"]), json!([]), json!(null), json!(["Platform"]), json!({}), json!([1])]
        {
            assert_eq!(of(none.clone()), None, "{none}");
        }
        assert_eq!(role(&json!({ "sub": "1" }), "groups"), None);
    }

    #[test]
    fn groups_may_be_nested_and_names_may_contain_dots() {
        let nested = json!({ "sub": "1", "realm_access": { "roles": ["platform"] } });
        assert_eq!(role(&nested, "realm_access.roles"), Some(UserRole::Operator));
        let dotted = json!({ "sub": "1", "https://example.com/groups": ["platform"] });
        assert_eq!(role(&dotted, "https://example.com/groups"), Some(UserRole::Operator));
    }

    #[test]
    fn an_address_counts_only_if_the_provider_has_verified_it() {
        let of = |verified: Value| {
            let claims =
                json!({ "sub": "1", "email": "ann@example.com", "email_verified": verified });
            role(&claims, "email")
        };
        assert_eq!(of(json!(true)), Some(UserRole::Operator));
        for unverified in [json!(false), json!(null), json!("true")] {
            assert_eq!(of(unverified), None);
        }
    }

    #[test]
    fn too_many_groups_for_an_id_token_are_reported() {
        let claims = json!({ "sub": "1", "_claim_names": { "groups": "src1" } });
        let refused = Person::from_claims(&claims, &config("groups")).unwrap_err();
        assert!(refused.to_string().contains("app roles"), "{refused}");
    }

    #[test]
    fn a_person_without_a_name_is_named_by_subject() {
        let name = |name: Value| {
            let claims = json!({ "sub": "00u1", "preferred_username": name, "groups": "support" });
            Person::from_claims(&claims, &config("groups")).unwrap().name
        };
        assert_eq!(name(json!("ann\n")), "openid:ann");
        assert_eq!(name(json!("a\u{202e}nn")), "openid:a\\u{202e}nn");
        assert_eq!(name(json!(" ")), "openid:00u1");
        assert_eq!(name(json!(null)), "openid:00u1");
        assert_eq!(name(json!("x".repeat(500))).len(), NAMES_BEGIN.len() + NAME_MAX);
    }
}
