//! `evergrant providers`: what holds for all workers, seen and changed.

use std::sync::Arc;

use evergrant_domain::ProviderId;
use evergrant_domain::limit::contradiction;
use evergrant_domain::provider_state::ProviderStanding;
use evergrant_ports::{JobQueue, Store, StoreError};
use evergrant_provider::Provider;
use evergrant_runtime::config::{Config, ConfigError};

use crate::args::StandingCommand;
use crate::exit::Exit;
use crate::output::{Output, or_dash};
use crate::sealed::SealedSample;
use evergrant_operations::operator::{ActingOperator, ActionError, ProviderChange, os_user};
use evergrant_operations::overview::{DUE_MAX, FleetOverview, OverviewSources, ProviderOverview};

/// The providers of the settings, and what all workers know of them.
pub(crate) struct Providers<'a> {
    configured: Vec<Provider>,
    store: Arc<dyn Store>,
    queue: Arc<dyn JobQueue>,
    output: &'a Output,
}

impl<'a> Providers<'a> {
    pub(crate) fn new(
        config: &Config,
        store: Arc<dyn Store>,
        queue: Arc<dyn JobQueue>,
        output: &'a Output,
    ) -> Result<Self, ConfigError> {
        Ok(Self { configured: config.providers()?, store, queue, output })
    }

    pub(crate) async fn run(&self, command: StandingCommand) -> Result<Exit, ActionError> {
        let (name, change, why) = match command {
            StandingCommand::List => return Ok(self.list().await?),
            StandingCommand::Pause { name, duration, why } => {
                (name, ProviderChange::Pause(duration), why)
            }
            StandingCommand::Resume { name, why } => (name, ProviderChange::Resume, why),
            StandingCommand::Probe { name, why } => (name, ProviderChange::Probe, why),
            StandingCommand::Confirm { name, why } => (name, ProviderChange::Confirm, why),
            StandingCommand::Limit { name, limits, reset, why } => {
                if let Some(contradiction) = contradiction(&limits) {
                    self.output.error(contradiction);
                    return Ok(Exit::Usage);
                }
                (name, ProviderChange::Limit((!reset).then_some(limits)), why)
            }
        };
        self.change(&name, &change, why).await
    }

    async fn list(&self) -> Result<Exit, StoreError> {
        if self.configured.is_empty() {
            self.output.message(&ConfigError::NoProvider.to_string());
            return Ok(Exit::Nothing);
        }
        let overview = self.overview(&self.configured).await?;
        if let Some(error) = &overview.queue_error {
            self.output.message(error);
        }
        self.show(&overview.providers);
        for Provider { id, .. } in &self.configured {
            if let Some(words) = SealedSample::of(&*self.store, id).await?.words() {
                self.output.message(&format!("{id}: {words}"));
            }
        }
        Ok(Exit::Done)
    }

    async fn change(
        &self,
        name: &ProviderId,
        change: &ProviderChange,
        why: String,
    ) -> Result<Exit, ActionError> {
        let Some(provider) = self.configured.iter().find(|provider| provider.id == *name) else {
            let names = self.configured.iter().map(|provider| provider.id.as_str());
            let names = names.collect::<Vec<_>>().join(", ");
            self.output.error(format!("there is no provider {name}; there are: {names}"));
            return Ok(Exit::Usage);
        };
        let operator = ActingOperator { store: Arc::clone(&self.store), who: os_user(), why };
        let state = operator.change_provider(name, change).await?;
        if *change == ProviderChange::Probe {
            self.say_what_a_probe_does(&state.standing(self.store.now().await?));
        }
        let overview = self.overview(std::slice::from_ref(provider)).await?;
        self.show(&overview.providers);
        Ok(Exit::Done)
    }

    fn say_what_a_probe_does(&self, standing: &ProviderStanding) {
        self.output.message(match standing {
            ProviderStanding::Tripped { .. } => {
                "the next job is sent as a probe: its answer closes the circuit or opens it for longer"
            }
            ProviderStanding::Open => "it is open: there is nothing to probe",
            ProviderStanding::Paused(_) => "an operator paused it: nothing is probed before `resume`",
            ProviderStanding::Throttled { .. } => {
                "the provider asked to wait, and its circuit is closed: there is nothing to probe"
            }
        });
    }

    async fn overview(&self, providers: &[Provider]) -> Result<FleetOverview, StoreError> {
        OverviewSources { store: &self.store, queue: Some(&self.queue), providers }.overview().await
    }

    fn show(&self, providers: &[ProviderOverview]) {
        if self.output.json {
            return self.output.json_list(providers);
        }
        let header = [
            "PROVIDER",
            "STATE",
            "UNTIL",
            "WHY",
            "LIMITS",
            "SET BY",
            "USED",
            "DUE",
            "QUEUED",
            "IN FLIGHT",
            "PER S",
            "FAILED",
            "DEAD",
        ];
        self.output.table(&header, providers.iter().map(row));
    }
}

/// Until when a provider is as it stands, and why.
pub(crate) fn until_and_why(standing: &ProviderStanding) -> (String, String) {
    let (until, why) = match standing {
        ProviderStanding::Open => (None, None),
        ProviderStanding::Paused(pause) => (pause.until, Some(pause.why.as_str())),
        ProviderStanding::Throttled { until } => (Some(*until), None),
        ProviderStanding::Tripped { reason, until } => (*until, Some(reason.as_str())),
    };
    (or_dash(until), or_dash(why.filter(|why| !why.is_empty())))
}

/// A share for people.
pub(crate) fn share(percent: Option<f64>) -> String {
    or_dash(percent.map(|percent| format!("{percent:.1} %")))
}

/// A count that may go on.
pub(crate) fn due(due: u64) -> String {
    if due >= DUE_MAX { format!("{due} or more") } else { due.to_string() }
}

fn row(view: &ProviderOverview) -> Vec<String> {
    let (until, why) = until_and_why(&view.standing);
    let limits = view.limits.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    vec![
        view.provider.to_string(),
        view.standing.as_str().to_owned(),
        until,
        why,
        if limits.is_empty() { "none".to_owned() } else { limits },
        if view.limits_set { "operator" } else { "settings" }.to_owned(),
        share(view.budget_used_percent),
        due(view.due),
        or_dash(view.queued),
        view.in_flight.to_string(),
        format!("{:.1}", view.refreshed_per_second),
        share(view.failed_percent),
        view.lately.dead_in_all().to_string(),
    ]
}
