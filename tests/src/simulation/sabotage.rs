//! What a broken build would do.

use std::str::FromStr;

/// A build that is broken on purpose. Each is a wrapper of a port, so that the code under test stays
/// as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Deliveries are acknowledged when they arrive, before anything is written.
    AckBeforeCommit,
    /// Every claim owns what it finds, whoever holds the lease.
    NoLease,
    /// A commit looks neither at the token that was sent nor at the generation nor at the lease.
    UnconditionalCommit,
    /// A grant is given up without a look at whether its document still holds the token that died.
    NoReread,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::AckBeforeCommit, Self::NoLease, Self::UnconditionalCommit, Self::NoReread];

    /// The name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AckBeforeCommit => "ack_before_commit",
            Self::NoLease => "no_lease",
            Self::UnconditionalCommit => "unconditional_commit",
            Self::NoReread => "no_reread",
        }
    }
}

impl FromStr for Sabotage {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|sabotage| sabotage.as_str() == name);
        found.ok_or_else(|| format!("a sabotage is one of {}", names()))
    }
}
