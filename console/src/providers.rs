//! `evergrant providers`: what holds for all workers, seen and changed.

use evergrant_shared::budget::change_provider;
use evergrant_shared::config::{Config, ConfigError};
use evergrant_shared::domain::limit::{Limit, contradiction};
use evergrant_shared::domain::provider_state::Standing;
use evergrant_shared::domain::{ProviderId, ProviderState, Timestamp};
use evergrant_shared::ports::{StoreError, TokenStore};
use evergrant_shared::provider::Provider;
use serde::Serialize;

use crate::args::ProvidersCommand;
use crate::exit::Exit;
use crate::output::{Output, or_dash};

/// The providers of the settings, and what all workers know of them.
pub(crate) struct Providers<'a> {
    configured: Vec<Provider>,
    store: &'a dyn TokenStore,
    output: &'a Output,
}

/// A provider as operators see it.
#[derive(Serialize)]
struct View {
    provider: ProviderId,
    #[serde(flatten)]
    standing: Standing,
    limits: Vec<Limit>,
    /// Whether an operator has set the limits.
    limits_set: bool,
    /// Until when deaths are believed, if an operator has confirmed them.
    deaths_believed_until: Option<Timestamp>,
    /// When our client's settings changed, if nothing has been refreshed with them yet.
    client_changed_at: Option<Timestamp>,
}

impl<'a> Providers<'a> {
    pub(crate) fn new(
        config: &Config,
        store: &'a dyn TokenStore,
        output: &'a Output,
    ) -> Result<Self, ConfigError> {
        Ok(Self { configured: config.providers()?, store, output })
    }

    pub(crate) async fn run(&self, command: ProvidersCommand) -> Result<Exit, StoreError> {
        match command {
            ProvidersCommand::List => self.list().await,
            ProvidersCommand::Pause { name, duration, why } => {
                self.change(&name, |state, now| state.pause(duration, why.clone(), now)).await
            }
            ProvidersCommand::Resume { name } => {
                self.change(&name, |state, _| state.resume()).await
            }
            ProvidersCommand::Confirm { name } => {
                self.change(&name, |state, now| state.confirm_deaths(now)).await
            }
            ProvidersCommand::Limit { name, limits, reset } => {
                if let Some(contradiction) = contradiction(&limits) {
                    self.output.message(&format!("error: {contradiction}"));
                    return Ok(Exit::Usage);
                }
                let limits = (!reset).then_some(limits);
                self.change(&name, |state, _| state.limits.clone_from(&limits)).await
            }
        }
    }

    async fn list(&self) -> Result<Exit, StoreError> {
        let mut views = Vec::new();
        for provider in &self.configured {
            let read = self.store.provider_state(&provider.id).await?;
            views.push(view(provider, &read.value, read.now));
        }
        if views.is_empty() {
            self.output.message(&ConfigError::NoProvider.to_string());
            return Ok(Exit::Nothing);
        }
        self.show(&views);
        Ok(Exit::Done)
    }

    async fn change(
        &self,
        name: &ProviderId,
        change: impl Fn(&mut ProviderState, Timestamp),
    ) -> Result<Exit, StoreError> {
        let Some(provider) = self.configured.iter().find(|provider| provider.id == *name) else {
            let names = self.configured.iter().map(|provider| provider.id.as_str());
            let names = names.collect::<Vec<_>>().join(", ");
            self.output.message(&format!("error: there is no provider {name}; there are: {names}"));
            return Ok(Exit::Usage);
        };
        let state = change_provider(self.store, name, change).await?;
        self.show(&[view(provider, &state, self.store.now().await?)]);
        Ok(Exit::Done)
    }

    fn show(&self, views: &[View]) {
        if self.output.json {
            return self.output.json(&views);
        }
        let header = ["PROVIDER", "STATE", "UNTIL", "WHY", "LIMITS", "SET BY"];
        self.output.table(&header, views.iter().map(row));
    }
}

fn view(provider: &Provider, state: &ProviderState, now: Timestamp) -> View {
    View {
        provider: provider.id.clone(),
        standing: state.standing(now),
        limits: state.limits(&provider.limits).to_vec(),
        limits_set: state.limits.is_some(),
        deaths_believed_until: state.deaths_believed_until.filter(|until| now < *until),
        client_changed_at: state.client.changed_at,
    }
}

fn row(view: &View) -> Vec<String> {
    let (until, why) = match &view.standing {
        Standing::Open => (None, None),
        Standing::Paused(pause) => (pause.until, Some(pause.why.as_str())),
        Standing::Throttled { until } => (Some(*until), None),
        Standing::Tripped { reason, until } => (Some(*until), Some(reason.as_str())),
    };
    let limits = view.limits.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    vec![
        view.provider.to_string(),
        view.standing.as_str().to_owned(),
        or_dash(until),
        or_dash(why.filter(|why| !why.is_empty())),
        if limits.is_empty() { "none".to_owned() } else { limits },
        if view.limits_set { "operator" } else { "settings" }.to_owned(),
    ]
}
