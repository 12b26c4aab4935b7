use bson::doc;

use super::*;
use crate::FieldNames;
use crate::field_paths::FieldPaths;

fn id(name: &str) -> ProviderId {
    name.parse().unwrap()
}

fn rules(field: ProviderField) -> AdoptionRules {
    AdoptionRules {
        sections: [id("google"), id("azure")].into(),
        default_provider: Some(id("google")),
        provider_field: field,
        provider_names: [("azure-ad".to_owned(), id("azure"))].into(),
        filter: None,
    }
}

fn named() -> AdoptionRules {
    rules(ProviderField::Named("idp".to_owned()))
}

fn names(rules: AdoptionRules) -> FieldPaths {
    FieldPaths::new("evergrant", FieldNames::default()).with_rules(rules)
}

/// The section, or why the document is left alone.
fn owner(rules: &AdoptionRules, document: Document) -> Result<String, LeftAlone> {
    match names(rules.clone()).owner(&document).unwrap() {
        DocumentOwner::Section(section) => Ok(section.to_string()),
        DocumentOwner::Nobody(why) => Err(why),
    }
}

fn foreign(name: &str) -> Result<String, LeftAlone> {
    Err(LeftAlone::Named(name.to_owned()))
}

#[test]
fn the_default_gets_only_what_names_nobody() {
    for document in [doc! {}, doc! { "idp": null }] {
        assert_eq!(owner(&named(), document), Ok("google".to_owned()));
    }
    for name in ["GitHub", "oidc.acme", "Google", "", "credentials"] {
        assert_eq!(owner(&named(), doc! { "idp": name }), foreign(name), "{name}");
    }
    assert_eq!(owner(&named(), doc! { "idp": 5 }), foreign("(not a text)"));
}

#[test]
fn a_name_means_its_section_exactly() {
    assert_eq!(owner(&named(), doc! { "idp": "azure" }), Ok("azure".to_owned()));
    assert_eq!(owner(&named(), doc! { "idp": "azure-ad" }), Ok("azure".to_owned()));
    assert_eq!(owner(&named(), doc! { "idp": "Azure-AD" }), foreign("Azure-AD"));
}

#[test]
fn without_a_setting_the_usual_fields_are_believed() {
    let usual = rules(ProviderField::Usual);
    for field in USUAL_FIELDS {
        assert_eq!(owner(&usual, doc! { field: "github" }), foreign("github"), "{field}");
        assert_eq!(owner(&usual, doc! { field: "azure" }), Ok("azure".to_owned()), "{field}");
        assert_eq!(owner(&usual, doc! { field: null }), Ok("google".to_owned()), "{field}");
    }
    let none = rules(ProviderField::None);
    assert_eq!(owner(&none, doc! { "provider": "github" }), Ok("google".to_owned()));
}

#[test]
fn a_setting_outweighs_the_state_and_the_state_a_guess() {
    let both = doc! { "evergrant": { "provider": "azure" }, "idp": "google", "provider": "google" };
    assert_eq!(owner(&named(), both.clone()), Ok("google".to_owned()));
    assert_eq!(owner(&rules(ProviderField::Usual), both), Ok("azure".to_owned()));
}

#[test]
fn without_a_default_what_names_nobody_is_left_alone() {
    let rules = AdoptionRules { default_provider: None, ..named() };
    assert_eq!(owner(&rules, doc! {}), Err(LeftAlone::Unnamed));
}

#[test]
fn an_array_in_place_of_a_token_is_not_adopted() {
    let fields = FieldNames { refresh_token: "tokens.refresh".to_owned(), ..FieldNames::default() };
    let names = FieldPaths::new("evergrant", fields).with_rules(named());
    let document = doc! { "tokens": [{ "refresh": "r" }] };
    let expected = DocumentOwner::Nobody(LeftAlone::Array("tokens".to_owned()));
    assert_eq!(names.owner(&document), Some(expected));
}

#[test]
fn what_does_not_fulfil_the_filter_is_no_business_of_ours() {
    let filter = AdoptionFilter::read(r#"{"kind": "oauth"}"#, "evergrant").unwrap();
    let rules = AdoptionRules { filter: Some(filter), ..named() };
    let names = names(rules);
    assert_eq!(names.owner(&doc! { "kind": "password" }), None);
    assert!(names.owner(&doc! { "kind": "oauth" }).is_some());
}

#[test]
fn a_field_that_names_another_by_now_is_noticed() {
    let is_anothers = |document| named().is_anothers(&document, &id("google"));
    assert!(is_anothers(doc! { "idp": "azure-ad" }));
    assert!(is_anothers(doc! { "idp": "github" }));
    assert!(!is_anothers(doc! { "idp": "google" }));
    assert!(!is_anothers(doc! {}));
    let guessed = rules(ProviderField::Usual);
    assert!(!guessed.is_anothers(&doc! { "provider": "azure" }, &id("google")));
}
