#![doc = include_str!("../README.md")]

mod clock;
mod config;
mod draw;
mod faults;
mod gate;
mod handle;
mod http;
mod in_process;
mod ledger;
mod limit;
mod oauth;
mod provider;
mod requests;
mod script;
mod server;
mod settings;
mod settings_error;
mod stats;
mod sync;
#[cfg(test)]
mod test_bench;
mod token;
mod window;

pub use clock::{Clock, ManualClock, RuntimeClock, SystemClock};
pub use config::Config;
pub use faults::FaultRates;
pub use handle::{Forgive, Forgiven, Handle, Revoked, Seeding};
pub use in_process::{Exchanged, Reply};
pub use ledger::{
    CheckReport, DeadCounts, DeathCause, Document, DocumentSplitter, GrantState, GrantView,
    Judgement, LedgerSummary, LostCause, LostCounts, SeedDocument, SeedError, SeedPlan, SplitError,
    TokenState, Verdict,
};
pub use limit::{Limit, LimitError, MAX_LIMIT_COUNT, MAX_LIMIT_WINDOW_S};
pub use requests::RequestRecord;
pub use script::{Script, ScriptError};
pub use server::{Simulator, SimulatorError};
pub use settings::{ClientAuth, DeadReply, QuotaBody, RetryAfter, Settings};
pub use settings_error::SettingsError;
pub use stats::{Answers, Stats};
pub use token::{ACCESS_TOKEN_PREFIX, REFRESH_TOKEN_PREFIX};
