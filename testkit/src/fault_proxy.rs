//! A TCP proxy to a server that a test can cut, or make swallow everything.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A TCP proxy with its own address. It needs the runtime on which it was created.
pub struct FaultProxy {
    url: String,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Nothing passes, without an error.
    swallowing: bool,
    /// Connections of an earlier era are reset.
    era: u64,
}

type ProxyGate = watch::Receiver<State>;

impl FaultProxy {
    /// A proxy to the server at `url`.
    ///
    /// # Panics
    /// If no port is free, or the URL names no server.
    pub fn to(url: &str) -> Self {
        Self::balancing(&[url.to_owned()])
    }

    /// A proxy to whichever server accepts a connection, in turn, like a load balancer. Their URLs
    /// differ only in the address.
    ///
    /// # Panics
    /// If no port is free, or the URLs name no server.
    pub fn balancing(urls: &[String]) -> Self {
        let servers: Vec<String> = urls.iter().map(|url| split(url).1.to_owned()).collect();
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let address = listener.local_addr().expect("its address");
        let (before, _, after) = split(urls.first().expect("a server"));
        let (state, gate) = watch::channel(State::default());
        tokio::spawn(accept(listener, servers.into(), gate));
        Self { url: format!("{before}{address}{after}"), state }
    }

    /// The URL of this proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Resets all connections. New ones are accepted.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.era += 1);
    }

    /// From now on nothing passes in either direction, without an error. New connections are
    /// accepted and not served.
    pub fn swallow(&self) {
        self.state.send_modify(|state| state.swallowing = true);
    }

    /// Everything passes again. What was sent meanwhile on open connections arrives now.
    pub fn open(&self) {
        self.state.send_modify(|state| state.swallowing = false);
    }
}

/// The part of a URL before the address, the address, and the part after it.
pub(crate) fn split(url: &str) -> (&str, &str, &str) {
    let scheme = url.find("://").expect("a URL with a scheme") + 3;
    let end = url[scheme..].find(['/', '?']).map_or(url.len(), |at| scheme + at);
    let begin = url[scheme..end].rfind('@').map_or(scheme, |at| scheme + at + 1);
    (&url[..begin], &url[begin..end], &url[end..])
}

async fn accept(listener: std::net::TcpListener, servers: Arc<[String]>, gate: ProxyGate) {
    let listener = TcpListener::from_std(listener).expect("a listener on this runtime");
    let turn = Arc::new(AtomicUsize::new(0));
    while let Ok((near, _)) = listener.accept().await {
        let (servers, turn, gate) = (Arc::clone(&servers), Arc::clone(&turn), gate.clone());
        // Ends with either side, or with the runtime.
        tokio::spawn(carry(near, servers, turn, gate));
    }
}

async fn carry(
    mut near: TcpStream,
    servers: Arc<[String]>,
    turn: Arc<AtomicUsize>,
    gate: ProxyGate,
) {
    let era = gate.borrow().era;
    let mut over = gate.clone();
    let mut far = None;
    tokio::select! {
        // Either side may close at any time, which ends the connection.
        _ = both_ways(&mut near, &mut far, &servers, &turn, gate) => return,
        _ = over.wait_for(|state| state.era != era) => {}
    }
    // Closing without lingering is a reset. It fails only if the connection is gone.
    for end in std::iter::once(&near).chain(&far) {
        let _ = end.set_zero_linger();
    }
}

async fn both_ways(
    near: &mut TcpStream,
    far: &mut Option<TcpStream>,
    servers: &[String],
    turn: &AtomicUsize,
    mut gate: ProxyGate,
) -> io::Result<()> {
    pass(&mut gate).await;
    let far = far.insert(connect(servers, turn.fetch_add(1, Ordering::Relaxed)).await?);
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let ((from_near, to_near), (from_far, to_far)) = (near.split(), far.split());
    tokio::try_join!(pump(from_near, to_far, gate.clone()), pump(from_far, to_near, gate))?;
    Ok(())
}

async fn connect(servers: &[String], first: usize) -> io::Result<TcpStream> {
    let mut failure = io::ErrorKind::NotConnected.into();
    for number in first..first + servers.len() {
        match TcpStream::connect(&servers[number % servers.len()]).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut gate: ProxyGate,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        pass(&mut gate).await;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
    }
}

/// Waits while everything is swallowed. The gate ends with its [`FaultProxy`].
async fn pass(gate: &mut ProxyGate) {
    let _ = gate.wait_for(|state| !state.swallowing).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_any_url() {
        let cases = [
            ("amqp://guest:guest@127.0.0.1:5672", ("amqp://guest:guest@", "127.0.0.1:5672", "")),
            ("amqp://u:p@h:1/%2f", ("amqp://u:p@", "h:1", "/%2f")),
            (
                "mongodb://h:1/?directConnection=true",
                ("mongodb://", "h:1", "/?directConnection=true"),
            ),
        ];
        for (url, parts) in cases {
            assert_eq!(split(url), parts);
        }
    }

    /// A server that echoes what it gets.
    async fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        format!("echo://{address}")
    }

    async fn connection(way: &FaultProxy) -> TcpStream {
        TcpStream::connect(split(way.url()).1).await.expect("connect")
    }

    async fn answer(stream: &mut TcpStream) -> io::Result<u8> {
        stream.write_u8(7).await?;
        stream.read_u8().await
    }

    #[tokio::test]
    async fn swallowed_data_arrives_once_the_proxy_is_open() {
        let way = FaultProxy::to(&echo().await);
        let mut stream = connection(&way).await;
        assert_eq!(answer(&mut stream).await.expect("an answer"), 7);
        way.swallow();
        stream.write_u8(8).await.expect("write");
        let silence = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(silence, stream.read_u8()).await.is_err());
        way.open();
        assert_eq!(stream.read_u8().await.expect("an answer"), 8);
    }

    #[tokio::test]
    async fn a_cut_resets_connections_and_accepts_new_ones() {
        let way = FaultProxy::to(&echo().await);
        let mut stream = connection(&way).await;
        assert_eq!(answer(&mut stream).await.expect("an answer"), 7);
        way.cut();
        assert!(stream.read_u8().await.is_err());
        assert_eq!(answer(&mut connection(&way).await).await.expect("an answer"), 7);
    }

    #[tokio::test]
    async fn an_unavailable_server_is_skipped() {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let away = format!("echo://{}", nobody.local_addr().expect("its address"));
        drop(nobody);
        let way = FaultProxy::balancing(&[away, echo().await]);
        for _ in 0..3 {
            assert_eq!(answer(&mut connection(&way).await).await.expect("an answer"), 7);
        }
    }
}
