//! The wire: HTTP/2 beside HTTP/1.1, authorities, proxies, and which requests were certainly not taken.

mod proxy;
mod server;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use secrecy::SecretString;
use tokio::net::TcpListener;

use evergrant_domain::{DocumentFields, ExchangeResult};
use evergrant_provider::{ProviderClient, TokenEndpoint};
use evergrant_runtime::config::{Config, ConfigError};

use proxy::TestProxy;
use server::{CANCEL, Http2Act, INTERNAL_ERROR, NO_ERROR, REFUSED_STREAM, TestServer};

const BOTH: [&str; 2] = ["h2", "http/1.1"];
const LOCAL: &str = "127.0.0.1:0";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The settings of a provider at `url`, with these lines of `[http]`.
    fn config(&self, url: &str, http: &str) -> Result<Config, ConfigError> {
        let text = format!(
            "[providers.p]\nclient_id = \"c\"\nclient_secret = \"s\"\ntoken_url = \"{url}\"\n[http]\n{http}"
        );
        Config::from_parts(Some(&self.file("evergrant.toml", &text)), [], &[])
    }

    fn client(&self, url: &str, http: &str) -> ProviderClient {
        let config = self.config(url, http).unwrap_or_else(|error| panic!("{error}"));
        ProviderClient::new(Arc::new(config.providers().unwrap().remove(0))).unwrap()
    }
}

/// The client of a provider at this server, whose authority it trusts.
fn client_of(server: &TestServer, http: &str) -> ProviderClient {
    let folder = Folder::new();
    let authority = folder.file("ca.pem", &server.authority);
    let http = format!("ca_file = \"{}\"\nproxy = \"none\"\n{http}", authority.display());
    folder.client(&format!("https://{}/token", server.address), &http)
}

async fn exchange(client: &ProviderClient) -> ExchangeResult {
    client.exchange(&SecretString::from("R1"), &DocumentFields::new()).await
}

fn is_answered(exchange: &ExchangeResult) -> bool {
    matches!(exchange, ExchangeResult::Answered(answer) if answer.status == 200)
}

#[tokio::test]
async fn a_stream_that_was_refused_or_lies_beyond_a_goaway_was_not_sent() {
    let server = TestServer::start(LOCAL, &BOTH).await;
    for (seen, act) in [
        Http2Act::Reset(REFUSED_STREAM),
        Http2Act::Goaway(0, NO_ERROR),
        Http2Act::Goaway(0, INTERNAL_ERROR),
    ]
    .into_iter()
    .enumerate()
    {
        let client = client_of(&server, "");
        server.state.acts.lock().unwrap().push(act);
        let ended = exchange(&client).await;
        assert!(matches!(ended, ExchangeResult::NotSent(_)), "{act:?}: {ended:?}");
        assert_eq!(server.requests(), 2 * seen + 1, "sent again after {act:?}");
        assert!(is_answered(&exchange(&client).await), "{act:?}");
    }
}

#[tokio::test]
async fn an_answer_that_was_lost_over_http2_may_have_spent_the_token() {
    let server = TestServer::start(LOCAL, &BOTH).await;
    for (seen, act) in [
        Http2Act::Reset(CANCEL),
        Http2Act::Reset(INTERNAL_ERROR),
        // The last stream that the server has taken is ours.
        Http2Act::Goaway(1, NO_ERROR),
        Http2Act::Goaway(1, INTERNAL_ERROR),
        Http2Act::CloseInAnswer,
        Http2Act::ResetInAnswer(REFUSED_STREAM),
    ]
    .into_iter()
    .enumerate()
    {
        server.state.acts.lock().unwrap().push(act);
        let ended = exchange(&client_of(&server, "")).await;
        assert!(matches!(ended, ExchangeResult::NoAnswer(_)), "{act:?}: {ended:?}");
        assert_eq!(server.requests(), seen + 1, "sent again after {act:?}");
    }
}

#[tokio::test]
async fn http2_is_spoken_over_one_connection_where_both_sides_want_it() {
    for (protocols, setting, is_shared) in
        [(&BOTH[..], "", true), (&BOTH, "http2 = false", false), (&BOTH[1..], "", false)]
    {
        let server = TestServer::start(LOCAL, protocols).await;
        let client = client_of(&server, setting);
        assert!(is_answered(&exchange(&client).await));
        let exchanges = join_all((0..20).map(|_| exchange(&client))).await;
        assert!(exchanges.iter().all(is_answered));
        assert_eq!(server.connections() == 1, is_shared, "{protocols:?} {setting}");
    }
}

#[tokio::test]
async fn a_host_gets_no_more_connections_than_the_settings_allow() {
    let server = TestServer::start(LOCAL, &BOTH[1..]).await;
    let client = client_of(&server, "connections_per_host = 2");
    let exchanges = join_all((0..30).map(|_| exchange(&client))).await;
    assert!(exchanges.iter().all(is_answered));
    assert!(server.connections() <= 2, "{}", server.connections());
}

/// One that finds no connection waits for a quarter of its time, and is no attempt.
#[tokio::test]
async fn a_request_that_finds_no_connection_free_is_not_tried() {
    let silent = TcpListener::bind(LOCAL).await.unwrap();
    let url = format!("http://{}/token", silent.local_addr().unwrap());
    let timed = format!("{url}\"\nrequest_timeout = \"2s");
    let client = Folder::new().client(&timed, "proxy = \"none\"\nconnections_per_host = 1");
    let of_task = client.clone();
    let first = tokio::spawn(async move { exchange(&of_task).await });
    let (_held, _) = silent.accept().await.unwrap();
    let started = Instant::now();
    let second = exchange(&client).await;
    let ExchangeResult::NotTried(what) = second else { panic!("{second:?}") };
    assert!(what.contains("http.connections_per_host"), "{what}");
    assert!(started.elapsed() < Duration::from_secs(1));
    assert!(matches!(first.await.unwrap(), ExchangeResult::NoAnswer(_)));
}

#[tokio::test]
async fn a_connection_that_has_its_age_is_replaced() {
    for protocols in [&BOTH[..], &BOTH[1..]] {
        let server = TestServer::start(LOCAL, protocols).await;
        let client = client_of(&server, "connection_max_age = \"1s\"");
        let replaced = async {
            while server.connections() < 2 {
                assert!(is_answered(&exchange(&client).await));
            }
        };
        tokio::time::timeout(Duration::from_secs(30), replaced).await.expect("another connection");
    }
}

#[tokio::test]
async fn an_authority_of_a_file_is_trusted_beside_the_usual_ones() {
    let server = TestServer::start(LOCAL, &BOTH).await;
    let folder = Folder::new();
    let url = format!("https://{}/token", server.address);
    let ended = exchange(&folder.client(&url, "proxy = \"none\"")).await;
    assert!(matches!(ended, ExchangeResult::NotSent(_)), "{ended:?}");
    assert!(is_answered(&exchange(&client_of(&server, "")).await));

    let other = folder.file("no.pem", "nothing");
    for (http, told) in [
        ("ca_file = \"/nowhere/ca.pem\"".to_owned(), "http.ca_file is wrong: cannot read /nowhere"),
        (format!("ca_file = \"{}\"", other.display()), "must hold certificates as PEM"),
        ("proxy = \"proxy:3128\"".to_owned(), "http.proxy is wrong: it must be an address"),
        ("proxy = \"socks5://u:S3cret@proxy\"".to_owned(), "http.proxy is wrong"),
        ("connections_per_host = 0".to_owned(), "http.connections_per_host"),
        ("connection_max_age = \"1ms\"".to_owned(), "http.connection_max_age"),
        ("connection_max_age = \"10000years\"".to_owned(), "from 1s to 365days"),
        ("no_proxy = [\"a.example\"]".to_owned(), "http.no_proxy is wrong: it goes with a proxy"),
        ("retries = 3".to_owned(), "there is no setting http.retries"),
    ] {
        let refused = folder.config(&url, &http).unwrap_err().to_string();
        assert!(refused.contains(told) && !refused.contains("S3cret"), "{http}: {refused}");
    }
}

#[tokio::test]
async fn an_address_of_ipv6_is_reached() {
    let server = TestServer::start("[::1]:0", &BOTH).await;
    assert!(is_answered(&exchange(&client_of(&server, "")).await));
}

#[tokio::test]
async fn requests_go_through_the_proxy_of_the_settings() {
    let server = TestServer::start(LOCAL, &BOTH).await;
    let proxy = TestProxy::start("200 Connected").await;
    let folder = Folder::new();
    let authority = folder.file("ca.pem", &server.authority);
    let url = format!("https://{}/token", server.address);
    let secret = folder.file("proxy", &format!("http://me:S3cret@{}\n", proxy.address));
    let http =
        format!("ca_file = \"{}\"\nproxy_file = \"{}\"\n", authority.display(), secret.display());
    assert!(is_answered(&exchange(&folder.client(&url, &http)).await));
    let heads = proxy.take_heads();
    let head = heads.first().expect("a tunnel").to_lowercase();
    assert!(head.starts_with(&format!("connect {} ", server.address)), "{head}");
    assert!(head.contains("proxy-authorization: basic bwu6uznjcmv0"), "{head}");

    let near = format!("{http}no_proxy = [\"127.0.0.0/8\"]\n");
    assert!(is_answered(&exchange(&folder.client(&url, &near)).await));
    let own = format!("{http}[providers.p.http]\nproxy = \"none\"\n");
    assert!(is_answered(&exchange(&folder.client(&url, &own)).await));
    let own = format!("{near}[providers.p.http]\nproxy = \"none\"\n");
    assert!(is_answered(&exchange(&folder.client(&url, &own)).await));
    let environment = format!("{near}[providers.p.http]\nproxy = \"environment\"\n");
    assert!(folder.config(&url, &environment).is_ok());
    assert!(proxy.take_heads().is_empty());
    let provider = folder.config(&url, &http).unwrap().providers().unwrap().remove(0);
    assert!(!format!("{provider:?}").contains("S3cret"));
}

#[tokio::test]
async fn what_a_proxy_has_not_let_through_was_not_sent() {
    let server = TestServer::start(LOCAL, &BOTH).await;
    let url = format!("https://{}/token", server.address);
    for answer in ["407 Proxy Authentication Required", "502 Bad Gateway", "nonsense"] {
        let proxy = TestProxy::start(answer).await;
        let http = format!("proxy = \"http://me:S3cret@{}\"\n", proxy.address);
        let ended = exchange(&Folder::new().client(&url, &http)).await;
        let ExchangeResult::NotSent(what) = ended else { panic!("{answer}: {ended:?}") };
        assert!(!what.contains("S3cret"), "{what}");
    }
    let nobody = "proxy = \"http://127.0.0.1:1\"";
    let ended = exchange(&Folder::new().client(&url, nobody)).await;
    assert!(matches!(ended, ExchangeResult::NotSent(_)), "{ended:?}");
    assert_eq!(server.requests(), 0);
}

/// Variables of the environment are those of a process: this is another one.
#[tokio::test]
async fn requests_go_through_the_proxy_of_the_environment() {
    let proxy = TestProxy::start("502 Bad Gateway").await;
    let run = |variables: &[(&str, String)]| {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let child = child.args(["--exact", "--ignored", "wire::asks_a_name_that_nobody_has"]);
        let status = child.env_clear().envs(variables.iter().cloned()).status().unwrap();
        assert!(status.success());
    };
    let url = ("HTTPS_PROXY", format!("http://{}", proxy.address));
    let run = move |variables: Vec<(&'static str, String)>| async move {
        tokio::task::spawn_blocking(move || run(&variables)).await.unwrap();
    };
    run(vec![url.clone()]).await;
    assert_eq!(proxy.take_heads().len(), 1);
    run(vec![url, ("NO_PROXY", ".invalid".to_owned())]).await;
    assert!(proxy.take_heads().is_empty());
}

#[tokio::test]
#[ignore = "a part of another test, which starts it"]
async fn asks_a_name_that_nobody_has() {
    let ended = exchange(&Folder::new().client("https://token.invalid/token", "")).await;
    assert!(matches!(ended, ExchangeResult::NotSent(_)), "{ended:?}");
}
