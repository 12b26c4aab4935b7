//! Tests of every [`Store`]: which documents are adopted, and for which provider.

use std::collections::BTreeMap;
use std::sync::Arc;

use evergrant_document::adoption::{AdoptionFilter, AdoptionRules, ProviderField};
use evergrant_domain::schedule::RefreshTimes;
use evergrant_domain::{
    ClaimNote, ClaimedDocument, DocumentId, DocumentWrite, GrantStatus, ProviderId, Timestamp,
};
use evergrant_memory::{MemoryClock, MemoryStore};
use evergrant_mongodb::MongoStore;
use evergrant_ports::{
    Commit, CommitResult, ImportDocument, LeftAlone, Store, UnadoptedDocuments, wall_clock,
};
use evergrant_sqlite::SqliteStore;
use evergrant_testkit::mongodb as server;
use serde_json::{Value, json};

use super::sqlite;
use super::store::{claim, grant};

/// A store of each kind with these rules.
async fn stores(rules: &AdoptionRules) -> [Arc<dyn Store>; 3] {
    let mut settings = super::store::settings(server::url().await);
    settings.adoption = rules.clone();
    let mongo = MongoStore::connect(settings).await.unwrap();
    mongo.prepare().await.unwrap();
    let clock = MemoryClock::starting_at(wall_clock());
    let memory = MemoryStore::with_rules(clock, rules.clone());
    let sqlite = SqliteStore::open(sqlite::store_settings_with(rules.clone())).await.unwrap();
    [Arc::new(mongo), Arc::new(memory), Arc::new(sqlite)]
}

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

async fn import(store: &dyn Store, documents: Vec<Value>) {
    let document = |json: Value| ImportDocument(json.as_object().unwrap().clone());
    store.import(documents.into_iter().map(document).collect()).await.unwrap();
}

/// The providers of adopted documents, and their statuses.
async fn adopted(store: &dyn Store, count: i64) -> Vec<Option<(String, GrantStatus)>> {
    let mut adopted = Vec::new();
    for id in 1..=count {
        let view = store.get(&DocumentId::Integer(id)).await.unwrap().unwrap();
        let provider = view.provider.map(|provider| provider.to_string());
        adopted.push(provider.zip(view.status));
    }
    adopted
}

fn active(provider: &str) -> Option<(String, GrantStatus)> {
    Some((provider.to_owned(), GrantStatus::Active))
}

async fn left(store: &dyn Store) -> BTreeMap<LeftAlone, u64> {
    let left = store.unadopted().await.unwrap();
    left.into_iter().map(|UnadoptedDocuments { why, documents }| (why, documents)).collect()
}

fn named(name: &str) -> LeftAlone {
    LeftAlone::Named(name.to_owned())
}

#[tokio::test]
async fn a_document_is_adopted_by_the_provider_it_names() {
    for store in stores(&rules(ProviderField::Named("who.idp".to_owned()))).await {
        let names =
            [json!("google"), json!("azure-ad"), json!(null), json!("GitHub"), json!("$who")];
        let documents = (1..).zip(names).map(|(id, name)| {
            json!({"_id": id, "refresh_token": "r", "who": {"idp": name}, "provider": "other"})
        });
        import(&*store, documents.collect()).await;
        let more = [
            json!({"_id": 6, "refresh_token": "r"}),
            json!({"_id": 7, "refresh_token": "r", "who": {"idp": ["google"]}}),
            json!({"_id": 8, "refresh_token": "r", "who": {"idp": 5}}),
            json!({"_id": 9, "refresh_token": "r", "evergrant": {"provider": "azure"}}),
        ];
        import(&*store, more.to_vec()).await;
        assert_eq!(store.adopt().await.unwrap(), 5);
        let google = || active("google");
        let expected = [google(), active("azure"), google(), None, None, google(), None, None];
        assert_eq!(adopted(&*store, 8).await, expected);
        let last = store.get(&DocumentId::Integer(9)).await.unwrap().unwrap();
        assert_eq!(last.provider, Some(id("azure")));
        let expected = [("GitHub", 1), ("$who", 1), ("(an array)", 1), ("(not a text)", 1)];
        let expected = expected.map(|(name, count)| (named(name), count));
        assert_eq!(left(&*store).await, expected.into());
        assert_eq!(store.adopt().await.unwrap(), 0);
    }
}

#[tokio::test]
async fn without_a_setting_a_usual_field_names_the_provider() {
    for store in stores(&rules(ProviderField::Usual)).await {
        let documents = vec![
            json!({"_id": 1, "refresh_token": "r", "provider": "google"}),
            json!({"_id": 2, "refresh_token": "r", "provider": "github"}),
            json!({"_id": 3, "provider": "credentials"}),
            json!({"_id": 4, "refresh_token": "r", "provider": null, "providerId": "azure"}),
            json!({"_id": 5, "refresh_token": "r", "evergrant": {"provider": "azure"}, "idp": "x"}),
            json!({"_id": 6, "refresh_token": "r"}),
        ];
        import(&*store, documents).await;
        assert_eq!(store.adopt().await.unwrap(), 4);
        let (google, azure) = (active("google"), active("azure"));
        let expected = [google.clone(), None, None, azure.clone(), azure, google];
        assert_eq!(adopted(&*store, 6).await, expected);
        let expected = [(named("github"), 1), (named("credentials"), 1)];
        assert_eq!(left(&*store).await, expected.into());
    }
}

#[tokio::test]
async fn without_a_default_unnamed_documents_are_counted() {
    let rules = AdoptionRules { default_provider: None, ..rules(ProviderField::Usual) };
    for store in stores(&rules).await {
        let documents = vec![
            json!({"_id": 1, "refresh_token": "r"}),
            json!({"_id": 2, "refresh_token": "r", "provider": "google"}),
        ];
        import(&*store, documents).await;
        assert_eq!(store.adopt().await.unwrap(), 1);
        assert_eq!(left(&*store).await, [(LeftAlone::Unnamed, 1)].into());
        let findings = store.inspect().await.unwrap();
        let told = |word: &str| findings.iter().any(|finding| finding.detail.contains(word));
        assert!(told("default_provider") || told("in memory"), "{findings:?}");
    }
}

#[tokio::test]
async fn an_array_in_place_of_a_token_is_not_adopted() {
    for store in stores(&AdoptionRules::of_one(Some(id("google")))).await {
        let documents = vec![
            json!({"_id": 1, "refresh_token": ["r"]}),
            json!({"_id": 2, "refresh_token": "r", "access_token": []}),
            json!({"_id": 3, "refresh_token": "r"}),
        ];
        import(&*store, documents).await;
        assert_eq!(store.adopt().await.unwrap(), 1);
        assert_eq!(adopted(&*store, 3).await, [None, None, active("google")]);
        let array = |path: &str| LeftAlone::Array(path.to_owned());
        let expected = [(array("refresh_token"), 1), (array("access_token"), 1)];
        assert_eq!(left(&*store).await, expected.into());
    }
}

#[tokio::test]
async fn only_documents_that_match_the_filter_are_adopted() {
    let query = r#"{"$or": [{"kind": "oauth"}, {"n": {"$gt": 5}}], "deleted": null}"#;
    let filter = AdoptionFilter::read(query, "evergrant").unwrap();
    let rules = AdoptionRules { filter: Some(filter), ..rules(ProviderField::Usual) };
    for store in stores(&rules).await {
        let documents = vec![
            json!({"_id": 1, "refresh_token": "r", "kind": "oauth"}),
            json!({"_id": 2, "refresh_token": "r", "kind": "password"}),
            json!({"_id": 3, "refresh_token": "r", "kind": "oauth", "deleted": true}),
            json!({"_id": 4, "refresh_token": "r", "n": 6}),
        ];
        import(&*store, documents).await;
        assert_eq!(store.adopt().await.unwrap(), 2);
        let google = || active("google");
        assert_eq!(adopted(&*store, 4).await, [google(), None, None, google()]);
        assert_eq!(left(&*store).await, BTreeMap::new());
    }
}

#[tokio::test]
async fn a_document_with_a_changed_provider_is_adopted_again() {
    for store in stores(&rules(ProviderField::Named("idp".to_owned()))).await {
        import(&*store, vec![json!({"_id": 1, "refresh_token": "r", "idp": "google"})]).await;
        store.adopt().await.unwrap();
        import(&*store, vec![json!({"_id": 1, "refresh_token": "other", "idp": "azure"})]).await;
        let ids = [DocumentId::Integer(1)];
        let row = &claim(&*store, &ids, "o").await[0];
        assert!(matches!(row, ClaimedDocument::OfAnother { owned: true }), "{row:?}");
        let commit = Commit {
            id: ids[0].clone(),
            owner: "o".to_owned(),
            generation: None,
            sent: None,
            note: ClaimNote::default(),
            write: DocumentWrite::Unadopt,
        };
        for _ in 0..2 {
            let committed = store.commit(std::slice::from_ref(&commit)).await.unwrap();
            assert_eq!(committed, [CommitResult::Applied]);
        }
        assert!(matches!(claim(&*store, &ids, "next").await[0], ClaimedDocument::Absent));
        assert_eq!(store.adopt().await.unwrap(), 1);
        assert_eq!(adopted(&*store, 1).await, [active("azure")]);
    }
}

/// 2100-01-01T00:00:00Z
const END: Timestamp = Timestamp::from_unix_ms(4_102_444_800_000);

#[tokio::test]
async fn a_new_documents_expiry_is_read_in_every_form() {
    let written = [
        json!({"expires_at": 4_102_444_800_i64}),
        json!({"expiry_date": 4_102_444_800_000_i64}),
        json!({"expiresAt": {"$date": "2100-01-01T00:00:00Z"}}),
        json!({"accessTokenExpiresAt": "2100-01-01T00:00:00Z"}),
    ];
    let told_nothing =
        [json!({}), json!({"expires_at": "soon"}), json!({"expires": {"at": 4_102_444_800_i64}})];
    for store in stores(&rules(ProviderField::Usual)).await {
        let documents = (1..).zip(written.iter().chain(&told_nothing)).map(|(id, told)| {
            let mut document = told.clone();
            document["_id"] = json!(id);
            document["refresh_token"] = json!(format!("r{id}"));
            document
        });
        import(&*store, documents.collect()).await;
        store.adopt().await.unwrap();
        let ids: Vec<_> = (1..=7).map(DocumentId::Integer).collect();
        let rows = claim(&*store, &ids, "o").await;
        let told: Vec<_> = rows.iter().map(|row| grant(row).signed_in_until).collect();
        assert_eq!(told, [Some(END), Some(END), Some(END), Some(END), None, None, None]);
    }
}

#[tokio::test]
async fn a_scheduled_new_document_is_no_longer_new() {
    for store in stores(&rules(ProviderField::Usual)).await {
        let document = json!({"_id": 1, "refresh_token": "r", "expires_at": 4_102_444_800_i64});
        import(&*store, vec![document]).await;
        store.adopt().await.unwrap();
        let ids = [DocumentId::Integer(1)];
        let claimed = grant(&claim(&*store, &ids, "o").await[0]).clone();
        let times = RefreshTimes {
            access_expires_at: END,
            access_is_assumed: false,
            refresh_idle_until: Some(END),
            refresh_absolute_until: None,
            next_refresh_at: END,
        };
        let commit = Commit::of_grant(&claimed, "o", DocumentWrite::Schedule(times));
        assert_eq!(store.commit(&[commit]).await.unwrap(), [CommitResult::Applied]);
        let view = store.get(&ids[0]).await.unwrap().unwrap();
        assert_eq!((view.status, view.next_refresh_at), (Some(GrantStatus::Active), Some(END)));
        assert_eq!((view.refreshed_at, view.leased_until), (None, None));
        let again = claim(&*store, &ids, "next").await;
        assert_eq!(grant(&again[0]).signed_in_until, None);
        assert_eq!(grant(&again[0]).ends.access, Some(END));
    }
}

#[tokio::test]
async fn one_token_at_two_providers_is_two_grants() {
    for store in stores(&rules(ProviderField::Usual)).await {
        let documents = vec![
            json!({"_id": 1, "refresh_token": "r", "provider": "google"}),
            json!({"_id": 2, "refresh_token": "r", "provider": "azure"}),
        ];
        import(&*store, documents).await;
        store.adopt().await.unwrap();
        let ids = [DocumentId::Integer(1), DocumentId::Integer(2)];
        claim(&*store, &ids, "o").await.iter().for_each(|row| drop(grant(row).clone()));
    }
}
