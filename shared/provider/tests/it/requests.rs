//! Requests in each form, as a server on this machine gets them.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use secrecy::SecretString;
use serde_json::{Value, json};

use evergrant_domain::{DocumentFields, ExchangeResult, NO_TEXT};
use evergrant_provider::{Provider, ProviderClient, TokenEndpoint};
use evergrant_runtime::config::Config;

/// What came.
#[derive(Debug, Clone)]
pub(super) struct SeenRequest {
    pub(super) method: Method,
    pub(super) uri: Uri,
    headers: HeaderMap,
    pub(super) body: String,
}

impl SeenRequest {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

type Log = Arc<Mutex<Vec<SeenRequest>>>;

async fn note(
    State(log): State<Log>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> &'static str {
    let body = String::from_utf8(body.to_vec()).unwrap();
    log.lock().unwrap().push(SeenRequest { method, uri, headers, body });
    r#"{"access_token":"a"}"#
}

/// A provider of a section with these lines, whose endpoint is on this machine: `PORT` stands for its port.
pub(super) struct Case {
    log: Log,
    pub(super) port: u16,
    pub(super) provider: Arc<Provider>,
}

impl Case {
    pub(super) async fn new(section: &str) -> Self {
        let log = Log::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new().fallback(note).with_state(Arc::clone(&log));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("evergrant.toml");
        let has_url = section.contains("token_url");
        let url = if has_url { "" } else { "token_url = \"http://127.0.0.1:PORT/token\"\n" };
        let text = format!("[providers.p]\nclient_id = \"my client\"\n{url}{section}");
        std::fs::write(&file, text.replace("PORT", &port.to_string())).unwrap();
        let config =
            Config::from_parts(Some(&file), [], &[]).unwrap_or_else(|error| panic!("{error}"));
        let provider = Arc::new(config.providers().unwrap().remove(0));
        Self { log, port, provider }
    }

    async fn exchange(&self, fields: &[(&str, &str)]) -> ExchangeResult {
        let fields: DocumentFields =
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let client = ProviderClient::new(Arc::clone(&self.provider)).unwrap();
        client.exchange(&SecretString::from("R1"), &fields).await
    }

    /// What came for a document with these fields.
    pub(super) async fn seen(&self, fields: &[(&str, &str)]) -> SeenRequest {
        let exchange = self.exchange(fields).await;
        assert!(matches!(exchange, ExchangeResult::Answered(_)), "{exchange:?}");
        self.log.lock().unwrap().pop().expect("a request")
    }
}

const SECRET: &str = "client_secret = \"p%w$+/=\"\n";

#[tokio::test]
async fn the_client_authenticates_in_one_way_as_the_settings_say() {
    use base64::Engine;
    let basic =
        |pair: &str| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
    let form = "grant_type=refresh_token&refresh_token=R1";
    for (auth, header, more) in [
        ("basic", basic("my+client:p%25w%24%2B%2F%3D"), ""),
        ("basic_raw", basic("my client:p%w$+/="), ""),
        ("basic_secret_only", basic("p%w$+/=:"), ""),
        ("body", String::new(), "&client_id=my+client&client_secret=p%25w%24%2B%2F%3D"),
        ("none", String::new(), "&client_id=my+client"),
    ] {
        let case = Case::new(&format!("{SECRET}client_auth = \"{auth}\"\n")).await;
        let seen = case.seen(&[]).await;
        assert_eq!(seen.header("authorization"), header, "{auth}");
        assert_eq!(seen.body, format!("{form}{more}"), "{auth}");
        assert_eq!(seen.header("accept"), "application/json");
        assert!(seen.header("user-agent").starts_with("evergrant/"));
    }
}

#[tokio::test]
async fn parameters_are_renamed_added_replaced_and_left_out() {
    let section = format!(
        "{SECRET}client_auth = \"body\"\n[providers.p.request]\nomit = [\"grant_type\"]\n\
         user_agent = \"acme/1\"\n[providers.p.request.names]\nclient_id = \"client_key\"\n\
         [providers.p.request.parameters]\naction = \"requesttoken\"\nclient_secret = \"other\"\n\
         expires_in = 3600\nresource = \"{{instance}}\"\n\
         [providers.p.request.headers]\nx-api-key = \"k\"\nX-Token = \"Bearer {{refresh_token}}\"\n"
    );
    let case = Case::new(&section).await;
    let seen = case.seen(&[("instance", "a b")]).await;
    let body = "refresh_token=R1&client_key=my+client&client_secret=other&action=requesttoken\
                &expires_in=3600&resource=a+b";
    assert_eq!(seen.body, body);
    assert_eq!((seen.header("x-api-key"), seen.header("x-token")), ("k", "Bearer R1"));
    assert_eq!(seen.header("user-agent"), "acme/1");
    let ExchangeResult::NotSent(why) = case.exchange(&[]).await else { panic!("sent") };
    assert!(why.contains("instance") && why.contains("nothing was sent"), "{why}");
}

#[tokio::test]
async fn a_body_may_be_json_and_a_request_a_get() {
    let section = format!("{SECRET}[providers.p.request]\nbody = \"json\"\n");
    let seen = Case::new(&section).await.seen(&[]).await;
    assert_eq!(seen.header("content-type"), "application/json");
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    assert_eq!(body, json!({"grant_type": "refresh_token", "refresh_token": "R1"}));

    let section = format!(
        "{SECRET}client_auth = \"body\"\n[providers.p.request]\nmethod = \"GET\"\n\
         omit = [\"client_id\", \"client_secret\"]\n\
         [providers.p.request.names]\nrefresh_token = \"access_token\"\n\
         [providers.p.request.parameters]\ngrant_type = \"ig_refresh_token\"\n"
    );
    let seen = Case::new(&section).await.seen(&[]).await;
    assert_eq!((seen.method, seen.body.as_str()), (Method::GET, ""));
    let query = "grant_type=ig_refresh_token&access_token=R1";
    assert_eq!(seen.uri.query(), Some(query));
}

#[tokio::test]
async fn a_documents_fields_lead_to_its_endpoint_and_nowhere_else() {
    let section = format!(
        "{SECRET}token_url = \"http://{{host}}/{{tenant}}/token\"\ntoken_hosts = [\"127.0.0.1:*\"]\n\
         [providers.p.fields]\nhost = \"data.server\"\n[providers.p.field_defaults]\ntenant = \"common\"\n"
    );
    let case = Case::new(&section).await;
    let wanted: Vec<String> = case.provider.document_paths().into_iter().collect();
    assert_eq!(wanted, ["data.server", "tenant"]);
    let host = format!("127.0.0.1:{}", case.port);
    assert_eq!(case.seen(&[("data.server", &host)]).await.uri.path(), "/common/token");
    let other = [("data.server", host.as_str()), ("tenant", "a/../b")];
    assert_eq!(case.seen(&other).await.uri.path(), "/a%2F..%2Fb/token");
    for fields in [&[("data.server", "evil.example")][..], &[]] {
        let ExchangeResult::NotSent(why) = case.exchange(fields).await else { panic!("sent") };
        assert!(why.contains("nothing was sent"), "{why}");
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        assert!(case.provider.check_document(&fields.collect()).is_err());
    }
    assert!(case.log.lock().unwrap().is_empty());
}

/// The `Authorization` of a request for a document with these fields.
async fn authorization(case: &Case, fields: &[(&str, &str)]) -> String {
    case.seen(fields).await.headers["authorization"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_document_names_its_tenants_client_and_one_that_is_unknown_sends_nothing() {
    let clients = "[providers.p.clients.a]\nclient_id = \"ia\"\nclient_secret = \"sa\"\n\
                   [providers.p.clients.b]\nclient_id = \"ib\"\nclient_secret = \"sb\"\n";
    let own = "Basic bXkrY2xpZW50OnA=";
    for (setting, a, b) in [("client_field", "a", "b"), ("client_id_field", "ia", "ib")] {
        let section = format!("client_secret = \"p\"\n{setting} = \"t.name\"\n{clients}");
        let case = Case::new(&section).await;
        assert_eq!(case.provider.document_paths().into_iter().collect::<Vec<_>>(), ["t.name"]);
        assert_eq!(authorization(&case, &[("t.name", a)]).await, "Basic aWE6c2E=");
        assert_eq!(authorization(&case, &[("t.name", b)]).await, "Basic aWI6c2I=");
        assert_eq!(authorization(&case, &[]).await, own);
        let unreadable = [("t.name", NO_TEXT)];
        let sent = case.exchange(&unreadable).await;
        assert!(matches!(sent, ExchangeResult::NotSent(_)), "not by the section's own client");
        let unknown = [("t.name", "nobody")];
        let ExchangeResult::NotSent(why) = case.exchange(&unknown).await else { panic!("sent") };
        assert!(why.contains("t.name") && why.contains("providers.p.clients"), "{why}");
        let unknown = DocumentFields::from([("t.name".to_owned(), "nobody".to_owned())]);
        assert_eq!(case.provider.check_document(&unknown), Err(why));
        assert_eq!(case.provider.tenant_of(&unknown), Some("nobody"));
        assert_eq!(case.provider.tenant_of(&DocumentFields::new()), Some("my client"));
    }
}

#[tokio::test]
async fn a_key_signs_an_assertion_for_each_request() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    std::fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let section =
        format!("client_auth = \"private_key_jwt\"\nclient_key_file = \"{}\"\n", key.display());
    let case = Case::new(&section).await;
    let (first, second) = (case.seen(&[]).await, case.seen(&[]).await);
    assert!(first.body.contains("client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=ey"), "{}", first.body);
    assert!(first.body.contains("client_id=my+client"));
    assert_ne!(first.body, second.body);
}

#[tokio::test]
async fn a_section_overrides_any_part_of_its_preset_and_its_rules_come_first() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("acme.toml");
    let own = "title = \"Acme\"\nlimits = [\"5/s\"]\nthrottle_codes = [\"calm\"]\n\
               [request]\nbody = \"json\"\nuser_agent = \"a/1\"\n[[meaning]]\ncode = \"x\"\nmeans = \"dead\"\n";
    std::fs::write(&file, own).unwrap();
    let section = format!(
        "{SECRET}preset_file = \"{}\"\nthrottle_codes = [\"slow\"]\n[providers.p.request]\n\
         user_agent = \"b/2\"\n[[providers.p.meaning]]\ncode = \"x\"\nmeans = \"not_dead\"\n",
        file.display()
    );
    let case = Case::new(&section).await;
    let seen = case.seen(&[]).await;
    assert_eq!(
        (seen.header("user-agent"), seen.header("content-type")),
        ("b/2", "application/json")
    );
    assert_eq!(case.provider.dialect.throttle_codes, ["slow"]);
    let means: Vec<_> = case.provider.dialect.rules.iter().map(|rule| rule.means).collect();
    use evergrant_domain::classify::DialectMeaning;
    assert_eq!(means, [DialectMeaning::NotDead, DialectMeaning::Dead]);
}

#[test]
fn what_is_wrong_in_a_section_is_named_with_what_would_be_right() {
    for (section, told) in [
        (
            "preset = \"nobody\"",
            "providers.p.preset is wrong: there is no preset of this name; there are",
        ),
        ("token_url = \"https://{shop}/t\"", "providers.p.token_hosts"),
        ("token_hosts = [\"*\"]", "providers.p.token_hosts"),
        ("client_auth = \"private_key_jwt\"\nclient_key_file = \"/nowhere\"", "client_key_file"),
        ("[providers.p.request]\nbodi = \"json\"", "there is no setting providers.p.request.bodi"),
        ("[providers.p.request]\nbody = \"xml\"", "providers.p.request.body"),
        ("[providers.p.request]\nomit = [\"token\"]", "providers.p.request.omit"),
        ("[providers.p.answer]\naccess_token = \"a..b\"", "providers.p.answer.access_token"),
        ("[providers.p.answer]\naccess_lifetime = { as = \"seconds\" }", "either path or header"),
        ("[[providers.p.meaning]]\nmeans = \"dead\"", "at least one of status, code and text"),
        ("[[providers.p.meaning]]\ncode = \"x\"\nmeans = \"gone\"", "expected one of dead"),
        ("[providers.p.clients.a]\nclient_id = \"a\"", "client_field or client_id_field says"),
        ("client_field = \"a\"\nclient_id_field = \"b\"", "drop one"),
        (
            "client_id_field = \"a\"\n[providers.p.clients.a]\nclient_id = \"c\"",
            "another client has the same id",
        ),
        ("[[providers.p.meaning]]\nstatus = \"6xx\"\nmeans = \"dead\"", "a status is a number"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("evergrant.toml");
        let url = if section.contains("token_url") {
            ""
        } else {
            "token_url = \"https://a.example/t\"\n"
        };
        let text =
            format!("[providers.p]\nclient_id = \"c\"\nclient_secret = \"s\"\n{url}{section}\n");
        std::fs::write(&file, text).unwrap();
        let refused = Config::from_parts(Some(&file), [], &[]).unwrap_err().to_string();
        assert!(refused.contains(told), "{section}: {refused}");
    }
}

#[test]
fn a_bad_preset_file_is_named_with_its_line() {
    for (text, told) in [
        (
            "title = \"A\"\n[request]\nbodi = \"json\"",
            "there is no setting request.bodi of FILE, line 3; here",
        ),
        ("title = \"A\"\n\nlimitz = [\"1/s\"]", "there is no setting limitz of FILE, line 3; here"),
        ("[request]\nbody = \"xml\"", "request.body of FILE, line 2 is wrong"),
        (
            "token_url = \"https://a.org/t\"\ntoken_hosts = [\"*.example.com\"]",
            "token_url of FILE, line 1 is wrong: it leads to a.org, which is none of token_hosts (*.example.com)",
        ),
        (
            "token_url = \"https://{shop}/t\"",
            "token_hosts of FILE is wrong: it is missing: name the hosts",
        ),
        (
            "[answer]\naccess_token = \"a..b\"",
            "answer.access_token of FILE, line 2 is wrong: a path is names with dots",
        ),
        (
            "[[meaning]]\ncode = \"x\"\nmeans = \"dead\"\n[[meaning]]\ncode = \"y\"\nmeans = \"gone\"",
            "meaning.1.means of FILE, line 6 is wrong",
        ),
        ("[[vector]]\nname = \"n\"", "vector"),
        ("title = \"A\nx", "line 1"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (preset, file) =
            (folder.path().join("acme.toml"), folder.path().join("evergrant.toml"));
        std::fs::write(&preset, text).unwrap();
        let settings = format!(
            "[providers.p]\nclient_id = \"c\"\nclient_secret = \"s\"\npreset_file = \"{}\"\n",
            preset.display()
        );
        std::fs::write(&file, settings).unwrap();
        let refused = Config::from_parts(Some(&file), [], &[]).unwrap_err().to_string();
        let refused = refused.replace(&preset.display().to_string(), "FILE");
        assert!(refused.contains(told), "{text}: {refused}");
    }
}

#[test]
fn what_a_preset_requires_is_asked_for() {
    let given = |more: &[(&str, &str)]| {
        let own = [("PRESET", "revolut"), ("CLIENT_ID", "c")];
        let all = own.iter().chain(more).map(|(name, value)| {
            (format!("EVERGRANT_PROVIDERS__P__{name}").into(), (*value).to_owned().into())
        });
        Config::from_parts(None, all.collect::<Vec<_>>(), &[])
    };
    let refused = given(&[]).unwrap_err().to_string();
    assert!(refused.contains("providers.p.request.assertion_issuer is missing"), "{refused}");
    assert!(refused.contains("the domain of your redirect URI"), "{refused}");
    assert!(given(&[("REQUEST__ASSERTION_ISSUER", "app.example")]).is_ok());
}
