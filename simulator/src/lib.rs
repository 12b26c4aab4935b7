#![doc = include_str!("../README.md")]

mod clock;
mod config;
mod dialect;
mod draw;
mod faults;
mod handle;
mod http;
mod in_process;
mod ledger;
mod limit;
mod oauth;
mod provider;
mod request_gate;
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

pub use clock::{ManualClock, RuntimeClock, SystemClock, TimeSource};
pub use config::SimulatorConfig;
pub use dialect::{ClientKey, DialectError, ProviderDialect};
pub use faults::FaultRates;
pub use handle::{ForgiveRequest, ForgiveResult, RevokeResult, SeedStream, SimulatorHandle};
pub use http::CertificateError;
pub use in_process::{ClientReply, ExchangeReply};
pub use ledger::{
    CheckReport, DeadCounts, DeathCause, DocumentSplitter, GrantJudgement, GrantState,
    GrantVerdict, GrantView, LedgerDocument, LedgerSummary, LostCause, LostCounts, SeedDocument,
    SeedError, SeedPlan, SplitError, TokenState,
};
pub use limit::{LIMIT_COUNT_MAX, LIMIT_WINDOW_S_MAX, LimitError, RequestLimit};
pub use requests::RequestRecord;
pub use script::{AnswerScript, ScriptError};
pub use server::{Simulator, SimulatorError};
pub use settings::{ClientAuth, DeadReply, QuotaBody, RetryAfter, SimulatorSettings};
pub use settings_error::SettingsError;
pub use stats::{AnswerCounts, SimulatorStats};
pub use token::{ACCESS_TOKEN_PREFIX, REFRESH_TOKEN_PREFIX};
