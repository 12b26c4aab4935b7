//! How a command ended, for scripts.

use std::process::ExitCode;

use evergrant_domain::audit::ActionOutcome;

/// How a command ended. Wrong usage (2) is clap's, and [`Exit::Usage`] where it cannot know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is done.
    Done,
    /// It failed.
    Error,
    /// It was asked for in a way that it cannot be done.
    Usage,
    /// Some is done and some is not; the words say what.
    Partial,
    /// Nothing matched.
    Nothing,
    /// Somebody pressed Ctrl-C, and what was under way is settled.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Error => 1,
            Exit::Usage => 2,
            Exit::Partial => 3,
            Exit::Nothing => 4,
            Exit::Interrupted => 130,
        })
    }
}

impl From<Exit> for ActionOutcome {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::Done,
            Exit::Error | Exit::Usage => Self::Failed,
            Exit::Partial => Self::Partial,
            Exit::Nothing => Self::Nothing,
            Exit::Interrupted => Self::Cancelled,
        }
    }
}
