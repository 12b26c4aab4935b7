//! Anonymous peers at the programs' ports.

use std::net::SocketAddr;
use std::time::Duration;

use evergrant_provider::install_tls;
use evergrant_simulator::SeedPlan;
use evergrant_testkit::deployment::eventually;
use evergrant_testkit::embedded::EmbeddedDeployment;
use evergrant_testkit::program::TestProgram;
use futures::future::join_all;
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Client, StatusCode, redirect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Longer than a connection may be silent.
const SILENCE_ENDS: Duration = Duration::from_secs(60);

/// The word after `before` in a program's output.
async fn said(program: &TestProgram, before: &str) -> String {
    let word = || {
        let log = program.logged();
        let (_, rest) = log.split_once(before)?;
        let (word, _) = rest.split_once([',', ';', ' ', '\n'])?;
        Some(word.to_owned())
    };
    eventually("the program says it", || async { word().is_some() }).await;
    word().expect("it was said")
}

fn client() -> Client {
    install_tls();
    Client::builder().redirect(redirect::Policy::none()).no_proxy().build().expect("a client")
}

/// A connection from one of this machine's addresses that sends the beginning of a request and no
/// more.
async fn silent(to: SocketAddr, from: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, from], 0))).expect("an address of this machine");
    let mut stream = socket.connect(to).await.expect("connect");
    // The server may have closed it for another one by now.
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-a: ").await;
    stream
}

async fn is_closed(mut stream: TcpStream) -> bool {
    let mut rest = Vec::new();
    tokio::time::timeout(SILENCE_ENDS, stream.read_to_end(&mut rest)).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_console_admits_by_its_printed_address() {
    let evergrant = EmbeddedDeployment::new(evergrant_simulator::SimulatorConfig::default()).await;
    let console = evergrant.start(&["console", "--listen", "127.0.0.1:0"]);
    let printed = said(&console, "the console is at ").await;
    let (page, _) = printed.split_once('?').expect("an address with a word");
    let client = client();
    let stranger = client.get(page).send().await.unwrap();
    assert_eq!(stranger.status(), StatusCode::FORBIDDEN);
    let forwarded = client.get(&printed).header("x-forwarded-for", "203.0.113.9").send().await;
    assert_eq!(forwarded.unwrap().status(), StatusCode::FORBIDDEN);

    let opened = client.get(&printed).send().await.unwrap();
    assert_eq!(
        (opened.status(), &opened.headers()[LOCATION]),
        (StatusCode::SEE_OTHER, &"/".parse().unwrap())
    );
    let set = opened.headers()[SET_COOKIE].to_str().unwrap().to_owned();
    let cookie = set.split(';').next().unwrap().to_owned();
    let inside = client.get(page).header(COOKIE, &cookie).send().await.unwrap();
    assert_eq!(inside.status(), StatusCode::OK);
    let again = client.get(&printed).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::FORBIDDEN, "it is used up");
    let next = said(&console, "the address for another one is ").await;
    assert_ne!(next, printed);
    assert_eq!(client.get(&next).send().await.unwrap().status(), StatusCode::SEE_OTHER);
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_block_neither_the_console_nor_a_worker() {
    let mut evergrant =
        EmbeddedDeployment::new(evergrant_simulator::SimulatorConfig::default()).await;
    evergrant.set("TELEMETRY__LISTEN", "127.0.0.1:0");
    let run = evergrant.start(&["run"]);
    let telemetry = said(&run, "serving health and metrics address=").await;
    let console = evergrant.start(&["console", "--listen", "127.0.0.1:0"]);
    let console = said(&console, "the console is at http://").await;
    let console: SocketAddr = console.split('/').next().unwrap().parse().unwrap();
    let telemetry: SocketAddr = telemetry.parse().unwrap();

    // More than each limit: in all, and for an address.
    let at_console = join_all((0..600).map(|n| silent(console, 1 + u8::try_from(n % 5).unwrap())));
    let at_worker = join_all((0..60).map(|n| silent(telemetry, 1 + u8::try_from(n % 3).unwrap())));
    let (at_console, at_worker) = tokio::join!(at_console, at_worker);
    let client = client();
    for url in [format!("http://{console}/healthz"), format!("http://{telemetry}/metrics")] {
        let answer = client.get(&url).timeout(Duration::from_secs(30)).send().await;
        assert_eq!(answer.expect("an answer").status(), StatusCode::OK, "{url}");
    }
    evergrant.import(SeedPlan { count: 20, ..SeedPlan::default() }).await;
    eventually("all are refreshed", || async { evergrant.refreshed().await == 20 }).await;
    let closed = join_all(at_console.into_iter().chain(at_worker).map(is_closed)).await;
    assert!(closed.into_iter().all(|closed| closed), "a silent connection is open for ever");
}
