//! TCP connections that a handler can break.
//!
//! A handler cannot reach the socket beneath it, so each request carries a switch of its
//! connection. Once it is thrown, every read and write fails, hyper gives the connection up, and
//! the socket is closed without lingering: the client sees a reset, not an end.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::stream::ClientStream;

/// How long to wait after a failed accept, such as for want of file descriptors.
const ACCEPT_ERROR_DELAY: Duration = Duration::from_millis(100);

/// The switch that breaks a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connection(Arc<AtomicBool>);

impl Connection {
    /// From now on nothing is read or written; the next attempt ends in a reset.
    pub(crate) fn reset(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl Connected<IncomingStream<'_, Acceptor>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Acceptor>) -> Self {
        stream.io().connection()
    }
}

/// Accepts connections and gives each its switch.
pub(crate) struct Acceptor {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    /// Connections that agree on TLS, each by itself: one that dawdles holds up no other.
    handshakes: JoinSet<Option<(TlsStream<Wire>, SocketAddr)>>,
}

impl Acceptor {
    /// One that speaks TLS, if it is given.
    pub(crate) fn new(listener: TcpListener, tls: Option<TlsAcceptor>) -> Self {
        Self { listener, tls, handshakes: JoinSet::new() }
    }
}

impl Listener for Acceptor {
    type Io = ClientStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        // Without it replies wait for acknowledgements. It cannot fail in a way
                        // that matters.
                        let _ = stream.set_nodelay(true);
                        let wire = Wire { stream, connection: Connection::default() };
                        let Some(tls) = self.tls.clone() else {
                            return (ClientStream::Plain(wire), peer);
                        };
                        self.handshakes.spawn(async move {
                            Some((tls.accept(wire).await.ok()?, peer))
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_ERROR_DELAY).await;
                    }
                },
                Some(agreed) = self.handshakes.join_next() => {
                    if let Ok(Some((stream, peer))) = agreed {
                        return (ClientStream::Tls(Box::new(stream)), peer);
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A stream that fails once its switch is thrown.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    connection: Connection,
}

impl Wire {
    pub(super) fn connection(&self) -> Connection {
        self.connection.clone()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.connection.check().is_err() {
            // Closing with zero linger sends RST in place of FIN.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.connection.check()?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.connection.check()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.connection.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.check()?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
