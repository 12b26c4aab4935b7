#![doc = include_str!("../README.md")]

mod bodies;
mod connections;
#[cfg(test)]
mod tests;
mod tls;
mod write_timeout;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use bodies::{RequestBody, ResponseBody};
use connections::{Connection, Connections};
pub use tls::{ServerTls, TlsError};
use write_timeout::WriteTimeout;

/// How long nothing is accepted after an error, such as too many open files.
const ACCEPT_ERROR_DELAY: Duration = Duration::from_secs(1);

/// The limits of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// The most simultaneous connections.
    pub connections_max: usize,
    /// The most simultaneous connections from one address; a /64 of IPv6 counts as one address.
    pub connections_per_address_max: usize,
    /// The most headers of a request.
    pub headers_max: usize,
    /// The most bytes of a request's line and headers.
    pub head_bytes_max: usize,
    /// How long a request's head may take, and how long a connection may be idle.
    pub head_timeout: Duration,
    /// How long a peer may read nothing of its response.
    pub write_timeout: Duration,
    /// Whether a connection may be used for several requests.
    pub keep_alive: bool,
}

impl HttpLimits {
    /// For people: a browser, or a proxy for many. The head has room for a URL that names a page of
    /// dead letters.
    pub const CONSOLE: Self = Self {
        connections_max: 512,
        connections_per_address_max: 128,
        headers_max: 64,
        head_bytes_max: 32 * 1_024,
        head_timeout: Duration::from_secs(10),
        write_timeout: Duration::from_secs(20),
        keep_alive: true,
    };
    /// For programs that read health and metrics.
    pub const TELEMETRY: Self = Self {
        connections_max: 32,
        connections_per_address_max: 16,
        head_bytes_max: 16 * 1_024,
        keep_alive: false,
        ..Self::CONSOLE
    };
}

/// The first byte of a TLS handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;
/// The answer to a peer that speaks without TLS where TLS is required.
const IN_THE_CLEAR: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\
    Connection: close\r\n\r\nThis address is for TLS: it begins with https://\n";

/// Serves `router` until `shutdown` ends and all requests under way are answered. Handlers get the
/// peer's address as `ConnectInfo<SocketAddr>`. With a certificate, only TLS is accepted.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: HttpLimits,
    tls: Option<ServerTls>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let connections = Connections::new(&limits);
    let acceptor = tls.as_ref().map(ServerTls::acceptor);
    let (tasks, stopping) = (TaskTracker::new(), CancellationToken::new());
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Closed at once if all other connections are being answered.
                let Some(connection) = connections.admit(peer.ip()) else { continue };
                let serving =
                    ServedConnection { connection, peer, limits, stopping: stopping.clone() };
                tasks.spawn(serving.serve(stream, acceptor.clone(), router.clone()));
            }
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections: trying again");
                tokio::time::sleep(ACCEPT_ERROR_DELAY).await;
            }
        }
    }
    drop(listener);
    stopping.cancel();
    tasks.close();
    tasks.wait().await;
}

/// Whether the error means that the peer was gone before it was accepted.
fn is_of_the_peer(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// One connection that is being served.
struct ServedConnection {
    connection: Arc<Connection>,
    peer: SocketAddr,
    limits: HttpLimits,
    stopping: CancellationToken,
}

impl ServedConnection {
    async fn serve(self, stream: TcpStream, acceptor: Option<TlsAcceptor>, router: Router) {
        // Sends small responses without delay; a failure only delays them.
        let _ = stream.set_nodelay(true);
        let Some(acceptor) = acceptor else {
            let stream = WriteTimeout::new(stream, self.limits.write_timeout);
            return self.answer(stream, router).await;
        };
        let handshake = handshake(stream, acceptor, self.limits.write_timeout);
        let encrypted = tokio::select! {
            encrypted = tokio::time::timeout(self.limits.head_timeout, handshake) => encrypted,
            () = self.connection.makes_room() => return,
            () = self.stopping.cancelled() => return,
        };
        if let Ok(Some(stream)) = encrypted {
            self.answer(stream, router).await;
        }
    }

    async fn answer(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        router: Router,
    ) {
        let (peer, connection) = (self.peer, Arc::clone(&self.connection));
        let router = TowerToHyperService::new(router);
        let answer = service_fn(move |request: hyper::Request<Incoming>| {
            let (router, connection) = (router.clone(), Arc::clone(&connection));
            async move {
                if request.body().is_end_stream() {
                    connection.works();
                }
                let body = Arc::clone(&connection);
                let mut request = request.map(|incoming| RequestBody::new(incoming, body));
                request.extensions_mut().insert(ConnectInfo(peer));
                let response = router.call(request).await;
                response.map(|response| response.map(|body| ResponseBody::new(body, connection)))
            }
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_timeout)
            .max_buf_size(self.limits.head_bytes_max)
            .max_header_size(self.limits.head_bytes_max)
            .max_headers(self.limits.headers_max)
            .keep_alive(self.limits.keep_alive)
            .serve_connection(TokioIo::new(stream), answer);
        let mut serving = pin!(serving);
        let mut stops = pin!(self.stopping.cancelled());
        let mut has_stopped = false;
        loop {
            tokio::select! {
                // How a connection ends does not matter to the server.
                _ = serving.as_mut() => return,
                () = self.connection.makes_room() => return,
                () = &mut stops, if !has_stopped => {
                    has_stopped = true;
                    serving.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// The encrypted stream, if the peer speaks TLS. How the handshake fails does not matter to the
/// server.
async fn handshake(
    mut stream: TcpStream,
    acceptor: TlsAcceptor,
    write_timeout: Duration,
) -> Option<impl AsyncRead + AsyncWrite + Unpin + Send> {
    let mut first = [0];
    if stream.peek(&mut first).await.ok()? == 1 && first != [HANDSHAKE] {
        // Unread data at the close would make the peer discard the answer.
        let _ = stream.read(&mut [0; 4_096]).await;
        let _ = stream.write_all(IN_THE_CLEAR.as_bytes()).await;
        return None;
    }
    acceptor.accept(WriteTimeout::new(stream, write_timeout)).await.ok()
}
