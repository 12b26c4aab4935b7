//! Serves the console from its start to its end.

use std::sync::Arc;
use std::time::Duration;

use evergrant_http_server::{HttpLimits, ServerTls};
use tokio::net::TcpListener;

use crate::auth::AccessPolicy;
use crate::guard::LOCAL_TOKEN;
use crate::{ConsoleDeps, Web, router};

/// How long a connection may stay open after the end has begun.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves the console until `deps.shutdown`, over TLS if there is a certificate. `say` gets its
/// address.
///
/// # Errors
/// If the listener has no address.
pub async fn serve(
    listener: TcpListener,
    deps: ConsoleDeps,
    door: AccessPolicy,
    tls: Option<ServerTls>,
    say: impl Fn(&str),
) -> std::io::Result<()> {
    let shutdown = deps.shutdown.clone();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let address = format!("{scheme}://{}", listener.local_addr()?);
    let (web, writer) = Web::new(deps, door);
    // The first page is not empty, unless a server is unavailable.
    web.watcher.look().await;
    tokio::spawn(Arc::clone(&web.watcher).run(shutdown.clone()));
    tokio::spawn(Arc::clone(&web.letters).run(shutdown.clone()));
    let writing = tokio::spawn(writer.run(shutdown.clone()));
    if let Some(warning) = web.door.plain_http() {
        tracing::warn!("{warning}");
    }
    if let Some(tls) = tls.clone() {
        tokio::spawn(tls.keep_fresh(shutdown.clone().wait()));
    }
    let pages = router(Arc::clone(&web));
    let until = shutdown.clone().wait();
    let serving = evergrant_http_server::serve(listener, pages, HttpLimits::CONSOLE, tls, until);
    let grace = async {
        shutdown.clone().wait().await;
        web.end_bulk().await;
        tokio::time::sleep(SHUTDOWN_TIMEOUT).await;
    };
    tokio::select! {
        () = serving => {}
        () = announce(&web.door, &address, say) => {}
        () = grace => {}
    }
    web.end_bulk().await;
    // The last refusals still have to be written.
    let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, writing).await;
    Ok(())
}

/// Announces the address. Without users, each address is for one browser, so a new one is announced
/// when it is used up.
async fn announce(door: &AccessPolicy, address: &str, say: impl Fn(&str)) {
    let Some(mut tokens) = door.local_tokens() else {
        say(&format!("the console is at {address}/; Ctrl-C ends it"));
        return std::future::pending().await;
    };
    let printed = |token: &str| format!("{address}/?{LOCAL_TOKEN}={token}");
    let first = printed(&tokens.borrow_and_update());
    say(&format!("the console is at {first} for one browser; Ctrl-C ends it"));
    while tokens.changed().await.is_ok() {
        let next = printed(&tokens.borrow_and_update());
        say(&format!("a browser has opened it; the address for another one is {next}"));
    }
}
