//! `evergrant tokens forget --revoke`: grants are revoked at their provider before they are forgotten.

use std::process::Output;
use std::time::Duration;

use evergrant_domain::audit::{AuditFilter, OperatorAction};
use evergrant_domain::{DocumentId, GrantStatus};
use evergrant_ports::GrantChange;
use evergrant_simulator::{SeedPlan, SimulatorConfig, SimulatorSettings, TokenState};
use evergrant_testkit::embedded::EmbeddedDeployment;
use futures::TryStreamExt;

/// Grants of a provider that revokes tokens.
struct Scene {
    evergrant: EmbeddedDeployment,
    ids: Vec<DocumentId>,
    tokens: Vec<String>,
}

impl Scene {
    async fn new(count: u32, settings: SimulatorSettings) -> Self {
        let config = SimulatorConfig { settings, ..SimulatorConfig::default() };
        let evergrant = EmbeddedDeployment::new(config).await;
        evergrant.import(SeedPlan { count, ..SeedPlan::default() }).await;
        evergrant.store.adopt().await.expect("adopt");
        let documents: Vec<_> = evergrant.store.export().try_collect().await.expect("read");
        let token = |document: &serde_json::Value| {
            document["refresh_token"].as_str().expect("a token").to_owned()
        };
        let id = |document: &serde_json::Value| {
            DocumentId::try_from(document["_id"].clone()).expect("an id")
        };
        let ids = documents.iter().map(id).collect();
        let tokens = documents.iter().map(token).collect();
        Self { evergrant, ids, tokens }
    }

    /// The same, with the address where tokens are revoked.
    async fn with_address(count: u32, settings: SimulatorSettings) -> Self {
        let mut scene = Self::new(count, settings).await;
        let mut variables = scene.evergrant.variables.iter();
        let token_url = variables.find(|(name, _)| name.ends_with("TOKEN_URL")).expect("a URL");
        let url = token_url.1.replace("/token", "/revoke");
        scene.evergrant.set("PROVIDERS__SIMULATOR__REVOCATION_URL", &url);
        scene
    }

    async fn forget(&self) -> Output {
        let ids: Vec<String> = self.ids.iter().map(ToString::to_string).collect();
        let args =
            ["tokens", "forget", "--revoke"].into_iter().chain(ids.iter().map(String::as_str));
        let output = self.evergrant.evergrant(&args.collect::<Vec<_>>()).await;
        for token in &self.tokens {
            assert!(!said(&output).contains(token), "a token is told");
        }
        output
    }

    fn are_live(&self) -> Vec<bool> {
        let state = |token: &String| self.evergrant.simulator.token_state(token);
        self.tokens.iter().map(|token| state(token) == TokenState::Live).collect()
    }

    async fn statuses(&self) -> Vec<Option<GrantStatus>> {
        self.evergrant.store.statuses(&self.ids).await.expect("statuses")
    }
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_is_forgotten_and_what_is_under_way_is_left() {
    let scene = Scene::with_address(4, SimulatorSettings::default()).await;
    let store = &scene.evergrant.store;
    store.change_grant(&scene.ids[3], GrantChange::Pause).await.expect("pause");
    let lease = Duration::from_secs(600);
    store.claim(&scene.ids[2..3], "a worker", lease).await.expect("a claim");

    let output = scene.forget().await;
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert_eq!(said(&output).matches("revoked and forgotten").count(), 2, "{}", said(&output));
    assert!(said(&output).contains("a refresh of it is under way"), "{}", said(&output));
    assert!(said(&output).contains("it was never refreshed"), "{}", said(&output));
    assert_eq!(scene.are_live(), [false, false, true, true]);
    let left = [Some(GrantStatus::Active), Some(GrantStatus::Paused)];
    assert_eq!(scene.statuses().await, [None, None, left[0], left[1]]);

    let all = AuditFilter { limit: 50, ..AuditFilter::default() };
    let audit = store.audit(&all).await.expect("the record");
    let revoked = |id: &DocumentId| {
        let entry = audit.iter().find(|entry| entry.document.as_ref() == Some(id));
        let entry = entry.expect("an entry");
        assert_eq!(entry.action, OperatorAction::TokenForget);
        assert_eq!(entry.request, serde_json::json!({ "revoke": true }));
        entry.progress.done == 1
    };
    assert_eq!(scene.ids.iter().map(revoked).collect::<Vec<_>>(), [true, true, false, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_address_nothing_is_done() {
    let scene = Scene::new(1, SimulatorSettings::default()).await;
    let output = scene.forget().await;
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("providers.simulator.revocation_url"), "{}", said(&output));
    assert_eq!(scene.statuses().await, [Some(GrantStatus::Active)]);
    assert_eq!(scene.are_live(), [true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_does_not_revoke_stays_as_it_was() {
    let mut scene = Scene::with_address(1, SimulatorSettings::default()).await;
    scene.evergrant.set("PROVIDERS__SIMULATOR__CLIENT_SECRET", "another");
    let output = scene.forget().await;
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("401 invalid_client"), "{}", said(&output));
    assert_eq!(scene.statuses().await, [Some(GrantStatus::Active)]);
    assert_eq!(scene.are_live(), [true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations_keep_to_the_limits_of_the_provider() {
    let limits = vec!["5/s".parse().expect("a limit")];
    let settings = SimulatorSettings { limits, ..SimulatorSettings::default() };
    let mut scene = Scene::with_address(12, settings).await;
    scene.evergrant.set("PROVIDERS__SIMULATOR__LIMITS", r#"["5/s"]"#);
    let output = scene.forget().await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(scene.are_live().iter().all(|is_live| !is_live));
}
