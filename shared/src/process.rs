//! What every process of Evergrant does alike: its name and its end.

use tokio_util::sync::CancellationToken;

/// A name for this process that no other has: the host's, and a random part.
pub fn unique_name() -> String {
    let host = std::fs::read_to_string("/etc/hostname").ok();
    let host = host.as_deref().map(str::trim).filter(|host| !host.is_empty()).unwrap_or("worker");
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{}-{}", host.chars().take(40).collect::<String>(), &random[..8])
}

/// The end of a process, as a future that every part can wait for.
#[derive(Debug, Clone)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A shutdown that [`Self::begin`] begins and nothing else.
    pub fn by_hand() -> Self {
        Self(CancellationToken::new())
    }

    /// Begins the shutdown.
    pub fn begin(&self) {
        self.0.cancel();
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until it begins.
    pub async fn wait(self) {
        self.0.cancelled().await;
    }
}

/// The shutdown of this process: SIGTERM or SIGINT begins it, a second one ends the process at
/// once.
///
/// # Errors
/// If signals cannot be listened to.
pub fn shutdown() -> std::io::Result<Shutdown> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = Shutdown::by_hand();
    let begun = shutdown.clone();
    tokio::spawn(async move {
        let first = tokio::select! {
            _ = terminate.recv() => SignalKind::terminate(),
            _ = interrupt.recv() => SignalKind::interrupt(),
        };
        tracing::info!(
            signal = first.as_raw_value(),
            "a signal: shutting down; a second one ends at once"
        );
        begun.begin();
        let second = tokio::select! {
            _ = terminate.recv() => SignalKind::terminate(),
            _ = interrupt.recv() => SignalKind::interrupt(),
        };
        // As a shell reports a process that a signal ended.
        std::process::exit(128 + second.as_raw_value());
    });
    Ok(shutdown)
}
