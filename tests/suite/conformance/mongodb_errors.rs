//! Refusals and errors of the MongoDB adapter: they never quote a token or a password, although the
//! server and the driver quote both.

use std::time::Duration;

use evergrant_domain::{DocumentWrite, FieldValue, FieldValues};
use evergrant_mongodb::{MongoSettings, MongoStore};
use evergrant_ports::{
    Commit, CommitResult, DueQuery, DueSelection, DueStore, ImportDocument, LeaseStore, Store,
    StoreClock, StoreError, TransferStore,
};
use evergrant_testkit::container::TestServer;
use futures::StreamExt;
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;
use mongodb::{Client, IndexModel};
use secrecy::ExposeSecret;

use super::mongodb::{LEASE, adopted, grant, ids, open, refreshed, settings};

#[tokio::test]
async fn an_impossible_import_is_refused_without_quoting_it() {
    let (store, documents) = open(settings().await).await;
    for bad in [
        r#"{"refresh_token":"s3cret"}"#,
        r#"{"_id":{"$oid":"s3cret"}}"#,
        r#"{"_id":{"$regularExpression":{"pattern":"s3cret","options":""}}}"#,
        r#"{"_id":3,"s3cret\u0000":"s3cret"}"#,
    ] {
        let both = [r#"{"_id":1}"#, bad].map(|json| serde_json::from_str(json).unwrap());
        let error = store.import(both.map(ImportDocument).into()).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains("document 2") && !text.contains("s3cret"), "{text}");
    }
    assert_eq!(documents.count_documents(doc! {}).await.unwrap(), 0);
}

#[tokio::test]
async fn an_index_that_rejects_a_commit_affects_no_other() {
    let (store, documents) = open(settings().await).await;
    let unique = IndexOptions::builder().unique(true).build();
    let index = IndexModel::builder().keys(doc! { "refresh_token": 1 }).options(unique).build();
    documents.create_index(index).await.unwrap();
    documents.insert_many((1..=4).map(|id| adopted(id, doc! {}))).await.unwrap();
    let rows = store.claim(&ids(3), "o", LEASE).await.unwrap().rows;
    let new = ["s3cret-a", "s3cret-4", "s3cret-b"];
    let commits = [0, 1, 2].map(|at| Commit::of_grant(grant(&rows[at]), "o", refreshed(new[at])));
    let error = store.commit(&commits).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(matches!(error, StoreError::Refused { .. }), "{text}");
    assert!(text.contains("unique index") && !text.contains("s3cret"), "{text}");
    // A rejected commit does not block the others.
    for (id, token) in [(1, "s3cret-a"), (2, "s3cret-2"), (3, "s3cret-b")] {
        let document = documents.find_one(doc! { "_id": id }).await.unwrap().unwrap();
        assert_eq!(document.get_str("refresh_token").unwrap(), token);
    }
    let others = [commits[0].clone(), commits[2].clone()];
    assert_eq!(store.commit(&others).await.unwrap(), [CommitResult::Applied; 2]);
}

#[tokio::test]
async fn a_rule_or_an_index_about_a_further_field_keeps_no_tokens_out() {
    let (store, documents) = open(settings().await).await;
    let unique = IndexOptions::builder().unique(true).sparse(true).build();
    let index = IndexModel::builder().keys(doc! { "team": 1 }).options(unique).build();
    documents.create_index(index).await.unwrap();
    for id in 1..=3 {
        let mut document = adopted(id, doc! {});
        document.extend(doc! { "scope": "a", "expires_at": 1_700_000_000 });
        document.extend((id == 3).then(|| ("team".to_owned(), "t".into())));
        documents.insert_one(document).await.unwrap();
    }
    // The second document keeps its end in the past.
    let rule =
        doc! { "$or": [{ "_id": { "$ne": 2 } }, { "expires_at": { "$lt": 1_750_000_000 } }] };
    let command = doc! { "collMod": documents.name(), "validator": rule };
    documents.client().database(&documents.namespace().db).run_command(command).await.unwrap();
    let rows = store.claim(&ids(3), "o", LEASE).await.unwrap().rows;
    let with_team = |team: &str| match refreshed("new") {
        DocumentWrite::Refresh { access_token, refreshed_at, times, .. } => {
            DocumentWrite::Refresh {
                access_token,
                refresh_token: None,
                refreshed_at,
                times,
                also: FieldValues::from([(
                    "team".to_owned(),
                    FieldValue::Answered(format!("{team:?}").into()),
                )]),
            }
        }
        write => write,
    };
    let commits = [(0, "t"), (1, "u"), (2, "t")]
        .map(|(at, team)| Commit::of_grant(grant(&rows[at]), "o", with_team(team)));
    assert_eq!(store.commit(&commits).await.unwrap(), [CommitResult::Applied; 3]);
    for (id, team) in [(1, None), (2, None), (3, Some("t"))] {
        let document = documents.find_one(doc! { "_id": id }).await.unwrap().unwrap();
        assert_eq!(document.get_str("access_token").unwrap(), "access", "{id}");
        assert_eq!(document.get_str("team").ok(), team, "{id}");
    }
}

#[tokio::test]
async fn a_different_index_of_our_name_is_reported() {
    let settings = settings().await;
    let client = Client::with_uri_str(settings.url.expose_secret()).await.unwrap();
    let documents = client.database(&settings.database).collection::<Document>("tokens");
    let name = IndexOptions::builder().name("evergrant_due".to_owned()).build();
    let index = IndexModel::builder().keys(doc! { "userId": 1 }).options(name).build();
    documents.create_index(index).await.unwrap();
    let store = MongoStore::connect(settings).await.unwrap();
    let error = store.prepare().await.unwrap_err().to_string();
    assert!(error.contains("refuses") && error.contains("stands in the way"), "{error}");
    let findings = store.inspect().await.unwrap();
    assert!(findings.iter().any(|finding| !finding.ok && finding.detail.contains("evergrant_due")));
}

#[tokio::test]
async fn a_wrong_url_is_refused_without_a_part_of_its_password() {
    for url in [
        "mongodb://user:s3cret/pass@host/",
        "mongodb://user:s3cret?pass@host/",
        "mongodb://user:s3cret@host:port/",
        "mongodb://user:s3cret@host/?maxPoolSize=s3cret",
        "http://user:s3cret@host/",
        "s3cret",
    ] {
        let settings = MongoSettings { url: url.into(), ..settings().await };
        let error = MongoStore::connect(settings.clone()).await.unwrap_err();
        let text = format!("{error} {error:?} {settings:?}");
        assert!(text.contains("store.url") && !text.contains("s3cret"), "{url}: {text}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_repeated() {
    let user = [("MONGO_INITDB_ROOT_USERNAME", "root"), ("MONGO_INITDB_ROOT_PASSWORD", "right")];
    let server = TestServer::start("EVERGRANT_TEST_MONGODB_IMAGE", 27017, &user).await;
    let with =
        |login: &str| format!("mongodb://{login}{}/?directConnection=true", server.address());
    let ping = |url: String| async move {
        let Ok(client) = Client::with_uri_str(&url).await else { return false };
        client.database("admin").run_command(doc! { "ping": 1 }).await.is_ok()
    };
    server.wait_until(|| ping(with("root:right@"))).await;
    let (_store, _documents) =
        open(MongoSettings { url: with("root:right@").into(), ..settings().await }).await;
    for login in ["root:s3cret@", "nobody:s3cret@", ""] {
        let settings = MongoSettings { url: with(login).into(), ..settings().await };
        let store = MongoStore::connect(settings).await.unwrap();
        let error = store.prepare().await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(matches!(error, StoreError::Refused { .. }), "{login} {text}");
        assert!(text.contains("store.url") && !text.contains("s3cret"), "{text}");
    }
}

#[tokio::test]
async fn an_unavailable_server_is_reported_without_its_password() {
    let settings = MongoSettings {
        selection_timeout: Duration::from_millis(200),
        ..super::store::settings("mongodb://user:s3cret@127.0.0.1:1/".to_owned())
    };
    let store = MongoStore::connect(settings).await.unwrap();
    let query = DueQuery { provider: "p".parse().unwrap(), which: DueSelection::Due, from: None };
    let streamed = store.due(query).next().await.unwrap().unwrap_err();
    for error in [store.prepare().await.unwrap_err(), store.now().await.unwrap_err(), streamed] {
        let text = format!("{error} {error:?}");
        assert!(text.contains("not available") && !text.contains("s3cret"), "{text}");
    }
}
