//! What every process of Evergrant does alike: its name and its end.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

/// A name for this process that no other has: the host's, and a random part.
pub fn unique_name() -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{}-{}", host(), &random[..8])
}

/// The name of this machine, or of this container, as `HOSTNAME` has it, else as the system does.
pub fn host() -> String {
    let name = std::env::var("HOSTNAME").ok().map(|name| plain_name(&name));
    name.filter(|name| !name.is_empty()).unwrap_or_else(machine)
}

/// The name of this machine, or of this container, whatever the environment says.
pub fn machine() -> String {
    let name = plain_name(&std::fs::read_to_string("/etc/hostname").unwrap_or_default());
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

/// The number of the user that this process runs as.
pub fn user_id() -> u32 {
    rustix::process::getuid().as_raw()
}

/// Keeps this process's memory, which holds tokens, from files and from other processes of its user: no core
/// dump of it is written, and no debugger may look. Call it first of all.
pub fn keep_memory_private() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    // To lower a limit is always allowed.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    // A limit does not hold for dumps that the system hands to a program.
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

/// What may be a part of a name everywhere.
fn plain_name(name: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || ".-_".contains(*c);
    name.trim().chars().filter(plain).take(40).collect()
}

/// The end of a process, as a future that every part can wait for.
#[derive(Debug, Clone)]
pub struct ShutdownSignal {
    begun: CancellationToken,
    /// The signal that began it.
    signal: Arc<OnceLock<i32>>,
}

impl ShutdownSignal {
    /// A shutdown that [`Self::begin`] begins and nothing else.
    pub fn by_hand() -> Self {
        Self { begun: CancellationToken::new(), signal: Arc::default() }
    }

    /// Begins the shutdown.
    pub fn begin(&self) {
        self.begun.cancel();
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Whether somebody at the terminal began it (Ctrl-C).
    pub fn is_interrupt(&self) -> bool {
        self.signal.get() == Some(&tokio::signal::unix::SignalKind::interrupt().as_raw_value())
    }

    /// Waits until it begins.
    pub async fn wait(self) {
        self.begun.cancelled().await;
    }
}

/// The shutdown of this process: SIGTERM or SIGINT begins it, a second one ends the process at
/// once.
///
/// # Errors
/// If signals cannot be listened to.
pub fn shutdown() -> std::io::Result<ShutdownSignal> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = ShutdownSignal::by_hand();
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
        let _ = begun.signal.set(first.as_raw_value());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn no_core_dump_is_written_of_a_process_that_holds_tokens() {
        use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};
        keep_memory_private();
        assert_eq!(getrlimit(Resource::Core).maximum, Some(0));
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
