//! Actions on one provider, which apply to all workers.

use std::time::Duration;

use evergrant_budget::change_provider;
use evergrant_domain::audit::{ActionOutcome, OperatorAction};
use evergrant_domain::limit::RateLimit;
use evergrant_domain::{ProviderId, ProviderState, Timestamp};
use serde_json::json;

use super::{ActingOperator, ActionError, ActionSubject};

/// A change of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderChange {
    /// Nothing is sent, for this time or until it is resumed.
    Pause(Option<Duration>),
    /// A pause ends, and an open circuit closes.
    Resume,
    /// An open circuit lets one request through now.
    Probe,
    /// Deaths are believed for an hour.
    Confirm,
    /// Sets these limits; None restores those of the settings.
    Limit(Option<Vec<RateLimit>>),
}

impl ProviderChange {
    const fn action(&self) -> OperatorAction {
        match self {
            Self::Pause(_) => OperatorAction::ProviderPause,
            Self::Resume => OperatorAction::ProviderResume,
            Self::Probe => OperatorAction::ProviderProbe,
            Self::Confirm => OperatorAction::ProviderConfirm,
            Self::Limit(_) => OperatorAction::ProviderLimit,
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

impl ActingOperator {
    /// Changes a provider; every worker acts on it within a second. Returns the new state.
    pub async fn change_provider(
        &self,
        provider: &ProviderId,
        change: &ProviderChange,
    ) -> Result<ProviderState, ActionError> {
        let about = ActionSubject {
            action: change.action(),
            provider: Some(provider.clone()),
            document: None,
            request: change.request(),
        };
        let changing = change_provider(&*self.store, provider, |state, now| {
            change.apply(state, &self.why, now);
        });
        let work = async { Ok(changing.await?) };
        self.audited(about, work, |_| (ActionOutcome::Done, String::new())).await
    }
}
