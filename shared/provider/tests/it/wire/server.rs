//! A token endpoint over TLS on this machine that speaks HTTP/1.1 and HTTP/2 frame by frame, so that it can
//! do what a proper server never would.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

const TOKENS: &[u8] = br#"{"access_token":"a"}"#;

/// What is done with a request that has come as a whole over HTTP/2.
#[derive(Debug, Clone, Copy)]
pub(super) enum Http2Act {
    Answer,
    /// `RST_STREAM` with this code.
    Reset(u32),
    /// `GOAWAY` with this last stream and this code; then the connection closes.
    Goaway(u32, u32),
    /// The first half of an answer, then this reset.
    ResetInAnswer(u32),
    /// The first half of an answer, then nothing: the connection closes.
    CloseInAnswer,
}

pub(super) const NO_ERROR: u32 = 0;
pub(super) const INTERNAL_ERROR: u32 = 2;
pub(super) const REFUSED_STREAM: u32 = 7;
pub(super) const CANCEL: u32 = 8;

/// What the server has seen and what it does next.
#[derive(Default)]
pub(super) struct ServerState {
    /// Connections whose TLS was agreed.
    pub(super) connections: AtomicUsize,
    /// Requests that came as a whole.
    pub(super) requests: AtomicUsize,
    /// What the next requests meet over HTTP/2; then they are answered.
    pub(super) acts: Mutex<Vec<Http2Act>>,
}

pub(super) struct TestServer {
    pub(super) address: SocketAddr,
    /// The authority of its certificate, as PEM.
    pub(super) authority: String,
    pub(super) state: Arc<ServerState>,
}

impl TestServer {
    /// One at `address` that offers these protocols.
    pub(super) async fn start(address: &str, protocols: &[&str]) -> Self {
        let names = ["localhost", "127.0.0.1", "::1"].map(ToOwned::to_owned);
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        evergrant_provider::install_tls();
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(made.cert.der().to_vec())], key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<ServerState>::default();
        let of_task = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(acceptor.clone(), stream, Arc::clone(&of_task)));
            }
        });
        Self { address, authority: made.cert.pem(), state }
    }

    pub(super) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, state: Arc<ServerState>) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    state.connections.fetch_add(1, Ordering::SeqCst);
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    // A client that has gone ends the connection, as it should.
    let _ = if is_http2 { http2(stream, &state).await } else { http1(stream, &state).await };
}

async fn http1(stream: TlsStream<TcpStream>, state: &ServerState) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        stream.read_exact(&mut vec![0; length]).await?;
        state.requests.fetch_add(1, Ordering::SeqCst);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", TOKENS.len());
        stream.write_all(&[head.as_bytes(), TOKENS].concat()).await?;
        stream.flush().await?;
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200` (RFC 7541, appendix A).
const STATUS_200: u8 = 0x88;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

async fn http2(mut stream: TlsStream<TcpStream>, state: &ServerState) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24]).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, i, j, k, l] = head;
        stream.read_exact(&mut vec![0; u32::from_be_bytes([0, a, b, c]) as usize]).await?;
        if kind == SETTINGS && flags & ACK == 0 {
            stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await?;
        }
        if !matches!(kind, DATA | HEADERS) || flags & END_STREAM == 0 {
            continue;
        }
        state.requests.fetch_add(1, Ordering::SeqCst);
        let act = state.acts.lock().unwrap().pop().unwrap_or(Http2Act::Answer);
        let (frames, goes_on) = frames(act, u32::from_be_bytes([i, j, k, l]));
        stream.write_all(&frames).await?;
        stream.flush().await?;
        if !goes_on {
            return stream.shutdown().await;
        }
    }
}

/// The frames of an act, and whether the connection goes on.
fn frames(act: Http2Act, id: u32) -> (Vec<u8>, bool) {
    let headers = || frame(HEADERS, END_HEADERS, id, &[STATUS_200]);
    let half = || frame(DATA, 0, id, &TOKENS[..9]);
    let reset = |code: u32| frame(RST_STREAM, 0, id, &code.to_be_bytes());
    match act {
        Http2Act::Answer => ([headers(), frame(DATA, END_STREAM, id, TOKENS)].concat(), true),
        Http2Act::Reset(code) => (reset(code), true),
        Http2Act::Goaway(last, code) => {
            let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
            (frame(GOAWAY, 0, 0, &payload), false)
        }
        Http2Act::ResetInAnswer(code) => ([headers(), half(), reset(code)].concat(), true),
        Http2Act::CloseInAnswer => ([headers(), half()].concat(), false),
    }
}
