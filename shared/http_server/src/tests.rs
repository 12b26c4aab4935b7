//! Hostile peers and slow networks.

use axum::routing::{get, post};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const SOON: Duration = Duration::from_secs(30);
const LIMITS: HttpLimits = HttpLimits {
    connections_max: 20,
    connections_per_address_max: 10,
    head_timeout: Duration::from_millis(300),
    ..HttpLimits::CONSOLE
};

/// A server, and the sender that stops it.
async fn server(
    limits: HttpLimits,
) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    server_with(limits, None).await
}

async fn server_with(
    limits: HttpLimits,
    tls: Option<ServerTls>,
) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let router = Router::new()
        .route("/", get(|| async { "ok\n" }))
        .route("/form", post(|form: String| async move { form }))
        .route("/stuck", get(std::future::pending::<()>));
    let serving = serve(listener, router, limits, tls, stop.clone().cancelled_owned());
    (address, stop, tokio::spawn(serving))
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

async fn send(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = connect(address).await;
    stream.write_all(bytes).await.unwrap();
    stream
}

/// All bytes until the end.
async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    // A reset also counts as the end.
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut all)).await;
    let _ = read.expect("the connection is closed");
    all
}

async fn answer(address: SocketAddr) -> String {
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    String::from_utf8(rest(send(address, request).await).await).unwrap()
}

#[tokio::test]
async fn a_peer_without_a_complete_head_is_disconnected() {
    let (address, ..) = server(LIMITS).await;
    let idle = send(address, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let silent = connect(address).await;
    let half = send(address, b"GET / HTTP/1.1\r\nHost: localhost\r\nX-a: ").await;
    assert!(rest(silent).await.is_empty());
    assert!(!rest(half).await.starts_with(b"HTTP/1.1 200"));
    assert!(rest(idle).await.starts_with(b"HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn an_unread_body_does_not_hold_a_connection() {
    let (address, ..) = server(LIMITS).await;
    let half = b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\na=";
    assert!(rest(send(address, half).await).await.starts_with(b"HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn too_many_idle_connections_keep_nobody_out() {
    let (address, ..) = server(HttpLimits { head_timeout: SOON, ..LIMITS }).await;
    let mut slow = Vec::new();
    for n in 0..100 {
        let sent: &[u8] = match n % 3 {
            0 => b"",
            1 => b"GET / HTTP/1.1\r\nX-a: ",
            _ => b"POST /form HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf",
        };
        slow.push(send(address, sent).await);
        if n % 10 == 0 {
            assert!(answer(address).await.ends_with("ok\n"));
        }
    }
    assert!(answer(address).await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn a_request_under_way_is_never_closed_for_another() {
    let (address, ..) = server(HttpLimits { connections_per_address_max: 2, ..LIMITS }).await;
    let mut stuck = send(address, b"GET /stuck HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    for _ in 0..20 {
        assert!(answer(address).await.ends_with("ok\n"));
    }
    let mut byte = [0; 1];
    let read = tokio::time::timeout(Duration::from_millis(10), stuck.read(&mut byte)).await;
    assert!(read.is_err(), "it is open still");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let (address, ..) = server(LIMITS).await;
    let many: String = (0..100).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long = format!("cookie: {}\r\n", "a".repeat(LIMITS.head_bytes_max));
    for headers in [many, long] {
        let request = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        let said = rest(send(address, request.as_bytes()).await).await;
        assert!(said.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&said));
    }
}

#[tokio::test]
async fn http_2_is_not_spoken() {
    let (address, ..) = server(LIMITS).await;
    let said =
        rest(send(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await).await;
    assert!(!said.starts_with(b"\0"), "{said:?}");
}

#[tokio::test]
async fn a_shutdown_answers_requests_under_way() {
    let (address, stop, serving) = server(LIMITS).await;
    let mut idle = connect(address).await;
    let begun = b"POST /form HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nha";
    let mut form = send(address, begun).await;
    assert!(answer(address).await.ends_with("ok\n"));
    stop.cancel();
    form.write_all(b"lf").await.unwrap();
    assert!(rest(form).await.ends_with(b"half"));
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0);
    tokio::time::timeout(SOON, serving).await.expect("it ends").unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

/// A server with a certificate for `localhost`, and a client that trusts it.
async fn encrypted(limits: HttpLimits) -> (SocketAddr, tokio_rustls::TlsConnector) {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = tls::tests::files(folder.path(), "localhost");
    let (address, ..) = server_with(limits, ServerTls::new(&certificate, &key).ok()).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (address, Arc::new(config).into())
}

#[tokio::test]
async fn with_a_certificate_only_tls_is_accepted() {
    let (address, client) = encrypted(LIMITS).await;
    let name = "localhost".try_into().unwrap();
    let mut stream = client.connect(name, connect(address).await).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 200 OK") && said.ends_with("ok\n"), "{said}");
    let said = answer(address).await;
    assert!(said.starts_with("HTTP/1.1 400") && said.contains("https://"), "{said}");
}

#[tokio::test]
async fn an_unfinished_handshake_is_disconnected() {
    let (address, client) = encrypted(LIMITS).await;
    let mut slow = Vec::new();
    for _ in 0..30 {
        slow.push(send(address, &[22, 3, 1]).await);
    }
    let name = "localhost".try_into().unwrap();
    client.connect(name, connect(address).await).await.unwrap();
    for stream in slow {
        assert!(rest(stream).await.is_empty());
    }
}
