//! Each kind of refresh that the 344 OAuth 2.0 providers of the largest public catalogue have, with how many have it:
//! written as a section of the settings, by which a request is made and an answer is read.
//!
//! A provider is counted at the first kind that completes what its refresh needs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use evergrant_domain::classify::{ExchangeResult, HttpAnswer, classify};
use evergrant_domain::{ExchangeSecrets, Outcome};
use secrecy::ExposeSecret;

use super::requests::{Case, SeenRequest};

/// The OAuth 2.0 providers of the catalogue.
const COUNTED: usize = 344;
/// How many must be within reach, in percent.
const WANTED_PERCENT: usize = 95;

/// A kind of refresh.
struct RefreshKind {
    count: usize,
    name: &'static str,
    /// Lines of the section. `PORT` and `KEY` stand for the endpoint's port and the client's key file.
    section: &'static str,
    /// Fields of the document.
    fields: &'static [(&'static str, &'static str)],
    /// Method and address, headers, and the body, with `|` between them. `*` at the end is anything.
    request: &'static str,
    /// Status and body of an answer, and what they mean: the two tokens that are taken, or the name of the outcome.
    answer: (u16, &'static str),
    means: &'static str,
}

const PLAIN: &str = r#"{"access_token":"A2","refresh_token":"R2","expires_in":3600}"#;

const KINDS: &[RefreshKind] = &[
    RefreshKind {
        count: 192,
        name: "plain form, secret in the body, one address",
        section: "client_auth = 'body'\n",
        fields: &[],
        request: "POST /token||grant_type=refresh_token&refresh_token=R1&client_id=my+client&client_secret=s",
        answer: (200, PLAIN),
        means: "A2 R2",
    },
    RefreshKind {
        count: 42,
        name: "client by Basic",
        section: "client_auth = 'basic'\n",
        fields: &[],
        request: "POST /token|my+client:s|grant_type=refresh_token&refresh_token=R1",
        answer: (200, PLAIN),
        means: "A2 R2",
    },
    RefreshKind {
        count: 59,
        name: "address from the document, in the host and in the path",
        section: "client_auth = 'body'\ntoken_url = 'http://{host}/{tenant}/token'\n\
                  token_hosts = ['127.0.0.1:*']\n[providers.p.fields]\ntenant = 'account.tenant'\n",
        fields: &[("host", "127.0.0.1:PORT"), ("account.tenant", "t1")],
        request: "POST /t1/token||grant_type=refresh_token&refresh_token=R1&client_id=my+client&client_secret=s",
        answer: (200, PLAIN),
        means: "A2 R2",
    },
    RefreshKind {
        count: 12,
        name: "body of JSON",
        section: "client_auth = 'basic'\n[providers.p.request]\nbody = 'json'\n",
        fields: &[],
        request: r#"POST /token|my+client:s|{"grant_type":"refresh_token","refresh_token":"R1"}"#,
        answer: (200, PLAIN),
        means: "A2 R2",
    },
    RefreshKind {
        count: 7,
        name: "further parameters, fixed and of the document",
        section: "client_auth = 'none'\nscope = 'a b'\n[providers.p.request.parameters]\n\
                  request = 'refresh'\nresource = '{instance}'\nexpires_in = 3600\n",
        fields: &[("instance", "i1")],
        request: "POST /token||grant_type=refresh_token&refresh_token=R1&scope=a+b&client_id=my+client\
                  &expires_in=3600&request=refresh&resource=i1",
        answer: (200, PLAIN),
        means: "A2 R2",
    },
    RefreshKind {
        count: 3,
        name: "another address for refreshes",
        section: "client_auth = 'body'\ntoken_url = 'http://127.0.0.1:PORT/token/refresh'\n",
        fields: &[],
        request: "POST /token/refresh||grant_type=refresh_token&refresh_token=R1&client_id=my+client&client_secret=s",
        answer: (200, PLAIN),
        means: "A2 R2",
    },
    RefreshKind {
        count: 2,
        name: "a lifetime that no answer tells",
        section: "client_auth = 'body'\naccess_lifetime = '2h'\n",
        fields: &[],
        request: "POST /token||grant_type=refresh_token&refresh_token=R1&client_id=my+client&client_secret=s",
        answer: (200, r#"{"access_token":"A2","refresh_token":"R2"}"#),
        means: "A2 R2",
    },
    RefreshKind {
        count: 2,
        name: "public client",
        section: "client_auth = 'none'\n",
        fields: &[],
        request: "POST /token||grant_type=refresh_token&refresh_token=R1&client_id=my+client",
        answer: (200, PLAIN),
        means: "A2 R2",
    },
    RefreshKind {
        count: 1,
        name: "nothing of the client",
        section: "client_auth = 'none'\n[providers.p.request]\nomit = ['client_id']\n",
        fields: &[],
        request: "POST /token||grant_type=refresh_token&refresh_token=R1",
        answer: (200, PLAIN),
        means: "A2 R2",
    },
    RefreshKind {
        count: 2,
        name: "other names and places in the answer",
        section: "client_auth = 'body'\n[providers.p.answer]\naccess_token = 'data.token'\n\
                  refresh_token = 'data.refreshToken'\n\
                  access_lifetime = { path = 'data.expiresAt', as = 'at_text' }\n",
        fields: &[],
        request: "POST /token||grant_type=refresh_token&refresh_token=R1&client_id=my+client&client_secret=s",
        answer: (
            201,
            r#"{"data":{"token":"A2","refreshToken":"R2","expiresAt":"2126-01-01T00:00:00Z"}}"#,
        ),
        means: "A2 R2",
    },
    RefreshKind {
        count: 3,
        name: "no grant_type",
        section: "client_auth = 'body'\n[providers.p.request]\nomit = ['grant_type']\n",
        fields: &[],
        request: "POST /token||refresh_token=R1&client_id=my+client&client_secret=s",
        answer: (200, PLAIN),
        means: "A2 R2",
    },
    RefreshKind {
        count: 2,
        name: "the secret alone as the user of Basic",
        section: "client_auth = 'basic_secret_only'\n",
        fields: &[],
        request: "POST /token|s:|grant_type=refresh_token&refresh_token=R1",
        answer: (200, PLAIN),
        means: "A2 R2",
    },
    RefreshKind {
        count: 3,
        name: "the access token itself by GET",
        section: "client_auth = 'body'\n[providers.p.request]\nmethod = 'GET'\n\
                  [providers.p.request.names]\nrefresh_token = 'fb_exchange_token'\n\
                  [providers.p.request.parameters]\ngrant_type = 'fb_exchange_token'\n\
                  [providers.p.answer]\nrefresh_token = 'access_token'\n",
        fields: &[],
        request: "GET /token?grant_type=fb_exchange_token&fb_exchange_token=R1&client_id=my+client&client_secret=s||",
        answer: (200, r#"{"access_token":"A2","expires_in":5183944}"#),
        means: "A2 A2",
    },
    RefreshKind {
        count: 2,
        name: "fixed headers",
        section: "client_auth = 'basic'\n[providers.p.request.headers]\nx-partner = 'p1'\n",
        fields: &[],
        request: "POST /token|my+client:s x-partner: p1|grant_type=refresh_token&refresh_token=R1",
        answer: (200, PLAIN),
        means: "A2 R2",
    },
    RefreshKind {
        count: 2,
        name: "success that the body alone tells",
        section: "client_auth = 'body'\n[providers.p.answer]\nsuccess = { path = 'result', is = '0000' }\n\
                  [[providers.p.meaning]]\npath = 'result'\ncode = '5003'\nmeans = 'dead'\n",
        fields: &[],
        request: "POST /token||grant_type=refresh_token&refresh_token=R1&client_id=my+client&client_secret=s",
        answer: (200, r#"{"result":"5003","message":"no"}"#),
        means: "grant_dead",
    },
    RefreshKind {
        count: 1,
        name: "200 with ok: false",
        section: "client_auth = 'basic'\n[providers.p.answer]\nsuccess = { path = 'ok', is = true }\n",
        fields: &[],
        request: "POST /token|my+client:s|grant_type=refresh_token&refresh_token=R1",
        answer: (200, r#"{"ok":false,"error":"invalid_refresh_token"}"#),
        means: "grant_dead",
    },
    RefreshKind {
        count: 1,
        name: "renamed parameters",
        section: "client_auth = 'body'\n[providers.p.request.names]\nclient_id = 'client_key'\n",
        fields: &[],
        request: "POST /token||grant_type=refresh_token&refresh_token=R1&client_key=my+client&client_secret=s",
        answer: (200, PLAIN),
        means: "A2 R2",
    },
    RefreshKind {
        count: 1,
        name: "an assertion that the client's key signs",
        section: "client_auth = 'private_key_jwt'\nclient_key_file = 'KEY'\n[providers.p.request]\n\
                  assertion_audience = 'https://a.example'\nassertion_issuer = 'app.example'\n",
        fields: &[],
        request: "POST /token||grant_type=refresh_token&refresh_token=R1&client_id=my+client\
                  &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
                  &client_assertion=ey*",
        answer: (200, PLAIN),
        means: "A2 R2",
    },
    // In the catalogue no provider needs what follows, but the specifications since 2025 have it.
    RefreshKind {
        count: 0,
        name: "lifetimes of draft-ietf-oauth-refresh-token-expiration",
        section: "client_auth = 'none'\n",
        fields: &[],
        request: "POST /token||grant_type=refresh_token&refresh_token=R1&client_id=my+client",
        answer: (
            200,
            r#"{"access_token":"A2","refresh_token":"R2","refresh_token_timeout":60,"authorization_expires_in":90}"#,
        ),
        means: "A2 R2",
    },
];

/// What no section expresses: its count, and why.
const BEYOND: &[(usize, &str)] = &[
    (2, "a query language in place of a token request (braintree twice)"),
    (2, "more than one request for a refresh (agiloft, bullhorn)"),
    (1, "each request signed with the secret (shopline-oauth)"),
    (2, "nothing that is refreshed by a token (microsoft-admin, tiktok-ads)"),
    (0, "a key for each grant (DPoP)"),
    (0, "a client for each document that registers itself (MCP)"),
];

/// A request as the kinds write it.
fn written(seen: &SeenRequest) -> String {
    let pair = seen.header("authorization").strip_prefix("Basic ").unwrap_or_default();
    let pair = String::from_utf8(STANDARD.decode(pair).unwrap()).unwrap();
    let partner = seen.header("x-partner");
    let partner = if partner.is_empty() { "" } else { &format!(" x-partner: {partner}") };
    format!("{} {}|{pair}{partner}|{}", seen.method, seen.uri, seen.body)
}

fn fits(written: &str, wanted: &str) -> bool {
    wanted.strip_suffix('*').map_or(written == wanted, |start| written.starts_with(start))
}

fn meaning(case: &Case, (status, body): (u16, &str)) -> String {
    let answer = HttpAnswer { status, retry_after_ms: None, body: body.into() };
    let exchange = ExchangeResult::Answered(answer);
    match classify(exchange, &case.provider.dialect, ExchangeSecrets::default()) {
        Outcome::Refreshed(tokens) => {
            let refresh = tokens.refresh_token.as_ref().map_or("-", |token| token.expose_secret());
            format!("{} {refresh}", tokens.access_token.expose_secret())
        }
        other => other.name().to_owned(),
    }
}

#[tokio::test]
async fn each_counted_kind_of_refresh_is_a_section() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    std::fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    for kind in KINDS {
        let section = kind.section.replace("KEY", &key.display().to_string());
        let case = Case::new(&format!("client_secret = 's'\n{section}")).await;
        let host = format!("127.0.0.1:{}", case.port);
        let fields: Vec<(&str, &str)> = kind
            .fields
            .iter()
            .map(|(name, value)| (*name, if value.ends_with("PORT") { &host } else { *value }))
            .collect();
        let seen = written(&case.seen(&fields).await);
        assert!(fits(&seen, kind.request), "{}: {seen}", kind.name);
        assert_eq!(meaning(&case, kind.answer), kind.means, "{}", kind.name);
    }
}

#[test]
fn the_kinds_are_95_percent_of_what_was_counted() {
    let within: usize = KINDS.iter().map(|kind| kind.count).sum();
    let beyond: usize = BEYOND.iter().map(|(count, _)| count).sum();
    assert_eq!(within + beyond, COUNTED);
    assert!(within * 100 >= COUNTED * WANTED_PERCENT, "{within} of {COUNTED}");
}
