//! What is said of one provider, for all workers.

use std::time::Duration;

use evergrant_budget::change_provider;
use evergrant_domain::audit::{Action, Outcome};
use evergrant_domain::limit::Limit;
use evergrant_domain::{ProviderId, ProviderState, Timestamp};
use serde_json::json;

use super::{About, ActionError, Operator};

/// What is said of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderChange {
    /// Nothing is sent, for so long or until it is resumed.
    Pause(Option<Duration>),
    /// A pause ends, and so does an open circuit.
    Resume,
    /// An open circuit lets one request through now.
    Probe,
    /// For an hour deaths are believed.
    Confirm,
    /// These limits hold; None for those of the settings.
    Limit(Option<Vec<Limit>>),
}

impl ProviderChange {
    const fn action(&self) -> Action {
        match self {
            Self::Pause(_) => Action::ProviderPause,
            Self::Resume => Action::ProviderResume,
            Self::Probe => Action::ProviderProbe,
            Self::Confirm => Action::ProviderConfirm,
            Self::Limit(_) => Action::ProviderLimit,
        }
    }

    fn request(&self) -> serde_json::Value {
        match self {
            Self::Pause(Some(duration)) => {
                json!({ "for": humantime::format_duration(*duration).to_string() })
            }
            Self::Limit(limits) => json!({ "limits": limits }),
            Self::Pause(None) | Self::Resume | Self::Probe | Self::Confirm => {
                serde_json::Value::Null
            }
        }
    }

    fn apply(&self, state: &mut ProviderState, why: &str, now: Timestamp) {
        match self {
            Self::Pause(duration) => state.pause(*duration, why.to_owned(), now),
            Self::Resume => state.resume(),
            Self::Probe => state.probe_now(now),
            Self::Confirm => state.confirm_deaths(now),
            Self::Limit(limits) => state.limits.clone_from(limits),
        }
    }
}

impl Operator {
    /// Says something of a provider; every worker acts on it within a second. Returns what is known
    /// of the provider then.
    pub async fn change_provider(
        &self,
        provider: &ProviderId,
        change: &ProviderChange,
    ) -> Result<ProviderState, ActionError> {
        let about = About {
            action: change.action(),
            provider: Some(provider.clone()),
            document: None,
            request: change.request(),
        };
        let changing = change_provider(&*self.store, provider, |state, now| {
            change.apply(state, &self.why, now);
        });
        let work = async { Ok(changing.await?) };
        self.audited(about, work, |_| (Outcome::Done, String::new())).await
    }
}
