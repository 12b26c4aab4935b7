//! Connects within a time limit.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::tcp::{AsyncTcpStream, TLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties};

use super::address::Address;
use super::errors::explain;
use evergrant_ports::QueueError;

/// A second handle on a connection's socket. lapin does its I/O on a thread of its own, which a
/// silent broker would block for ever; shutting down the socket ends it.
#[derive(Clone, Default)]
struct Socket(Arc<Mutex<Option<TcpStream>>>);

impl Socket {
    fn keep(&self, stream: &impl AsFd) -> std::io::Result<()> {
        let stream = TcpStream::from(stream.as_fd().try_clone_to_owned()?);
        // Messages are small and awaited, so they are never held back to fill a packet.
        stream.set_nodelay(true)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
        Ok(())
    }

    fn cut(&self) {
        if let Some(stream) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It may be closed already, which is the goal.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Connects, including TLS and login.
pub(super) async fn connect(
    operation: &'static str,
    address: &Address,
) -> Result<Connection, QueueError> {
    let uri = address.uri(operation)?.clone();
    let runtime = lapin::runtime::default_runtime().map_err(|error| explain(operation, &error))?;
    let properties = ConnectionProperties::default()
        .with_connection_name(address.connection_name.as_str().into());
    let timeout = address.connect_timeout;
    let socket = Socket::default();
    let kept = socket.clone();
    // The runtime that the connector passes in, as a type that is known here.
    let reactor = runtime.clone();
    let open = async move |uri: AMQPUri, _| {
        let (kept, reactor) = (kept.clone(), reactor.clone());
        within(timeout, async move {
            let host = uri.authority.host.as_str();
            let found = tokio::net::lookup_host((host, uri.authority.port)).await?;
            let addresses: Vec<SocketAddr> = found.collect();
            let stream = AsyncTcpStream::connect(&reactor, addresses).await?;
            if let AsyncTcpStream::Plain(plain) = &stream {
                kept.keep(plain.get_ref())?;
            }
            match uri.scheme {
                AMQPScheme::AMQP => Ok(stream),
                AMQPScheme::AMQPS => stream.into_tls(host, TLSConfig::default()).await,
            }
        })
        .await
        .map_err(lapin::Error::from)
    };
    let connecting = Connection::connector(uri, runtime, open, properties);
    // The inner timeout also cleans up, so it should come first.
    match tokio::time::timeout(timeout + Duration::from_millis(250), connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(explain(operation, &error)),
        Err(_) => {
            socket.cut();
            Err(QueueError::Unavailable {
                operation,
                reason: format!("the broker did not answer the handshake within {timeout:?}"),
            })
        }
    }
}

async fn within<T>(
    timeout: Duration,
    connecting: impl Future<Output = std::io::Result<T>>,
) -> std::io::Result<T> {
    tokio::time::timeout(timeout, connecting).await.unwrap_or_else(|_| {
        let reason = format!("no connection within {timeout:?}");
        Err(std::io::Error::new(std::io::ErrorKind::TimedOut, reason))
    })
}
