//! Figures of a run.

use std::fmt;
use std::ops::AddAssign;

macro_rules! figures {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Figures of a run.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Figures { $($(#[$doc])* pub $name: u64,)* }

        impl AddAssign for Figures {
            fn add_assign(&mut self, other: Self) { $(self.$name += other.$name;)* }
        }

        impl fmt::Display for Figures {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(writeln!(f, "{:>20} {}", stringify!($name), self.$name)?;)*
                Ok(())
            }
        }
    };
}

figures! {
    /// Seconds of simulated time.
    virtual_seconds,
    /// Grants at the start.
    grants,
    /// Requests to the provider.
    requests,
    /// Tokens that the provider exchanged.
    exchanges,
    /// New tokens that were written.
    refreshes,
    /// Replies that were lost on the way, or whose process crashed before their arrival.
    lost_replies,
    /// Answers that were with a process when it crashed.
    lost_in_window,
    /// Tokens that were presented after their rotation.
    reused,
    /// Documents that needed a new sign-in or failed at the end.
    given_up,
    /// Documents at the end whose token was lost, all by a lost reply.
    lost,
}
